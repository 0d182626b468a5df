"""Stage 1 as a whole: the expert learns alone, from a teacher, from a peer, or from itself."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from leafscout.focus.expert import Expert
from leafscout.photos.labels import LabelTable
from leafscout.training.distillation import NetworkTutor, Tutor
from leafscout.training.expert_stage import ExpertStage
from leafscout.training.loop import LoopOptions, train_stage
from leafscout.training.mutual_stage import MutualStage
from leafscout.training.progress import TrainingProgress
from leafscout.training.recipes import Recipe
from leafscout.training.warm_start import warm_start

FIRST_GENERATION = "first_generation"


@dataclass(frozen=True, eq=False)
class ExpertTraining:
    """Everything that training an expert needs, whomever it learns from.

    Attributes:
        recipe: its ``distil_mode`` says whom.
        train: photos to learn from.
        validation: photos to judge by.
        seed: everything random follows from it.
        device: where the networks live.
        mixed_precision: use bfloat16.
        options_for: name of a stage, and its share of the time for the expert, 0..1 → options.
        progress: where to show it.
        unlabelled: photos without labels, learnt from by a teacher's word alone.
    """

    recipe: Recipe
    train: LabelTable
    validation: LabelTable
    seed: int
    device: torch.device
    mixed_precision: bool
    options_for: Callable[[str, float], LoopOptions]
    progress: TrainingProgress
    unlabelled: Sequence[Path] = ()

    def run(
        self,
        expert: Expert,
        tutor: NetworkTutor | None = None,
        build_peer: Callable[[], Expert] | None = None,
    ) -> None:
        """Train an expert to its end and leave its best weights in it.

        Args:
            expert: fresh.
            tutor: for the mode ``offline``.
            build_peer: builds a second fresh expert, for the mode ``mutual``.

        Raises:
            ValueError: when the mode needs a tutor or a peer and there is none.
            KeyboardInterrupt: after Ctrl-C, once everything is saved.
        """
        mode = self.recipe.distil_mode
        if (mode == "mutual" and build_peer is None) or (mode == "offline" and tutor is None):
            raise ValueError(f"The mode {mode!r} needs somebody else to learn from.")
        if mode == "mutual" and build_peer is not None:
            self._learn_together(expert, build_peer())
            return
        if mode == "self":
            tutor = self._raise_first_generation(expert)
        stage = self._stage(expert, "expert", tutor)
        self._learn(stage, [stage])
        stage.finish()

    def _raise_first_generation(self, expert: Expert) -> NetworkTutor:
        """The same network, trained before: born-again networks (Furlanello et al. 2018)."""
        first = self._stage(copy.deepcopy(expert), FIRST_GENERATION, None)
        self._learn(first, [first], share=0.5)
        teacher = first.finish().eval().requires_grad_(requires_grad=False)
        return NetworkTutor(self.recipe, teacher)

    def _learn_together(self, expert: Expert, peer: Expert) -> None:
        stages = [
            self._stage(mine, "expert", NetworkTutor(self.recipe, other), offset=offset)
            for offset, (mine, other) in enumerate(((expert, peer), (peer, expert)))
        ]
        both = MutualStage(stages[0], stages[1])
        self._learn(both, stages)
        both.finish()

    def _stage(
        self, expert: Expert, name: str, tutor: Tutor | None, *, offset: int = 0
    ) -> ExpertStage:
        return ExpertStage(
            expert, self.recipe, self.train, self.validation, self.seed + offset, self.device,
            self.mixed_precision, name, tutor, self.unlabelled if tutor is not None else (),
        )  # fmt: skip

    def _learn(
        self, stage: ExpertStage | MutualStage, parts: Sequence[ExpertStage], *, share: float = 1.0
    ) -> None:
        options = self.options_for(stage.name, share)
        if self.recipe.pretrained and not (options.folder / "last.safetensors").exists():
            for part in parts:
                warm_start(part, self.progress)
        train_stage(stage, options, self.progress)
