"""How a model's features of photos lie: centres, angles, neighbours and flat views."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from leafscout.errors import InputError, PhotoError
from leafscout.evaluation.feature_space import (
    AngleHistogram,
    agree_with_neighbours,
    angle_histograms,
    cosine_matrix,
    nearest_photos,
    project_by_neighbours,
    project_by_variance,
)
from leafscout.evaluation.json_values import JsonValue
from leafscout.evaluation.scores import Floats
from leafscout.explanation.activation_maximisation import maximise_label
from leafscout.explanation.filters import draw_filters, first_filters
from leafscout.explanation.heat_pictures import draw_mosaic_of, write_below
from leafscout.explanation.neighbours import Neighbour, draw_neighbours
from leafscout.inference.load import Model
from leafscout.inference.photo_features import Box, Reader, feature_readers, read_features
from leafscout.inference.run_photos import read_own_parts
from leafscout.photos.decode import open_photo
from leafscout.photos.labels import LabelTable
from leafscout.training.run_folder import read_plan
from leafscout.types import FloatArray, Photo, Pixels

THUMBNAIL_PX = 200
ANGLE_BINS = 90
LEAST_PHOTOS = 4
"""Below it there is nothing to lay out."""


@dataclass(frozen=True, eq=False)
class FeatureView(JsonValue):
    """How the photos lie to one network of a model.

    Attributes:
        view: ``photo``, ``tiles``, ``glance`` or ``tokens``.
        of: what the features of a photo are of, in words.
        width: features of a photo.
        photos: names.
        truth: the labels of each photo; none means healthy.
        left_out: photos that this network did not look at.
        centre_cosines: (labels, labels) between the directions in which evidence grows.
        angles: one a label.
        neighbours: (photos, count) the photos that lie nearest to each, by their index.
        neighbour_cosines: (photos, count).
        same_labels: share of neighbours with exactly the photo's labels, 0..1.
        same_labels_by_chance: the same for any two photos.
        by_variance: (photos, 2) principal components.
        variance_shares: (2,) of the spread that each keeps.
        by_neighbours: (photos, 2) t-SNE; None where scikit-learn is not installed.
    """

    view: str
    of: str
    width: int
    photos: tuple[str, ...]
    truth: tuple[tuple[str, ...], ...]
    left_out: int
    centre_cosines: Floats
    angles: tuple[AngleHistogram, ...]
    neighbours: NDArray[np.int64]
    neighbour_cosines: Floats
    same_labels: float
    same_labels_by_chance: float
    by_variance: Floats
    variance_shares: Floats
    by_neighbours: Floats | None

    @property
    def sentence(self) -> str:
        """What the neighbours say."""
        many = self.neighbours.shape[1]
        return (
            f"{self.view}: of the {many} photos most alike to a photo, {self.same_labels:.0%} "
            f"show exactly its diseases; of any two photos, {self.same_labels_by_chance:.0%}."
        )

    def to_dict(self) -> dict[str, Any]:
        """The fields as JSON-safe values, and the sentence."""
        return {**super().to_dict(), "sentence": self.sentence}


@dataclass(frozen=True, eq=False)
class FeatureStudy(JsonValue):
    """How the photos of a run lie in the features of its model.

    Attributes:
        run: the run folder.
        split: which of the run's photos.
        labels: the model's.
        views: one a network.
        notes: what a reader must know.
    """

    run: str
    split: str
    labels: tuple[str, ...]
    views: tuple[FeatureView, ...]
    notes: tuple[str, ...]


@dataclass(frozen=True, eq=False)
class FeaturePicture:
    """A picture of a study.

    Attributes:
        name: of a file, without its ending.
        caption: what it shows.
        pixels: (height, width, 3).
    """

    name: str
    caption: str
    pixels: Pixels


@dataclass(frozen=True)
class FeatureWishes:
    """What is asked of a study.

    Attributes:
        split: ``train`` or ``val``: which photos of the run.
        count: neighbours of a photo.
        most: photos at most, drawn at random beyond it.
        seed: of that draw and of t-SNE.
        label_pictures: also draw what each label looks like to the networks; takes longer.
    """

    split: Literal["train", "val"] = "train"
    count: int = 5
    most: int = 400
    seed: int = 0
    label_pictures: bool = False


class _Seen(NamedTuple):
    """What one network saw of a photo.

    Attributes:
        row: of the label table; of a photo asked about, its place among those.
        values: (features,).
        thumbnail: the part of the photo that they are of.
    """

    row: int
    values: FloatArray
    thumbnail: Pixels


def study_features(
    model: Model,
    wishes: FeatureWishes,
    asked: Sequence[Path] = (),
    *,
    show: Callable[[int, int], None] = lambda _done, _total: None,
) -> tuple[FeatureStudy, list[FeaturePicture]]:
    """Read features of a run's photos and lay them out.

    Args:
        model: of a run, whose photos are still where they were.
        wishes: see ``FeatureWishes``.
        asked: further photos whose nearest ones are shown.
        show: told the photos looked at and all.

    Returns:
        The study, and pictures: the first filters of each network, and the neighbours of each
        photo asked about.

    Raises:
        InputError: when the model is an exported one, its photos are gone, or there are too few.
        PhotoError: when a photo asked about cannot be used.
    """
    readers = feature_readers(model)
    table = _choose_photos(model, wishes)
    total = len(asked) + len(table)
    # Those asked about come first: what is wrong with one is said before the long work.
    questions, unread = _see(model, readers, asked, lambda done: show(done, total))
    if unread:
        raise unread[0]
    seen, unread = _see(model, readers, table.paths, lambda done: show(len(asked) + done, total))
    notes = [f"Left out: {error}" for error in unread]
    views, pictures = [], []
    for reader, some, of_asked in zip(readers, seen, questions, strict=True):
        pictures += _draw_first_layer(reader)
        if wishes.label_pictures:
            pictures += _draw_labels(reader, model.labels, wishes.seed)
        if len(some) <= max(LEAST_PHOTOS - 1, wishes.count):
            notes.append(
                f"{reader.view}: only {len(some)} photos were looked at, too few to be laid out."
            )
            continue
        views.append(_lay_out(reader, some, table, wishes))
        answered = {one.row for one in of_asked}
        notes += [
            f"{path.name}: nothing of it was read, so it has no place among the {reader.view}."
            for index, path in enumerate(asked)
            if index not in answered
        ]
        pictures += _draw_nearest(asked, of_asked, reader.view, some, table, wishes.count)
    if not views:
        raise InputError(
            f"The {len(table)} photos of {model.run} cannot be laid out: {' '.join(notes)} "
            "Ask for fewer neighbours with --count, or for --split train."
        )
    study = FeatureStudy(str(model.run), wishes.split, model.labels, tuple(views), tuple(notes))
    return study, pictures


def _see(
    model: Model, readers: tuple[Reader, ...], paths: Sequence[Path], show: Callable[[int], None]
) -> tuple[list[list[_Seen]], list[PhotoError]]:
    """For each reader, what it saw of the photos that it looked at; and what is wrong with some."""
    seen: list[list[_Seen]] = [[] for _ in readers]
    unread = []
    for index, path in enumerate(paths):
        try:
            photo = open_photo(path)
        except PhotoError as error:
            unread.append(error)
        else:
            for into, found in zip(seen, read_features(model, readers, photo), strict=True):
                if found is not None:
                    into.append(_Seen(index, found.values, _cut(photo, found.box_px_xyxy)))
        show(index + 1)
    return seen, unread


def _choose_photos(model: Model, wishes: FeatureWishes) -> LabelTable:
    plan = read_plan(model.run)
    parts = read_own_parts(model.run, plan, model.labels, why="Features are compared among")
    table = parts[0] if wishes.split == "train" else parts[1]
    if len(table) <= wishes.most:
        return table
    chosen = np.random.default_rng(wishes.seed).permutation(len(table))[: wishes.most]
    return table.subset(np.sort(chosen))


def _cut(photo: Photo, box_px_xyxy: Box) -> Pixels:
    """A small picture of a part of a photo."""
    left, top, right, bottom = box_px_xyxy
    part = Image.fromarray(np.ascontiguousarray(photo.pixels[top:bottom, left:right]))
    part.thumbnail((THUMBNAIL_PX, THUMBNAIL_PX), Image.Resampling.LANCZOS)
    small: Pixels = np.array(part)
    return small


def _lay_out(
    reader: Reader, some: Sequence[_Seen], table: LabelTable, wishes: FeatureWishes
) -> FeatureView:
    rows = np.array([one.row for one in some])
    features = np.stack([one.values for one in some])
    truth = table.truth[rows]
    neighbours, cosines = nearest_photos(features, features, wishes.count, skip_self=True)
    same, chance = agree_with_neighbours(truth, neighbours)
    flat, shares = project_by_variance(features)
    has_sklearn = importlib.util.find_spec("sklearn") is not None
    return FeatureView(
        view=reader.view,
        of=reader.words,
        width=int(features.shape[1]),
        photos=tuple(table.names[row] for row in rows),
        truth=tuple(_names(table, int(row)) for row in rows),
        left_out=len(table) - len(rows),
        centre_cosines=cosine_matrix(reader.centres),
        angles=tuple(angle_histograms(features, reader.centres, truth, table.labels, ANGLE_BINS)),
        neighbours=neighbours,
        neighbour_cosines=cosines,
        same_labels=same,
        same_labels_by_chance=chance,
        by_variance=flat,
        variance_shares=shares,
        by_neighbours=project_by_neighbours(features, wishes.seed) if has_sklearn else None,
    )


def _names(table: LabelTable, row: int) -> tuple[str, ...]:
    return tuple(label for label, has in zip(table.labels, table.truth[row], strict=True) if has)


def _draw_first_layer(reader: Reader) -> list[FeaturePicture]:
    try:
        drawn = draw_filters(first_filters(reader.network))
    except InputError:
        return []
    caption = (
        f"The first layer of the network behind {reader.view}: each square is what one filter "
        "answers to most, grey where it does not care."
    )
    return [FeaturePicture(f"filters_{reader.view}", caption, drawn)]


def _draw_labels(reader: Reader, labels: Sequence[str], seed: int) -> list[FeaturePicture]:
    if reader.side_px is None:
        return []
    side_px = reader.side_px
    drawn = [
        write_below(maximise_label(reader.network, index, side_px, seed=seed), label)
        for index, label in enumerate(labels)
    ]
    caption = (
        f"Pictures made, step by step, for the evidence of each label, by the network behind "
        f"{reader.view}. They show colours and shapes that it answers to, and no photo."
    )
    pixels = draw_mosaic_of(drawn, min(4, len(drawn)))
    return [FeaturePicture(f"labels_{reader.view}", caption, pixels)]


def _draw_nearest(
    paths: Sequence[Path],
    asked: Sequence[_Seen],
    view: str,
    some: Sequence[_Seen],
    table: LabelTable,
    count: int,
) -> list[FeaturePicture]:
    """For each photo asked about, those of the run that lie nearest to it."""
    if not asked:
        return []
    features, questions = (np.stack([one.values for one in seen]) for seen in (some, asked))
    pictures = []
    for one, order, cosines in zip(asked, *nearest_photos(features, questions, count), strict=True):
        path, near = paths[one.row], [some[index] for index in order]
        drawn = draw_neighbours(
            one.thumbnail,
            path.name,
            [
                Neighbour(other.thumbnail, _names(table, other.row), float(cosine))
                for other, cosine in zip(near, cosines, strict=True)
            ],
        )
        names = ", ".join(table.names[other.row] for other in near)
        caption = f"{path.name} and the photos that lie nearest, by {view}: {names}."
        pictures.append(FeaturePicture(f"nearest_{path.stem}_{view}", caption, drawn))
    return pictures
