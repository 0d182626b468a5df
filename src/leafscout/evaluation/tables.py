"""What was measured, as CSV tables that spreadsheets open safely."""

from __future__ import annotations

import csv
import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from leafscout.evaluation.bootstrap import Estimate
from leafscout.evaluation.metrics import FIGURES, LabelEvaluation
from leafscout.evaluation.summary import EvaluationSummary
from leafscout.plain_text import defuse

Row = Sequence[object]


def write_tables(summary: EvaluationSummary, folder: Path) -> list[Path]:
    """Write what was measured as CSV tables.

    Undefined numbers are empty cells; text that a spreadsheet would take for a formula gets an
    apostrophe in front.

    Args:
        summary: from ``summarise``.
        folder: made if need be; gets ``per_label.csv``, ``pr_curves.csv``,
            ``confidence_curves.csv``, ``confusion.csv``, ``taken_for.csv``, ``calibration.csv``
            and, where measured, ``cost.csv`` and ``baselines.csv``.

    Returns:
        The files written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    written = []
    for name, rows in _tables(summary).items():
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
    if summary.cost is not None:
        tables["cost"] = _record_rows(list(summary.cost.to_dict().values()))
    if summary.baselines:
        tables["baselines"] = _record_rows(
            [
                {"baseline": name, "metric": metric, **difference.to_dict()}
                for name, baseline in summary.baselines.items()
                for metric, difference in baseline.model_minus_baseline.items()
            ]
        )
    return tables


def _per_label_rows(evaluation: LabelEvaluation) -> list[Row]:
    heads = [f"{figure}{end}" for figure in FIGURES for end in ("", "_low", "_high")]
    rows: list[Row] = [("label", "positives", "threshold", *heads)]
    rows.extend(
        (row.label, row.positives, row.threshold, *_spread(row))
        for row in (*evaluation.rows, evaluation.healthy)
    )
    rows.extend((average.name, "", "", *_spread(average)) for average in evaluation.averages)
    return rows


def _spread(row: object) -> list[float]:
    estimates: list[Estimate] = [getattr(row, figure) for figure in FIGURES]
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
