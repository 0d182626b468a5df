"""Do the stages after the first two help? On the photos of ``benchmarks/ablation_field.py``.

    python benchmarks/ablation_field.py render
    python benchmarks/later_stages.py [--seed S]...

Expert and scout are trained once a seed. Every later stage starts from these two, in a copy of
their run folder, and is scored on the test photos, as deployed. Stages are kept here even where
the validation photos speak against them: that decision is shown beside. Each seed writes its own
file into ``results/later_stages/``; ``results/later_stages.json`` joins them.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import time
from pathlib import Path
from typing import Any

import ablation_field as field
from learning_runs import quiet
from origin import read_commit
from result_file import write_json

HERE = Path(__file__).parent
RESULTS = HERE / "results" / "later_stages"
BASE: dict[str, Any] = {**field.BASE, **field.EXACT, "scout_epochs": 12}
ROWS: dict[str, dict[str, Any]] = {
    "joint": {"stages": "expert,scout,joint"},
    "joint_weighted_path": {"stages": "expert,scout,joint", "joint_fresh": 0.0},
    "joint_fresh_evidence": {"stages": "expert,scout,joint", "joint_weighted": 0.0},
    "alternate": {"stages": "expert,scout,alternate"},
}
SEEDS = (0, 1, 2)


def train_row(row: str, seed: int, out: Path, *, resume: bool) -> None:
    from leafscout.training.run import TrainOptions, train

    train(
        field.field_folder() / "learn.csv",
        out,
        recipe="tiny",
        overrides={**BASE, **ROWS.get(row, {})},
        options=TrainOptions(seed=seed, threads=1, workers=1, resume=resume),
        progress=quiet(),
    )


def begin_as(row: str, base: Path, out: Path) -> None:
    """Copy a finished run as one that goes on with other stages."""
    from leafscout.training.recipes import choose_recipe

    shutil.rmtree(out, ignore_errors=True)
    shutil.copytree(base, out, ignore=shutil.ignore_patterns("model"))
    plan = json.loads((out / "plan.json").read_text())
    plan["recipe"] = choose_recipe("tiny", {**BASE, **ROWS[row]}).to_dict()
    (out / "plan.json").write_text(json.dumps(plan))


def keep_always() -> None:
    """Keep later stages whatever the validation photos say, and note what they would have said."""
    from leafscout.training import stages

    def keep(after: Any, before: Any) -> bool:
        DECISIONS.append((after.score, -after.loss) >= (before.score, -before.loss))
        return True

    stages.is_better = keep


DECISIONS: list[bool] = []


def run_seed(seed: int) -> dict[str, Any]:
    """The two stages, then each later one from there."""
    from leafscout.photos.labels import read_labels

    test = read_labels(field.field_folder() / "test.csv")
    base = field.WORK / f"later_{seed}"
    shutil.rmtree(base, ignore_errors=True)
    figures: dict[str, Any] = {}
    for row in ("expert_scout", *ROWS):
        started, out = time.process_time(), base
        DECISIONS.clear()
        if row == "expert_scout":
            train_row(row, seed, out, resume=False)
        else:
            out = field.WORK / f"later_{row}_{seed}"
            begin_as(row, base, out)
            train_row(row, seed, out, resume=True)
        found = field.score_run("exact_negatives", seed, out, test)
        figures[row] = {
            **{name: None if value is None else round(value, 4) for name, value in found.items()},
            "validation_says_keep": list(DECISIONS),
            "cpu_s": round(time.process_time() - started, 1),
        }
        print(json.dumps({"seed": seed, "row": row, **figures[row]}), flush=True)
        if out != base:
            shutil.rmtree(out)
    shutil.rmtree(base)
    return {"seed": seed, "rows": figures, "commit": read_commit()}


def main() -> None:
    """Run the seeds that are missing and join them."""
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--seed", type=int, action="append")
    given = parser.parse_args()
    keep_always()
    RESULTS.mkdir(parents=True, exist_ok=True)
    for seed in given.seed or SEEDS:
        path = RESULTS / f"{seed}.json"
        if not path.exists():
            write_json(path, run_seed(seed))
    seeds = [json.loads(path.read_text()) for path in sorted(RESULTS.glob("*.json"))]
    origin = field.describe_origin("run")
    write_json(
        RESULTS.parent / "later_stages.json",
        {
            **origin,
            "command": "python benchmarks/later_stages.py",
            "commit": ", ".join(sorted({one["commit"][:10] for one in seeds})),
            "seeds": seeds,
        },
    )


if __name__ == "__main__":
    main()
