"""One scout for each candidate glance size, on the same expert's evidence: which is large enough?

Scouts are cheap, and the expert's evidence is there from the training. Each scout starts from the
run's own, learns at its size, gets rules of its own, and is shown the same lesions of known size.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from leafscout.errors import InputError
from leafscout.evaluation.blind_zone import measure_blind_zone
from leafscout.evaluation.glance_choice import (
    GlanceChoice,
    GlanceTrial,
    describe_trial,
    pick_glance,
)
from leafscout.inference.blind_zone_run import find_blind_zone
from leafscout.inference.load import Model, load
from leafscout.inference.raised_glance import GLANCES
from leafscout.inference.sightings import Sighting, see_photo
from leafscout.inference.unseen_photos import read_run_labels
from leafscout.model import GlanceAndFocus
from leafscout.networks import TorchNetworks
from leafscout.photos.decode import decode_photo, read_photo_size
from leafscout.photos.labels import LabelTable
from leafscout.training.checkpoint import write_atomically
from leafscout.training.evidence_pass import gather_evidence
from leafscout.training.fit_rules import FittedRules, fit_rules
from leafscout.training.loop import LoopOptions, train_stage
from leafscout.training.photo_uses import SPLITS, read_splits
from leafscout.training.progress import TrainingProgress
from leafscout.training.recipes import Recipe, recipe_from_dict
from leafscout.training.run_folder import read_plan, save_model
from leafscout.training.scout_stage import ScoutStage
from leafscout.types import FloatArray


@dataclass(frozen=True)
class GlanceWishes:
    """What is asked of the glance.

    Attributes:
        sizes_px: long sides to try.
        lesion_px: lesions from this size on must be seen, in pixels of the photo.
        recall: share of them, 0..1.
        most_macs_share: multiply-adds against reading every tile, at most.
        photos: validation photos to look at, at most.
        lesions: lesions to paste, at most.
    """

    sizes_px: tuple[int, ...]
    lesion_px: float = 20.0
    recall: float = 0.8
    most_macs_share: float = 1.0
    photos: int = 40
    lesions: int = 10

    def __post_init__(self) -> None:
        if (
            not self.sizes_px
            or min(self.sizes_px) < 64
            or len(set(self.sizes_px)) < len(self.sizes_px)
        ):
            raise InputError(
                "Expected different glance sizes of at least 64 px, such as 256,384,512, but got "
                f"{', '.join(map(str, self.sizes_px)) or 'none'}."
            )
        if not 0.0 < self.recall <= 1.0 or self.lesion_px <= 0 or self.most_macs_share <= 0:
            raise InputError(
                "Expected a recall above 0 and up to 1, and a lesion size and a budget above 0, "
                f"but got {self.recall}, {self.lesion_px} and {self.most_macs_share}."
            )


def default_sizes(run: Path) -> tuple[int, ...]:
    """The run's own glance size, half of it and twice it."""
    own = recipe_from_dict(read_plan(run)["recipe"]).glance_px
    return tuple(size for size in (own // 2, own, 2 * own) if size >= 64)


def compare_glances(
    run: Path,
    data: Path,
    wishes: GlanceWishes,
    *,
    photos_root: Path | None = None,
    use: bool = False,
    seed: int = 0,
    progress: TrainingProgress | None = None,
) -> GlanceChoice:
    """Train a scout for each glance size and pick the smallest that sees the wanted lesions.

    Writes ``glances.json`` into the run folder, and a model for each size below ``glances/``.

    Args:
        run: the run folder, finished.
        data: the photos and labels that it was trained on.
        wishes: what is asked of the glance.
        photos_root: folder that the label file's photo names start from.
        use: let the picked scout be the run's model from now on.
        seed: of the lesions and places shown.
        progress: where to show it.

    Raises:
        InputError: no finished model, other photos than those of the run, or glances that are all
            larger than every photo.
    """
    model = load(run, runtime="torch")
    networks = model.core.networks
    if not isinstance(networks, TorchNetworks):
        raise InputError(f"{run} holds an exported model; scouts can only learn in a run folder.")
    plan = read_plan(run)
    recipe = recipe_from_dict(plan["recipe"])
    table = read_run_labels(data, plan, photos_root)
    train, validation = _read_parts(run, table)
    sizes_px, too_large = _fitting_sizes(wishes.sizes_px, table)
    with progress or TrainingProgress() as shown:
        if too_large:
            shown.say(too_large)
        evidence = gather_evidence(
            networks.expert, [*train.paths, *validation.paths], recipe.tile_px,
            _prepare_folder(run) / "evidence.safetensors", networks.device,
            mixed_precision=False, progress=shown,
        )  # fmt: skip
        sightings = _see(model, validation, wishes.photos, seed, shown)
        trials, fitted = [], {}
        for size_px in sizes_px:
            scout = _train_scout(
                networks, replace(recipe, glance_px=size_px), train, validation, evidence,
                int(plan["seed"]), run, shown,
            )  # fmt: skip
            rules = fit_rules(
                scout, replace(recipe, glance_px=size_px), validation,
                expert_macs=model.core.rules.expert_macs,
                scout_macs_per_px=model.core.rules.scout_macs_per_px, progress=shown,
            )  # fmt: skip
            fitted[size_px] = scout, rules
            # A model of its own, which `diagnose --glance-px` can use.
            save_model(
                run / GLANCES / str(size_px), scout.expert, scout.scout, rules,
                version=model.manifest.leafscout, data_fingerprint=model.manifest.data_fingerprint,
            )  # fmt: skip
            trial = _try(model, scout, rules, sightings, wishes, seed, shown)
            trials.append(trial)
    choice = pick_glance(
        trials,
        lesion_px=wishes.lesion_px,
        wanted_recall=wishes.recall,
        most_macs_share=wishes.most_macs_share,
    )
    if use and choice.picked_px is not None:
        best, rules = fitted[choice.picked_px]
        save_model(
            run, best.expert, best.scout, rules,
            version=model.manifest.leafscout, data_fingerprint=model.manifest.data_fingerprint,
        )  # fmt: skip
    content = {**choice.to_dict(), "in_use": bool(use and choice.picked_px is not None)}
    text = json.dumps(content, indent=1, ensure_ascii=False, allow_nan=False) + "\n"
    write_atomically(run / "glances.json", text.encode())
    return choice


def _fitting_sizes(sizes_px: tuple[int, ...], table: LabelTable) -> tuple[list[int], str]:
    """Sizes that some photo is large enough for, and a word about the others."""
    longest = max(max(read_photo_size(path)) for path in table.paths)
    fitting = sorted(size for size in sizes_px if size <= longest)
    larger = ", ".join(str(size) for size in sorted(sizes_px) if size > longest)
    if not fitting:
        raise InputError(
            f"Expected a glance of at most {longest} px, the side of the longest photo, but got "
            f"{larger} px: photos are not enlarged. Give smaller sizes."
        )
    if not larger:
        return fitting, ""
    return fitting, (
        f"Left out: a glance of {larger} px, since no photo is longer than {longest} px, and "
        "photos are not enlarged."
    )


def _prepare_folder(run: Path) -> Path:
    folder = run / GLANCES
    folder.mkdir(exist_ok=True)
    return folder


def _read_parts(run: Path, table: LabelTable) -> tuple[LabelTable, LabelTable]:
    """Training and validation photos, as the run had them."""
    if not (run / SPLITS).is_file():
        raise InputError(f"{run} has no {SPLITS}: it is not the folder of a finished training.")
    known = read_splits(run)
    if [name for name, _ in known] != list(table.names):
        raise InputError(
            f"{table.source} does not name the photos that {run} was trained on, in their order. "
            "Give the data that the run was trained with."
        )
    splits = np.array([split for _, split in known])
    return table.subset(np.flatnonzero(splits == "train")), table.subset(
        np.flatnonzero(splits == "val")
    )


def _see(
    model: Model, validation: LabelTable, most: int, seed: int, progress: TrainingProgress
) -> list[Sighting]:
    order = np.random.default_rng(seed).permutation(len(validation.paths))[:most]
    sightings = []
    with progress.task("reading every tile", total=len(order)) as task:
        for index in sorted(order):
            sightings.append(
                see_photo(
                    model,
                    validation.paths[index],
                    validation.names[index],
                    validation.truth[index],
                    None,
                )
            )
            task.advance()
    return sightings


def _train_scout(
    networks: TorchNetworks,
    recipe: Recipe,
    train: LabelTable,
    validation: LabelTable,
    evidence: list[FloatArray],
    seed: int,
    run: Path,
    progress: TrainingProgress,
) -> TorchNetworks:
    """A scout for one size; it starts from the run's own, and one that is there is only loaded."""
    scout, split = copy.deepcopy(networks.scout), len(train.paths)
    stage = ScoutStage(
        scout, recipe, train, validation, evidence[:split], evidence[split:], seed,
        networks.device, mixed_precision=False, name=f"scout at {recipe.glance_px} px",
    )  # fmt: skip
    options = LoopOptions(
        folder=_prepare_folder(run) / str(recipe.glance_px), seed=seed, time_s=None,
        device=networks.device, mixed_precision=False, on_epoch=lambda _: None,
    )  # fmt: skip
    train_stage(stage, options, progress)
    return TorchNetworks(scout.eval(), networks.expert, networks.device)


def _try(
    model: Model,
    networks: TorchNetworks,
    fitted: FittedRules,
    sightings: Sequence[Sighting],
    wishes: GlanceWishes,
    seed: int,
    progress: TrainingProgress,
) -> GlanceTrial:
    """Show one scout lesions of known size, and count what its choices cost."""
    core = GlanceAndFocus(networks, fitted.rules)
    candidate = Model(core, model.manifest, model.run)
    zone, trials, _ = find_blind_zone(
        candidate, sightings, donors=wishes.lesions, seed=seed, progress=progress
    )
    zone = measure_blind_zone(
        trials, glance_px=fitted.rules.glance_px, photo_px=zone.photo_px,
        wanted_recall=wishes.recall,
    )  # fmt: skip
    macs, tiles = [], []
    for one in sightings:
        photo = decode_photo(one.path)
        read = core.scout(core.take_glance(photo)).read
        everything = core.rules.expert_macs * len(read)
        macs.append(core.count_macs(photo.size_px_hw, int(read.sum())) / everything)
        tiles.append(float(read.mean()))
    return describe_trial(zone, float(np.mean(macs)), float(np.mean(tiles)))
