"""Tables of the synthetic field: objectives, sparsity, later stages, resolution."""

from __future__ import annotations

from typing import Any

from tables.wording import Tables, origin

NAMES = {
    "resized_photo": "one network on the resized photo",
    "copied_label": "the photo's label on every tile",
    "copied_label_longer": "the same, as long as the expert",
    "copied_label_longest": "the same, as long as half as many epochs again",
    "copied_label_smoothed": "the same, positives softened by 0.1",
    "copied_label_smoothed_0.3": "the same, softened by 0.3",
    "copied_label_foreground": "the same, all-green tiles left out",
    "background_class": "bag, with background as a class",
    "mil_max": "bag: maximum",
    "mil_mean": "bag: mean",
    "mil_top_k_mean": "bag: mean of the best five",
    "mil_log_sum_exp": "bag: log-sum-exp",
    "mil_noisy_or": "bag: noisy-or",
    "mil_attention": "bag: attention",
    "mil_gated_attention": "bag: gated attention",
    "mil_transformer": "best five, and a transformer over tiles",
    "mil_graph": "best five, and a graph over tiles",
    "exact_negatives": "**best five, with exact negatives**",
    "copied_label_first": "**exact negatives, after a quarter of the epochs with copied labels**",
    "exact_negatives_longer": "exact negatives, half as many epochs again",
    "exact_negatives_late": "best five, with exact negatives after a warm-up",
    "exact_negatives_attention": "attention, with exact negatives",
    "exact_negatives_late_attention": "attention, with exact negatives after a warm-up",
    "exact_negatives_late_attention_longer": "the same, half as many epochs again",
    "instance_dropout": "exact negatives, best tile left out one time in five",
    "instance_dropout_0.4": "the same, two times in five",
    "instance_dropout_longer": "the same, one time in five, half as many epochs again",
    "sparsity": "exact negatives, with sparsity after a warm-up",
    "sparsity_from_start": "exact negatives, with sparsity from the start",
    "sparsity_dropout_longer": (
        "exact negatives, with sparsity from the start, best tile left out one time in five, half "
        "as many epochs again"
    ),
    "light_sparsity_dropout_longer": "the same, three tenths of the weight",
    "mil_sparsity": "best five alone, with sparsity after a warm-up",
    "mil_sparsity_from_start": "best five alone, with sparsity from the start",
}
"""Row of the ablation → what it is."""

MODELS = {"focus": "glance and focus"}


def field_table(result: dict[str, Any]) -> list[str]:
    """Objectives and poolings of the expert."""
    columns = {
        "AUC, all tiles": ("macro_auc_all_tiles", 3),
        "AUC of tiles": ("tile_auc", 3),
        "probability on lesion tiles": ("lesion_tile_prob", 2),
        "on weed tiles": ("weed_tile_prob", 2),
        "false tiles a healthy photo": ("false_tiles_per_healthy_photo", 2),
        "attention on lesion tiles": ("attention_on_lesions", 2),
        "AUC as deployed": ("macro_auc", 3),
        "CPU s": ("cpu_s", 0),
    }
    return [*_rows(result, columns, NAMES), "", _foot(result)]


def sparsity_table(result: dict[str, Any]) -> list[str]:
    """The end state that sparsity is asked for."""
    columns = {
        "background tiles with 0.1 or more": ("background_tiles_from_0.1", 3),
        "lesion tiles with 0.1 or more": ("lesion_tiles_from_0.1", 3),
        "of those with half a lesion or more": ("whole_lesion_tiles_from_0.1", 3),
        "with less": ("cut_lesion_tiles_from_0.1", 3),
        "AUC, all tiles": ("macro_auc_all_tiles", 3),
        "tiles of diseased photos called healthy": ("tiles_said_healthy_in_diseased", 3),
        "truly healthy": ("tiles_truly_healthy_in_diseased", 3),
    }
    wanted = ("mil_top_k_mean", "mil_sparsity", "mil_sparsity_from_start", "exact_negatives",
              "sparsity", "sparsity_from_start", "instance_dropout_longer",
              "sparsity_dropout_longer", "light_sparsity_dropout_longer")  # fmt: skip
    names = {name: NAMES[name] for name in wanted}
    # In the first table it stands below the row that it is the same as.
    names["instance_dropout_longer"] = (
        "exact negatives, best tile left out one time in five, half as many epochs again"
    )
    return [*_rows(result, columns, names), "", _foot(result)]


def foreground_table(result: dict[str, Any]) -> list[str]:
    """What a colour threshold throws away."""
    lines = ["| tiles | kept | of |", "|---|---|---|"]
    for name, row in result["kept"].items():
        share = row["kept"] / row["tiles"]
        lines.append(f"| {name.replace('_', ' ')} | {row['kept']} ({share:.1%}) | {row['tiles']} |")
    return [*lines, "", f"{origin(result)}; {result['machine']}."]


def later_stages_table(result: dict[str, Any]) -> list[str]:
    """Stages after the first two, each from the same two networks."""
    names = {
        "expert_scout": "expert, then scout",
        "joint": "then joint",
        "joint_weighted_path": "joint, score-weighted path alone",
        "joint_fresh_evidence": "joint, fresh evidence alone",
        "alternate": "then in turn",
    }
    lines = [
        (
            "| stages | seed | AUC as deployed | F1 as deployed | AUC, all tiles | lesion tiles "
            "read | cost of all tiles | validation would keep it |"
        ),
        "|---|---|---|---|---|---|---|---|",
    ]
    for row, name in names.items():
        for seed in result["seeds"]:
            one = seed["rows"][row]
            said = ["yes" if kept else "no" for kept in one["validation_says_keep"]]
            lines.append(
                f"| {name} | {seed['seed']} | {one['macro_auc']:.3f} | {one['macro_f1']:.3f} | "
                f"{one['macro_auc_all_tiles']:.3f} | {one['lesion_tiles_kept']:.0%} | "
                f"{one['macs_share']:.0%} | {', '.join(said) or '–'} |"
            )
    return [*lines, "", f"{origin(result)}; {result['machine']}."]


def resolution_table(result: dict[str, Any]) -> list[str]:
    """Accuracy by how far the photo was shrunk, and by the size of the lesions."""
    lines = [
        "| lesions | model | AUC | seeds | million multiply-adds a photo |",
        "|---|---|---|---|---|",
    ]
    for row in result["rows"]:
        side = row["model"]
        name = MODELS.get(side) or f"photo resized to {side} px"
        lines.append(
            f"| {row['lesion_px']} px | {name} | {_mean_and_spread(row['auc'], 3)} | "
            f"{len(row['seeds'])} | {row['macs'] / 1e6:.0f} |"
        )
    photos = result["photos"]
    return [
        *lines,
        "",
        (
            f"{photos['train']} photos of 512×512 px to learn from, {photos['val']} to validate, "
            f"{photos['test']} to test; {result['budget_s']:.0f} s of learning for each model. "
            f"{origin(result)}; {result['machine']}."
        ),
    ]


def _rows(
    result: dict[str, Any], columns: dict[str, tuple[str, int]], names: dict[str, str]
) -> list[str]:
    lines = [
        f"| expert | seeds | {' | '.join(columns)} |",
        "|---" * (len(columns) + 2) + "|",
    ]
    known = {row["row"]: row for row in result["rows"]}
    for key, name in names.items():
        if key not in known:
            continue
        row = known[key]
        cells = [
            ", ".join(f"{value:.{digits}f}" for value in row["figures"][column]["each"])
            if column in row["figures"]
            else "–"
            for column, digits in columns.values()
        ]
        seeds = ", ".join(map(str, row["seeds"]))
        lines.append(f"| {name} | {seeds} | {' | '.join(cells)} |")
    return lines


def _mean_and_spread(values: list[float], digits: int) -> str:
    mean = f"{sum(values) / len(values):.{digits}f}"
    if len(values) == 1:
        return mean
    return f"{mean} ({min(values):.{digits}f} to {max(values):.{digits}f})"


def _foot(result: dict[str, Any]) -> str:
    photos = result["photos"]
    return (
        f"{photos['train']} photos to learn from, {photos['val']} to validate, {photos['test']} to "
        f"test. One figure for each seed. `{result['command']}`; {result['date']}, commits "
        f"{result['commit']}, seed {result['seed']} of the field; {result['machine']}."
    )


TABLES: Tables = {
    "field": ("field", field_table),
    "field_sparsity": ("field", sparsity_table),
    "field_foreground": ("field_foreground", foreground_table),
    "later_stages": ("later_stages", later_stages_table),
    "resolution": ("resolution", resolution_table),
}
