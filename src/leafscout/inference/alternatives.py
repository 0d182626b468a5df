"""What a run would say with other thresholds or more looks, for its evaluation."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from leafscout.evaluation.summary import AlternativeAnswers
from leafscout.evaluation.threshold_rules import OWN_RULE, ThresholdRule, read_threshold_rule
from leafscout.evaluation.thresholds import describe_unfitted
from leafscout.evaluation.validation_answers import ONE_LOOK, ValidationAnswers
from leafscout.inference.load import Model
from leafscout.inference.looks import (
    LookingModel,
    fit_thresholds,
    stack_probs,
)
from leafscout.inference.own_answers import (
    begin_own_answers,
    keep_own_answers,
    read_own_answers,
)
from leafscout.inference.run_photos import read_own_parts
from leafscout.inference.test_time_augmentation import choose_changes
from leafscout.photos.labels import LabelTable
from leafscout.training.progress import TrainingProgress
from leafscout.types import Diagnosis


def read_wishes(
    thresholds: Sequence[str], looks: Sequence[str]
) -> tuple[tuple[ThresholdRule, ...], tuple[str, ...]]:
    """Rules and kinds of looks that are asked for, each once.

    Raises:
        InputError: when there are none of a name.
    """
    rules = {rule.name: rule for rule in map(read_threshold_rule, thresholds)}
    kinds = tuple(dict.fromkeys(kind for kind in looks if kind != ONE_LOOK))
    for kind in kinds:
        choose_changes(kind)
    return tuple(rules.values()), kinds


def answer_alternatives(
    run: Path,
    model: Model,
    plan: dict[str, Any],
    table: LabelTable,
    once: Sequence[Diagnosis],
    wishes: tuple[tuple[ThresholdRule, ...], tuple[str, ...]],
    progress: TrainingProgress,
) -> tuple[dict[str, AlternativeAnswers], list[str]]:
    """Ask a model again, as often as is wanted, and decide by other thresholds.

    Every kind of answers gets thresholds from its own answers on the run's validation photos,
    which are kept beside the model.

    Args:
        run: the run folder.
        model: its model.
        plan: of the run.
        table: photos to answer for.
        once: the model's diagnoses of them.
        wishes: rules and kinds of looks.
        progress: where to show it.

    Returns:
        Name → answers, and sentences about thresholds that could not be fitted.

    Raises:
        InputError: when the validation photos are no longer there.
    """
    rules, kinds = wishes
    if not rules and not kinds:
        return {}, []
    own = gather_own_answers(run, model, plan, (ONE_LOOK, *kinds), progress)
    found: dict[str, AlternativeAnswers] = {}
    notes: dict[str, None] = {}
    for kind in (ONE_LOOK, *kinds):
        changes = choose_changes(kind)
        diagnoses = once if kind == ONE_LOOK else _ask(model, kind, table.paths, progress)
        probs = stack_probs(diagnoses)
        # The model's own rule belongs to more looks; of one look it is the model itself.
        own_rule = () if kind == ONE_LOOK else (read_threshold_rule(OWN_RULE),)
        for rule in (*own_rule, *rules):
            fit = fit_thresholds(rule, own, kind)
            notes |= dict.fromkeys(describe_unfitted(model.labels, fit.fitted))
            parts = [] if kind == ONE_LOOK else [f"looks={kind}"]
            parts += [] if rule in own_rule else [rule.name]
            found[", ".join(parts)] = AlternativeAnswers(
                probs, fit.thresholds, fit.fitted, rule.name, kind, len(changes)
            )
    return found, list(notes)


def gather_own_answers(
    run: Path,
    model: Model,
    plan: Mapping[str, Any],
    kinds: Sequence[str],
    progress: TrainingProgress,
) -> ValidationAnswers:
    """What a model says of its run's validation photos; what is not kept yet is asked and kept.

    Args:
        run: the run folder.
        model: its model.
        plan: of the run.
        kinds: of looks.
        progress: where to show it.
    """
    kept = read_own_answers(model)
    if kept is not None and all(kind in kept.probs for kind in kinds):
        return kept
    _, validation = read_own_parts(run, dict(plan), model.labels, why="Thresholds are fitted on")
    truth = validation.truth.astype(int).tolist()
    if kept is None or [list(row) for row in kept.truth] != truth:
        kept = begin_own_answers(model, truth)
    for kind in kinds:
        if kind not in kept.probs:
            answers = _ask(model, kind, validation.paths, progress)
            kept = kept.with_probs(kind, stack_probs(answers))
    keep_own_answers(run, kept)
    return kept


def _ask(
    model: Model, kind: str, paths: Sequence[Path], progress: TrainingProgress
) -> list[Diagnosis]:
    asked = model if kind == ONE_LOOK else LookingModel(model, kind)
    found = []
    title = "validation photos" if kind == ONE_LOOK else f"looking again: {kind}"
    with progress.task(title, total=len(paths)) as task:
        for path in paths:
            found.append(asked.diagnose(path).diagnosis)
            task.advance()
    return found
