"""Tables of controls: shuffled labels, shortcuts, audits of real runs, memory of training."""

from __future__ import annotations

from typing import Any

from tables.wording import Tables, origin


def controls_table(result: dict[str, Any]) -> list[str]:
    """Trainings whose outcome is known beforehand."""
    lines = [
        "| control | seed | AUC | wanted | passes |",
        "|---|---|---|---|---|",
    ]
    for key, name in (
        ("balanced_labels", "labels that say nothing"),
        ("shuffled_labels", "labels merely shuffled"),
    ):
        lines += [
            (
                f"| {name}, {row['agreement']:.0%} true | {row['seed']} | {_auc(row)} | "
                f"0.5 inside | {_yes(row)} |"
            )
            for row in result["controls"].get(key, [])
        ]
    for row in result["controls"].get("shortcut", []):
        for name, words in (("with_exact_negatives", "with"), ("without", "without")):
            one = row[name]
            passes = _yes(row) if name == "with_exact_negatives" else ""
            lines.append(
                f"| weed as a shortcut, {words} exact negatives | {row['seed']} | as in training "
                f"{_auc(one['as_in_training'])}, at random {_auc(one['at_random'])}, turned around "
                f"{_auc(one['turned_around'])} | at most 0.05 from the first to the second: "
                f"{one['drop']:.3f} | {passes} |"
            )
    foot = (
        f"{result['photos']} photos in each set, {result['epochs']} epochs. `{result['command']}`; "
        f"{result['date']}, commit {result['commit']}; {result['machine']}."
    )
    return [*lines, "", foot]


def coffee_audit_table(result: dict[str, Any]) -> list[str]:
    """What the audits of the runs on coffee leaves found."""
    lines = ["| fold | audit | what came out | look into it |", "|---|---|---|---|"]
    marks = {True: "yes", False: "no", None: "not measured"}
    for row in result["rows"]:
        lines += [
            f"| {row['fold']} | {one['audit']} | {one['sentence']} | {marks[one['concern']]} |"
            for one in row["findings"]
        ]
        lines.append(f"| {row['fold']} | blind zone | {' '.join(row['blind_zone_sentences'])} | |")
    photos = ", ".join(f"{row['photos']} ({row['healthy']} healthy)" for row in result["rows"])
    return [*lines, "", f"Validation photos: {photos}. {origin(result)}; {result['machine']}."]


def memory_table(result: dict[str, Any]) -> list[str]:
    """Memory of a stage by the size of the photos."""
    lines = [
        (
            "| stage | photo | activations kept for the backward pass | process grows by | decoded "
            "photo | weights that learn |"
        ),
        "|---|---|---|---|---|---|",
    ]
    rows = sorted(result["rows"], key=lambda row: (row["stage"], row["megapixels"]))
    lines += [
        (
            f"| {row['stage']} | {row['megapixels']} megapixels | "
            f"{_mb(row['activation_bytes'])} | {_mb(row['grown_bytes'])} | "
            f"{_mb(row['photo_bytes'])} | {_mb(row['weight_bytes'])} |"
        )
        for row in rows
    ]
    held = []
    for stage in dict.fromkeys(row["stage"] for row in rows):
        mine = [row for row in rows if row["stage"] == stage]
        first, last = mine[0], mine[-1]
        more = last["photo_bytes"] - first["photo_bytes"]
        if more:
            held.append(f"{stage} {(last['grown_bytes'] - first['grown_bytes']) / more:.1f}")
    foot = (
        "Decoded photos held at once, from how the process grows between the smallest and the "
        f"largest photo: {', '.join(held)}; two threads decode ahead. {origin(result)}; "
        f"{result['machine']}."
    )
    return [*lines, "", foot]


def _auc(row: dict[str, Any]) -> str:
    return f"{row['auc']:.2f} ({row['low']:.2f} to {row['high']:.2f})"


def _yes(row: dict[str, Any]) -> str:
    return "yes" if row["passes"] else "**no**"


def _mb(count: float) -> str:
    return f"{count / 1e6:,.0f} MB"


TABLES: Tables = {
    "training_controls": ("training_controls", controls_table),
    "coffee_audit": ("coffee_audit", coffee_audit_table),
    "training_memory": ("training_memory", memory_table),
}
