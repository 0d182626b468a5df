"""The main job: from photos with labels to a run folder with a trained model."""

from __future__ import annotations

import platform
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

import leafscout
from leafscout.errors import InputError
from leafscout.evaluation.thresholds import describe_unfitted
from leafscout.focus.expert import Expert
from leafscout.glance.scout import Scout
from leafscout.glance.view import take_glance
from leafscout.networks import (
    TorchNetworks,
    bfloat16_helps,
    build_expert,
    build_scout,
    choose_device,
    count_macs,
    keep_freed_memory,
    set_threads,
)
from leafscout.photos.decode import open_photo
from leafscout.photos.fingerprint import fingerprint_many, near_duplicate_groups
from leafscout.photos.labels import DEFAULT_HEALTHY_NAMES, LabelTable, read_labels
from leafscout.photos.splits import merge_groups, split_photos
from leafscout.training.any_recipe import check_recipe_name
from leafscout.training.distil_settings import check_teacher_kind
from leafscout.training.feature_teaching import hire_feature_tutor, load_feature_teacher
from leafscout.training.fit_rules import fit_rules
from leafscout.training.gate_stage import GateStage
from leafscout.training.gated_recipe import GATED_RECIPES, GatedRecipe, choose_gated_recipe
from leafscout.training.gated_run import build_network, check_gated_options, train_gated
from leafscout.training.learn_familiarity import learn_familiarity
from leafscout.training.loop import LoopOptions
from leafscout.training.progress import TrainingProgress
from leafscout.training.recipes import VAL_FRAC, Recipe, choose_recipe
from leafscout.training.recogniser_recipe import (
    RECOGNISER_RECIPES,
    RecogniserRecipe,
    choose_recogniser_recipe,
)
from leafscout.training.recogniser_run import (
    build_run_network,
    check_recogniser_options,
    train_recogniser,
)
from leafscout.training.recogniser_stage import STAGE_NAME, RecogniserStage
from leafscout.training.run_folder import (
    PLAN_VERSION,
    fingerprint_data,
    open_run,
    save_model,
    write_rows,
    write_splits,
    write_stage_outcomes,
)
from leafscout.training.size_notes import describe_sizes
from leafscout.training.stages import StageRunner
from leafscout.training.teacher import (
    Teacher,
    find_unlabelled,
    hire_tutor,
    load_teacher,
    take_sizes,
)
from leafscout.training.teacher_checks import check_cost, check_photos, check_teacher
from leafscout.training.tile_histograms import count_tile_probs, write_tile_histograms


@dataclass(frozen=True)
class TrainOptions:
    """What was asked for, beside data and recipe.

    Attributes:
        weights: local file of pretrained weights for the backbones that it fits.
        time_s: wall time for the whole run; None for no bound.
        seed: everything random follows from it.
        resume: go on with a run that was stopped.
        healthy_names: names that mean "no disease".
        complete: whether a label that is not named is known to be absent.
        photos_root: folder that the label file's photo names start from; None for its own.
        val_frac: share of the training photos used for validation, where no split is given.
        workers: processes for fingerprints; None for the machine's cores.
        threads: CPU threads of PyTorch; None for the machine's cores.
        teacher: run folder that the expert learns from beside the labels; None for no teacher.
        teacher_kind: a key of ``leafscout.training.distil_settings.TEACHER_KINDS``.
        unlabelled: a folder of photos without labels, learnt from by the teacher's word alone.
        keep_epochs: also keep the weights of every epoch of each network, to see how they
            learnt.
    """

    weights: Path | None = None
    time_s: float | None = None
    seed: int = 0
    resume: bool = False
    healthy_names: Sequence[str] = DEFAULT_HEALTHY_NAMES
    complete: bool = True
    photos_root: Path | None = None
    val_frac: float = VAL_FRAC
    workers: int | None = None
    threads: int | None = None
    teacher: Path | None = None
    teacher_kind: str = "expert"
    unlabelled: Path | None = None
    keep_epochs: bool = False


def train(
    data: Path,
    out: Path,
    *,
    recipe: str = "mobile",
    overrides: Mapping[str, Any] | None = None,
    options: TrainOptions | None = None,
    progress: TrainingProgress | None = None,
) -> Path:
    """Train a model from photo-level labels.

    Args:
        data: a folder per class, or a label CSV; see ``leafscout.photos.labels.read_labels``.
        out: the run folder to write.
        recipe: a key of ``leafscout.training.recipes.RECIPES``, of
            ``leafscout.training.gated_recipe.GATED_RECIPES``, or of
            ``leafscout.training.recogniser_recipe.RECOGNISER_RECIPES``.
        overrides: single settings of the recipe to replace.
        options: time, seed and the like.
        progress: where to show it; standard error by default.

    Returns:
        The run folder.

    Raises:
        InputError: unusable data, options or run folder.
        KeyboardInterrupt: after Ctrl-C, once everything is saved for ``resume``.
    """
    options = options or TrainOptions()
    if options.keep_epochs and recipe in GATED_RECIPES:
        raise InputError(
            f"--keep-epochs is for networks that `leafscout explain` can ask, and {recipe} is none "
            "yet. Leave it out, or train another recipe, for example tiny."
        )
    if options.time_s is not None and options.time_s <= 0:
        raise InputError(f"Expected --time to be positive, but got {options.time_s} s.")
    if recipe in GATED_RECIPES:
        gated = choose_gated_recipe(recipe, overrides)
        with progress or TrainingProgress() as shown:
            return _train_gated(Path(data), Path(out), gated, options, shown)
    if recipe in RECOGNISER_RECIPES:
        recogniser = choose_recogniser_recipe(recipe, overrides)
        with progress or TrainingProgress() as shown:
            return _train_recogniser(Path(data), Path(out), recogniser, options, shown)
    teacher = None
    if options.teacher is not None:
        teacher = load_teacher(Path(options.teacher), options.teacher_kind, choose_device())
    check_recipe_name(recipe)
    chosen = choose_recipe(recipe, take_sizes(overrides, teacher))
    with progress or TrainingProgress() as shown:
        return _Run(Path(data), Path(out), chosen, options, shown, teacher).train()


def _train_gated(
    data: Path, out: Path, recipe: GatedRecipe, options: TrainOptions, progress: TrainingProgress
) -> Path:
    """One network instead of two, on the same data and into the same kind of folder."""
    check_gated_options({"weights": options.weights, "teacher": options.teacher})
    run = _Run(data, out, choose_recipe("tiny", {"exclusive": recipe.exclusive}), options, progress)
    run.settings = recipe.to_dict()
    table = run.read_table()
    network = build_network(recipe, len(table.labels), options.seed).to(run.device)
    train, validation, fingerprint = run.prepare_data(table)
    stage = GateStage(
        network, recipe, train, validation, options.seed, run.device, run.mixed_precision
    )
    return train_gated(
        stage, out, time_s=options.time_s, data_fingerprint=fingerprint, progress=progress
    )


def _train_recogniser(
    data: Path,
    out: Path,
    recipe: RecogniserRecipe,
    options: TrainOptions,
    progress: TrainingProgress,
) -> Path:
    """One network and one look, on the same data and into the same kind of folder."""
    check_recogniser_options(recipe.name, {"unlabelled": options.unlabelled})
    check_teacher_kind(options.teacher_kind)
    teacher = load_feature_teacher(options.teacher, choose_device())
    if teacher is None and recipe.hidden_share:
        raise InputError(
            "hidden_share hides places whose features a teacher tells. Give one with --teacher "
            "RUN, or leave it out."
        )
    tutor = hire_feature_tutor(teacher, recipe.feature_weight, recipe.hidden_share)
    run = _Run(data, out, choose_recipe("tiny"), options, progress, teacher)
    run.settings = recipe.to_dict()
    run.mixed_precision = run.mixed_precision and recipe.mixed_precision
    table = run.read_table()
    repeats = recipe.repeats(table.labels)
    # Before the run folder is made: an unknown encoder or unfitting weights leave nothing.
    fresh = not (out / "checkpoints" / STAGE_NAME / "last.safetensors").exists()
    network = build_run_network(
        recipe, len(table.labels), options.seed, weights=options.weights, fresh=fresh
    ).to(run.device)
    train, validation, fingerprint = run.prepare_data(table)
    stage = RecogniserStage(
        network, recipe, train, validation, options.seed, run.device, run.mixed_precision,
        repeats=repeats, tutor=tutor,
    )  # fmt: skip
    return train_recogniser(
        stage, out, time_s=options.time_s, data_fingerprint=fingerprint, progress=progress,
        keep_epochs=options.keep_epochs,
    )  # fmt: skip


class _Run:
    """The steps of one training, in order."""

    def __init__(
        self,
        data: Path,
        out: Path,
        recipe: Recipe,
        options: TrainOptions,
        progress: TrainingProgress,
        teacher: Teacher | None = None,
    ) -> None:
        self.started_s = time.monotonic()
        self.teacher = teacher
        self.data, self.out, self.recipe = data, out, recipe
        self.settings = recipe.to_dict()
        self.options, self.progress = options, progress
        set_threads(options.threads)
        keep_freed_memory()
        self.device = choose_device()
        self.mixed_precision = bfloat16_helps(self.device)
        self.history: dict[str, list[dict[str, Any]]] = {}
        self.sizes_px_hw: list[tuple[int, int]] = []

    def train(self) -> Path:
        table = self.read_table()
        # Before the run folder is made: an unknown backbone or unfitting weights leave nothing.
        expert, scout = self._build_networks(table.labels)
        self._check_teacher(table, expert, scout)
        train, validation, fingerprint = self.prepare_data(table)
        for sentence in describe_sizes(self.recipe, self.sizes_px_hw):
            self.progress.say(sentence)

        stages = StageRunner(
            expert, scout, self.recipe, train, validation, self.options.seed, self.device,
            self.mixed_precision, self.out, self._loop_options, self.progress,
            build_peer=lambda: self._build_peer(table.labels),
            **self._hire_tutor(train),
        )  # fmt: skip
        stages.run_stages()
        if stages.outcomes:
            write_stage_outcomes(self.out, stages.outcomes)
        found = {
            "expert": stages.evidence[len(train.paths) :],
            "scout": stages.scout_guess,
        }
        write_tile_histograms(
            self.out,
            {
                stage: count_tile_probs(rows, validation.truth, validation.labels)
                for stage, rows in found.items()
            },
        )

        expert.eval()
        scout.eval()
        tile_px, glance_px = self.recipe.tile_px, 512
        fitted = fit_rules(
            TorchNetworks(scout, expert, self.device), self.recipe, validation,
            expert_macs=count_macs(expert, tile_px, tile_px),
            scout_macs_per_px=count_macs(scout, glance_px, glance_px) / glance_px**2,
            progress=self.progress,
        )  # fmt: skip
        fitted = learn_familiarity(
            fitted, train, validation,
            lambda photo: take_glance(photo, self.recipe.glance_px).pixels, self.progress,
        )  # fmt: skip
        for sentence in describe_unfitted(table.labels, fitted.thresholds_fitted):
            self.progress.say(sentence)
        save_model(
            self.out, expert, scout, fitted,
            version=leafscout.__version__, data_fingerprint=fingerprint,
        )  # fmt: skip
        self.progress.say(
            f"Trained in {time.monotonic() - self.started_s:.0f} s. "
            f"The model is in {self.out / 'model'}."
        )
        return self.out

    def _hire_tutor(self, train: LabelTable) -> dict[str, Any]:
        """What the expert learns from beside the labels, and the further photos for that."""
        if self.teacher is None:
            return {}
        unlabelled = find_unlabelled(self.options.unlabelled, self.out, self.options.workers)
        tutor = hire_tutor(
            self.teacher, self.recipe, [*train.paths, *unlabelled],
            self.out / "checkpoints" / "teacher.safetensors", self.device,
            mixed_precision=self.mixed_precision, progress=self.progress,
        )  # fmt: skip
        return {"tutor": tutor, "unlabelled": unlabelled}

    def _check_teacher(self, table: LabelTable, expert: Expert, scout: Scout) -> None:
        check_teacher(self.teacher, self.recipe, table.labels)
        if self.teacher is not None:
            size = open_photo(table.paths[0]).size_px_hw
            self.progress.say(check_cost(self.teacher, self.recipe, expert, scout, size))
        elif self.options.unlabelled is not None:
            raise InputError(
                "Photos without labels teach nothing by themselves: give a teacher for them with "
                "--teacher RUN, or leave --unlabelled out."
            )

    def read_table(self) -> LabelTable:
        """All photos and labels."""
        table = read_labels(
            self.data,
            healthy_names=self.options.healthy_names,
            complete=self.options.complete,
            photos_root=self.options.photos_root,
        )
        self.progress.say(table.describe())
        if self.recipe.exclusive and not table.exclusive:
            raise InputError(
                f"The recipe expects at most one disease a photo (exclusive), but photos of "
                f"{self.data} show several. Train without exclusive, or correct the labels."
            )
        return table

    def prepare_data(self, table: LabelTable) -> tuple[LabelTable, LabelTable, str]:
        """Photos to learn from, photos to validate on, and their fingerprint; opens the folder."""
        options = self.options
        with self.progress.task("fingerprints", total=len(table.paths)) as task:
            prints = fingerprint_many(
                table.paths, workers=options.workers, progress=lambda done, _: _catch_up(task, done)
            )
        groups = merge_groups(table.groups, near_duplicate_groups(prints))
        splits = split_photos(table, groups=groups, val_frac=options.val_frac, seed=options.seed)
        hashes = [(one.sha256, one.phash_hex) for one in prints]
        self.sizes_px_hw = [one.size_px_hw for one in prints]
        if self.teacher is not None:
            for note in check_photos(self.teacher, prints, splits):
                self.progress.say(note)
        used = np.flatnonzero(splits != "test")
        fingerprint = fingerprint_data(table.subset(used), [hashes[i][0] for i in used])
        train = table.subset(np.flatnonzero(splits == "train"))
        validation = table.subset(np.flatnonzero(splits == "val"))
        if not len(train.paths) or not len(validation.paths):
            raise InputError(
                f"{self.data} leaves {len(train.paths)} photos for training and "
                f"{len(validation.paths)} for validation; both need some. Add photos, or "
                "give a split column."
            )
        plan = self._plan(table, splits, fingerprint)
        open_run(self.out, plan, resume=options.resume)
        write_splits(self.out, table, [str(name) for name in splits], list(groups), hashes)
        return train, validation, fingerprint

    def _plan(self, table: LabelTable, splits: Any, fingerprint: str) -> dict[str, Any]:
        options = self.options
        counts = {name: int((splits == name).sum()) for name in ("train", "val", "test")}
        return {
            "version": PLAN_VERSION,
            "leafscout": leafscout.__version__,
            "data": str(self.data.resolve()),
            "photos_root": str(options.photos_root.resolve()) if options.photos_root else None,
            "labels": list(table.labels),
            "healthy_names": list(options.healthy_names),
            "labels_complete": options.complete,
            "interpretation": table.describe(),
            "photos": counts,
            "photos_per_label": {
                label: int(count)
                for label, count in zip(table.labels, table.truth.sum(axis=0), strict=True)
            },
            "data_fingerprint": fingerprint,
            "recipe": self.settings,
            "seed": options.seed,
            "time_s": options.time_s,
            "weights": None if options.weights is None else options.weights.name,
            "teacher": None if self.teacher is None else self.teacher.to_dict(),
            "unlabelled": None if options.unlabelled is None else str(options.unlabelled.resolve()),
            "machine": {
                "device": self.device.type,
                "threads": torch.get_num_threads(),
                "mixed_precision": self.mixed_precision,
                "python": platform.python_version(),
                "torch": torch.__version__,
                "system": platform.system(),
            },
        }

    def _build_networks(self, labels: tuple[str, ...]) -> tuple[Expert, Scout]:
        torch.manual_seed(self.options.seed)
        recipe, weights = self.recipe, self.options.weights
        expert = self._build_expert(labels)
        # One weights file serves both networks where they share a backbone.
        fresh = not self._has_begun("scout")
        scout = build_scout(
            recipe.scout,
            len(labels),
            pretrained=recipe.pretrained and fresh,
            weights=weights if fresh and recipe.scout == recipe.expert else None,
            stride=recipe.scout_stride,
        )
        return expert.to(self.device), scout.to(self.device)

    def _build_expert(self, labels: tuple[str, ...]) -> Expert:
        recipe = self.recipe
        # A checkpoint will fill a network whose stage has begun; downloading would be in vain.
        fresh = not self._has_begun("expert")
        return build_expert(
            recipe.expert,
            len(labels),
            pretrained=recipe.pretrained and fresh,
            weights=self.options.weights if fresh else None,
            sharpness=recipe.place_sharpness,
            shrink=recipe.expert_shrink,
            place_stride=recipe.place_stride,
        )

    def _build_peer(self, labels: tuple[str, ...]) -> Expert:
        """A second expert that starts elsewhere."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.options.seed + 1)
            return self._build_expert(labels).to(self.device)

    def _has_begun(self, stage: str) -> bool:
        return (self.out / "checkpoints" / stage / "last.safetensors").exists()

    def _loop_options(self, stage: str, frac: float) -> LoopOptions:
        left = None
        if self.options.time_s is not None:
            left = frac * max(10.0, self.options.time_s - (time.monotonic() - self.started_s))
        return LoopOptions(
            folder=self.out / "checkpoints" / stage,
            seed=self.options.seed,
            time_s=left,
            device=self.device,
            mixed_precision=self.mixed_precision,
            on_epoch=lambda rows: self._write_history(stage, rows),
            keep_epochs=self.options.keep_epochs,
        )

    def _write_history(self, stage: str, rows: list[dict[str, Any]]) -> None:
        self.history[stage] = rows
        everything = [row for part in self.history.values() for row in part]
        write_rows(self.out / "history.csv", everything)


def _catch_up(task: Any, done: int) -> None:
    task.advance(done - task.done)
