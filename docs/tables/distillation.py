"""The tables of teachers and students."""

from __future__ import annotations

from statistics import mean
from typing import Any

from tables.wording import Tables, interval

WAYS = {
    "teacher_wide": "teacher, wide",
    "teacher_tiny": "teacher, tiny",
    "alone": "student, labels alone",
    "offline": "from the teacher (tile, T 2, α 0.7)",
    "alone_tiny": "larger student, labels alone",
    "offline_tiny": "larger student, from the teacher",
    "alone_long": "student, labels alone, twice the epochs",
    "offline_long": "from the teacher, twice the epochs",
    "mutual": "two students from each other",
    "self": "from its own first generation",
    "temperature_1": "from the teacher, T 1",
    "temperature_4": "from the teacher, T 4",
    "soft_weight_0.3": "from the teacher, α 0.3",
    "soft_weight_1": "from the teacher, α 1: no labels",
    "level_photo": "from the teacher, photos instead of tiles",
    "level_place": "from the teacher, places instead of tiles",
    "all_levels": "from the teacher, photos, tiles and places",
    "features_cosine": "from the teacher, features by cosine too",
    "attention": "from the teacher, where it looks too",
}


def several(values: list[float], digits: int = 3) -> str:
    """Mean, and the single values of several seeds."""
    if len(values) == 1:
        return f"{values[0]:.{digits}f}"
    return f"{mean(values):.{digits}f} ({', '.join(f'{value:.{digits}f}' for value in values)})"


def epochs(values: list[int | None]) -> str:
    """Epochs until the wanted AUC, one a seed."""
    return ", ".join("never" if value is None else str(value) for value in values)


def origin(result: dict[str, Any]) -> str:
    """Where figures come from; a commit that ends in ``dirty`` was worked on further."""
    return (
        f"`{result['command']}`; {result['date']}, commit {result['commit']}, seed {result['seed']}"
    )


def source(result: dict[str, Any]) -> str:
    """Where the figures come from."""
    return (
        f"{result['test_photos']} test photos; the teacher is {result['teacher']}, the best on "
        f"the validation photos. `{result['command']}`; {result['date']}, commit "
        f"{result['commit']}; {result['machine']}."
    )


def ways_table(result: dict[str, Any]) -> list[str]:
    """Every way to learn: how fast, how good as deployed, how dear."""
    lines = [
        (
            f"| learns | seeds | epochs to AUC {result['reached_auc']} | macro-F1, deployed | less "
            "the teacher's on all tiles | less the student's alone | multiply-adds of the "
            "teacher's: mean, most | CPU s |"
        ),
        "|---|---|---|---|---|---|---|---|",
    ]
    for row in result["rows"]:
        share = [mean(row[key]) / result["teacher_macs"] for key in ("macs_deployed",)]
        share.append(max(row["macs_deployed_most"]) / result["teacher_macs"])
        lines.append(
            f"| {WAYS[row['cell']]} | {len(row['seeds'])} | {epochs(row['epochs_to_auc'])} | "
            f"{several(row['macro_f1_deployed'])} | {interval(row['f1_minus_teacher'], 3)} | "
            f"{_against(row['f1_minus_alone'])} | "
            f"{share[0]:.0%}, {share[1]:.0%} | {mean(row['train_cpu_s']):.0f} |"
        )
    lines += [
        "",
        (
            f"The teacher itself, on all tiles: macro-AUC {result['teacher_auc']:.3f}, macro-F1 "
            f"{result['teacher_f1']:.3f}. Differences are means over the seeds, with 95% "
            "intervals over test photos. " + source(result)
        ),
    ]
    return lines


def all_tiles_table(result: dict[str, Any]) -> list[str]:
    """The same experts without their scouts: every tile read."""
    lines = [
        (
            "| learns | macro-AUC | macro-F1 | less the teacher's | less the student's alone | "
            "multiply-adds of the teacher's |"
        ),
        "|---|---|---|---|---|---|",
    ]
    for row in result["rows"]:
        share = mean(row["macs_all_tiles"]) / result["teacher_macs"]
        lines.append(
            f"| {WAYS[row['cell']]} | {several(row['macro_auc_all_tiles'])} | "
            f"{several(row['macro_f1_all_tiles'])} | "
            f"{interval(row['all_tiles_f1_minus_teacher'], 3)} | "
            f"{_against(row['all_tiles_f1_minus_alone'])} | {share:.0%} |"
        )
    return [*lines, "", source(result)]


def _against(difference: dict[str, float] | None) -> str:
    return "–" if difference is None else interval(difference, 3)


def nearness_table(result: dict[str, Any]) -> list[str]:
    """How near the students are to their teacher on the validation photos."""
    lines = [
        (
            "| learns | KL of tiles, nat | KL of photos, nat | cosine of features | distance of "
            "attention maps | tiles dropped: healthy, diseased |"
        ),
        "|---|---|---|---|---|---|",
    ]
    for row in result["rows"]:
        if row["cell"].startswith("teacher"):
            continue
        dropped = [1 - mean(row[f"tiles_read_{kind}"]) for kind in ("healthy", "diseased")]
        lines.append(
            f"| {WAYS[row['cell']]} | {several(row['kl_tiles'])} | {several(row['kl_photos'])} | "
            f"{several(row['feature_cosine'])} | {several(row['attention_distance'])} | "
            f"{dropped[0]:.0%}, {dropped[1]:.0%} |"
        )
    lines += ["", source(result)]
    return lines


CONTINUED = {
    "before": "before",
    "labels": "labels alone",
    "tiles": "soft labels of tiles",
    "features_cosine": "soft labels and features",
    "attention": "soft labels and where the teacher looks",
    "all_levels": "soft labels of photos, tiles and places",
    "temperature_1": "soft labels of tiles, T 1",
    "temperature_4": "soft labels of tiles, T 4",
}


def continued_table(result: dict[str, Any]) -> list[str]:
    """What a few epochs more bring a student nearer to its teacher in."""
    lines = [
        (
            "| learns a few epochs more from | KL of tiles, nat | KL of photos, nat | cosine of "
            "features | distance of attention maps |"
        ),
        "|---|---|---|---|---|",
    ]
    rows = {one["cell"]: one for one in result["rows"]}
    lines += [
        f"| {words} | {rows[cell]['kl_tiles']:.3f} | {rows[cell]['kl_photos']:.3f} | "
        f"{rows[cell]['feature_cosine']:.3f} | {rows[cell]['attention_distance']:.3f} |"
        for cell, words in CONTINUED.items()
        if cell in rows
    ]
    lines += [
        "",
        f"{result['epochs']} epochs; the teacher is {result['teacher']}. {origin(result)}.",
    ]
    return lines


def soft_table(result: dict[str, Any]) -> list[str]:
    """What soft labels hold beside the hard ones."""
    lines = [
        (
            "| shown alone | absent label | photos | teacher's probability of it (at T 2) | "
            "another network's |"
        ),
        "|---|---|---|---|---|",
    ]
    lines += [
        f"| {one['shown']} | {one['absent']} | {one['photos']} | {one['soft_mass']:.3f} "
        f"({one['soft_mass_t2']:.3f}) | {one['confusable']:.3f} |"
        for one in result["pairs"]
    ]
    lines += [
        "",
        (
            f"Mean over the upper half of the rows {result['soft_mass_confusable']:.3f}, over the "
            f"lower half {result['soft_mass_unrelated']:.3f}; rank correlation of the two columns "
            f"{result['rank_correlation']:.2f} (p = {result['p_value']:.3f}). "
            f"{result['photos']} test photos. {origin(result)}."
        ),
    ]
    return lines


def coffee_student_table(result: dict[str, Any]) -> list[str]:
    """Students of a quarter of the pixels on coffee leaves, deployed."""
    lines = [
        (
            "| learns | fold | macro-AP | macro-F1 | less the teacher's on all tiles: AP | F1 | "
            "multiply-adds of the teacher's on all tiles: healthy, diseased | pointing game | "
            "CPU minutes |"
        ),
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for one in result["cells"]:
        macro, less = one["labels"]["macro"], one["less_teacher"]
        shares = [
            one["cost"][group]["macs_ratio"] * one["expert_macs_of_teachers"]
            for group in ("healthy", "diseased")
        ]
        pointing = one["localisation"]["pointing"]
        lines.append(
            f"| {COFFEE[one['kind']]} | {one['fold']} | {interval(macro['ap'])} | "
            f"{interval(macro['f1'])} | {interval(less['macro_ap'])} | "
            f"{interval(less['macro_f1'])} | {shares[0]:.0%}, {shares[1]:.0%} | "
            f"{pointing['hits']} of {pointing['photos']} | {one['train_cpu_s'] / 60:.0f} |"
        )
    pairs = "; ".join(
        f"fold {one['fold']}: AP {interval(one['macro_ap'])}, F1 {interval(one['macro_f1'])}"
        for one in result["taught_less_alone"]
    )
    teacher = result["cells"][0]["teacher"]
    return [
        *lines,
        "",
        (
            f"Taught less alone, {pairs}. The teacher on all tiles: macro-AP "
            f"{teacher['macro_ap']:.2f}, macro-F1 {teacher['macro_f1']:.2f}. Test photos of the "
            f"fold, 95% intervals over photos. `{result['command']}`; {result['date']}, commit "
            f"{result['commit']}; {result['machine']}."
        ),
    ]


FEW = {
    "few_teacher": "a teacher from the same few labels",
    "alone": "student, few labels alone",
    "taught": "and a teacher that had all labels, about the same photos",
    "taught_unlabelled": "and its word about the photos without labels",
    "few_taught": "and a teacher from the few, about the same photos",
    "few_taught_unlabelled": "and its word about the photos without labels",
}


def unlabelled_table(result: dict[str, Any]) -> list[str]:
    """What photos without labels bring through a teacher."""
    lines = [
        "| learns from | epochs | seeds | F1 as deployed | AUC as deployed | F1, all tiles |",
        "|---|---|---|---|---|---|",
    ]
    lines += [
        f"| {FEW[row['cell']]} | {row['epochs']} | {len(row['seeds'])} | "
        f"{_range(row['macro_f1_deployed'])} | {_range(row['macro_auc_deployed'])} | "
        f"{_range(row['macro_f1_all_tiles'])} |"
        for row in result["rows"]
    ]
    return [
        *lines,
        "",
        (
            f"One in {result['one_in']} training photos keeps its labels. Mean over the seeds, "
            f"least to most in brackets. `{result['command']}`; {result['date']}, commits "
            f"{result['commit']}; {result['machine']}."
        ),
    ]


def _range(values: list[float]) -> str:
    return f"{sum(values) / len(values):.3f} ({min(values):.3f} to {max(values):.3f})"


COFFEE = {"alone": "student, labels alone", "taught": "from the teacher (tile, T 2, α 0.7)"}

TABLES: Tables = {
    "coffee_student": ("coffee_student", coffee_student_table),
    "unlabelled": ("unlabelled", unlabelled_table),
    "distillation": ("distillation", ways_table),
    "distillation_all_tiles": ("distillation", all_tiles_table),
    "distillation_nearness": ("distillation", nearness_table),
    "distillation_continued": ("distillation_continued", continued_table),
    "soft_labels": ("soft_labels", soft_table),
}
