"""Several looks at a photo, and thresholds by another rule: what a trained model says with them."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import numpy as np

from leafscout.errors import InputError, PhotoError
from leafscout.evaluation.threshold_rules import OWN_RULE, ThresholdRule, read_threshold_rule
from leafscout.evaluation.thresholds import ThresholdFit, describe_unfitted
from leafscout.evaluation.validation_answers import ONE_LOOK, ValidationAnswers
from leafscout.inference.answer import Failure, PhotoDiagnosis, build_diagnosis, decide_again
from leafscout.inference.load import Model, PhotoSource
from leafscout.inference.many import DEFAULT_PACE, Pace
from leafscout.inference.own_answers import read_own_answers
from leafscout.inference.test_time_augmentation import Change, choose_changes, mean_answer
from leafscout.model import Core
from leafscout.photos.decode import open_photo
from leafscout.types import Diagnosis, Photo


class LookingModel(Model):
    """A trained model that looks at each photo several times and takes the mean of the answers.

    Args:
        model: the model.
        looks: a key of ``CHANGES``; the photo as it is comes first, and its tiles, its lesion
            map and its boxes are those shown.
    """

    def __init__(self, model: Model, looks: str) -> None:
        super().__init__(model.recogniser, model.manifest, model.run)
        self.looks = looks
        self._changes = choose_changes(looks)

    def diagnose(self, photo: PhotoSource, *, read_all: bool = False) -> PhotoDiagnosis:
        """Diagnose one photo with several looks; see ``Model.diagnose``.

        The cost is that of all looks together, against that of reading every tile once.
        """
        started_s = time.perf_counter()
        opened = open_photo(photo)
        diagnosis = self._look(opened, self._changes, started_s, read_all=read_all)
        return PhotoDiagnosis(diagnosis, opened)

    def diagnose_many(
        self,
        photos: Iterable[str | Path],
        *,
        pace: Pace = DEFAULT_PACE,  # noqa: ARG002 — one photo after another
    ) -> Iterator[PhotoDiagnosis | Failure]:
        """Diagnose photos one after another; a bad one does not stop the others."""
        for path in photos:
            try:
                yield self.diagnose(path)
            except PhotoError as error:
                yield Failure(str(path), str(error))

    def _look(
        self, photo: Photo, changes: Sequence[Change], started_s: float, *, read_all: bool
    ) -> Diagnosis:
        core = self.recogniser
        evidence, tiles = core.forward(photo, read_all=read_all, read=self._reader.read)
        first = build_diagnosis(core, photo, evidence, tiles, started_s)
        probs, cost = [first.label_probs], first.cost
        for change in changes[1:]:
            shown = Photo(change.apply(photo.pixels), photo.source)
            evidence, tiles = core.forward(shown, read_all=read_all, read=self._reader.read)
            probs.append(core.label_probs(evidence))
            read = int(evidence.read.sum())
            cost = replace(
                cost,
                macs=cost.macs + core.count_macs(shown.size_px_hw, read),
                tiles_read=cost.tiles_read + read,
                tiles_total=cost.tiles_total + len(tiles),
            )
        cost = replace(cost, seconds=time.perf_counter() - started_s)
        return decide_again(core, first, mean_answer(probs), cost)


def answer_with(
    model: Model, *, thresholds: str | None = None, looks: str | None = None
) -> tuple[Model, tuple[str, ...]]:
    """A model that decides by another rule, looks several times, or both.

    Thresholds are fitted on what the model itself says of its own validation photos, with just as
    many looks; ``leafscout evaluate`` keeps that beside the model.

    Args:
        model: in any runtime, of any family.
        thresholds: see ``read_threshold_rule``; None is how the model's own are fitted.
        looks: a key of ``CHANGES``; None is one look.

    Returns:
        The model, and sentences about labels whose threshold could not be fitted.

    Raises:
        InputError: an unknown rule or kind of looks, or answers that were never gathered.
    """
    kind = looks or ONE_LOOK
    choose_changes(kind)
    if thresholds is None and kind == ONE_LOOK:
        return model, describe_unfitted(model.labels, model.manifest.thresholds_fitted)
    rule = read_threshold_rule(thresholds or OWN_RULE)
    own = read_own_answers(model)
    if own is None or kind not in own.probs:
        option = f"--looks {kind}" if kind != ONE_LOOK else f"--thresholds {rule.name}"
        raise InputError(
            f"Thresholds for this are fitted on the validation photos of {model.run}, and what "
            "the model says of them is not kept beside it. Gather it where the run and its photos "
            f"are: leafscout evaluate RUN DATA {option}. A model exported before that is to be "
            "exported again."
        )
    fit = fit_thresholds(rule, own, kind)
    other = with_thresholds(model, fit)
    return (other if kind == ONE_LOOK else LookingModel(other, kind)), describe_unfitted(
        own.labels, fit.fitted
    )


def fit_thresholds(rule: ThresholdRule, own: ValidationAnswers, looks: str) -> ThresholdFit:
    """Fit thresholds by a rule on the answers of a kind of looks."""
    return rule.fit(own.truth_array(), own.probs_array(looks))


def with_thresholds(model: Model, fit: ThresholdFit) -> Model:
    """The same model with other thresholds."""
    thresholds = tuple(float(value) for value in fit.thresholds)
    manifest = model.manifest.model_copy(
        update={
            "thresholds": thresholds,
            "thresholds_fitted": tuple(bool(value) for value in fit.fitted),
        }
    )
    return Model(with_rules(model.recogniser, thresholds=thresholds), manifest, model.run)


def with_rules(core: Core, **changes: Any) -> Core:
    """The same networks under changed rules, whatever family they are of."""
    values = {entry.name: getattr(core, entry.name) for entry in fields(core)}  # type: ignore[arg-type]
    values["rules"] = replace(core.rules, **changes)
    other: Core = type(core)(**values)
    return other


def stack_probs(diagnoses: Sequence[Diagnosis]) -> np.ndarray[Any, np.dtype[np.float64]]:
    """(photos, labels) probabilities."""
    return np.stack([one.label_probs for one in diagnoses]).astype(np.float64)
