"""What was measured, as CSV tables that spreadsheets open safely."""

from __future__ import annotations

import csv
import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from leafscout.evaluation.bootstrap import Estimate
from leafscout.evaluation.by_count import COUNT_FIGURES
from leafscout.evaluation.metrics import FIGURES, LabelEvaluation
from leafscout.evaluation.summary import Alternative, EvaluationSummary
from leafscout.plain_text import defuse

Row = Sequence[object]

_SOMETIMES = {
    "cost",
    "localisation",
    "baselines",
    "baselines_per_label",
    "alternatives",
    "alternatives_per_label",
}


def write_tables(summary: EvaluationSummary, folder: Path) -> list[Path]:
    """Write what was measured as CSV tables.

    Undefined numbers are empty cells; text that a spreadsheet would take for a formula gets an
    apostrophe in front.

    Args:
        summary: from ``summarise``.
        folder: made if need be; gets ``per_label.csv``, ``whole_photos.csv``, ``by_count.csv``,
            ``labels_together.csv``, ``pr_curves.csv``, ``confidence_curves.csv``,
            ``confusion.csv``, ``taken_for.csv``, ``calibration.csv``, ``calibration_errors.csv``
            and, where measured, ``cost.csv``, ``localisation.csv``, ``baselines.csv``,
            ``baselines_per_label.csv``, ``alternatives.csv`` and ``alternatives_per_label.csv``.
            Tables of an earlier evaluation that this one has none of are removed.

    Returns:
        The files written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    written = []
    tables = _tables(summary)
    for name in _SOMETIMES.difference(tables):
        (folder / f"{name}.csv").unlink(missing_ok=True)
    for name, rows in tables.items():
        path = folder / f"{name}.csv"
        with path.open("w", newline="", encoding="utf-8") as file:
            csv.writer(file).writerows([_cell(cell) for cell in row] for row in rows)
        written.append(path)
    return written


def _tables(summary: EvaluationSummary) -> dict[str, Iterable[Row]]:
    tables: dict[str, Iterable[Row]] = {
        "per_label": _per_label_rows(summary.labels),
        "pr_curves": [
            ("label", "threshold", "precision", "recall"),
            *(
                (curve.label, *point)
                for curve in summary.precision_recall
                for point in zip(curve.thresholds, curve.precision, curve.recall, strict=True)
            ),
        ],
        "confidence_curves": [
            ("label", "threshold", "precision", "recall", "f1"),
            *(
                (curve.label, *point)
                for curve in summary.confidence
                for point in zip(
                    curve.thresholds, curve.precision, curve.recall, curve.f1, strict=True
                )
            ),
        ],
        "confusion": _record_rows([entry.to_dict() for entry in summary.binary]),
        "taken_for": [
            ("truth", *summary.taken_for.answers),
            *(
                (name, *row)
                for name, row in zip(
                    summary.taken_for.truths, summary.taken_for.photos, strict=True
                )
            ),
        ],
        "calibration": [
            ("label", "photos", "mean_prob", "share"),
            *(
                (entry.label, part.photos, part.mean_prob, part.share)
                for entry in summary.calibration
                for part in entry.bins
            ),
        ],
    }
    tables |= _whole_photo_tables(summary)
    if summary.cost is not None:
        tables["cost"] = _record_rows(list(summary.cost.to_dict().values()))
    if summary.localisation is not None:
        tables["localisation"] = [("figure", "value"), *_flat(summary.localisation.to_dict())]
    if summary.baselines:
        tables["baselines"] = _record_rows(
            [
                {"baseline": name, "metric": metric, **difference.to_dict()}
                for name, baseline in summary.baselines.items()
                for metric, difference in baseline.model_minus_baseline.items()
            ]
        )
        tables["baselines_per_label"] = _per_label_of(
            "baseline", {name: one.labels for name, one in summary.baselines.items()}
        )
    if summary.alternatives:
        tables |= _alternative_tables(summary.alternatives)
    return tables


def _whole_photo_tables(summary: EvaluationSummary) -> dict[str, Iterable[Row]]:
    labels = summary.labels
    tables: dict[str, Iterable[Row]] = {
        "whole_photos": [
            ("figure", "value", "low", "high"),
            *(
                (name, part.value, part.low, part.high)
                for name, part in (
                    ("exact_match", labels.exact_match),
                    ("sensitivity", labels.sensitivity),
                    ("specificity", labels.specificity),
                )
            ),
        ],
        "by_count": [
            ("labels_of_a_photo", "photos", *_heads(COUNT_FIGURES)),
            *((row.count, row.photos, *_spread(row, COUNT_FIGURES)) for row in summary.by_count),
        ],
        "calibration_errors": [
            ("label", "ece", "ece_if_perfect", "ece_if_perfect_high", "brier"),
            *(
                (one.label, one.ece, one.ece_if_perfect, one.ece_if_perfect_high, one.brier)
                for one in summary.calibration
            ),
        ],
    }
    if summary.together is not None:
        together = summary.together
        tables["labels_together"] = [
            ("label", "alone", *together.labels),
            *(
                (label, int(alone), *(int(count) for count in row))
                for label, alone, row in zip(
                    together.labels, together.alone, together.photos, strict=True
                )
            ),
            ("(none)", together.none, *([""] * len(together.labels))),
        ]
    return tables


def _alternative_tables(alternatives: Mapping[str, Alternative]) -> dict[str, Iterable[Row]]:
    return {
        "alternatives": _record_rows(
            [
                {
                    "alternative": name, "thresholds": one.rule, "looks": one.looks,
                    "looks_each": one.looks_each, "metric": metric, **difference.to_dict(),
                }
                for name, one in alternatives.items()
                for metric, difference in one.alternative_minus_model.items()
            ]
        ),
        "alternatives_per_label": _per_label_of(
            "alternative",
            {name: one.labels for name, one in alternatives.items()},
            {name: one.not_fitted for name, one in alternatives.items()},
        ),
    }  # fmt: skip


def _per_label_of(
    head: str,
    evaluations: Mapping[str, LabelEvaluation],
    not_fitted: Mapping[str, Sequence[str]] | None = None,
) -> list[Row]:
    """The table of labels for several evaluations, one below the other."""
    rows: list[Row] = []
    for name, evaluation in evaluations.items():
        first, *rest = _per_label_rows(evaluation)
        without = (not_fitted or {}).get(name, ())
        marks = [] if not_fitted is None else ["threshold_fitted"]
        if not rows:
            rows.append((head, *first, *marks))
        labels = {row.label for row in evaluation.rows}
        for row in rest:
            fitted = int(row[0] not in without) if row[0] in labels else ""
            rows.append((name, *row, *([fitted] if marks else [])))
    return rows


def _flat(values: Mapping[str, object], prefix: str = "") -> list[Row]:
    """Nested figures as rows of a name and a value."""
    rows: list[Row] = []
    for name, value in values.items():
        if isinstance(value, Mapping):
            rows += _flat(value, f"{prefix}{name}.")
        else:
            rows.append((f"{prefix}{name}", value))
    return rows


def _per_label_rows(evaluation: LabelEvaluation) -> list[Row]:
    rows: list[Row] = [("label", "positives", "threshold", *_heads(FIGURES))]
    rows.extend(
        (row.label, row.positives, row.threshold, *_spread(row))
        for row in (*evaluation.rows, evaluation.healthy)
    )
    rows.extend((average.name, "", "", *_spread(average)) for average in evaluation.averages)
    return rows


def _heads(figures: Sequence[str]) -> list[str]:
    return [f"{figure}{end}" for figure in figures for end in ("", "_low", "_high")]


def _spread(row: object, figures: Sequence[str] = FIGURES) -> list[float]:
    estimates: list[Estimate] = [getattr(row, figure) for figure in figures]
    return [value for part in estimates for value in (part.value, part.low, part.high)]


def _record_rows(records: Sequence[Mapping[str, object]]) -> list[Row]:
    return [tuple(records[0]), *(tuple(record.values()) for record in records)]


def _cell(value: object) -> object:
    """A cell that a spreadsheet shows as it is: text is never taken for a formula."""
    if isinstance(value, str):
        return defuse(value)
    if value is None or (isinstance(value, float) and not math.isfinite(value)):
        return ""
    return f"{value:.6g}" if isinstance(value, float) else value
