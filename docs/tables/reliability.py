"""The tables of the fault tests: what was done to LeafScout, and what came of it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from tables.wording import Tables

Tests = dict[str, dict[str, Any]]


def faults_table(result: dict[str, Any]) -> list[str]:
    """What was planted, what was found, and the worst that happened."""
    lines = ["| what was done | what came of it | date, commit |", "|---|---|---|"]
    for name, words in _describe(result["tests"]):
        one = result["tests"][name]
        lines.append(f"| {words[0]} | {words[1]} | {one['date']}, {one['commit']} |")
    return [*lines, "", f"`{result['command']}`; {result['machine']}."]


def removal_table(result: dict[str, Any]) -> list[str]:
    """Which protection was taken away, and how the test noticed."""
    lines = ["| test | taken away | what then happened |", "|---|---|---|"]
    lines += [
        f"| {name} | {one['without']} | {one['noticed'].replace('|', '/')} |"
        for name, one in result["tests"].items()
        if "without" in one
    ]
    return lines


def _describe(tests: Tests) -> Iterator[tuple[str, tuple[str, str]]]:
    for name, words in _WORDS.items():
        if name in tests:
            yield name, words(tests[name])


def _outcomes(one: dict[str, Any]) -> str:
    return ", ".join(f"{count:,} {code}" for code, count in one["outcomes"].items())


def _damaged(one: dict[str, Any]) -> tuple[str, str]:
    return (
        f"{one['files']:,} damaged photos of 16 kinds, on the way of a diagnosis",
        (
            f"{one['deaths']} processes died, {one['wrong']} files broke a limit or lacked a code; "
            f"{_outcomes(one)}; at most {one['most_cpu_s']:.1f} s of processor time and "
            f"{one['peak_mb']:.0f} MB in all"
        ),
    )


def _bombs(one: dict[str, Any]) -> tuple[str, str]:
    return (
        f"{one['files']} bombs of a gigapixel, a gigabyte or more",
        (
            f"{one['files'] - one['wrong']} refused within the limits; at most "
            f"{1000 * one['most_cpu_s']:.0f} ms of processor time "
            f"({1000 * one['most_wall_s']:.0f} ms on the clock of a busy machine) and "
            f"{one['most_growth_mb']:.1f} MB of growth"
        ),
    )


def _cuts(one: dict[str, Any]) -> tuple[str, str]:
    return (
        f"photos of {one['files']} kinds cut at {one['cuts']:,} places in all",
        f"{one['cuts'] - one['wrong']:,} called truncated, {one['wrong']} not",
    )


def _cuts_diagnosed(one: dict[str, Any]) -> tuple[str, str]:
    return (
        f"the same, at {one['cuts']:,} places, given to a loaded model",
        f"{one['cuts'] - one['wrong']:,} called truncated, {one['wrong']} diagnosed or misnamed",
    )


def _parity(one: dict[str, Any]) -> tuple[str, str]:
    found = one["figures"]
    families = [found[name] for name in ("tiny", "gated")]
    exported = [name for name in found if name not in ("tiny", "gated")]
    told = "; ".join(
        f"{name}: largest change {found[name]['most_change']:.1g}, "
        f"{found[name]['decisions']} decisions changed, {_near(found[name])} within 1e-4 of a "
        "threshold"
        for name in exported
    )
    return (
        (
            f"{one['photos']:,} photos with models of both families: twice, on 1, 2 and 4 threads, "
            "one by one, as a folder, in batches; exported, against PyTorch"
        ),
        (
            f"the same bits again in a new process: "
            f"{'yes' if all(family['bit_equal'] for family in families) else 'no'}; in other "
            f"ways a probability changed by at most "
            f"{max(family['most_change'] for family in families):.1g} and "
            f"{sum(family['decisions'] for family in families)} decisions; {told}"
        ),
    )


def _near(one: dict[str, Any]) -> str:
    names = one["near"]
    return f"{len(names)} ({', '.join(names[:5])})" if names else "none"


def _calibration(one: dict[str, Any]) -> tuple[str, str]:
    clean = one["figures"]["clean"]
    judged = {name: row for name, row in one["figures"].items() if name != "clean" and row[0]}
    worst = max(judged, key=lambda name: judged[name][0])
    ece, by_chance, strange = judged[worst]
    left_out = len(one["figures"]) - 1 - len(judged)
    return (
        (
            f"{one['photos']:,} drawn leaves, {one['troubled']} of them in 15 kinds of trouble; "
            f"{one['strangers']} photos of something else"
        ),
        (
            f"ECE of photos not called unlike {clean[0]:.3f} clean (perfect ones: {clean[1]:.3f}), "
            f"in trouble at most {ece:.3f} ({worst}; perfect ones: {by_chance:.3f}), where "
            f"{strange:.0%} are called unlike; in {left_out} kinds next to all are; strangers told "
            f"apart with AUROC {one['auroc']:.3f}, their highest probability is "
            f"{one['highest']:.2f}"
        ),
    )


def conditions_table(result: dict[str, Any]) -> list[str]:
    """Calibration on rendered photos, clean and in trouble."""
    field = result["field"]
    lines = [
        (
            "| photos | how many | largest ECE of a label | perfect ones, by chance | without the "
            "look at familiarity | AUROC of the labels | called unlike |"
        ),
        "|---|---|---|---|---|---|---|",
    ]
    for name, one in field["conditions"].items():
        label = max(one["ece"], key=lambda key: one["ece"][key][0])
        ece, by_chance, _ = one["ece"][label]
        raw = max(values[0] for values in one["ece_untouched"].values())
        lines.append(
            f"| {name} | {one['photos']:,} | {ece:.3f} | {by_chance:.3f} | {raw:.3f} | "
            f"{min(one['auroc'].values()):.3f} | {one['strange_frac']:.0%} |"
        )
    return [*lines, "", _origin(field)]


MODELS = {
    "field": "usual",
    "field_wide_light": "wide light",
    "field_wide_light_longer": "wide light, longer, copied labels first",
}
"""Part of the result → how the model learnt."""


def light_table(result: dict[str, Any]) -> list[str]:
    """The same troubles for models that learnt from photos of wider exposure and colours."""
    known = {part: name for part, name in MODELS.items() if part in result}
    heads = [
        f"{name}: {what}"
        for name in known.values()
        for what in ("ECE", "ECE of those not called unlike", "unlike", "AUROC")
    ]
    lines = [f"| photos | {' | '.join(heads)} |", "|---" * (1 + len(heads)) + "|"]
    for name in result["field"]["conditions"]:
        cells = []
        for part in known:
            one = result[part]["conditions"][name]
            rest = one.get("ece_not_strange")
            cells += [
                f"{max(values[0] for values in one['ece'].values()):.3f}",
                "too few" if rest is None else f"{max(v[0] for v in rest.values()):.3f}",
                f"{one['strange_frac']:.0%}",
                f"{min(one['auroc'].values()):.3f}",
            ]
        lines.append(f"| {name} | {' | '.join(cells)} |")
    origins = [_origin(result[part]) for part in known if part != "field"]
    return [*lines, "", *origins]


def remedies_table(result: dict[str, Any]) -> list[str]:
    """Other ways to draw probabilities, and other limits, on the same answers."""
    found = result["field"]["remedies"]
    first = next(iter(found.values()))
    ways, limits = list(first["draws"]), list(first["limits"])
    named = [f"limit × {limit}: unlike, ECE of the others" for limit in limits]
    lines = [
        f"| photos | {' | '.join(ways + named)} |",
        "|---" * (1 + len(ways) + len(limits)) + "|",
    ]
    for name, one in found.items():
        cells = [f"{one['draws'][way]:.3f}" for way in ways]
        for limit in limits:
            share, ece = one["limits"][limit]
            cells.append(f"{share:.0%}, {'too few' if ece is None else f'{ece:.3f}'}")
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return lines


def strangers_table(result: dict[str, Any]) -> list[str]:
    """What is no photo of the crop: told apart, and what was said of it."""
    lines = [
        (
            "| model | shown | how many | told from its own kind (AUROC) | called unlike | highest "
            "probability | without the look at familiarity |"
        ),
        "|---|---|---|---|---|---|---|",
    ]
    for name, part in (("rendered field", "field"), ("coffee", "real")):
        if part not in result:
            continue
        for shown, one in result[part]["strangers"].items():
            lines.append(
                f"| {name} | {shown} | {one['photos']} | {one['auroc']:.3f} | "
                f"{one['strange_frac']:.0%} | {one['highest_prob']:.2f} | "
                f"{one['highest_prob_untouched']:.2f} |"
            )
    if "real" in result:
        known = result["real"]["known"]
        lines += [
            "",
            (
                f"Of {known['photos']} photos of coffee leaves that the model never saw, "
                f"{known['strange_frac']:.1%} are called unlike."
            ),
        ]
    origins = [_origin(result[part]) for part in ("field", "real") if part in result]
    return [*lines, "", *origins]


def real_calibration_table(result: dict[str, Any]) -> list[str]:
    """Calibration on few real photos, beside what perfect probabilities would score there."""
    real = result["real"]
    lines = [
        "| label | ECE | perfect ones: mean | exceeded by 5% of perfect ones |",
        "|---|---|---|---|",
    ]
    lines += [
        f"| {label} | {ece:.3f} | {by_chance:.3f} | {high:.3f} |"
        for label, (ece, by_chance, high) in real["ece"].items()
    ]
    return [
        *lines,
        "",
        f"{real['photos']} photos, each answered by the run of its fold. {_origin(real)}",
    ]


def _origin(part: dict[str, Any]) -> str:
    return f"`{part['command']}`; {part['date']}, commit {part['commit']}, {part['machine']}."


def _labels(one: dict[str, Any]) -> tuple[str, str]:
    return (
        f"{one['planted']} faults planted in label files, one at a time",
        f"{one['found']} named by `check` with their row",
    )


def _copies(one: dict[str, Any]) -> tuple[str, str]:
    return (
        (
            f"{one['copies']} copies across splits among {one['photos']} photos: the same file, "
            "resized, recompressed, flipped, rotated"
        ),
        (
            f"{one['exact_found']:.1%} of the same files and {one['near_found']:.1%} of the others "
            f"found; {one['false_alarm_share']:.2%} of different photos taken for copies"
        ),
    )


def _real_copies(one: dict[str, Any]) -> tuple[str, str]:
    done, came = _copies(one)
    return done.replace("photos:", "real photos of leaves on one background:"), came


def _names(one: dict[str, Any]) -> tuple[str, str]:
    return (
        f"{one['labels']} naughty names as labels: training, evaluation, report, diagnosis",
        (
            f"{one['wrong']} places in {one['pages']} pages, {one['tables']} tables and all output "
            f"where a name was more than a name; {one['not_in_report']} names missing from the "
            "report"
        ),
    )


def _bytes(one: dict[str, Any]) -> tuple[str, str]:
    return (
        f"every one of {one['bytes']:,} bytes of a small model flipped in turn, twice",
        f"{one['flips'] - one['missed']:,} of {one['flips']:,} flips noticed",
    )


def _watched(one: dict[str, Any]) -> tuple[str, str]:
    return (
        f"{one['models']} models loaded under an audit hook, one of them of pickles",
        (
            f"{one['files_outside']} files opened outside model, photo and Python's libraries, "
            f"{one['programs_started']} programs started; code of a pickle ran: "
            f"{'yes' if one['code_ran'] else 'no'}"
        ),
    )


def _kills(one: dict[str, Any]) -> tuple[str, str]:
    return (
        (
            f"kill -9 at {one['kills']} moments of small trainings of {one['kinds']} kinds, "
            f"{one['in_saves']} of them inside a save"
        ),
        (
            f"{one['unloadable']} left a checkpoint that cannot be read, {one['not_ended']} did "
            f"not go on to the end, {one['different']} ended otherwise than the uninterrupted one, "
            f"{one['lost_more']} lost more than one interval"
        ),
    )


def _trouble(what: str) -> Callable[[dict[str, Any]], tuple[str, str]]:
    def words(one: dict[str, Any]) -> tuple[str, str]:
        return (
            f"{what} in the middle of a training ({one['way']})",
            (
                f"a sentence and exit code {one['code']} after {one['seconds']:.1f} s, "
                f"{one['unloadable']} checkpoints unreadable; gone on with, {one['different']} "
                f"files differ from an uninterrupted run's, {one['steps_lost']} steps done again"
            ),
        )

    return words


def _spoilt(one: dict[str, Any]) -> tuple[str, str]:
    return (
        (
            f"a loss that is no number, once in each of {one['stages']} stages of {one['kinds']} "
            "kinds of training"
        ),
        (
            f"{one['stages'] - one['wrong']} stages went back and ended with sound weights; of "
            f"{one['kills']} killed beside that {one['different']} ended otherwise"
        ),
    )


def _long(one: dict[str, Any]) -> tuple[str, str]:
    return (
        f"{one['diagnoses']:,} diagnoses in one process",
        f"memory grew by {one['growth_mb']:.1f} MB after warm-up, open files by {one['files']}",
    )


def _long_with(runtime: str) -> Callable[[dict[str, Any]], tuple[str, str]]:
    def words(one: dict[str, Any]) -> tuple[str, str]:
        done, came = _long(one)
        return f"{done}, {runtime}", came

    return words


def _folder_kills(one: dict[str, Any]) -> tuple[str, str]:
    return (
        (
            f"kill -9 at {one['kills']} moments of diagnoses of a folder of {one['photos']} "
            f"photos, gone on with until each of {one['chains']} was done"
        ),
        (
            f"{one['wrong']} photos not exactly once in the output, {one['different']} answers "
            f"differ, {one['again']} photos diagnosed twice"
        ),
    )


_WORDS: dict[str, Callable[[dict[str, Any]], tuple[str, str]]] = {
    "damaged photos": _damaged,
    "bombs": _bombs,
    "photos cut short": _cuts,
    "photos cut short, diagnosed": _cuts_diagnosed,
    "faults in label files": _labels,
    "copies across splits": _copies,
    "copies of real photos": _real_copies,
    "naughty names": _names,
    "flipped bytes of a model": _bytes,
    "loading, watched": _watched,
    "kills of trainings": _kills,
    "kills of trainings, a sample": _kills,
    "a training and a full disk": _trouble("the disk is full"),
    "a training and a read-only disk": _trouble("the disk turns read-only"),
    "a training and a I/O error": _trouble("the disk keeps nothing"),
    "a loss that is no number, in every stage": _spoilt,
    "diagnoses in one process (torch)": _long_with("PyTorch"),
    "diagnoses in one process (onnxruntime)": _long_with("ONNX Runtime"),
    "kills of a folder diagnosis": _folder_kills,
    "parity": _parity,
    "calibration under trouble": _calibration,
}

TABLES: Tables = {
    "faults": ("reliability", faults_table),
    "protections_removed": ("reliability", removal_table),
    "trouble_conditions": ("trouble", conditions_table),
    "trouble_light": ("trouble", light_table),
    "trouble_remedies": ("trouble", remedies_table),
    "trouble_strangers": ("trouble", strangers_table),
    "trouble_real": ("trouble", real_calibration_table),
}
