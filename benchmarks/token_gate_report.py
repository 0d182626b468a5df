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
    from leafscout.reports.figures import encode_png, new_figure

    summary = json.loads(SUMMARY.read_text())
    figure = new_figure(8.0, 3.2)
    left, right = figure.subplots(1, 2)
    for seed, rows in summary["slopes"][FIRST].items():
        start = summary["slopes"][FIRST][seed][-1]["epoch"]
        later = summary["slopes"][LEARNT].get(seed, [])
        epochs = [row["epoch"] for row in rows] + [start + row["epoch"] for row in later]
        both = [*rows, *later]
        left.plot(epochs, [row["lesion"] for row in both], "o-", color="#b3402a", alpha=0.8)
        left.plot(epochs, [row["other"] for row in both], "s-", color="#3b7a57", alpha=0.8)
        ratios = [row["ratio"] for row in both]
        right.plot(epochs, ratios, "o-", color="#2c5f8a", alpha=0.8, label=f"seed {seed}")
        left.axvline(start + 0.5, color="0.7", lw=0.8)
    left.axhline(0, color="0.5", lw=0.8)
    left.set_title("d loss / d gate: lesion tokens (red), others (green)", fontsize=8)
    left.set_xlabel("epoch; the price on tokens begins at the line", fontsize=8)
    right.axhline(5, color="0.5", lw=0.8, ls="--")
    right.axhline(0, color="0.5", lw=0.8)
    right.set_title("lesion tokens: pull to keep, over mean size on others", fontsize=8)
    right.set_xlabel("epoch", fontsize=8)
    right.set_yscale("symlog", linthresh=1)
    right.legend(fontsize=7)
    for axes in (left, right):
        axes.tick_params(labelsize=7)
    figure.tight_layout()
    (PICTURES / "gate_gradients.png").write_bytes(encode_png(figure))
    plot_tradeoff(summary)


def plot_tradeoff(summary: dict[str, Any]) -> None:
    from leafscout.reports.figures import encode_png, new_figure

    figure = new_figure(5.0, 3.2)
    axes = figure.subplots()
    for row in summary["rows"]:
        auc, macs = row["macro_auc"], row["macs_share"]
        axes.errorbar(
            macs["mean"], auc["mean"],
            xerr=[[macs["mean"] - macs["low"]], [macs["high"] - macs["mean"]]],
            yerr=[[auc["mean"] - auc["low"]], [auc["high"] - auc["mean"]]],
            fmt="o", ms=4, capsize=2, label=row["row"].replace("_", " "),
        )  # fmt: skip
    axes.set_xlabel("multiply-adds, share of the dense network", fontsize=8)
    axes.set_ylabel("macro AUC on test photos", fontsize=8)
    axes.legend(fontsize=6)
    axes.tick_params(labelsize=7)
    figure.tight_layout()
    (PICTURES / "gate_tradeoff.png").write_bytes(encode_png(figure))


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("command", choices=("report", "plot"))
    options = parser.parse_args()
    {"report": report, "plot": plot}[options.command]()


if __name__ == "__main__":
    main()
