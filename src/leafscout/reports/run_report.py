"""The report of a run: one HTML file with everything in it, that opens offline."""

from __future__ import annotations

import base64
import csv
import importlib.util
import io
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from PIL import Image

from leafscout.errors import InputError
from leafscout.photos.decode import decode_photo
from leafscout.photos.headers import walk_jpeg
from leafscout.photos.limits import DecodeLimits
from leafscout.reports.audit_section import AuditSection, build_audit_section
from leafscout.reports.feature_figures import draw_feature_study
from leafscout.reports.pages import open_templates, png_uri
from leafscout.reports.report_figures import (
    EPOCH_FIGURES,
    DrawnFigure,
    HistoryRow,
    Json,
    draw_evaluation,
    draw_history,
    draw_tile_histograms,
)
from leafscout.reports.training_notes import read_training_notes

GROUPS: Mapping[str, str] = {
    "diagnoses": "Diagnoses",
    "blind_zone": "Lesions at the edge of what the scout sees",
    "glance_scale": "Lesions at glance scale, beside full resolution",
    "mosaic": "Truth and answers side by side",
    "worst_mistakes": "Worst mistakes",
}
"""Groups of pictures that a report has a place for, and their headings."""

_PLAIN_SEGMENTS = {*range(0xC0, 0xE0), 0xE0, 0xEE}
"""What a JPEG needs for decoding; the others hold EXIF, XMP, profiles and comments."""
_PICTURE_LIMITS = DecodeLimits(min_side_px=1)

_SIDES = ("train", "val")

Content = TypeVar("Content", dict[str, Any], list[Any])


@dataclass(frozen=True)
class Picture:
    """A picture of the report.

    Attributes:
        group: a key of ``GROUPS``.
        caption: what it shows.
        uri: the picture itself as a data URI; empty where it cannot be shown.
    """

    group: str
    caption: str
    uri: str


@dataclass(frozen=True)
class Headline:
    """A figure for those who read only one line."""

    figure: str
    words: str
    detail: str


def write_run_report(run: Path) -> Path:
    """Write ``report.html`` into a run folder, from what stands there.

    It reads ``plan.json``, ``history.csv``, ``evaluation.json``, ``audit.json``, ``promise.json``,
    ``features/features.json``, the journals of the training and the pictures that
    ``pictures/captions.json`` lists, and leaves out what is missing. Figures are also saved to
    ``figures/`` as PNG files. Pictures are embedded without metadata (place, time, camera).

    Args:
        run: the run folder.

    Returns:
        The file written.

    Raises:
        InputError: when the folder is missing or one of its files cannot be understood.
    """
    if not run.is_dir():
        raise InputError(f"Expected a run folder, but {run} is not a folder.")
    plan = _read_json(run / "plan.json", dict)
    evaluation = _read_json(run / "evaluation.json", dict)
    history = _read_history(run / "history.csv")
    histograms = _read_json(run / "tile_histograms.json", dict)
    features = _read_json(run / "features" / "features.json", dict)
    audit = build_audit_section(
        _read_json(run / "audit.json", dict), _read_json(run / "promise.json", dict)
    )
    try:
        figures = _draw_all(evaluation, history, histograms)
        figures += [audit.figure] if audit.figure is not None else []
        figures += _draw_features(features)
        sentences = [str(view["sentence"]) for view in features.get("views", ())]
        page = _render(run, plan, evaluation, audit, figures, sentences)
    except (KeyError, TypeError, ValueError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(
            f"Expected {run / 'evaluation.json'} as leafscout writes it, but it does not fit: "
            f"{type(error).__name__} {error}. Evaluate the run again."
        ) from error
    _save_figures(run / "figures", figures)
    path = run / "report.html"
    path.write_text(page, encoding="utf-8")
    return path


def _draw_all(evaluation: Json, history: list[HistoryRow], histograms: Json) -> list[DrawnFigure]:
    if importlib.util.find_spec("matplotlib") is None:
        return []
    figures = draw_evaluation(evaluation)
    if history:
        figures.append(draw_history(history))
    if histograms:
        try:
            figures.append(draw_tile_histograms(histograms))
        except (KeyError, TypeError, ValueError) as error:
            raise InputError(
                "Expected tile_histograms.json as leafscout writes it, but it does not fit: "
                f"{type(error).__name__} {error}. Remove the file, or train again."
            ) from error
    return figures


def _draw_features(study: Json) -> list[DrawnFigure]:
    if not study or importlib.util.find_spec("matplotlib") is None:
        return []
    try:
        return draw_feature_study(study)
    except (IndexError, KeyError, TypeError, ValueError) as error:
        raise InputError(
            "Expected features/features.json as leafscout writes it, but it does not fit: "
            f"{type(error).__name__} {error}. Remove the file, or run leafscout features again."
        ) from error


def _render(
    run: Path,
    plan: Json,
    evaluation: Json,
    audit: AuditSection,
    figures: list[DrawnFigure],
    feature_sentences: list[str],
) -> str:
    environment = open_templates(
        number=_show_number, percent=_show_percent, signed=_show_signed, data_uri=png_uri
    )
    pictures = _read_pictures(run / "pictures")
    return environment.get_template("run_report.html.j2").render(
        title=run.resolve().name,
        headlines=_pick_headlines(evaluation),
        notes=evaluation.get("notes") or [],
        groups={
            group: (heading, [picture for picture in pictures if picture.group == group])
            for group, heading in GROUPS.items()
        },
        labels=evaluation.get("labels"),
        baselines=evaluation.get("baselines") or {},
        alternatives=evaluation.get("alternatives") or {},
        by_count=evaluation.get("by_count") or [],
        localisation=evaluation.get("localisation"),
        cost=evaluation.get("cost"),
        audit=audit,
        figures=figures,
        feature_sentences=feature_sentences,
        plan=_flatten(plan),
        training_notes=read_training_notes(run),
    )


def _pick_headlines(evaluation: Json) -> list[Headline]:
    """The few figures that matter most: how good, how safe, how cheap."""
    headlines = []
    labels = evaluation.get("labels")
    if labels:
        macro = labels["macro"]
        headlines = [
            _headline(macro["ap"], "macro average precision", _show_number),
            _headline(macro["f1"], "macro F1", _show_number),
            _headline(labels["sensitivity"], "of diseased photos recognised", _show_percent),
            _headline(labels["specificity"], "of healthy photos left in peace", _show_percent),
        ]
    cost = evaluation.get("cost")
    if cost:
        for group in (cost["healthy"], cost["diseased"]):
            if group["photos"]:
                headlines.append(
                    Headline(
                        _show_percent(group["drop_rate"]),
                        f"of tiles never read on {group['name']} photos",
                        f"{_show_percent(group['macs_ratio'])} of the multiply-adds",
                    )
                )
    return headlines


def _headline(estimate: Json, words: str, show: Any) -> Headline:
    ends = f"95% interval {show(estimate['low'])} – {show(estimate['high'])}"
    return Headline(show(estimate["value"]), words, ends if estimate["low"] is not None else "")


def _read_json(path: Path, kind: type[Content]) -> Content:
    """The content of a JSON file, empty where the file is missing."""
    if not path.is_file():
        return kind()
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, OSError) as error:
        raise InputError(f"Expected JSON in {path}, but it cannot be read: {error}.") from error
    if not isinstance(content, kind):
        raise InputError(
            f"Expected {path} to hold a JSON {kind.__name__}, but it holds a "
            f"{type(content).__name__}."
        )
    return content


def _read_history(path: Path) -> list[HistoryRow]:
    if not path.is_file():
        return []
    with path.open(newline="", encoding="utf-8") as file:
        records = list(csv.DictReader(file))
    rows = []
    for line, record in enumerate(records, start=2):
        try:
            losses = {
                name: float(record[name] or "nan")
                for name in ("train_loss", "val_loss", "val_macro_ap")
            }
            more = {
                column: float(record[column] or "nan")
                for column in (f"{side}_{name}" for side in _SIDES for name in EPOCH_FIGURES)
                if column in record
            }
            row = HistoryRow(record["stage"], int(record["epoch"]), **losses, more=more)
        except (KeyError, TypeError, ValueError) as error:
            raise InputError(
                f"Expected columns stage, epoch, train_loss, val_loss and val_macro_ap with "
                f"numbers in {path}, but line {line} does not fit: {error}."
            ) from error
        rows.append(row)
    return rows


def _read_pictures(folder: Path) -> list[Picture]:
    pictures = []
    for entry in _read_json(folder / "captions.json", list):
        if not isinstance(entry, dict) or entry.get("group") not in GROUPS:
            raise InputError(
                f"Expected each entry of {folder / 'captions.json'} to have a file, a caption and "
                f"a group of {', '.join(GROUPS)}, but got {entry}."
            )
        # Only the name counts: a list of pictures must not reach outside its folder.
        path = folder / Path(str(entry.get("file", ""))).name
        caption = str(entry.get("caption", ""))
        uri = _embed_picture(path)
        if not uri:
            caption = f"{caption} (the picture {path.name} is missing or cannot be read)"
        pictures.append(Picture(entry["group"], caption, uri))
    return pictures


def _embed_picture(path: Path) -> str:
    """A data URI of a picture without metadata; empty where it cannot be read."""
    try:
        content = path.read_bytes()
        picture = decode_photo(content, limits=_PICTURE_LIMITS)
    except (OSError, InputError):
        return ""
    plain = content.startswith(b"\xff\xd8") and _PLAIN_SEGMENTS.issuperset(
        marker for marker, _, _ in walk_jpeg(content)
    )
    if not plain:
        # Fresh pixels: whatever else the file carried stays behind.
        buffer = io.BytesIO()
        Image.fromarray(picture.pixels).save(buffer, "JPEG", quality=90)
        content = buffer.getvalue()
    return f"data:image/jpeg;base64,{base64.b64encode(content).decode('ascii')}"


def _save_figures(folder: Path, figures: list[DrawnFigure]) -> None:
    if figures:
        folder.mkdir(exist_ok=True)
    for figure in figures:
        (folder / f"{figure.name}.png").write_bytes(figure.png)


def _flatten(values: Json, prefix: str = "") -> list[tuple[str, str]]:
    """Nested settings as lines of a table: ``expert.backbone`` and its value."""
    lines: list[tuple[str, str]] = []
    for key, value in values.items():
        if isinstance(value, dict):
            lines += _flatten(value, f"{prefix}{key}.")
        elif isinstance(value, list):
            lines.append((f"{prefix}{key}", ", ".join(str(part) for part in value)))
        else:
            lines.append((f"{prefix}{key}", "–" if value is None else str(value)))
    return lines


def _show_number(value: float | None, digits: int = 2) -> str:
    return "–" if value is None or not math.isfinite(value) else f"{value:.{digits}f}"


def _show_percent(value: float | None) -> str:
    if value is None or not math.isfinite(value):
        return "–"
    percent = 100 * value
    return f"{percent:.0f}%" if percent in {0, 100} or 10 <= percent <= 99 else f"{percent:.1f}%"


def _show_signed(value: float | None) -> str:
    return "–" if value is None or not math.isfinite(value) else f"{value:+.3f}"
