"""An explanation as files: a picture for each label and view, films, and a JSON beside them."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from leafscout.explanation.heat import paint_heat, resample_map
from leafscout.explanation.heat_pictures import (
    draw_heat,
    write_below,
    write_film,
    write_image,
)
from leafscout.explanation.panel import fit_pixels
from leafscout.inference.explain_photo import LabelHeat, PhotoExplanation, ViewHeat
from leafscout.reports.diagnosis_records import write_json
from leafscout.types import FloatArray, Pixels

LAYER_PX = 384
_UNSAFE = re.compile(r"[^\w.+-]+")


def write_explanation(
    explanation: PhotoExplanation, folder: Path, stem: str, *, films: bool = False
) -> dict[str, Any]:
    """Write pictures, and last the JSON that names them.

    Args:
        explanation: of one photo.
        folder: where to; made where missing.
        stem: what the names of all files start with.
        films: also a GIF over the labels of each view, and one over the layers of each label.

    Returns:
        What the JSON holds.

    Raises:
        InputError: when a file cannot be written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    record = explanation.to_dict()
    for view, entry in zip(explanation.views, record["views"], strict=True):
        frames = []
        for one, values in zip(view.labels, entry["labels"], strict=True):
            drawn = _draw(explanation, view, one)
            name = f"{stem}_{safe_name(one.label)}_{view.view}_{safe_name(view.method)}"
            values["picture"] = write_image(folder / f"{name}.jpg", drawn).name
            frames.append(drawn)
            if one.layers:
                values["layers"] = _write_layers(view, one, folder, name, films=films)
        if films and len(frames) > 1:
            film = folder / f"{stem}_{view.view}_{safe_name(view.method)}.gif"
            entry["film"] = write_film(film, frames).name
    write_json(folder / f"{stem}_explanation.json", record)
    return record


def _draw(explanation: PhotoExplanation, view: ViewHeat, one: LabelHeat) -> Pixels:
    prob = explanation.answer.probs[one.label]
    scale = "" if one.over.heat.max() > 0 else ", nothing hot"
    caption = f"{one.label} {prob:.2f} · {view.view} · {view.method}{scale}"
    return draw_heat(explanation.answer.photo.pixels, one.over, caption)


def _write_layers(
    view: ViewHeat, one: LabelHeat, folder: Path, name: str, *, films: bool
) -> dict[str, Any]:
    """Each layer's heat on the loudest image: numbered pictures, and a film of them."""
    frames = []
    record: dict[str, Any] = {"names": [layer for layer, _ in one.layers], "pictures": []}
    for number, (layer, heat) in enumerate(one.layers, start=1):
        drawn = _draw_layer(view.loudest_pixels, heat, f"{number} · {layer} · {one.label}")
        path = folder / f"{name}_layers" / f"{number:02d}_{safe_name(layer)}.png"
        record["pictures"].append(str(write_image(path, drawn).relative_to(folder)))
        frames.append(drawn)
    if films:
        record["film"] = write_film(folder / f"{name}_layers.gif", frames).name
    return record


def _draw_layer(pixels: Pixels, heat: FloatArray, caption: str) -> Pixels:
    shown = fit_pixels(pixels, LAYER_PX, LAYER_PX)
    # The map lies evenly over the image: in units of its own cells, cell for cell.
    rows, columns = heat.shape
    spread = resample_map(heat, 1, (0, 0, columns, rows), (shown.shape[0], shown.shape[1]))
    return write_below(paint_heat(shown, spread), caption)


def safe_name(name: str) -> str:
    """A name without what file systems dislike."""
    return _UNSAFE.sub("_", name).strip("_") or "label"
