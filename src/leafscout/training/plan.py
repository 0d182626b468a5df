"""A plan: recipe, sizes and epochs for these photos, this machine and this time, with reasons."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from leafscout.errors import InputError
from leafscout.photos.labels import LabelTable, read_labels
from leafscout.training.gated_recipe import GATED_RECIPES
from leafscout.training.plan_facts import (
    FEW_PHOTOS,
    DataFacts,
    MachineFacts,
    read_data_facts,
    read_machine_facts,
)
from leafscout.training.plan_sizes import choose_glance, choose_tile
from leafscout.training.plan_times import ProbedTimes, TimeEstimate, estimate_times, fit_epochs
from leafscout.training.plan_values import (
    PlannedChoice,
    PlanWishes,
    TrainingPlan,
    describe_duration,
)
from leafscout.training.progress import TrainingProgress
from leafscout.training.recipes import VAL_FRAC, Recipe, choose_recipe
from leafscout.training.recogniser_recipe import RECOGNISER_RECIPES

MANY_PHOTOS = 300
"""Training photos from which the large expert of the full recipe is worth its time on a GPU."""

SMALLER = {"full": "mobile", "mobile": "tiny"}
"""What to try where a recipe does not fit into the time."""

FEATURES_BYTES = 2 * 1024**3
"""What the warm start of a pretrained expert may keep in memory beside all else."""


def make_plan(
    data: Path, wishes: PlanWishes | None = None, *, progress: TrainingProgress | None = None
) -> TrainingPlan:
    """Plan a training.

    Photos are looked at through their headers alone; the time is estimated from a few steps of
    the real networks on a few of the photos (this imports PyTorch).

    Args:
        data: a folder per class, or a label CSV.
        wishes: what was asked for.
        progress: where to show the measuring.

    Raises:
        InputError: unusable data or wishes, or a time too short for one epoch of each stage; the
            sentence then says how long the shortest training takes.
    """
    wishes = wishes or PlanWishes()
    if wishes.time_s is not None and not wishes.measure:
        raise InputError(
            "Expected an estimate where --time is given: without one, no number of epochs can be "
            "chosen for it. Leave out --no-estimate or --time."
        )
    if wishes.recipe in GATED_RECIPES or wishes.recipe in RECOGNISER_RECIPES:
        raise InputError(
            f"Plans are made for recipes with scout and expert, not for {wishes.recipe!r}. Train "
            f"it as it is: leafscout train PHOTOS --recipe {wishes.recipe}"
        )
    if wishes.recipe is not None:
        choose_recipe(wishes.recipe, wishes.overrides)
    table = read_labels(
        Path(data),
        healthy_names=wishes.healthy_names,
        complete=wishes.complete,
        photos_root=wishes.photos_root,
    )
    facts = read_data_facts(table, VAL_FRAC)
    gpu = ""
    if wishes.measure:
        from leafscout.training.time_probe import find_gpu

        gpu = find_gpu()
    machine = read_machine_facts(gpu)
    first = _choose_recipe_name(wishes.recipe, facts, machine)
    return _fit_into_time(first, table, facts, machine, wishes, progress or TrainingProgress())


def _choose_recipe_name(
    wanted: str | None, facts: DataFacts, machine: MachineFacts
) -> PlannedChoice:
    if wanted is not None:
        return PlannedChoice("recipe", wanted, "given")
    if machine.gpu and facts.train >= MANY_PHOTOS:
        reason = f"a GPU ({machine.gpu}) and {facts.train} training photos"
        return PlannedChoice("recipe", "full", reason)
    reason = (
        f"{facts.train} training photos are few for a larger expert"
        if machine.gpu
        else "no GPU: pretrained networks of MobileNet's size can be fine-tuned on a CPU"
    )
    return PlannedChoice("recipe", "mobile", reason)


@dataclass(frozen=True)
class _Attempt:
    """One recipe on these photos: its sizes, and what it costs."""

    recipe: Recipe
    sizes: dict[str, tuple[int, str]]
    probed: ProbedTimes | None
    estimate: TimeEstimate | None  # with the recipe's epochs

    def epochs(self, time_s: float | None) -> tuple[int, int] | None:
        """Epochs of expert and scout that fit into the time; None when not even one does."""
        if self.estimate is None:
            return self.recipe.expert_stage.epochs, self.recipe.scout_stage.epochs
        return fit_epochs(self.estimate, time_s)


def _fit_into_time(
    first: PlannedChoice,
    table: LabelTable,
    facts: DataFacts,
    machine: MachineFacts,
    wishes: PlanWishes,
    progress: TrainingProgress,
) -> TrainingPlan:
    """The first of the recipe and its smaller ones that fits into the time."""
    chosen = first
    while True:
        attempt = _attempt(chosen.value, table, facts, machine, wishes, progress)
        epochs = attempt.epochs(wishes.time_s)
        if epochs is not None:
            return _write_plan(chosen, attempt, epochs, facts, machine, wishes, table.describe())
        estimate, time_s = attempt.estimate, wishes.time_s or 0.0
        smaller = SMALLER.get(chosen.value) if wishes.recipe is None else None
        if estimate is None or smaller is None:
            raise InputError(_explain_too_short(chosen.value, estimate, time_s))
        shortest = describe_duration(estimate.shortest_s)
        reason = f"{chosen.value} needs at least {shortest}, more than the time given"
        chosen = PlannedChoice("recipe", smaller, reason)


def _attempt(
    name: str,
    table: LabelTable,
    facts: DataFacts,
    machine: MachineFacts,
    wishes: PlanWishes,
    progress: TrainingProgress,
) -> _Attempt:
    recipe, sizes = _choose_sizes(name, facts, wishes.overrides or {})
    if not wishes.measure:
        return _Attempt(recipe, sizes, None, None)
    from leafscout.training.time_probe import probe_times

    probed = probe_times(
        recipe, table, facts,
        cores=machine.cores, threads=wishes.threads or machine.cores, progress=progress,
    )  # fmt: skip
    epochs = recipe.expert_stage.epochs, recipe.scout_stage.epochs
    return _Attempt(recipe, sizes, probed, estimate_times(probed, facts, *epochs))


def _write_plan(
    chosen: PlannedChoice,
    attempt: _Attempt,
    epochs: tuple[int, int],
    facts: DataFacts,
    machine: MachineFacts,
    wishes: PlanWishes,
    interpretation: str,
) -> TrainingPlan:
    given = {key: value for key, value in (wishes.overrides or {}).items() if value is not None}
    sizes, recipe, estimate = attempt.sizes, attempt.recipe, attempt.estimate
    overrides = {key: value for key, value in given.items() if key != "epochs"}
    overrides |= {key: value for key, (value, _) in sizes.items()}
    overrides |= {"expert_epochs": epochs[0], "scout_epochs": epochs[1]}
    threads = wishes.threads or machine.cores
    return TrainingPlan(
        recipe=chosen.value,
        overrides=overrides,
        threads=threads,
        choices=(
            chosen,
            *(PlannedChoice(key, str(value), why) for key, (value, why) in sizes.items()),
            *_explain_epochs(recipe, epochs, given),
            PlannedChoice(
                "threads",
                str(threads),
                "given" if wishes.threads else f"all {machine.cores} cores of this process",
            ),
        ),
        data=facts,
        machine=machine,
        time_s=wishes.time_s,
        probed=attempt.probed,
        estimate=None
        if estimate is None
        else replace(estimate, expert_epochs=epochs[0], scout_epochs=epochs[1]),
        notes=tuple(_note(recipe, facts, machine, attempt.probed)),
        interpretation=interpretation,
    )


def _choose_sizes(
    name: str, facts: DataFacts, given: Mapping[str, Any]
) -> tuple[Recipe, dict[str, tuple[int, str]]]:
    """The recipe with sizes for these photos, and each size with its reason."""
    base = choose_recipe(name, given)
    wanted = {key for key, value in given.items() if value is not None}
    side = facts.long_side_px
    tile = choose_tile(side, pretrained=base.pretrained)
    sizes: dict[str, tuple[int, str]] = {}
    if "tile_px" in wanted:
        sizes["tile_px"] = (base.tile_px, "given")
        sizes["expert_shrink"] = (base.expert_shrink, "the recipe's, as the tile was given")
    else:
        sizes["tile_px"] = (tile.side_px, tile.side_reason(facts))
        sizes["expert_shrink"] = (tile.shrink, tile.shrink_reason())
    if "expert_shrink" in wanted:
        sizes["expert_shrink"] = (base.expert_shrink, "given")
    sizes["glance_px"] = (base.glance_px, "given") if "glance_px" in wanted else choose_glance(side)
    chosen = {key: value for key, (value, _) in sizes.items()}
    return choose_recipe(name, {**given, **chosen}), sizes


def _explain_epochs(
    recipe: Recipe, epochs: tuple[int, int], given: Mapping[str, Any]
) -> list[PlannedChoice]:
    out = []
    stages = ("expert", recipe.expert_stage), ("scout", recipe.scout_stage)
    for (stage, settings), chosen in zip(stages, epochs, strict=True):
        named = given.get("epochs") or given.get(f"{stage}_epochs")
        wanted = settings.epochs
        reason = "given" if named else "the recipe's; it ends early where validation stands still"
        if chosen < wanted:
            reason = f"{'the ' if named else 'the recipe’s '}{wanted} do not fit into the time"
        out.append(PlannedChoice(f"{stage}_epochs", str(chosen), reason))
    return out


def _explain_too_short(name: str, estimate: TimeEstimate | None, time_s: float) -> str:
    if estimate is None:
        return f"--time {describe_duration(time_s)} is too short for the recipe {name}."
    return (
        f"--time {describe_duration(time_s)} is too short for the recipe {name} on these photos: "
        f"one epoch of the expert takes about {describe_duration(estimate.expert_epoch_s)} and one "
        f"of the scout {describe_duration(estimate.scout_epoch_s)}. The shortest possible time is "
        f"about {describe_duration(estimate.shortest_s)}. Give more time, fewer photos, or a "
        "smaller recipe."
    )


def _note(
    recipe: Recipe, facts: DataFacts, machine: MachineFacts, probed: ProbedTimes | None
) -> list[str]:
    notes = []
    if facts.rare:
        named = ", ".join(f"{label} ({facts.labels[label]})" for label in facts.rare)
        notes.append(
            f"Rare labels, with fewer than {FEW_PHOTOS} photos: {named}. Their thresholds rest on "
            "few validation photos; more photos of them help most."
        )
    if not facts.healthy:
        notes.append(
            "No photo is healthy: the model never learns what nothing looks like. Add some."
        )
    if recipe.pretrained:
        notes.append(
            f"The recipe {recipe.name} starts from pretrained weights: they are downloaded, or "
            "read from the file that --weights names."
        )
    later = recipe.stages[2:]
    if later:
        notes.append(
            f"The time does not count {'the stage' if len(later) == 1 else 'the stages'} "
            f"{', '.join(later)}: that comes on top."
        )
    if probed is not None and machine.memory_bytes:
        need = probed.memory_bytes + (FEATURES_BYTES if recipe.pretrained else 0)
        if need > machine.memory_bytes:
            notes.append(
                f"Training may need {need / 2**30:.1f} GiB of memory, but this process may use "
                f"{machine.memory_bytes / 2**30:.1f} GiB: close other programs or shrink the "
                "photos."
            )
    return notes
