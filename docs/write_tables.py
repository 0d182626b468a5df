"""Write the tables of measured figures into README and docs from ``benchmarks/results/*.json``.

    python docs/write_tables.py            write them
    python docs/write_tables.py --check    fail when a document differs from its results

A table stands between ``<!-- table: NAME -->`` and ``<!-- end of table -->``; no number in it is
typed by hand.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent
RESULTS = ROOT / "benchmarks" / "results"
DOCUMENTS = (ROOT / "README.md", ROOT / "docs" / "experiments.md")
BLOCK = re.compile(r"<!-- table: (\w+) -->\n.*?<!-- end of table -->", re.DOTALL)

MODEL_NAMES = {
    "fusion_off": "glance and focus, fusion off",
    "glance_only": "the glance alone",
    "all_tiles": "the expert on all tiles",
    "all_tiles_fused": "the expert on all tiles, fused with the glance",
}


def interval(estimate: dict[str, float], digits: int = 2) -> str:
    """A value with its 95% interval."""
    return (
        f"{estimate['value']:.{digits}f} ({estimate['low']:.{digits}f} to "
        f"{estimate['high']:.{digits}f})"
    )


def name_of(model: str) -> str:
    """A model's name in words."""
    if model.startswith("resized_photo_"):
        return f"one network on the photo resized to {model.removeprefix('resized_photo_')}"
    return MODEL_NAMES[model]


def origin(result: dict[str, Any]) -> str:
    """Where figures come from, as a sentence."""
    return (
        f"`{result['command']}`; {result['date']}, commit {result['commit'][:10]}, "
        f"seed {result['seed']}"
    )


def coffee_table(result: dict[str, Any]) -> list[str]:
    """Models on the coffee photos, out of fold."""
    ranking, deciding = result["ranking"]["macro"], result["deciding"]["macro"]
    lines = [
        "| model | macro-AP | macro-F1 | ours minus this, AP | ours minus this, F1 |",
        "|---|---|---|---|---|",
        f"| **glance and focus** | {interval(ranking['ap'])} | {interval(deciding['f1'])} | | |",
    ]
    for name, one in result["differences"].items():
        lines.append(
            f"| {name_of(name)} | {interval(one['macro']['ap'])} | "
            f"{interval(one['deciding_macro']['f1'])} | "
            f"{interval(one['ranking']['macro_ap'])} | "
            f"{interval(one['deciding']['macro_f1'])} |"
        )
    lines += [
        "",
        (
            f"Out of fold over {result['photos']} photos, folds {result['folds']} of 5; "
            f"95% bootstrap intervals, paired for differences. {origin(result)}; "
            f"{result['machine']}."
        ),
    ]
    return lines


def coffee_label_table(result: dict[str, Any]) -> list[str]:
    """Labels of the coffee photos, out of fold."""
    lines = [
        "| label | photos | AP | AUC | precision | recall | F1 |",
        "|---|---|---|---|---|---|---|",
    ]
    ranked = [*result["ranking"]["rows"], result["ranking"]["healthy"]]
    decided = [*result["deciding"]["rows"], result["deciding"]["healthy"]]
    for one, other in zip(ranked, decided, strict=True):
        lines.append(
            f"| {one['label']} | {one['positives']} | {interval(one['ap'])} | "
            f"{interval(one['auc'])} | {other['precision']['value']:.2f} | "
            f"{other['recall']['value']:.2f} | {interval(other['f1'])} |"
        )
    with_healthy = result["ranking"]["macro_with_healthy"]
    with_healthy_f1 = result["deciding"]["macro_with_healthy"]
    lines.append(
        f"| macro with healthy | | {interval(with_healthy['ap'])} | "
        f"{interval(with_healthy['auc'])} | | | {interval(with_healthy_f1['f1'])} |"
    )
    return lines


def coffee_cost_table(result: dict[str, Any]) -> list[str]:
    """What glance and focus cost on the coffee photos, and where it looked."""
    drop, macs = result["drop_rate"], result["macs_share_of_all_tiles"]
    lines = [
        "| | healthy photos | diseased photos |",
        "|---|---|---|",
        f"| tiles dropped | {drop['healthy']:.0%} | {drop['diseased']:.0%} |",
        f"| early exit | {drop['early_exit_healthy']:.0%} | {drop['early_exit_diseased']:.0%} |",
        f"| multiply-adds, share of all tiles | {macs['healthy']:.0%} | {macs['diseased']:.0%} |",
        "",
        (
            "| fold | pointing game | hits@1 / @3 / @5 of the scout | a lesion tile kept | "
            "false tiles a healthy photo | minutes: expert, scout |"
        ),
        "|---|---|---|---|---|---|",
    ]
    for one in result["details"]:
        found = one["localisation"]
        hits = " / ".join(f"{found['hits_at_k'][k]:.2f}" for k in ("1", "3", "5"))
        minutes = ", ".join(str(value) for value in one["minutes_in_stages"].values())
        lines.append(
            f"| {one['fold']} | {found['pointing']['share']:.2f} of {found['photos']} | {hits} | "
            f"{found['lesion_kept']:.2f} | {found['false_tiles']['mean']:.2f} | {minutes} |"
        )
    return lines


def coffee_reference_table(result: dict[str, Any]) -> list[str]:
    """Frozen features with a small head on each place."""
    lines = ["| method | macro-AP | pointing game |", "|---|---|---|"]
    for name, one in result["methods"].items():
        lines.append(
            f"| {name} | {interval(one['macro_ap'])} | {one['pointing']:.2f} of {one['photos']} |"
        )
    tuned = all("learning_rate" in one for one in result["methods"].values())
    chosen = (
        "learning rate and epochs chosen for each method inside the first fold's training photos"
        if tuned
        else "one learning rate for all methods, not tuned for each, and an earlier script"
    )
    lines += [
        "",
        (
            f"Frozen MobileNetV2 at {result['long_side_px']} px, out of fold over all five folds; "
            f"{chosen}. "
            f"{origin(result)}."
        ),
    ]
    return lines


def demo_table(result: dict[str, Any]) -> list[str]:
    """The demo, whole, for several seeds."""
    lines = [
        (
            "| seed | macro-AP | macro-F1 | pointing game (by chance) | tiles dropped: healthy, "
            "diseased | seconds: expert, scout, whole demo | CPU seconds |"
        ),
        "|---|---|---|---|---|---|---|",
    ]
    for one in result["rows"]:
        seconds = ", ".join(f"{value:.0f}" for value in [*one["stage_s"].values(), one["wall_s"]])
        lines.append(
            f"| {one['seed']} | {interval(one['macro_ap'])} | {interval(one['macro_f1'])} | "
            f"{one['pointing_hits']} of {one['pointing_photos']} "
            f"({one['pointing_chance']:.0%}) | "
            f"{one['dropped_healthy']:.0%}, {one['dropped_diseased']:.0%} | {seconds} | "
            f"{one['cpu_s']:.0f} |"
        )
    lines += [
        "",
        (
            f"{result['train_photos']} rendered photos to learn from, {result['test_photos']} to "
            f"test on, another field each seed. `{result['command']}`; {result['date']}, commit "
            f"{result['commit']}; {result['machine']}; load before each seed "
            f"{', '.join(str(one['load_before']) for one in result['rows'])}."
        ),
    ]
    return lines


def rice_table(result: dict[str, Any]) -> list[str]:
    """The whole way on the rice leaves."""
    macro, found = result["labels"]["macro"], result["localisation"]
    hits = " / ".join(f"{found['hits_at_k'][k]:.2f}" for k in ("1", "3", "5"))
    cost = result["cost"]["diseased"]
    minutes = ", ".join(f"{name} {value}" for name, value in result["minutes_in_stages"].items())
    lines = [
        "| model | macro-AP | macro-F1 |",
        "|---|---|---|",
        f"| **glance and focus** | {interval(macro['ap'])} | {interval(macro['f1'])} |",
    ]
    lines += [
        f"| {name_of(name)} | {interval(one['macro']['ap'])} | {interval(one['macro']['f1'])} |"
        for name, one in result["baselines"].items()
    ]
    lines += [
        "",
        (
            f"{result['labels']['photos']} test photos. Pointing game "
            f"{found['pointing']['hits']} of {found['photos']}; hits@1 / @3 / @5 of the scout "
            f"{hits}; tiles dropped {cost['drop_rate']:.0%}. Minutes of training: {minutes}. "
            f"{origin(result)}; {result['machine']}."
        ),
    ]
    return lines


def coffee_steps_table(result: dict[str, Any]) -> list[str]:
    """What single changes did on the coffee photos."""
    lines = ["| change | figure | without | with |", "|---|---|---|---|"]
    for one in result["rows"]:
        before, after = (
            ", ".join(f"{value:.2f}" for value in one[key]) for key in ("without", "with")
        )
        lines.append(f"| {one['change']} | {one['figure']} | {before} | {after} |")
    folds = ", ".join(map(str, result["folds"]))
    lines += [
        "",
        f"Test photos of folds {folds}, each by itself. `{result['command']}`: "
        + "; ".join(" and ".join(one["commits"]) for one in result["rows"])
        + f". {result['date']}, seed {result['seed']}.",
    ]
    return lines


def threshold_table(result: dict[str, Any]) -> list[str]:
    """Ways to a threshold, in simulation."""
    lines = ["| thresholds | macro-F1 on new photos | spread |", "|---|---|---|"]
    for name, one in result["rows"].items():
        lines.append(f"| {name} | {one['macro_f1']:.3f} | {one['std']:.3f} |")
    lines += [
        "",
        (
            f"Simulated, {result['validation_photos']} validation photos, {result['rounds']} "
            f"rounds. {origin(result)}."
        ),
    ]
    return lines


TABLES: dict[str, tuple[str, Callable[[dict[str, Any]], list[str]]]] = {
    "coffee": ("coffee", coffee_table),
    "coffee_untouched": ("coffee_untouched", coffee_table),
    "coffee_untouched_labels": ("coffee_untouched", coffee_label_table),
    "coffee_untouched_cost": ("coffee_untouched", coffee_cost_table),
    "coffee_labels": ("coffee", coffee_label_table),
    "coffee_cost": ("coffee", coffee_cost_table),
    "coffee_reference": ("coffee_reference", coffee_reference_table),
    "coffee_steps": ("coffee_steps", coffee_steps_table),
    "rice": ("rice", rice_table),
    "thresholds": ("threshold_bagging", threshold_table),
    "demo": ("demo_seeds", demo_table),
}


def fill(text: str) -> str:
    """A document with all its tables written anew."""

    def write(found: re.Match[str]) -> str:
        name = found.group(1)
        file, table = TABLES[name]
        lines = table(json.loads((RESULTS / f"{file}.json").read_text(encoding="utf-8")))
        return "\n".join([f"<!-- table: {name} -->", *lines, "<!-- end of table -->"])

    return BLOCK.sub(write, text)


def main() -> None:
    """Write the tables, or check them."""
    stale = []
    for document in DOCUMENTS:
        before = document.read_text(encoding="utf-8")
        after = fill(before)
        if before != after:
            stale.append(document.name)
            if "--check" not in sys.argv:
                document.write_text(after, encoding="utf-8")
    if "--check" in sys.argv and stale:
        raise SystemExit(f"{', '.join(stale)} differ from benchmarks/results: run `make docs`.")


if __name__ == "__main__":
    main()
