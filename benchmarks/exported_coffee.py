"""A trained model as PyTorch runs it and exported: how right it is, beside what it costs.

    leafscout export RUN --to onnx          and the same with --int8, and for openvino
    python benchmarks/exported_coffee.py RUN --test TEST.csv --photos-root FOLDER

Every model answers every test photo from its file, in a process of its own, in turns, on one
thread. Then ``leafscout diagnose`` is run for one photo, as a user would, for its processor time
and peak memory. Writes results/exported_coffee.json.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

from leafscout.evaluation.comparison import macro_average_precision, macro_f1
from result_file import write_json
from timing import describe_run, summarise

HERE = Path(__file__).parent
MODELS = {
    "PyTorch": "model",
    "ONNX Runtime fp32": "exports/onnx",
    "ONNX Runtime int8": "exports/onnx-int8",
    "OpenVINO fp32": "exports/openvino",
    "OpenVINO int8": "exports/openvino-int8",
}
ONE_THREAD = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1")


def serve_model(folder: Path) -> None:
    """Answer for every photo on standard input."""
    talk = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    import leafscout

    model = leafscout.load(folder, threads=1)
    print(json.dumps({"labels": list(model.labels)}), file=talk, flush=True)
    for line in sys.stdin:
        cpu, wall = time.process_time(), time.perf_counter()
        found = model.diagnose(line.strip()).diagnosis
        took = {"cpu_ms": 1e3 * (time.process_time() - cpu),
                "wall_ms": 1e3 * (time.perf_counter() - wall)}  # fmt: skip
        probs = [float(one) for one in found.label_probs]
        answer = {**took, "probs": probs, "present": list(found.present),
                  "tiles": found.cost.tiles_read}  # fmt: skip
        print(json.dumps(answer), file=talk, flush=True)


class Server:
    """One model in its process."""

    def __init__(self, folder: Path) -> None:
        self.process = subprocess.Popen(
            [sys.executable, __file__, "--serve", str(folder)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
            env={**os.environ, **ONE_THREAD},
        )  # fmt: skip
        self.labels: list[str] = self._hear()["labels"]

    def _hear(self) -> dict[str, Any]:
        line = self.process.stdout.readline() if self.process.stdout else ""
        if not line:
            raise SystemExit(f"A model stopped: {self.process.args}")
        heard: dict[str, Any] = json.loads(line)
        return heard

    def ask(self, path: Path) -> dict[str, Any]:
        """One photo."""
        if self.process.stdin is not None:
            print(path, file=self.process.stdin, flush=True)
        return self._hear()

    def end(self) -> None:
        """Stop it."""
        self.process.communicate()


def read_test(table: Path, root: Path) -> list[tuple[Path, set[str]]]:
    """Photos and their true labels; none for healthy."""
    with table.open(encoding="utf-8", newline="") as file:
        return [
            (root / row["image"], set(row["labels"].split()) - {"healthy"})
            for row in csv.DictReader(file)
        ]


def ask_all(
    run: Path, photos: list[tuple[Path, set[str]]], rounds: int
) -> tuple[list[str], dict[str, list[list[dict[str, Any]]]]]:
    """Model → photo → its answers, one a round; the first photo warms up."""
    servers = {name: Server(run / folder) for name, folder in MODELS.items()}
    answers: dict[str, list[list[dict[str, Any]]]] = {
        name: [[] for _ in photos] for name in servers
    }
    for server in servers.values():
        for path, _ in photos[:2]:
            server.ask(path)
    for _ in range(rounds):
        for index, (path, _) in enumerate(photos):
            for name, server in servers.items():
                answers[name][index].append(server.ask(path))
    labels = next(iter(servers.values())).labels
    for server in servers.values():
        server.end()
    return labels, answers


def summarise_model(
    labels: list[str], photos: list[tuple[Path, set[str]]], answers: list[list[dict[str, Any]]]
) -> dict[str, Any]:
    """How right, and how fast on photos that are truly healthy and on the others."""
    truth = np.array([[label in true for label in labels] for _, true in photos])
    first = [rounds[0] for rounds in answers]
    probs = np.array([one["probs"] for one in first])
    decided = np.array([[label in one["present"] for label in labels] for one in first])
    weights = np.ones((1, len(photos)))
    out: dict[str, Any] = {
        "macro_ap": float(macro_average_precision(truth, probs, weights)[0]),
        "macro_f1": float(macro_f1(truth, decided, weights)[0]),
        "all_labels_right": float((truth == decided).all(axis=1).mean()),
    }
    for kind, wanted in (("healthy", False), ("diseased", True)):
        rows = [rounds for rounds, (_, true) in zip(answers, photos, strict=True)
                if bool(true) == wanted]  # fmt: skip
        out[kind] = {
            "photos": len(rows),
            "tiles_read_mean": float(np.mean([rounds[0]["tiles"] for rounds in rows])),
            **{key: summarise([float(np.median([one[key] for one in rounds])) for rounds in rows])
               for key in ("cpu_ms", "wall_ms")},
        }  # fmt: skip
    return out


def compare(
    photos: list[tuple[Path, set[str]]],
    reference: list[list[dict[str, Any]]],
    answers: list[list[dict[str, Any]]],
) -> dict[str, Any]:
    """How far a model's answers are from PyTorch's."""
    pairs = [(one[0], other[0]) for one, other in zip(reference, answers, strict=True)]
    change = [np.abs(np.subtract(one["probs"], other["probs"])).max() for one, other in pairs]
    return {
        "prob_change_max": float(np.max(change)),
        "prob_change_mean": float(np.mean(change)),
        "decisions_changed": sum(one["present"] != other["present"] for one, other in pairs),
        "photos": len(photos),
    }


def run_command(folder: Path, photo: Path) -> dict[str, float]:
    """``leafscout diagnose`` for one photo in a fresh process."""
    program = "import sys; from leafscout.cli import main; sys.exit(main())"
    with Path(os.devnull).open("w") as nowhere:
        child = subprocess.Popen(
            [sys.executable, "-c", program, "diagnose", str(folder), str(photo), "--json",
             "--threads", "1"],
            stdout=nowhere, env={**os.environ, **ONE_THREAD},
        )  # fmt: skip
        started = time.perf_counter()
        _, status, usage = os.wait4(child.pid, 0)
    child.returncode = os.waitstatus_to_exitcode(status)
    if child.returncode:
        raise SystemExit(f"leafscout diagnose {folder} failed.")
    return {
        "cpu_s": usage.ru_utime + usage.ru_stime,
        "wall_s": time.perf_counter() - started,
        "peak_mb": usage.ru_maxrss / 1024,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("run", type=Path, nargs="?")
    parser.add_argument("--test", type=Path)
    parser.add_argument("--photos-root", type=Path)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--most-photos", type=int, help="to prove that it works")
    parser.add_argument("--out", type=Path, default=HERE / "results" / "exported_coffee.json")
    parser.add_argument("--serve", type=Path, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.serve:
        serve_model(given.serve)
        return
    photos = read_test(given.test, given.photos_root)[: given.most_photos]
    labels, answers = ask_all(given.run, photos, given.rounds)
    examples = {
        kind: next((path for path, true in photos if bool(true) == wanted), None)
        for kind, wanted in (("healthy", False), ("diseased", True))
    }
    models = {}
    for name, folder in MODELS.items():
        commands = {
            kind: [run_command(given.run / folder, path) for _ in range(1 + given.rounds)][1:]
            for kind, path in examples.items()
            if path is not None
        }
        files = [path for path in (given.run / folder).iterdir() if path.suffix != ".json"]
        models[name] = {
            **summarise_model(labels, photos, answers[name]),
            **compare(photos, answers["PyTorch"], answers[name]),
            "megabytes": sum(path.stat().st_size for path in files) / 1e6,
            "command": {
                kind: {key: float(np.median([one[key] for one in rows])) for key in rows[0]}
                for kind, rows in commands.items()
            },
        }
        print(name, json.dumps(models[name]), flush=True)
    result = {
        **describe_run(),
        "command": f"python benchmarks/exported_coffee.py {given.run} --test {given.test} …",
        "date": time.strftime("%Y-%m-%d"),
        "rounds": given.rounds,
        "labels": labels,
        "models": models,
    }
    write_json(given.out, result)


if __name__ == "__main__":
    main()
