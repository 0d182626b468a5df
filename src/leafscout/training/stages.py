"""The stages of a training, one after another, one network in memory at a time where that can be.

Every stage resumes: a stage that is done is only loaded, and what was gathered between stages is
read back. A stage after the first two is kept only where it helps on the validation photos; else
the networks stay as they were, and the run says so.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import nn

from leafscout.focus.expert import Expert
from leafscout.glance.scout import Scout
from leafscout.photos.labels import LabelTable
from leafscout.training.chosen_tiles import ChosenTilesStage, fine_tuning, scout_photos
from leafscout.training.distillation import NetworkTutor
from leafscout.training.evidence_pass import gather_evidence
from leafscout.training.expert_training import ExpertTraining
from leafscout.training.joint_stage import JointStage, ScoutAndExpert, is_better, keep_weights
from leafscout.training.loop import LoopOptions, Stage, train_stage
from leafscout.training.out_of_fold import FoldTraining, gather_out_of_fold
from leafscout.training.progress import TrainingProgress
from leafscout.training.recipes import Recipe
from leafscout.training.recovery import write_verdicts
from leafscout.training.scout_stage import ScoutStage
from leafscout.training.scout_tuning import ScoutTuning
from leafscout.training.stage_settings import time_frac
from leafscout.training.verdicts import judge_expert, judge_scout
from leafscout.types import FloatArray


@dataclass
class StageRunner:
    """Two networks with their photos, and what the stages hand on to each other.

    Attributes:
        expert: trained first.
        scout: trained second.
        recipe: which stages, and how.
        train: photos to learn from.
        validation: photos to judge by.
        seed: everything random follows from it.
        device: where a network lives while it is trained.
        mixed_precision: use bfloat16 where it is safe.
        run: the run folder.
        loop_options: checkpoint folder's name and share of the time → options of the loop.
        progress: where to show it.
        evidence: per photo, training then validation, the expert's (tiles, labels) logits.
        scout_guess: per validation photo, the scout's guess at them.
        outcomes: per stage after the first two, whether it was kept and its scores.
        tutor: what the expert learns from beside the labels, where the recipe wants a teacher.
        build_peer: builds a second fresh expert, where two are to teach each other.
        unlabelled: photos that the expert learns from by the tutor's word alone.
    """

    expert: Expert
    scout: Scout
    recipe: Recipe
    train: LabelTable
    validation: LabelTable
    seed: int
    device: torch.device
    mixed_precision: bool
    run: Path
    loop_options: Callable[[str, float], LoopOptions]
    progress: TrainingProgress
    evidence: list[FloatArray] = field(default_factory=list)
    scout_guess: list[FloatArray] = field(default_factory=list)
    outcomes: dict[str, dict[str, Any]] = field(default_factory=dict)
    tutor: NetworkTutor | None = None
    build_peer: Callable[[], Expert] | None = None
    unlabelled: Sequence[Path] = ()

    def run_stages(self) -> None:
        """Train all stages of the recipe."""
        steps = {
            "expert": self._train_expert,
            "scout": self._train_scout,
            "joint": self._train_joint,
            "alternate": self._take_turns,
        }
        stages = self.recipe.stages
        for index, stage in enumerate(stages):
            # A stage that comes again gets a folder of its own.
            turn = stages[: index + 1].count(stage)
            suffix = "" if turn == 1 else f"_{turn}"
            steps[stage](suffix, time_frac(stages, index))
        self._bring(self.expert, self.scout)

    def _train_expert(self, suffix: str, frac: float) -> None:
        self._bring(self.expert)
        training = ExpertTraining(
            *self._given(),
            lambda name, share: self.loop_options(f"{name}{suffix}", share * frac),
            self.progress, self.unlabelled,
        )  # fmt: skip
        training.run(self.expert, self.tutor, self.build_peer)
        self._gather("evidence")
        verdict = judge_expert(
            self.evidence[len(self.train.paths) :], self.validation.truth, self.train.labels,
            self.recipe.pooling, self.seed,
        )  # fmt: skip
        self._report(f"expert{suffix}", verdict)

    def _train_scout(self, suffix: str, frac: float) -> None:
        lessons = self._learn_out_of_fold(suffix, frac)
        share = 1.0 if lessons is None else 0.5
        tuned = self.recipe.scout_tuning != "none"
        self._bring(self.scout)
        stage = self._scout_stage(lessons)
        learning = share * (0.7 if tuned else 1.0)
        train_stage(stage, self.loop_options(f"scout{suffix}", learning * frac), self.progress)
        if tuned:
            name = f"scout_tuning{suffix}"
            self._improve(ScoutTuning(stage, name=name), name, 0.3 * share * frac)
        self.scout_guess = stage.guess_tiles()
        self._report(f"scout{suffix}", judge_scout(*stage.evidence_losses(), self.train.labels))

    def _report(self, stage: str, verdict: Sequence[str]) -> None:
        for sentence in verdict:
            self.progress.say(sentence)
        write_verdicts(self.run / "checkpoints" / stage, stage, verdict)

    def _learn_out_of_fold(self, suffix: str, frac: float) -> list[FloatArray] | None:
        """Evidence on the training photos from experts that did not see them, where wanted."""
        if self.recipe.scout_evidence == "same_photos":
            return None
        if self.build_peer is None:
            raise ValueError("Expected a way to build experts for evidence out of fold.")
        self._bring(self.expert)
        part = 0.5 * frac / self.recipe.scout_folds
        work = FoldTraining(
            recipe=self.recipe, train=self.train, validation=self.validation, groups=None,
            seed=self.seed, device=self.device, mixed_precision=self.mixed_precision,
            folder=self.run / "checkpoints" / f"folds{suffix}", build=self.build_peer,
            loop_options=lambda name: self.loop_options(f"folds{suffix}/{name}", part),
        )  # fmt: skip
        return gather_out_of_fold(self.expert, work, self.progress)

    def _train_joint(self, suffix: str, frac: float) -> None:
        self._bring(self.expert, self.scout)
        name = f"joint{suffix}"
        both = ScoutAndExpert(self.expert, self.scout)
        stage = JointStage(both, *self._given(), name=name)
        if self._improve(stage, name, frac):
            self._gather(f"evidence_{name}")
            self._bring(self.scout)
            self.scout_guess = self._scout_stage().guess_tiles()

    def _take_turns(self, suffix: str, frac: float) -> None:
        names = [f"{network}_alternate{suffix}" for network in ("expert", "scout")]
        self._bring(self.scout)
        scouted = scout_photos(
            self.scout, [*self.train.paths, *self.validation.paths], self.recipe, self.device
        )
        self._bring(self.expert)
        split = len(self.train.paths)
        expert = ChosenTilesStage(
            self.expert, *self._given(),
            name=names[0], scouted=scouted[:split], validation_scouted=scouted[split:],
        )  # fmt: skip
        better = self._improve(expert, names[0], frac / 2)
        expert.finish()
        if not better:
            return
        self._gather(f"evidence_{names[0]}")
        self._bring(self.scout)
        scout = self._scout_stage()
        scout.name, scout.settings = names[1], fine_tuning(scout.settings, self.recipe)
        self._improve(scout, names[1], frac / 2)
        self.scout_guess = scout.guess_tiles()

    def _improve(self, stage: Stage, name: str, frac: float) -> bool:
        """Train a stage; go back to the networks before it where it did not help."""
        before, weights = stage.validate(), keep_weights(stage.network)
        train_stage(stage, self.loop_options(name, frac), self.progress)
        after = stage.validate()
        kept = is_better(after, before)
        self.outcomes[name] = {
            "kept": kept,
            "before": {"score": before.score, "loss": before.loss, "macro_ap": before.macro_ap},
            "after": {"score": after.score, "loss": after.loss, "macro_ap": after.macro_ap},
        }
        if not kept:
            stage.network.load_state_dict(weights)
            stage.network.eval()
            self.progress.say(
                f"The stage {name} did not help: its loss on the validation photos is "
                f"{after.loss:.4f} (macro-AP {after.macro_ap:.3f}), and was {before.loss:.4f} "
                f"({before.macro_ap:.3f}) before it. The networks stay as they were."
            )
        return kept

    def _gather(self, name: str) -> None:
        self._bring(self.expert)
        parts = {name: [*self.train.paths, *self.validation.paths]}
        shares = {name: 1.0}
        if self.recipe.scout_tile_share < 1.0:
            parts = {f"{name}_share": [*self.train.paths], name: [*self.validation.paths]}
            shares[f"{name}_share"] = self.recipe.scout_tile_share
        self.evidence = [
            logits
            for part, paths in parts.items()
            for logits in gather_evidence(
                self.expert, paths, self.recipe.tile_px,
                self.run / "checkpoints" / f"{part}.safetensors",
                self.device, mixed_precision=self.mixed_precision, progress=self.progress,
                share=shares[part], seed=self.seed,
            )
        ]  # fmt: skip

    def _scout_stage(self, lessons: list[FloatArray] | None = None) -> ScoutStage:
        split = len(self.train.paths)
        return ScoutStage(
            self.scout, self.recipe, self.train, self.validation,
            lessons or self.evidence[:split], self.evidence[split:],
            self.seed, self.device, self.mixed_precision,
        )  # fmt: skip

    def _given(self) -> tuple[Recipe, LabelTable, LabelTable, int, torch.device, bool]:
        return (
            self.recipe, self.train, self.validation, self.seed, self.device, self.mixed_precision,
        )  # fmt: skip

    def _bring(self, *networks: nn.Module) -> None:
        """Networks that are needed go to the device, the other one off it."""
        for network in (self.expert, self.scout):
            network.to(self.device if network in networks else torch.device("cpu"))
