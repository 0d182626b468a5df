"""The blind zone: which lesions a scout does not see, by their size and contrast."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from leafscout.errors import InputError
from leafscout.evaluation.json_values import JsonValue
from leafscout.evaluation.promise import loss_upper_bound

NATIVE, SHRUNK, PASTED, CONTROL = "native", "shrunk", "pasted", "control"
"""A lesion where it was found; in its photo made smaller; pasted elsewhere; background pasted."""

TESTED_GLANCE_PX = (1.0, 1.5, 2.0, 3.0, 4.0, 6.0, 8.0, 12.0, 16.0)
"""Sides of lesions in pixels of the glance; a lesion counts with the nearest of them."""

WANTED_RECALL = 0.5
"""Lesions of a size count as seen when the scout leads to at least so many of them."""

_TAIL = 0.025


@dataclass(frozen=True)
class LesionTrial(JsonValue):
    """One lesion shown to the scout.

    Attributes:
        source: ``native``, ``shrunk``, ``pasted`` or ``control``.
        label: the disease; that of the photo, where the lesion's own is not known.
        size_px: side of a square of the lesion's area, in pixels of the photo.
        glance_px: the same in pixels of the glance.
        contrast: share of its own contrast that the lesion was given, 0..1.
        visibility: signal-to-noise ratio in the glance, see ``leafscout.evaluation.visibility``.
        seen: a tile that shows the lesion reaches the choice threshold or is chosen.
        chosen: a tile that shows it is chosen.
        seen_without: that tile was worth reading before the lesion was pasted: it proves nothing.
        expert_sees: the expert, given the tile, finds the disease; None where it was not asked.
    """

    source: str
    label: str
    size_px: float
    glance_px: float
    contrast: float
    visibility: float
    seen: bool
    chosen: bool
    seen_without: bool = False
    expert_sees: bool | None = None


@dataclass(frozen=True)
class RecallPoint(JsonValue):
    """The scout's recall on lesions of one kind, size and contrast.

    Attributes:
        source: see ``LesionTrial``.
        contrast: see ``LesionTrial``.
        glance_px: one of ``TESTED_GLANCE_PX``.
        size_px: median side in pixels of the photo.
        visibility: median.
        lesions: how many were shown; those that prove nothing are left out.
        seen: how many of them were seen.
        recall: seen / lesions, 0..1.
        low: lower end of its exact 95% interval.
        high: upper end.
        expert_recall: share that the expert finds, given the tile; None where it was not asked.
    """

    source: str
    contrast: float
    glance_px: float
    size_px: float
    visibility: float
    lesions: int
    seen: int
    recall: float
    low: float
    high: float
    expert_recall: float | None


@dataclass(frozen=True)
class BlindZone(JsonValue):
    """What a scout does not see.

    Attributes:
        glance_px: long side of the glance.
        photo_px: long side of the photos, the median.
        wanted_recall: what counts as seen, 0..1.
        curve: recall by source, contrast and size.
        blind_below_px: lesions smaller than this are not seen, in pixels of the photo; 0 when all
            tested sizes are; None when not even the largest are, or nothing could be tested.
        blind_below_glance_px: the same in pixels of the glance.
        source: of the lesions behind these two.
        proved_nothing: lesions left out because their tile was worth reading anyway.
    """

    glance_px: int
    photo_px: float
    wanted_recall: float
    curve: tuple[RecallPoint, ...]
    blind_below_px: float | None
    blind_below_glance_px: float | None
    source: str | None
    proved_nothing: int

    def points(self, source: str, contrast: float = 1.0) -> tuple[RecallPoint, ...]:
        """The curve of one source and contrast, smallest lesions first."""
        return tuple(
            point for point in self.curve if (point.source, point.contrast) == (source, contrast)
        )

    def sentences(self) -> tuple[str, ...]:
        """What this model will miss, in words."""
        if self.source is None:
            nothing = (
                "The blind zone could not be measured: that takes diseased photos in which the "
                "model finds lesions, or boxes of lesions."
            )
            return (nothing,)
        points = self.points(self.source)
        said = (self._say_limit(points), *self._say_faint(), self._say_control(),
                self._say_expert(points))  # fmt: skip
        return tuple(sentence for sentence in said if sentence)

    def _say_limit(self, points: tuple[RecallPoint, ...]) -> str:
        limit = self.blind_below_glance_px
        if limit is None:
            return (
                f"The scout does not see lesions reliably at any tested size "
                f"up to {points[-1].size_px:.0f} px ({points[-1].glance_px:g} px of the glance): "
                f"{_share(points)}. A larger glance or a better scout is needed."
            )
        if limit == 0:
            return (
                f"Lesions of all tested sizes, from {points[0].size_px:.0f} px "
                f"({points[0].glance_px:g} px of the glance), are seen: {_share(points)}."
            )
        below = tuple(point for point in points if point.glance_px < limit)
        above = tuple(point for point in points if point.glance_px >= limit)
        needed = limit * self.photo_px / 20
        advice = (
            f" Lesions of 20 px would take a glance of about {needed:.0f} px instead of "
            f"{self.glance_px} px."
            if self.blind_below_px is not None and self.blind_below_px > 20
            else ""
        )
        return (
            f"Lesions under {self.blind_below_px:.0f} px ({limit:g} px of the glance) are not "
            f"seen: of smaller ones the scout finds {_share(below)}, of larger ones "
            f"{_share(above)}.{advice}"
        )

    def _say_faint(self) -> list[str]:
        contrasts = sorted({point.contrast for point in self.curve} - {1.0}, reverse=True)
        return [
            f"At {contrast:.0%} of their contrast it finds "
            f"{_share(self.points(PASTED, contrast))} of all sizes."
            for contrast in contrasts
        ]

    def _say_control(self) -> str:
        control = self.points(CONTROL)
        if not control:
            return ""
        return (
            f"Healthy background pasted in the same way calls the scout in {_share(control)}: so "
            "much is owed to the pasting itself."
        )

    def _say_expert(self, points: tuple[RecallPoint, ...]) -> str:
        limit = self.blind_below_glance_px
        missed = [point for point in points if limit is None or point.glance_px < limit]
        asked = [point for point in missed if point.expert_recall is not None]
        if not asked:
            return ""
        lesions = sum(point.lesions for point in asked)
        found = sum(round((point.expert_recall or 0.0) * point.lesions) for point in asked)
        return (
            f"Given their tiles, the expert finds {found} of {lesions} of these lesions that are "
            "too small for the scout: so many are lost at the glance alone."
        )


def measure_blind_zone(
    trials: Sequence[LesionTrial],
    *,
    glance_px: int,
    photo_px: float,
    wanted_recall: float = WANTED_RECALL,
) -> BlindZone:
    """The scout's recall by size and contrast, and below which size it is blind.

    The limit is the smallest tested size from which on all sizes are seen often enough. It comes
    from pasted lesions, whose size and contrast are known, or else from native ones.

    Args:
        trials: lesions shown to the scout.
        glance_px: long side of the glance.
        photo_px: long side of the photos.
        wanted_recall: above 0 and up to 1.

    Raises:
        InputError: when the wanted recall is out of range.
    """
    if not 0 < wanted_recall <= 1:
        raise InputError(
            f"Expected a wanted recall above 0 and up to 1, but got {wanted_recall}. "
            "Use 0.5 for 50%."
        )
    telling = [trial for trial in trials if not trial.seen_without]
    cells: dict[tuple[str, float, float], list[LesionTrial]] = {}
    for trial in telling:
        key = trial.source, trial.contrast, nearest_tested(trial.glance_px)
        cells.setdefault(key, []).append(trial)
    curve = tuple(
        _point(source, contrast, size, cells[source, contrast, size])
        for source, contrast, size in sorted(cells, key=lambda key: (key[0], -key[1], key[2]))
    )
    known = {point.source for point in curve if point.contrast == 1.0}
    source = next((name for name in (PASTED, SHRUNK, NATIVE) if name in known), None)
    zone = BlindZone(
        glance_px, photo_px, wanted_recall, curve, None, None, source, len(trials) - len(telling)
    )
    if source is None:
        return zone
    limit_px, limit_glance_px = _limit(zone.points(source), wanted_recall)
    return replace(zone, blind_below_px=limit_px, blind_below_glance_px=limit_glance_px)


def nearest_tested(glance_px: float) -> float:
    """The tested size that is nearest by ratio."""
    sizes = np.array(TESTED_GLANCE_PX)
    return float(sizes[np.argmin(np.abs(np.log(sizes / max(glance_px, 1e-3))))])


def _limit(
    points: tuple[RecallPoint, ...], wanted_recall: float
) -> tuple[float | None, float | None]:
    first_seen = len(points)
    while first_seen and points[first_seen - 1].recall >= wanted_recall:
        first_seen -= 1
    if first_seen == len(points):
        return None, None
    if first_seen == 0:
        return 0.0, 0.0
    return points[first_seen].size_px, points[first_seen].glance_px


def _point(
    source: str, contrast: float, glance_px: float, trials: list[LesionTrial]
) -> RecallPoint:
    seen, lesions = sum(trial.seen for trial in trials), len(trials)
    asked = [trial.expert_sees for trial in trials if trial.expert_sees is not None]
    return RecallPoint(
        source=source,
        contrast=contrast,
        glance_px=glance_px,
        size_px=float(np.median([trial.size_px for trial in trials])),
        visibility=float(np.median([trial.visibility for trial in trials])),
        lesions=lesions,
        seen=seen,
        recall=seen / lesions,
        low=1 - loss_upper_bound(lesions - seen, lesions, _TAIL),
        high=loss_upper_bound(seen, lesions, _TAIL),
        expert_recall=float(np.mean(asked)) if asked else None,
    )


def _share(points: tuple[RecallPoint, ...]) -> str:
    seen, lesions = sum(point.seen for point in points), sum(point.lesions for point in points)
    return f"{seen} of {lesions} ({seen / lesions:.0%})" if lesions else "none of 0"
