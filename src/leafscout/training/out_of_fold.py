"""The expert's evidence on photos that it did not learn from, for the scout to learn.

On its own training photos an expert is surer than it will be on new ones, and a scout that copies
such evidence learns to be sure of what it cannot see. Evidence of a photo from an expert that
never saw it has the doubts of real use (stacked generalisation, Wolpert 1992).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from leafscout.errors import InputError
from leafscout.focus.expert import Expert
from leafscout.photos.labels import LabelTable
from leafscout.photos.splits import assign_folds, merge_groups
from leafscout.training.evidence_pass import gather_evidence
from leafscout.training.expert_stage import ExpertStage
from leafscout.training.loop import LoopOptions, show_history, train_stage
from leafscout.training.progress import TrainingProgress
from leafscout.training.recipes import Recipe
from leafscout.training.warm_start import fit_new_layers, gather_bags, warm_start
from leafscout.types import FloatArray


@dataclass(frozen=True)
class FoldTraining:
    """What experts of folds are made with.

    Attributes:
        recipe: its ``scout_evidence`` says which way, its ``scout_folds`` how many.
        train: the training photos.
        validation: the validation photos; every expert of a fold is judged on them.
        groups: (photos,) numbers of what must stay in one fold; None takes the table's groups.
        seed: of everything random.
        device: where the networks live.
        mixed_precision: use bfloat16.
        folder: where checkpoints and evidence of the folds are kept, for resuming.
        build: makes an expert as it was before stage 1.
        loop_options: of a stage, by its name.
    """

    recipe: Recipe
    train: LabelTable
    validation: LabelTable
    groups: NDArray[np.int64] | None
    seed: int
    device: torch.device
    mixed_precision: bool
    folder: Path
    build: Callable[[], Expert]
    loop_options: Callable[[str], LoopOptions]


def gather_out_of_fold(
    trained: Expert, work: FoldTraining, progress: TrainingProgress
) -> list[FloatArray]:
    """Evidence of every training photo from an expert that was fitted without its fold.

    With ``out_of_fold_heads`` the trained expert's backbone stays, and only the layers behind it
    are fitted anew for each fold, on features that are gathered once: about the cost of one more
    evidence pass. The backbone has seen all photos, so some sharpness remains. With
    ``out_of_fold`` each fold has a whole expert of its own: as dear as stage 1 for each.

    Args:
        trained: the expert of stage 1; not changed.
        work: photos, folds and how to train.
        progress: where to show it.

    Returns:
        Per training photo, (tiles, labels) logits.

    Raises:
        InputError: when there are fewer groups of photos than folds.
    """
    fold_of = deal_folds(work)
    evidence: list[FloatArray | None] = [None] * len(fold_of)
    whole = work.recipe.scout_evidence == "out_of_fold"
    bags = []
    if not whole:
        whole_stage = _stage(trained, work, None)
        bags = gather_bags(whole_stage, progress)
        whole_stage.finish()
    for fold in range(work.recipe.scout_folds):
        inside = np.flatnonzero(fold_of == fold)
        store = work.folder / f"fold_{fold}" / "evidence.safetensors"
        expert = work.build().to(work.device)
        options = work.loop_options(f"fold_{fold}")
        if store.exists():
            show_history(options)
        else:
            if whole:
                stage = _stage(expert, work, np.flatnonzero(fold_of != fold))
                if work.recipe.pretrained and not (options.folder / "last.safetensors").exists():
                    warm_start(stage, progress)
                train_stage(stage, options, progress)
            else:
                expert.backbone = trained.backbone
                stage = _stage(expert, work, None)
                others = [bag for bag in bags if fold_of[bag.index] != fold]
                fit_new_layers(stage, others, progress, title=f"fold {fold + 1}: new layers")
            stage.finish()
        store.parent.mkdir(parents=True, exist_ok=True)
        found = gather_evidence(
            expert, [work.train.paths[index] for index in inside], work.recipe.tile_px, store,
            work.device, mixed_precision=work.mixed_precision, progress=progress,
        )  # fmt: skip
        for index, logits in zip(inside, found, strict=True):
            evidence[index] = logits
    return [logits for logits in evidence if logits is not None]


def deal_folds(work: FoldTraining) -> NDArray[np.int64]:
    """(photos,) the fold of each training photo; groups stay whole.

    Raises:
        InputError: when there are fewer groups of photos than folds.
    """
    groups = merge_groups(work.train.groups) if work.groups is None else work.groups
    if len(np.unique(groups)) < work.recipe.scout_folds:
        raise InputError(
            f"Expected at least {work.recipe.scout_folds} groups of training photos for "
            f"scout_folds={work.recipe.scout_folds}, but there are {len(np.unique(groups))}. "
            "Give fewer folds, more photos, or scout_evidence=same_photos."
        )
    return assign_folds(work.train, groups=groups, folds=work.recipe.scout_folds, seed=work.seed)


def _stage(expert: Expert, work: FoldTraining, photos: NDArray[np.intp] | None) -> ExpertStage:
    train = work.train if photos is None else work.train.subset(photos)
    return ExpertStage(
        expert, work.recipe, train, work.validation, work.seed, work.device, work.mixed_precision
    )
