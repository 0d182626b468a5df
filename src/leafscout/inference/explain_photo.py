"""Why did a model say what it said about a photo? Heat for every label, from every view."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional as F

from leafscout.errors import InputError
from leafscout.evaluation.heat_maps import overlap_of_labels
from leafscout.evaluation.json_values import json_safe
from leafscout.explanation.faithfulness import FaithfulnessCurve, measure_faithfulness
from leafscout.explanation.heat_pictures import HeatOverPhoto, hottest_px_xy
from leafscout.explanation.methods import METHODS, Heat, explain, list_methods, view_layers
from leafscout.explanation.spatial_layers import read_logits
from leafscout.inference.answer import PhotoDiagnosis
from leafscout.inference.load import Model, PhotoSource
from leafscout.inference.views import View, take_views
from leafscout.types import FloatArray, Pixels

IMAGES_AT_ONCE = 4
"""Images in one pass with gradients: bounds the memory."""

MOST_CELLS = 48
"""Cells along a side that heat of pixels is averaged to: single pixels are noise."""


@dataclass(frozen=True)
class Question:
    """What is asked about a photo.

    Attributes:
        labels: which labels; None for those found, or the most probable one on a healthy photo.
        method: a key of ``METHODS``; None for the most telling one that each network allows.
        layer: for Grad-CAM, a layer by name.
        faithful: also delete and insert the hottest places.
        by_layer: also look layer by layer.
    """

    labels: tuple[str, ...] | None = None
    method: str | None = None
    layer: str | None = None
    faithful: bool = False
    by_layer: bool = False


@dataclass(frozen=True, eq=False)
class LabelHeat:
    """Heat of one label in one view.

    Attributes:
        label: the label.
        over: heat over the photo, 0..1.
        peak: the largest heat before scaling; probabilities for an absolute method.
        faithfulness: of the loudest image, where asked for.
        layers: (layer name, heat 0..1 on the loudest image) first to last, where asked for.
    """

    label: str
    over: HeatOverPhoto
    peak: float
    faithfulness: FaithfulnessCurve | None = None
    layers: tuple[tuple[str, FloatArray], ...] = ()


@dataclass(frozen=True, eq=False)
class ViewHeat:
    """Heat of all labels asked for, in one view.

    Attributes:
        view: its name.
        method: how it was asked.
        layer: the layer, where the method has one.
        loudest_pixels: (height, width, 3) the image that is shown layer by layer.
        labels: one each.
    """

    view: str
    method: str
    layer: str | None
    loudest_pixels: Pixels
    labels: tuple[LabelHeat, ...]


@dataclass(frozen=True, eq=False)
class PhotoExplanation:
    """Why a model said what it said about one photo.

    Attributes:
        answer: what it said.
        views: heat, view by view.
        notes: what could not be shown, and why.
    """

    answer: PhotoDiagnosis
    views: tuple[ViewHeat, ...]
    notes: tuple[str, ...] = field(default=())

    def to_dict(self) -> dict[str, Any]:
        """JSON-safe values: numbers and names, no maps."""
        diagnosis = self.answer.diagnosis
        values = {
            "source": diagnosis.source,
            "found": list(diagnosis.present),
            "probs": self.answer.probs,
            "views": [_view_record(one) for one in self.views],
            "notes": list(self.notes),
        }
        found: dict[str, Any] = json_safe(values)
        return found


def explain_photo(model: Model, photo: PhotoSource, question: Question) -> PhotoExplanation:
    """Diagnose a photo and ask every network that looked at it why.

    Args:
        model: of a run.
        photo: a path, the bytes of a file, or (height, width, 3) RGB pixels.
        question: what to ask.

    Raises:
        PhotoError: when the photo cannot be used.
        InputError: an unknown label; a method or layer that no network of the model has.
    """
    answer = model.diagnose(photo)
    diagnosis = answer.diagnosis
    asked = _choose_labels(question.labels, diagnosis.labels, diagnosis)
    views = take_views(model, answer.photo, diagnosis)
    notes = [view.note for view in views if view.note is not None]
    found: list[ViewHeat] = []
    refused: list[str] = []
    for view in views:
        try:
            found.append(ask_view(view, diagnosis.labels, asked, question))
        except InputError as error:
            refused.append(f"{view.name}: {error}")
    if not found:
        raise InputError(" ".join(refused))
    return PhotoExplanation(answer, tuple(found), (*notes, *refused))


def _choose_labels(
    wanted: Sequence[str] | None, known: tuple[str, ...], diagnosis: Any
) -> list[str]:
    if wanted:
        unknown = [label for label in wanted if label not in known]
        if unknown:
            raise InputError(
                f"The model knows no label {unknown[0]!r}. Its labels are: {', '.join(known)}."
            )
        return list(dict.fromkeys(wanted))
    present = list(diagnosis.present)
    return present or [known[int(np.argmax(diagnosis.label_probs))]]


def ask_view(
    view: View, known: tuple[str, ...], asked: Sequence[str], question: Question
) -> ViewHeat:
    """Ask the network of one view.

    Args:
        view: what it saw.
        known: the model's labels.
        asked: those to explain.
        question: how.

    Raises:
        InputError: a method or layer that the network does not have.
    """
    indices = [known.index(label) for label in asked]
    method = question.method or list_methods(view.network, view.pixels[:1])[0]
    parts = [
        explain(view.network, pixels, indices, method, layer=question.layer)
        for pixels in torch.split(view.pixels, IMAGES_AT_ONCE)
    ]
    maps = _to_cells(torch.cat([one.maps for one in parts]), method)
    loudest = view.pixels[view.loudest].permute(1, 2, 0).to(torch.uint8).cpu().numpy()
    return ViewHeat(
        view=view.name,
        method=method,
        layer=parts[0].layer,
        loudest_pixels=loudest,
        labels=tuple(
            _label_heat(view, label, index, maps[:, at], loudest, method, question)
            for at, (label, index) in enumerate(zip(asked, indices, strict=True))
        ),
    )


def _to_cells(maps: torch.Tensor, method: str) -> FloatArray:
    """(images, labels, rows, columns): probabilities of an absolute method; else heat as it is.

    Places and cells of layers stay; pixels are averaged.
    """
    if METHODS[method].absolute:
        maps = torch.sigmoid(maps)
    longest = max(maps.shape[2:])
    if longest > MOST_CELLS and METHODS[method].kind == "pixels":
        shrink = MOST_CELLS / longest
        rows, columns = (max(1, round(shrink * side)) for side in maps.shape[2:])
        maps = F.adaptive_avg_pool2d(maps, (rows, columns))
    cells: FloatArray = maps.detach().cpu().numpy().astype(np.float32)
    return cells


def _label_heat(
    view: View,
    label: str,
    index: int,
    maps: FloatArray,
    loudest: Pixels,
    method: str,
    question: Question,
) -> LabelHeat:
    absolute = METHODS[method].absolute
    peak = float(maps.max())
    scaled = maps if absolute or peak <= 0 else maps / peak
    curve = None
    if question.faithful:
        curve = measure_faithfulness(_scorer(view, index), loudest, maps[view.loudest])
    layers: tuple[tuple[str, FloatArray], ...] = ()
    if question.by_layer:
        one = view.pixels[view.loudest : view.loudest + 1]
        layers = tuple(_scale(heat) for heat in view_layers(view.network, one, index, method))
    return LabelHeat(label, view.lay(scaled, absolute), peak, curve, layers)


def _scale(heat: Heat) -> tuple[str, FloatArray]:
    values = heat.maps[0, 0].cpu().numpy().astype(np.float32)
    return heat.layer or heat.method, values / max(float(values.max()), 1e-12)


def _scorer(view: View, index: int) -> Any:
    def score(photos: Pixels) -> NDArray[np.floating]:
        pixels = torch.from_numpy(photos).permute(0, 3, 1, 2).float().to(view.pixels.device)
        with torch.no_grad():
            probs = torch.sigmoid(read_logits(view.network(pixels))[:, index])
        answer: NDArray[np.floating] = probs.cpu().numpy()
        return answer

    return score


def _view_record(view: ViewHeat) -> dict[str, Any]:
    overlap = None
    if len(view.labels) > 1:
        overlap = overlap_of_labels(np.stack([one.over.heat for one in view.labels])).tolist()
    return {
        "view": view.view,
        "method": view.method,
        "what": METHODS[view.method].words,
        "layer": view.layer,
        "absolute": METHODS[view.method].absolute,
        "overlap_of_labels": overlap,
        "labels": [_label_record(one) for one in view.labels],
    }


def _label_record(one: LabelHeat) -> dict[str, Any]:
    point = hottest_px_xy(one.over)
    record: dict[str, Any] = {
        "label": one.label,
        "peak": one.peak,
        "hottest_px_xy": None if point is None else list(point),
        "hot_area_share": float((one.over.heat >= 0.5 * one.over.heat.max()).mean()),
    }
    if one.faithfulness is not None:
        record["deletion_area"] = one.faithfulness.deletion_area
        record["insertion_area"] = one.faithfulness.insertion_area
    return record
