"""Tables of the parts of whole-photo recognisers, and of explanations against lesion masks."""

from __future__ import annotations

import re
from statistics import mean
from typing import Any

from tables.wording import Tables, interval

Record = dict[str, Any]


def _source(part: Record, words: str = "") -> list[str]:
    return [
        "",
        (
            f"{words}`{part['command']}`; {part['date']}, commit {part['commit'][:10]}; "
            f"{part['machine']}."
        ),
    ]


def _share(value: float | None) -> str:
    return "–" if value is None else f"{value:.2f}"


def _spread(values: list[float], digits: int = 1) -> str:
    return f"{mean(values):.{digits}f} ({min(values):.{digits}f} to {max(values):.{digits}f})"


def turns_table(result: Record) -> list[str]:
    """What a spatial transformer leaves of a rotation."""
    part = result["turns"]
    lines = [
        "| rotation | rectifiers | angle before | angle left | units never above 0 | CPU seconds |",
        "|---|---|---|---|---|---|",
    ]
    cases = dict.fromkeys((row["kind"], row["variant"]) for row in part["rows"])
    for kind, variant in cases:
        rows = [row for row in part["rows"] if (row["kind"], row["variant"]) == (kind, variant)]
        left = ", ".join(f"{row['error_deg']:.1f}°" for row in rows)
        dead = ", ".join(f"{row['dead_units']:.0%}" for row in rows)
        before = mean(row["before_deg"] for row in rows)
        seconds = mean(row["cpu_s"] for row in rows)
        lines.append(f"| {kind} | {variant} | {before:.1f}° | {left} | {dead} | {seconds:.1f} |")
    words = (
        f"{part['photos']} drawn leaves of {part['side_px']} px that were not learnt from, "
        "150 steps where nothing else is said; one value for each of 3 seeds. "
    )
    return lines + _source(part, words)


def groups_table(result: Record) -> list[str]:
    """Plain EfficientNets against grouped ones."""
    part = result["groups"]
    lines = [
        (
            "| network | side | weights | multiply-adds | CPU time of a photo | tensors of the "
            "plain network that fit |"
        ),
        "|---|---|---|---|---|---|",
    ]
    for row in part["rows"]:
        fit = row["plain_tensors_that_fit"]
        fits = "–" if fit is None else f"{fit} of {row['tensors']}"
        lines.append(
            f"| {row['name']} | {row['side_px']} px | {row['parameters'] / 1e6:.1f} M | "
            f"{row['macs'] / 1e9:.2f} G | {row['cpu_ms']:.0f} ms | {fits} |"
        )
    words = "Without the classifier; median of six passes, both networks in turn, process time. "
    return lines + _source(part, words)


def margins_table(result: Record) -> list[str]:
    """ArcFace by margin where labels come together."""
    part = result["margins"]
    lines = [
        (
            "| margin | macro-AP | macro-AP where several labels are | macro-AP of logits "
            "that hold the margin | angle to its centre: one label | several | without the label |"
        ),
        "|---|---|---|---|---|---|---|",
    ]
    for margin in dict.fromkeys(row["margin"] for row in part["rows"]):
        rows = [row for row in part["rows"] if row["margin"] == margin]
        shares = " | ".join(
            _spread([row[key] for row in rows], 3)
            for key in ("macro_ap", "macro_ap_several", "macro_ap_with_margin_logits")
        )
        angles = " | ".join(
            f"{mean(row[key] for row in rows):.0f}°"
            for key in (
                "angle_of_one_label_deg",
                "angle_of_several_labels_deg",
                "angle_without_deg",
            )
        )
        lines.append(f"| {margin:g} | {shares} | {angles} |")
    words = (
        f"Drawn feature vectors with six labels that come together: {part['train_vectors']} to "
        f"learn from, {part['test_vectors']} to test on; mean (range) of 3 seeds. "
    )
    return lines + _source(part, words)


def again_table(result: Record) -> list[str]:
    """What looking again brings."""
    part = result["again"]
    lines = [
        (
            "| looks | changes | macro-AP once → again, difference | macro-F1 once → again, "
            "difference | CPU seconds a photo once → again |"
        ),
        "|---|---|---|---|---|",
    ]
    for row in part["rows"]:
        cells = []
        for figure in ("macro_ap", "macro_f1"):
            one = next(one for one in row["figures"] if one["figure"] == figure)
            gain = one["difference"]
            cells.append(
                f"{gain['value_b']:.3f} → {gain['value_a']:.3f}, {gain['value']:+.3f} "
                f"({gain['low']:+.3f} to {gain['high']:+.3f}): {one['verdict']}"
            )
        lines.append(
            f"| {row['looks']} | {row['changes']} | {' | '.join(cells)} | "
            f"{row['cpu_s_per_photo_once']:.2f} → {row['cpu_s_per_photo']:.2f} |"
        )
    words = (
        f"{part['photos']} test photos of the rendered field, one run; thresholds of each kind of "
        "answer from its own validation photos; 95% paired bootstrap. "
    )
    return lines + _source(part, words)


def _subject(cell: Record) -> str:
    """Which photos; of coffee leaves, those of which fold."""
    fold = re.search(r"\(fold(\d+)_", cell["command"])
    return f"{cell['subject']} of fold {fold.group(1)}" if fold else str(cell["subject"])


def explanations_table(result: Record) -> list[str]:
    """Every method against lesion masks, and whether it is true to the network."""
    lines = [
        (
            "| photos | method | hottest place on a lesion | heat on lesions (even map) | hot "
            "area / lesion area, median | overlap of hot area and lesions | deletion, insertion | "
            "heat on shadow spots (their area) | own lesions before the other label's | CPU "
            "seconds a photo |"
        ),
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    for cell in result["cells"]:
        for row in cell["rows"]:
            shadow = "–"
            if row["shadow_heat"] is not None:
                shadow = f"{row['shadow_heat']:.4f} ({row['shadow_area']:.4f})"
            apart = "–"
            if row["labels_apart"] is not None:
                apart = f"{row['labels_apart']:.2f} of {row['label_pairs']}"
            lines.append(
                f"| {_subject(cell)}, {cell['photos']} | {row['method']} | "
                f"{_share(row['pointing'])} | {_share(row['on_lesion'])} "
                f"({_share(row['lesion_share'])}) | {_share(row['median_area_ratio'])} | "
                f"{_share(row['iou'])} | {_share(row['deletion_area'])}, "
                f"{_share(row['insertion_area'])} | {shadow} | {apart} | "
                f"{row['cpu_s_per_photo']:.1f} |"
            )
    for cell in result["cells"]:
        sane = ", ".join(
            f"{row['method']} {row['shuffled_weights_correlation']:.2f}"
            for row in cell["rows"]
            if row.get("shuffled_weights_correlation") is not None
        )
        words = f"{_subject(cell).capitalize()}: "
        if sane:
            words += f"maps of a network with shuffled weights correlate with these by {sane}. "
        if cell.get("run"):
            words += f"Explained is {cell['run']}. "
        lines += _source(cell, words)
    return lines


COFFEE_NAMES = {
    "glance_and_focus": "**glance and focus**",
    "bce": "recogniser, cross-entropy",
    "focal": "recogniser, focal loss",
    "arcface": "recogniser, ArcFace at margin 0.2",
    "polarised": "recogniser, polarised attention",
}


def coffee_recognisers_table(result: Record) -> list[str]:
    """Recognisers of whole coffee leaves beside glance and focus, out of fold."""
    lines = [
        (
            "| model | macro-AP | macro-F1 | micro-F1 | weakest label, its F1 | all labels right: "
            "one disease, several | million multiply-adds | less glance and focus: AP | F1 | "
            "another seed: AP, F1 |"
        ),
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    for row in result["rows"]:
        counts = {one["count"]: one["exact_match"]["value"] for one in row["by_count"]}
        several = [counts[key] for key in counts if key not in ("0", "1", 0, 1)]
        right = ", ".join(_share(value) for value in (counts.get("1", counts.get(1)), *several))
        less = row["minus_reference"]
        gaps = ["", ""]
        if row["model"] != "glance_and_focus":
            gaps = [interval(less["macro_ap"]), interval(less["macro_f1"])]
        weakest = row["weakest_label"]
        others = "; ".join(
            f"{one['macro_ap']:.2f}, {one['macro_f1']:.2f}" for one in row["other_seeds"]
        )
        lines.append(
            f"| {COFFEE_NAMES[row['model']]} | {interval(row['macro_ap'])} | "
            f"{interval(row['macro_f1'])} | {interval(row['micro_f1'])} | "
            f"{weakest}, {row['f1_by_label'][weakest]:.2f} | {right} | {row['macs'] / 1e6:,.0f} | "
            f"{gaps[0]} | {gaps[1]} | {others or '–'} |"
        )
    settings = result["settings"]
    lines += _source(
        result,
        f"{result['photos']} photos of folds {result['folds']}, out of fold; "
        f"recognisers see {settings['photo_px']} px and learn "
        f"{settings['epochs']} epochs. 95% intervals over photos, paired for differences. ",
    )
    return lines


TABLES: Tables = {
    "coffee_recognisers": ("coffee_recognisers", coffee_recognisers_table),
    "spatial_transformer": ("recogniser_parts", turns_table),
    "grouped_convolution": ("recogniser_parts", groups_table),
    "arcface_margins": ("recogniser_parts", margins_table),
    "looking_again": ("recogniser_parts", again_table),
    "explanations": ("explanations", explanations_table),
}
