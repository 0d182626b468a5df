"""Audits of the runs on coffee leaves: what do they not see, and do they look at lesions at all?

    python benchmarks/coffee_audit.py [--fold F]...

The runs are those of ``benchmarks/coffee.py --work runs/coffee3``. The photos are each run's
validation photos: nothing is learnt or chosen here, and the test photos are left alone. One JSON a
fold, kept in the run's folder; ``results/coffee_audit.json`` joins those that are there.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import time
from pathlib import Path
from typing import Any

from origin import find_data, read_commit
from result_file import write_json

HERE = Path(__file__).parent
RUNS = Path(os.environ.get("COFFEE_RUNS", HERE.parent / "runs" / "coffee3"))
RESULT = HERE / "results" / "coffee_audit.json"
FOLDS = (0, 1, 2)


def audit_fold(fold: int, most: int) -> dict[str, Any]:
    """Audit one run, or read what an earlier call found."""
    from leafscout.inference.audit_run import audit_run

    done = RUNS / f"audit_{fold}.json"
    if done.exists():
        row: dict[str, Any] = json.loads(done.read_text())
        return row
    started = time.process_time()
    run, labels = RUNS / f"fold{fold}_seed0", RUNS / f"fold{fold}_train.csv"
    found = audit_run(
        run, labels, most=most, photos_root=find_data("coffee") / "images", seed=0
    ).to_dict()
    row = {
        "fold": fold,
        "photos": found["photos"],
        "healthy": found["healthy"],
        "findings": found["findings"],
        "blind_zone_sentences": found["blind_zone_sentences"],
        "cpu_s": round(time.process_time() - started, 1),
        "commit": read_commit(),
    }
    done.write_text(json.dumps(row, indent=1) + "\n")
    return row


def main() -> None:
    """Audit the folds and join what was found."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--fold", type=int, action="append", choices=FOLDS)
    parser.add_argument("--most", type=int, default=60, help="photos a fold at most")
    given = parser.parse_args()
    for fold in given.fold or FOLDS:
        row = audit_fold(fold, given.most)
        print(json.dumps({"fold": fold, "cpu_s": row["cpu_s"]}), flush=True)
    rows = [
        json.loads((RUNS / f"audit_{fold}.json").read_text())
        for fold in FOLDS
        if (RUNS / f"audit_{fold}.json").exists()
    ]
    result = {
        "command": "python benchmarks/coffee_audit.py",
        "commit": ", ".join(sorted({row["commit"][:10] for row in rows})),
        "date": time.strftime("%Y-%m-%d"),
        "seed": 0,
        "machine": f"{os.cpu_count()} cores, {platform.machine()}, {platform.system()}",
        "rows": rows,
    }
    write_json(RESULT, result, ensure_ascii=False)


if __name__ == "__main__":
    main()
