"""After the rules: learn what the training photos look like, to tell other photos from them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from leafscout.glance.familiarity import describe_view, fit_familiarity
from leafscout.photos.decode import open_photo
from leafscout.photos.labels import LabelTable
from leafscout.training.fit_rules import FittedRules
from leafscout.training.progress import TrainingProgress
from leafscout.types import Photo, Pixels

MOST_PHOTOS = 2000
"""Looked at of each split, evenly from the whole list: more would say the same."""

TakeView = Callable[[Photo], Pixels]
"""A photo → the small view that the network is shown."""


def learn_familiarity(
    fitted: FittedRules,
    train: LabelTable,
    validation: LabelTable,
    take_view: TakeView,
    progress: TrainingProgress,
) -> FittedRules:
    """Add what the training photos look like to rules that were fitted without it.

    Args:
        fitted: the rules.
        train: photos that were learnt from.
        validation: photos that were not; they set the limit.
        take_view: as a diagnosis takes it.
        progress: where to show it.

    Returns:
        The rules with familiarity; as they were where there are too few photos.
    """
    view_px = max(32, fitted.rules.glance_px)
    used = [_choose(table.paths) for table in (train, validation)]
    with progress.task("what photos look like", total=sum(map(len, used))) as task:
        learnt, held_out = (_describe(paths, take_view, view_px, task.advance) for paths in used)
    # Between none and all: no finite number of photos shows that a label is never there.
    photos = len(train.paths)
    prior = (train.truth.sum(axis=0) + 0.5) / (photos + 1)
    familiarity = fit_familiarity(learnt, held_out, prior, view_px=view_px)
    return replace(fitted, rules=replace(fitted.rules, familiarity=familiarity))


def _choose(paths: Sequence[Path]) -> list[Path]:
    wanted = np.linspace(0, len(paths) - 1, min(len(paths), MOST_PHOTOS)).round().astype(int)
    return [paths[index] for index in wanted]


def _describe(
    paths: Sequence[Path], take_view: TakeView, view_px: int, advance: Callable[[], None]
) -> NDArray[np.float64]:
    rows = []
    for path in paths:
        rows.append(describe_view(take_view(open_photo(path)), view_px))
        advance()
    return np.array(rows)
