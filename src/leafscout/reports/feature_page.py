"""How photos lie in a model's features: figures, pictures and tables as files, and a page."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from PIL import Image

from leafscout.plain_text import defuse
from leafscout.reports.diagnosis_records import open_atomically, write_json
from leafscout.reports.feature_figures import draw_feature_study
from leafscout.reports.pages import open_templates, png_uri
from leafscout.types import Pixels

Json = Mapping[str, Any]

STUDY = "features.json"
TABLE = "features.csv"
PAGE = "features.html"
_PLACES = ("component_1", "component_2", "tsne_1", "tsne_2")
_COLUMNS = ("view", "photo", "labels", *_PLACES, "nearest", "cosine")


def write_feature_page(
    folder: Path, study: Json, pictures: Sequence[tuple[str, str, Pixels]]
) -> Path:
    """Write all that a study of features found; the page last.

    Args:
        folder: made where missing; what is there under the same names is replaced.
        study: the ``to_dict()`` of a ``leafscout.inference.feature_run.FeatureStudy``.
        pictures: (name, caption, pixels); names without ending.

    Returns:
        The page.

    Raises:
        InputError: when a file cannot be written, or matplotlib is missing.
    """
    figures = draw_feature_study(study)
    shown = [(one.name, one.caption, one.png) for one in figures]
    shown += [(name, caption, _encode(pixels)) for name, caption, pixels in pictures]
    folder.mkdir(parents=True, exist_ok=True)
    for name, _, png in shown:
        (folder / f"{name}.png").write_bytes(png)
    write_json(folder / STUDY, dict(study))
    _write_table(folder / TABLE, study)
    page = (
        open_templates()
        .get_template("feature_page.html.j2")
        .render(
            study=study,
            figures=[(caption, png_uri(png)) for _, caption, png in shown],
        )
    )
    with open_atomically(folder / PAGE) as file:
        file.write(page)
    return folder / PAGE


def _encode(pixels: Pixels) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()


def _write_table(path: Path, study: Json) -> None:
    """A row for each photo and view: where it lies, and what lies nearest."""
    with open_atomically(path) as file:
        writer = csv.writer(file)
        writer.writerow(_COLUMNS)
        for view in study["views"]:
            names = view["photos"]
            flat = view["by_neighbours"] or [("", "")] * len(names)
            for index, name in enumerate(names):
                nearest = [names[other] for other in view["neighbours"][index]]
                cosines = [f"{cosine:.4f}" for cosine in view["neighbour_cosines"][index]]
                writer.writerow(
                    [
                        view["view"],
                        defuse(name),
                        defuse("|".join(view["truth"][index])),
                        *view["by_variance"][index],
                        *flat[index],
                        defuse("|".join(nearest)),
                        "|".join(cosines),
                    ]
                )
