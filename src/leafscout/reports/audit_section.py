"""What an audit and a promise have to say in a run report."""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from leafscout.errors import InputError
from leafscout.reports.figures import Curve, Panel, draw_panels
from leafscout.reports.report_figures import DrawnFigure

Json = Mapping[str, Any]

_WORDS = {
    ("pasted", 1.0): "pasted, own contrast",
    ("shrunk", 1.0): "photo made smaller",
    ("native", 1.0): "where they are",
    ("control", 1.0): "healthy background pasted",
}


@dataclass(frozen=True)
class AuditLine:
    """A sentence of the report.

    Attributes:
        text: the sentence.
        concern: whether a person should look into it.
    """

    text: str
    concern: bool


@dataclass(frozen=True)
class AuditSection:
    """The sentences and the figure of an audit.

    Attributes:
        promise: the promise in words; empty without one.
        photos: photos audited; 0 without an audit.
        notes: what a reader must know about them.
        blind_zone: sentences on what is not seen.
        findings: a line for each audit.
        figure: recall by size of the lesion; None without one.
    """

    promise: str
    photos: int
    notes: tuple[str, ...]
    blind_zone: tuple[str, ...]
    findings: tuple[AuditLine, ...]
    figure: DrawnFigure | None


def build_audit_section(audit: Json, promise: Json) -> AuditSection:
    """Gather what ``audit.json`` and ``promise.json`` hold; both may be empty.

    Raises:
        InputError: when one of them is not as leafscout writes it.
    """
    try:
        return AuditSection(
            promise=str(promise["words"]) if promise else "",
            photos=int(audit["photos"]) if audit else 0,
            notes=tuple(audit["notes"]) if audit else (),
            blind_zone=tuple(audit["blind_zone_sentences"]) if audit else (),
            findings=tuple(
                AuditLine(finding["sentence"], bool(finding["concern"]))
                for finding in (audit["findings"] if audit else ())
            ),
            figure=draw_blind_zone(audit["blind_zone"]) if audit else None,
        )
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(
            "Expected audit.json and promise.json as leafscout writes them, but one does not fit: "
            f"{type(error).__name__} {error}. Audit the run again, or remove the file."
        ) from error


def draw_blind_zone(zone: Json) -> DrawnFigure | None:
    """Draw the scout's recall by size of the lesion; None without curve or without matplotlib."""
    if not zone["curve"] or importlib.util.find_spec("matplotlib") is None:
        return None
    points: dict[str, list[tuple[float, float]]] = {}
    for point in zone["curve"]:
        key = point["source"], float(point["contrast"])
        name = _WORDS.get(key, f"pasted, {key[1]:.0%} of it")
        points.setdefault(name, []).append((point["glance_px"], point["recall"]))
    curves = tuple(
        Curve(
            name,
            [x for x, _ in sorted(places)],
            [y for _, y in sorted(places)],
            dots=True,
            dashed=name == _WORDS["control", 1.0],
        )
        for name, places in points.items()
    )
    limit = zone["blind_below_glance_px"]
    marks = ((float(limit), "seen from here"),) if limit else ()
    panel = Panel(
        "Recall by size of the lesion",
        "side, px of the glance",
        "share the scout leads to",
        curves,
        unit_square=False,
        marks=marks,
    )
    caption = (
        "Each lesion was found by the expert or marked by hand, then made smaller and fainter and "
        "pasted into healthy photos. Broken line: healthy background pasted in the same way. In a "
        "photo made smaller, several lesions share a tile, which makes it easier."
    )
    return DrawnFigure("blind_zone", "audit", caption, draw_panels([panel]))
