"""Kill very small trainings at random moments, go on with them, and compare the ends.

    python tests/faults/kill_trainings.py --out RESULT.json --work FOLDER --kills 200

Each kill has a number, and its kind and moment follow from it. A kill that RESULT.json holds is not
done again, so the work can be stopped and gone on with.
"""

import argparse
import json
import os
import shutil
import signal
import sys
import time
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parent))
from tiny_trainings import (
    KINDS,
    Orders,
    describe_folder,
    find_unloadable,
    fork_training,
    import_everything,
    read_log,
    wait_for,
    write_photos,
)

INTERVALS_S = (0.0, 0.05, 120.0)
TEACHER = "expert, scout"

MOMENTS = (*3 * ["anywhere"], "inside a save", *3 * ["anywhere"], "half written")

MOST_TRIES = 8
"""A training may end before the moment of its kill has come."""


class Trainings:
    """Uninterrupted trainings of each kind, made when first needed, and killed ones."""

    def __init__(self, work, without=(), **orders):
        self.work, self.orders = work, {"without": tuple(without), **orders}
        self.data = write_photos(work / "photos")
        self.whole = {}
        import_everything(work, self.data)

    def reference(self, kind):
        """Of an uninterrupted training: its files, seconds, and lines and writes of saving."""
        if kind not in self.whole:
            out = self.work / "whole" / str(list(KINDS).index(kind))
            shutil.rmtree(out, ignore_errors=True)
            out.parent.mkdir(exist_ok=True)
            # Dying at line 0 never comes, but lines are counted; at interval 0 saves are most.
            orders = self._orders(kind, interval_s=0.0, die_at_line=0)
            orders.log = out.with_suffix(".log")
            orders.log.unlink(missing_ok=True)
            started_s = time.monotonic()
            code = wait_for(fork_training(kind, self.data, out, orders))
            if code:
                raise RuntimeError(f"{kind} ended with {code}: {_said(out)}")
            counts = read_log(orders.log)[-1]
            self.whole[kind] = {
                "files": describe_folder(out), "seconds": time.monotonic() - started_s,
                "lines": counts["lines"], "writes": counts["writes"],
            }  # fmt: skip
        return self.whole[kind]

    def _orders(self, kind, **values):
        teacher = None
        if kind == "taught":
            self.reference(TEACHER)
            teacher = self.work / "whole" / str(list(KINDS).index(TEACHER))
        return Orders(teacher=teacher, **self.orders, **values)

    def kill(self, number, kind=None, where=None):
        """One kill and what came of it.

        Args:
            number: of the kill; everything random follows from it.
            kind: a key of ``KINDS``; None for the number's.
            where: ``anywhere``, ``inside a save`` or ``half written``; None for the number's.
        """
        rng = np.random.default_rng([11, number])
        kind = kind or list(KINDS)[number // 4 % len(KINDS)]
        where = where or MOMENTS[number % len(MOMENTS)]
        out = self.work / f"killed_{number}"
        for turn in range(MOST_TRIES):
            for path in self.work.glob(f"{out.name}*"):
                shutil.rmtree(path) if path.is_dir() else path.unlink()
            interval_s = float(rng.choice(INTERVALS_S)) if where == "anywhere" else 0.0
            killed_s = self._kill_once(kind, out, where, interval_s, rng, 0.8**turn)
            if killed_s is not None:
                break
        else:
            return {"kind": kind, "where": where, "interval_s": interval_s, "missed": MOST_TRIES}
        return {
            "kind": kind, "where": where, "interval_s": interval_s, **self._go_on(kind, out),
        }  # fmt: skip

    def _kill_once(self, kind, out, where, interval_s, rng, share):
        """Kill a training; the moment, or None when it had ended before."""
        whole = self.reference(kind)
        orders = self._orders(kind, interval_s=interval_s)
        if where == "inside a save":
            orders.die_at_line = int(rng.integers(1, whole["lines"] + 1))
        elif where == "half written":
            orders.die_in_write = int(rng.integers(1, whole["writes"] + 1))
        pid = fork_training(kind, self.data, out, orders)
        if where == "anywhere":
            # Uninterrupted ones were counted line by line, and took longer for it.
            time.sleep(rng.uniform(0.0, share * whole["seconds"]))
            os.kill(pid, signal.SIGKILL)
        code = wait_for(pid)
        if code not in (0, -signal.SIGKILL):
            raise RuntimeError(f"{kind} ended with {code}: {_said(out)}")
        return time.monotonic() if code == -signal.SIGKILL else None

    def _go_on(self, kind, out):
        log = out.with_name(f"{out.name}.log")
        before = read_log(log)
        unloadable = find_unloadable(out)
        orders = self._orders(kind, resume=(out / "plan.json").exists())
        orders.log = out.with_name(f"{out.name}.log2")
        code = wait_for(fork_training(kind, self.data, out, orders))
        again = [line["step"] for line in read_log(orders.log) if "step" in line]
        lost = [line for line in before if "step" in line and line["step"] in again]
        # From the first step that was learnt again to the beginning of the last one: so long
        # nothing was saved.
        lost_s = max((line["at"] for line in lost), default=0.0) - min(
            (line["at"] for line in lost), default=0.0
        )
        differs = ["it did not end"] if code else self._compare(kind, out)
        return {
            "unloadable": unloadable, "code": code, "differs": differs, "steps_before": len(before),
            "steps_lost": len(lost), "lost_s": round(lost_s, 3),
            "said": _said(out)[-800:] if code else "",
        }  # fmt: skip

    def _compare(self, kind, out):
        whole, mine = self.reference(kind)["files"], describe_folder(out)
        return sorted(
            name for name in whole.keys() | mine.keys() if whole.get(name) != mine.get(name)
        )


def _said(out):
    path = out.with_name(f"{out.name}.said")
    return path.read_text() if path.exists() else ""


def sum_up(kills):
    """What came of all kills, in figures."""
    kills = [one for one in kills if "missed" not in one]
    return {
        "kills": len(kills),
        "in_saves": sum(one["where"] != "anywhere" for one in kills),
        "kinds": len({one["kind"] for one in kills}),
        "unloadable": sum(bool(one["unloadable"]) for one in kills),
        "not_ended": sum(bool(one["code"]) for one in kills),
        "different": sum(bool(one["differs"]) for one in kills),
        # A step began before its save was due: one interval, and that step.
        "lost_more": sum(one["lost_s"] > one["interval_s"] + 0.05 for one in kills),
        "most_steps_lost_without_interval": max(
            (one["steps_lost"] for one in kills if one["interval_s"] == 0.0), default=0
        ),
    }


def main():
    """Do the kills that are not done, and write each down."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--number", type=int, action="append", help="only these")
    parser.add_argument("--kind", help="all of this kind")
    parser.add_argument("--where", help="anywhere, inside a save or half written")
    parser.add_argument("--without", action="append", default=[])
    parser.add_argument("--name", help="of the row in the table of fault tests")
    given = parser.parse_args()
    known = json.loads(given.out.read_text()) if given.out.exists() else {}
    wanted = [n for n in given.number or range(given.kills) if str(n) not in known]
    trainings = Trainings(given.work, given.without) if wanted else None
    for number in wanted:
        known[str(number)] = trainings.kill(number, given.kind, given.where)
        part = given.out.with_name(f".{given.out.name}.part")
        part.write_text(json.dumps(known, indent=1) + "\n")
        part.replace(given.out)
        for path in given.work.glob(f"killed_{number}*"):
            shutil.rmtree(path) if path.is_dir() else path.unlink()
    found = sum_up(known.values())
    sys.stdout.write(json.dumps(found) + "\n")
    if given.name:
        from conftest import write_down

        write_down(given.name, found)
    bad = ("unloadable", "not_ended", "different", "lost_more")
    return int(not given.without and any(found[name] for name in bad))


if __name__ == "__main__":
    sys.exit(main())
