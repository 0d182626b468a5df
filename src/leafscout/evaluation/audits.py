"""Audits: does a model look at lesions, or at something that happens to go with them?

Each audit gives figures and says them in a sentence; ``concern`` is True where a person should
look into it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from leafscout.evaluation.json_values import JsonValue
from leafscout.evaluation.probes import LabelProbe, SourceProbe, SplitProbe
from leafscout.evaluation.scores import BoolArray, Floats
from leafscout.types import FloatArray

SHOWN_NAMES = 10

MOSTLY = 0.75
"""How far to the other side's mean a probability must be before its label is suspicious."""

LEAST_GAP = 0.2
"""Between the mean probabilities with and without a label: a model that tells its photos apart by
less than this knows too little of the label to doubt anyone's."""


@dataclass(frozen=True)
class FrameAgreement(JsonValue):
    """How two overlapping cut-outs of one photo agree.

    Attributes:
        content: correlation of the scout's scores for the same place of the leaf.
        frame: correlation for the same place of the frame.
    """

    content: float
    frame: float


@dataclass(frozen=True)
class Finding(JsonValue):
    """The outcome of one audit.

    Attributes:
        audit: its name.
        sentence: what came out, with its figures.
        concern: whether a person should look into it; None where it could not be measured.
        figures: the figures themselves.
    """

    audit: str
    sentence: str
    concern: bool | None
    figures: dict[str, Any]


@dataclass(frozen=True)
class SuspiciousLabel(JsonValue):
    """A label that the model confidently disagrees with.

    Attributes:
        photo: its name.
        label: the disease in question.
        labelled: whether the photo is labelled with it.
        prob: the model's probability, 0..1.
    """

    photo: str
    label: str
    labelled: bool
    prob: float


@dataclass(frozen=True)
class CoverTrial(JsonValue):
    """A diseased photo whose suspicious places were covered with its own background.

    Attributes:
        photo: its name.
        prob_before: highest probability of its diseases as it is.
        prob_covered: the same with the suspicious places covered.
        prob_control: the same with as many other places covered.
        healthy_covered: whether no disease is found in the covered photo.
        healthy_control: whether none is found in the control.
    """

    photo: str
    prob_before: float
    prob_covered: float
    prob_control: float
    healthy_covered: bool
    healthy_control: bool


def compare_frames(
    first: FloatArray,
    second: FloatArray,
    size_px_hw: tuple[int, int],
    shift_px: int,
) -> FrameAgreement | None:
    """Do scores move with the picture or stay with the frame?

    Args:
        first: (rows, columns) scores of the upper left cut-out.
        second: (rows, columns) scores of one of the same size that begins ``shift_px`` further
            right and below.
        size_px_hw: of each cut-out in pixels of the photo.
        shift_px: how far they are apart, above 0.

    Returns:
        Both correlations over the places that both show; None where a map is flat there.
    """
    rows, columns = first.shape
    centres_y = (np.arange(rows) + 0.5) * size_px_hw[0] / rows
    centres_x = (np.arange(columns) + 0.5) * size_px_hw[1] / columns
    y, x = np.meshgrid(
        centres_y[centres_y >= shift_px], centres_x[centres_x >= shift_px], indexing="ij"
    )
    here = sample_map(first, size_px_hw, y, x)
    content = _correlate(here, sample_map(second, size_px_hw, y - shift_px, x - shift_px))
    frame = _correlate(here, sample_map(second, size_px_hw, y, x))
    return None if content is None or frame is None else FrameAgreement(content, frame)


def sample_map(
    values: FloatArray, size_px_hw: tuple[int, int], y_px: Floats, x_px: Floats
) -> Floats:
    """Bilinear values of a map of cells at places given in pixels; the border continues."""
    rows, columns = values.shape
    y = np.clip(y_px * rows / size_px_hw[0] - 0.5, 0, rows - 1)
    x = np.clip(x_px * columns / size_px_hw[1] - 0.5, 0, columns - 1)
    top, left = np.floor(y).astype(int), np.floor(x).astype(int)
    bottom, right = np.minimum(top + 1, rows - 1), np.minimum(left + 1, columns - 1)
    down, across = y - top, x - left
    upper = (1 - across) * values[top, left] + across * values[top, right]
    lower = (1 - across) * values[bottom, left] + across * values[bottom, right]
    sampled: Floats = (1 - down) * upper + down * lower
    return sampled


def judge_frames(agreements: Sequence[FrameAgreement]) -> Finding:
    """Say whether the scout follows the picture or the frame."""
    audit = "shifted frame"
    if not agreements:
        return _unmeasured(audit, "it takes diseased photos as large as a tile")
    content = float(np.median([one.content for one in agreements]))
    frame = float(np.median([one.frame for one in agreements]))
    following = sum(one.content > one.frame for one in agreements)
    follows = content > frame and following > len(agreements) / 2
    sentence = (
        f"Cut out half a tile further, the scout's scores follow the "
        f"{'picture' if follows else 'FRAME'}: correlation {content:.2f} for the same place of "
        f"the picture, {frame:.2f} for the same place of the frame (medians; the picture wins in "
        f"{following} of {len(agreements)} photos)."
    )
    figures = {"content": content, "frame": frame, "following": following,
               "photos": len(agreements)}  # fmt: skip
    return Finding(audit, sentence, concern=not follows, figures=figures)


def judge_covering(trials: Sequence[CoverTrial]) -> Finding:
    """Say whether the diagnosis falls with the suspicious places, and only with them."""
    audit = "background only"
    if not trials:
        return _unmeasured(audit, "it takes diseased photos that the model recognises")
    fell = sum(trial.healthy_covered for trial in trials)
    control = sum(trial.healthy_control for trial in trials)
    left = float(np.median([trial.prob_covered for trial in trials]))
    before = float(np.median([trial.prob_before for trial in trials]))
    concern = fell < len(trials) / 2 or control >= fell
    sentence = (
        f"With the suspicious places covered by the photo's own background, {fell} of "
        f"{len(trials)} diseased photos are called healthy; with as many other places covered, "
        f"{control}. The highest probability of their diseases goes from {before:.2f} to "
        f"{left:.2f} (medians)."
    )
    if concern:
        sentence += (
            " Something besides the marked places speaks for disease: lesions left over, or the "
            "background."
        )
    figures = {"photos": len(trials), "healthy_covered": fell, "healthy_control": control,
               "prob_before": before, "prob_covered": left}  # fmt: skip
    return Finding(audit, sentence, concern=concern, figures=figures)


def judge_label_probe(audit: str, what: str, probe: LabelProbe | None) -> Finding:
    """Say whether background betrays the label.

    Args:
        audit: name of the audit.
        what: what the probe was given, in words.
        probe: the outcome.
    """
    if probe is None:
        return _unmeasured(audit, "it takes five diseased and five healthy photos with background")
    verdict = "better than chance" if probe.above_chance else "no better than chance"
    sentence = (
        f"By {what} of tiles that nothing speaks for, a linear probe tells diseased photos from "
        f"healthy ones with AUC {probe.auc:.2f}: {verdict} (95% of permuted labels stay below "
        f"{probe.chance_high:.2f}; p = {probe.p_value:.3f}; {probe.photos} photos)."
    )
    if probe.above_chance:
        sentence += (
            " Either lesions lie there that nothing speaks for, or the background itself tells, "
            "and that of another field will not."
        )
    return Finding(audit, sentence, concern=probe.above_chance, figures=probe.to_dict())


def judge_source_probe(probe: SourceProbe | None) -> Finding:
    """Say whether background tiles betray their photo."""
    audit = "background betrays the photo"
    if probe is None:
        return _unmeasured(audit, "it takes two photos with background tiles")
    sentence = (
        f"By colour alone, {probe.accuracy:.0%} of background tiles are assigned to their own "
        f"photo out of {probe.photos} (chance {probe.chance:.0%}). "
        "That is usual, and why all tiles of a photo must stay on one side of a split."
    )
    # Every photo has its own light: this informs, and is no fault of the model.
    return Finding(audit, sentence, concern=False, figures=probe.to_dict())


def judge_split_probe(probe: SplitProbe | None) -> Finding:
    """Say what a split by tiles would have pretended."""
    audit = "split by tiles"
    if probe is None:
        return _unmeasured(audit, "it takes five diseased and five healthy photos with background")
    sentence = (
        f"From the colour of background tiles, neighbours guess the photo's label with AUC "
        f"{probe.auc_by_tile:.2f} if tiles are split at random and {probe.auc_by_photo:.2f} if "
        f"photos are: a random split of tiles would pretend "
        f"{probe.auc_by_tile - probe.auc_by_photo:+.2f}. LeafScout splits by photo."
    )
    return Finding(audit, sentence, concern=False, figures=probe.to_dict())


def find_suspicious_labels(
    names: Sequence[str], labels: Sequence[str], truth: BoolArray, probs: NDArray[Any]
) -> tuple[SuspiciousLabel, ...]:
    """Labels that the model confidently disagrees with, the most confidently first.

    The mean probability of the photos that have a label, and of those that do not, say what is
    usual on either side, as in confident learning (Northcutt et al. 2021). A label is suspicious
    when its photo has come three quarters of the way to the other side. Where the two means are
    less than ``LEAST_GAP`` apart, no label is. Probabilities must come from photos that the model
    was not trained on.

    Args:
        names: of the photos.
        labels: of the diseases.
        truth: (photos, labels).
        probs: (photos, labels) probabilities, 0..1.
    """
    found: list[tuple[float, SuspiciousLabel]] = []
    for column, label in enumerate(labels):
        has_it, prob = truth[:, column], probs[:, column].astype(np.float64)
        if not has_it.any() or has_it.all():
            continue
        with_it, without_it = float(prob[has_it].mean()), float(prob[~has_it].mean())
        if with_it - without_it < LEAST_GAP:
            continue
        middle = (with_it + without_it) / 2
        margin = MOSTLY * (with_it - without_it)
        doubtful = np.where(has_it, prob <= with_it - margin, prob >= without_it + margin)
        for row in np.flatnonzero(doubtful):
            photo, given = names[int(row)], bool(has_it[row])
            doubt = float(abs(prob[row] - middle) / (with_it - without_it))
            found.append((doubt, SuspiciousLabel(photo, label, given, float(prob[row]))))
    found.sort(key=lambda entry: (-entry[0], entry[1].photo, entry[1].label))
    return tuple(suspicious for _, suspicious in found)


def judge_labels(suspicious: Sequence[SuspiciousLabel], photos: int) -> Finding:
    """Say which labels a person should look at again."""
    audit = "suspicious labels"
    figures = {"photos": photos, "suspicious": [one.to_dict() for one in suspicious]}
    if not suspicious:
        sentence = f"The model confidently disagrees with no label of {photos} photos."
        return Finding(audit, sentence, concern=False, figures=figures)
    shown = "; ".join(
        f"{one.photo} {'has' if one.labelled else 'lacks'} {one.label} (probability {one.prob:.2f})"
        for one in suspicious[:SHOWN_NAMES]
    )
    more = f"; and {len(suspicious) - SHOWN_NAMES} more" if len(suspicious) > SHOWN_NAMES else ""
    sentence = (
        f"The model confidently disagrees with {len(suspicious)} labels of {photos} photos; look "
        f"at these again: {shown}{more}."
    )
    return Finding(audit, sentence, concern=True, figures=figures)


def _unmeasured(audit: str, takes: str) -> Finding:
    sentence = f"The audit '{audit}' could not be made: {takes}."
    return Finding(audit, sentence, concern=None, figures={})


def _correlate(a: Floats, b: Floats) -> float | None:
    if a.size < 2 or np.ptp(a) < 1e-6 or np.ptp(b) < 1e-6:
        return None
    return float(np.corrcoef(a.ravel(), b.ravel())[0, 1])
