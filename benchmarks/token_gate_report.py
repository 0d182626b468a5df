"""What ``token_gate.py`` measured, as one file, and its pictures.

python benchmarks/token_gate_report.py report    results/token_gate/*.json → token_gate.json
python benchmarks/token_gate_report.py plot      gate_gradients.png and gate_tradeoff.png
"""

from __future__ import annotations

import argparse
import json
import statistics
from pathlib import Path
from typing import Any

from token_gate import FIRST, LEARNT, RESULTS, ROWS

PICTURES = Path(__file__).parent.parent / "docs" / "pictures"
SUMMARY = RESULTS.with_suffix(".json")
MARKS = "os^"
"""One for each seed."""

LEAST_RATIO = 0.01

FIGURES = (
    "macro_auc",
    "macro_f1",
    "recall",
    "kept",
    "kept_healthy",
    "kept_diseased",
    "lesion_tokens_kept",
    "photos_with_a_lesion_token",
    "macs_share",
    "macs_share_healthy",
    "macs_share_diseased",
)


def read_cells() -> list[dict[str, Any]]:
    cells = [json.loads(path.read_text()) for path in sorted(RESULTS.glob("*.json"))]
    return [cell for cell in cells if "row" in cell]


def report() -> None:
    """Means over the seeds with their spread, and differences to the dense network."""
    cells = read_cells()
    rows = []
    for row in ROWS:
        mine = [cell for cell in cells if cell["row"] == row]
        if not mine:
            continue
        entry: dict[str, Any] = {"row": row, "seeds": [cell["seed"] for cell in mine]}
        entry |= {name: spread([cell[name] for cell in mine]) for name in FIGURES}
        dense = {cell["seed"]: cell for cell in cells if cell["row"] == "dense"}
        pairs = [(cell, dense[cell["seed"]]) for cell in mine if cell["seed"] in dense]
        for name in ("macro_auc", "macro_f1", "recall"):
            entry[f"{name}_minus_dense"] = spread([a[name] - b[name] for a, b in pairs])
        rows.append(entry)
    slopes = {
        row: {str(cell["seed"]): cell["slopes"] for cell in cells if cell["row"] == row}
        for row in (FIRST, LEARNT)
    }
    times = [json.loads(path.read_text()) for path in sorted(RESULTS.glob("time_*.json"))]
    SUMMARY.write_text(
        json.dumps(
            {
                "rows": rows,
                "slopes": slopes,
                "times": times,
                "settings": {cell["row"]: cell["settings"] for cell in cells},
                "command": "python benchmarks/token_gate.py run; "
                "python benchmarks/token_gate.py time; "
                "python benchmarks/token_gate_report.py report",
                "commits": sorted({cell["commit"][:10] for cell in cells}),
                "date": max(cell["date"] for cell in cells),
                "machine": cells[0]["machine"],
            },
            indent=1,
        )
        + "\n"
    )


def spread(values: list[float]) -> dict[str, float | None]:
    """Mean, lowest and highest."""
    if not values:
        return {"mean": None, "low": None, "high": None}
    return {
        "mean": round(statistics.mean(values), 4),
        "low": round(min(values), 4),
        "high": round(max(values), 4),
    }


def plot() -> None:
    """The pull on gates over the epochs, and what each way of dropping costs and keeps."""
    from leafscout.reports.figures import encode_png, new_figure

    summary = json.loads(SUMMARY.read_text())
    figure = new_figure(8.0, 3.2)
    left, right = figure.subplots(1, 2)
    for (seed, rows), mark in zip(summary["slopes"][FIRST].items(), MARKS, strict=False):
        start = rows[-1]["epoch"]
        later = summary["slopes"][LEARNT].get(seed, [])
        epochs = [row["epoch"] for row in rows] + [start + row["epoch"] for row in later]
        both = [*rows, *later]
        for name, colour in (("lesion", "#b3402a"), ("other", "#3b7a57")):
            pulls = [-row[name] for row in both]
            left.plot(epochs, pulls, f"{mark}-", color=colour, ms=4, lw=1, alpha=0.8)
        ratios = [max(row["ratio"], LEAST_RATIO) for row in both]
        right.plot(epochs, ratios, f"{mark}-", color="#2c5f8a", ms=4, lw=1, label=f"seed {seed}")
        for axes in (left, right):
            axes.axvline(start + 0.5, color="0.7", lw=0.8)
    left.set_yscale("symlog", linthresh=1e-5)
    left.axhline(0, color="0.5", lw=0.8)
    left.set_title("pull to keep (−d loss / d gate): lesion tokens red, others green", fontsize=7)
    right.set_yscale("log")
    right.axhline(5, color="0.5", lw=0.8, ls="--")
    right.set_title("lesion tokens' pull over the mean size on others; 5 was wished", fontsize=7)
    right.legend(fontsize=7)
    for axes in (left, right):
        axes.set_xlabel("epoch; the price on tokens begins at the line", fontsize=8)
        axes.tick_params(labelsize=7)
    (PICTURES / "gate_gradients.png").write_bytes(encode_png(figure))
    plot_tradeoff()


def plot_tradeoff() -> None:
    """One mark for each seed, for its differences are larger than those between rows."""
    from leafscout.reports.figures import encode_png, new_figure

    figure = new_figure(5.0, 3.2)
    axes = figure.subplots()
    cells = read_cells()
    for index, row in enumerate(ROWS):
        mine = [cell for cell in cells if cell["row"] == row]
        for cell in mine:
            axes.plot(
                cell["macs_share"], cell["macro_auc"], MARKS[cell["seed"]], ms=5, alpha=0.8,
                color=f"C{index}",
                label=row.replace("_", " ") if cell is mine[0] else None,
            )  # fmt: skip
    axes.set_xlabel("multiply-adds, share of the dense network", fontsize=8)
    axes.set_ylabel("macro AUC on test photos", fontsize=8)
    axes.set_title("circles seed 0, squares seed 1, triangles seed 2", fontsize=7)
    axes.legend(fontsize=6)
    axes.tick_params(labelsize=7)
    (PICTURES / "gate_tradeoff.png").write_bytes(encode_png(figure))


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("command", choices=("report", "plot"))
    options = parser.parse_args()
    {"report": report, "plot": plot}[options.command]()


if __name__ == "__main__":
    main()
