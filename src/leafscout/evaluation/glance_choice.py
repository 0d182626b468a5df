"""Which glance is large enough: the smallest one that sees lesions of a wanted size."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from leafscout.evaluation.blind_zone import BlindZone
from leafscout.evaluation.json_values import JsonValue


@dataclass(frozen=True)
class GlanceTrial(JsonValue):
    """What a scout of one glance size sees, and what it costs.

    Attributes:
        glance_px: long side of the glance.
        blind_below_px: smaller lesions are not seen, in pixels of the photo; 0 when all tested
            sizes are, None when not even the largest are, or nothing could be tested.
        macs_share: multiply-adds of scout and chosen tiles against those of the expert on all
            tiles, mean over photos.
        tiles_share: share of the tiles that the scout asks for, mean over photos.
        tested: lesions behind the figures.
    """

    glance_px: int
    blind_below_px: float | None
    macs_share: float
    tiles_share: float
    tested: int


@dataclass(frozen=True)
class GlanceChoice(JsonValue):
    """The glance that was picked, and why.

    Attributes:
        trials: smallest glance first.
        lesion_px: lesions from this size on are wanted, in pixels of the photo.
        wanted_recall: share of them that must be seen, 0..1.
        most_macs_share: what may be spent at most, as ``GlanceTrial.macs_share``.
        picked_px: long side of the picked glance; None where no size is good enough.
        sentence: the same in words.
    """

    trials: tuple[GlanceTrial, ...]
    lesion_px: float
    wanted_recall: float
    most_macs_share: float
    picked_px: int | None
    sentence: str


def describe_trial(zone: BlindZone, macs_share: float, tiles_share: float) -> GlanceTrial:
    """One glance size from its measured blind zone and its cost."""
    points = () if zone.source is None else zone.points(zone.source)
    return GlanceTrial(
        glance_px=zone.glance_px,
        blind_below_px=zone.blind_below_px,
        macs_share=macs_share,
        tiles_share=tiles_share,
        tested=sum(point.lesions for point in points),
    )


def pick_glance(
    trials: Sequence[GlanceTrial],
    *,
    lesion_px: float,
    wanted_recall: float,
    most_macs_share: float = 1.0,
) -> GlanceChoice:
    """Pick the smallest glance whose blind zone ends at or below the wanted lesions.

    Args:
        trials: one a size, in any order; measured for the wanted recall.
        lesion_px: lesions from this size on are wanted, in pixels of the photo.
        wanted_recall: share of them that must be seen, 0..1.
        most_macs_share: what may be spent at most.
    """
    ordered = tuple(sorted(trials, key=lambda trial: trial.glance_px))
    sees = [
        trial
        for trial in ordered
        if trial.blind_below_px is not None and trial.blind_below_px <= lesion_px
    ]
    affordable = [trial for trial in sees if trial.macs_share <= most_macs_share]
    wish = f"{wanted_recall:.0%} of the lesions from {lesion_px:.0f} px on"
    tested = ", ".join(str(trial.glance_px) for trial in ordered)
    if affordable:
        best = affordable[0]
        limit = (
            f"It is blind below {best.blind_below_px:.0f} px."
            if best.blind_below_px
            else "It saw all sizes tested."
        )
        sentence = (
            f"A glance of {best.glance_px} px is the smallest of {tested} px that sees {wish}, at "
            f"{best.macs_share:.0%} of the cost of reading every tile. {limit}"
        )
    elif sees:
        sentence = (
            f"A glance of {sees[0].glance_px} px sees {wish}, but at {sees[0].macs_share:.0%} of "
            "the cost of reading every tile, more than the "
            f"{most_macs_share:.0%} that were allowed. Allow more, or do without lesions so small."
        )
    elif not any(trial.tested for trial in ordered):
        sentence = (
            f"Whether a glance of {tested} px sees {wish} cannot be said: the expert finds no "
            "lesion in the validation photos that could be shown again. Train the expert for "
            "longer, or with more photos."
        )
    else:
        sentence = (
            f"No glance of {tested} px sees {wish}. Test larger ones, give the scout more time, or "
            "read every tile."
        )
    return GlanceChoice(
        ordered,
        lesion_px,
        wanted_recall,
        most_macs_share,
        affordable[0].glance_px if affordable else None,
        sentence,
    )
