"""Which thresholds serve new photos best when few are there to fit them on? A simulation.

    python benchmarks/threshold_bagging.py

Four labels of the frequencies and the separability of the coffee leaves are drawn for 64 validation
photos; calibration and thresholds are fitted on them and judged on 3,000 new ones, 200 times over.
"""

from __future__ import annotations

import json
import time
from pathlib import Path

import numpy as np

from leafscout.diagnosis.calibrate import fit_calibration
from leafscout.evaluation.thresholds import bagged_f1_thresholds, best_f1_thresholds
from origin import read_commit

HERE = Path(__file__).parent
RESULT = HERE / "results" / "threshold_bagging.json"
FREQUENCY = np.array([0.14, 0.28, 0.24, 0.29])
SEPARATION = np.array([2.2, 3.0, 3.4, 3.6])
HARD_FRAC = 0.1
VALIDATION, NEW, ROUNDS = 64, 3000, 200


def draw(rng: np.random.Generator, photos: int) -> tuple[np.ndarray, np.ndarray]:
    """(photos, labels) truth and logits; a tenth of the positives looks like negatives."""
    truth = rng.random((photos, len(FREQUENCY))) < FREQUENCY
    hard = rng.random(truth.shape) < HARD_FRAC
    centre = np.where(truth & ~hard, SEPARATION / 2, -SEPARATION / 2)
    return truth, (centre + rng.normal(size=truth.shape)).astype(np.float32)


def macro_f1(truth: np.ndarray, found: np.ndarray) -> float:
    """Mean F1 over the labels."""
    hits = (truth & found).sum(axis=0)
    return float(np.mean(2 * hits / (truth.sum(axis=0) + found.sum(axis=0))))


def main() -> None:
    """Simulate and write the result."""
    rng = np.random.default_rng(0)
    scores: dict[str, list[float]] = {}
    while len(scores.get("0.5", [])) < ROUNDS:
        truth, logits = draw(rng, VALIDATION)
        new_truth, new_logits = draw(rng, NEW)
        if not truth.any(axis=0).all():
            continue
        calibration = fit_calibration(logits, truth)
        probs, new_probs = calibration.apply(logits), calibration.apply(new_logits)
        thresholds = {
            "best F1 on the validation photos": best_f1_thresholds(truth, probs).thresholds,
            "mean of the best over resamples": bagged_f1_thresholds(truth, probs).thresholds,
            "0.5": np.full(len(FREQUENCY), 0.5),
            "best F1 on the new photos themselves": best_f1_thresholds(
                new_truth, new_probs
            ).thresholds,
        }
        for name, values in thresholds.items():
            scores.setdefault(name, []).append(macro_f1(new_truth, new_probs >= values))
    rows = {
        name: {"macro_f1": float(np.mean(values)), "std": float(np.std(values))}
        for name, values in scores.items()
    }
    result = {
        "command": "python benchmarks/threshold_bagging.py",
        "commit": read_commit(),
        "date": time.strftime("%Y-%m-%d"),
        "seed": 0,
        "rounds": ROUNDS,
        "validation_photos": VALIDATION,
        "rows": rows,
    }
    RESULT.write_text(json.dumps(result, indent=1) + "\n")
    print(json.dumps(rows, indent=1))


if __name__ == "__main__":
    main()
