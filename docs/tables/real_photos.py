"""Tables of the runs on real photos: coffee and rice leaves."""

from __future__ import annotations

from typing import Any

from tables.wording import Tables, interval, name_of, origin


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


ABLATION = {
    "copied_label": "the photo's label on every place",
    "mean": "mean of all places",
    "max": "the strongest place",
    "top_k_mean": "mean of the best five",
    "noisy_or": "noisy-or",
    "log_sum_exp": "log-sum-exp",
    "focal": "log-sum-exp, by a focal loss",
    "exact_negatives": "log-sum-exp, with exact negatives",
    "sparsity": "log-sum-exp, with sparsity",
    "both": "log-sum-exp, with both",
}
"""Row of the ablation → what it is."""


def coffee_ablation_table(result: dict[str, Any]) -> list[str]:
    """What the head is asked of a coffee photo, over three seeds."""
    lines = [
        (
            "| the head is asked | seeds | macro-AP | less copied labels | pointing game | "
            "probability on lesion places | on clean places of diseased photos | on healthy "
            "photos | lesion places with 0.1 or more | background places |"
        ),
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    known = {row["row"]: row for row in result["rows"]}
    for key, name in ABLATION.items():
        if key not in known:
            continue
        row = known[key]
        less = interval(row["less_copied_label"]) if "less_copied_label" in row else ""
        cells = [
            _spread(row[column])
            for column in (
                "pointing", "lesion_place_prob", "clean_place_prob", "healthy_place_prob",
                "lesion_from_low", "background_from_low",
            )
        ]  # fmt: skip
        lines.append(
            f"| {name} | {len(row['seeds'])} | {_spread(row['macro_ap'], 3)} | {less} | "
            f"{' | '.join(cells)} |"
        )
    return [
        *lines,
        "",
        (
            f"Frozen MobileNetV2 at {result['long_side_px']} px with its finer map, out of fold "
            f"over all five folds; mean (range) over the seeds; differences are of the mean "
            f"answers, with 95% intervals over photos. `{result['command']}`; {result['date']}, "
            f"commit {result['commit']}; {result['machine']}."
        ),
    ]


def _spread(values: list[float], digits: int = 2) -> str:
    mean = f"{sum(values) / len(values):.{digits}f}"
    low, high = (f"{bound:.{digits}f}" for bound in (min(values), max(values)))
    return mean if low == high else f"{mean} ({low} to {high})"


TABLES: Tables = {
    "coffee_ablation": ("coffee_ablation", coffee_ablation_table),
    "coffee": ("coffee", coffee_table),
    "coffee_untouched": ("coffee_untouched", coffee_table),
    "coffee_untouched_labels": ("coffee_untouched", coffee_label_table),
    "coffee_untouched_cost": ("coffee_untouched", coffee_cost_table),
    "coffee_labels": ("coffee", coffee_label_table),
    "coffee_cost": ("coffee", coffee_cost_table),
    "coffee_reference": ("coffee_reference", coffee_reference_table),
    "coffee_steps": ("coffee_steps", coffee_steps_table),
    "rice": ("rice", rice_table),
}
