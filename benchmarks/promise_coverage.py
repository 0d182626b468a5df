"""How often is a promise true? At least as often as it says.

    python benchmarks/promise_coverage.py                    a large simulated pool
    python benchmarks/promise_coverage.py --run RUN          the pool of RUN/promise.json

A pool of diseased photos whose losses at every setting are known stands for the world. Calibration
photos are drawn from it again and again; each draw certifies a setting, and the pool tells which
share of the diseased photos that setting really loses. A promise is broken when this is more than
was promised. Beside it stands what would happen without the tests: the thriftiest setting whose
share of losses *on the calibration photos* is small enough. Writes a JSON result.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import platform
import time
from pathlib import Path

import numpy as np

from leafscout.evaluation.promise import certify_threshold, photos_needed
from origin import read_commit

HERE = Path(__file__).parent
POOL_PHOTOS, SETTINGS = 20_000, 50


def simulate_pool(seed: int) -> np.ndarray:
    """(settings, photos) losses of a scout that scores lesions well, some badly, and noisily.

    A photo has one to five lesion tiles and is lost when none of them reaches the threshold. For
    one photo in fifty the tiles left over still carry the diagnosis whatever is dropped, and one
    in a hundred is lost at a setting and found again at the next: losses need not be monotone.
    """
    rng = np.random.default_rng(seed)
    easy = rng.random(POOL_PHOTOS) < 0.85
    lesions = rng.integers(1, 6, POOL_PHOTOS)
    scores = np.where(easy[:, None], rng.beta(6, 2, (POOL_PHOTOS, 5)),
                      rng.beta(1.5, 4, (POOL_PHOTOS, 5)))  # fmt: skip
    best = np.where(np.arange(5) < lesions[:, None], scores, 0).max(axis=1)
    thresholds = np.linspace(0, 0.9, SETTINGS)
    lost = best[None] < thresholds[:, None]
    lost[:, rng.random(POOL_PHOTOS) < 0.02] = False
    flips = (rng.random(lost.shape) < 0.3) & (rng.random(POOL_PHOTOS) < 0.01)
    flips[0] = False
    return lost ^ flips


def read_pool(run: Path) -> np.ndarray:
    """(settings, photos) losses of any disease, as a promise has recorded them."""
    written = json.loads((run / "promise.json").read_text(encoding="utf-8"))
    lost_at = written["lost_at"]["any disease"]
    lost = np.zeros((len(written["settings"]), len(lost_at)), dtype=bool)
    for photo, rows in enumerate(lost_at):
        lost[rows, photo] = True
    return lost


def measure(
    pool: np.ndarray, photos: int, alpha: float, delta: float, resamples: int, seed: int
) -> dict[str, object]:
    """Certify a setting on each of many draws and compare it with the pool."""
    truth = pool.mean(axis=1)
    rng = np.random.default_rng(seed)
    made, broken, naive_broken, kept_settings = 0, 0, 0, []
    for _ in range(resamples):
        drawn = pool[:, rng.integers(pool.shape[1], size=photos)]
        setting = certify_threshold({"any disease": drawn}, alpha, delta).setting
        if setting is not None:
            made += 1
            broken += bool(truth[setting] > alpha)
            kept_settings.append(setting)
        naive = int(np.flatnonzero(drawn.mean(axis=1) <= alpha)[-1])
        naive_broken += bool(truth[naive] > alpha)
    allowed = delta + 1.645 * math.sqrt(delta * (1 - delta) / resamples)
    return {
        "photos": photos,
        "photos_needed": photos_needed(alpha, delta),
        "alpha": alpha,
        "confidence": 1 - delta,
        "promises_made_share": made / resamples,
        "coverage": 1 - broken / resamples,
        "coverage_not_below": 1 - allowed,
        "passes": broken / resamples <= allowed,
        "coverage_without_tests": 1 - naive_broken / resamples,
        "median_setting": float(np.median(kept_settings)) if kept_settings else None,
        "median_true_loss": (float(np.median(truth[kept_settings])) if kept_settings else None),
        "last_setting_within_alpha": int(np.flatnonzero(truth <= alpha)[-1]),
    }


def main() -> None:
    """Measure every combination and write the result."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--run", type=Path, help="run folder with a promise.json; none simulates")
    parser.add_argument("--resamples", type=int, default=500)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path)
    given = parser.parse_args()
    pool = simulate_pool(given.seed) if given.run is None else read_pool(given.run)
    name = "promise_coverage" if given.run is None else f"promise_coverage_{given.run.name}"
    rows = [
        measure(pool, photos, alpha, delta, given.resamples, given.seed + 1)
        for alpha in (0.02, 0.05, 0.1)
        for delta in (0.05, 0.1)
        for photos in (59, 149, 300, 1000)
    ]
    result = {
        "command": "python benchmarks/promise_coverage.py"
        + ("" if given.run is None else f" --run {given.run}"),
        "commit": read_commit(),
        "date": time.strftime("%Y-%m-%d"),
        "machine": f"{os.cpu_count()} cores, {platform.machine()}, {platform.system()}",
        "seed": given.seed,
        "resamples": given.resamples,
        "pool": {"photos": pool.shape[1], "settings": pool.shape[0]},
        "rows": rows,
        "passes": all(row["passes"] for row in rows),
    }
    out = given.out or HERE / "results" / f"{name}.json"
    out.parent.mkdir(exist_ok=True)
    out.write_text(json.dumps(result, indent=1) + "\n")
    for row in rows:
        print(json.dumps(row))


if __name__ == "__main__":
    main()
