"""Make a finished run keep a promise: choose which tiles are read on photos set aside for it."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from leafscout.diagnosis.calibrate import sigmoid
from leafscout.errors import InputError
from leafscout.evaluation.json_values import JsonValue, json_safe
from leafscout.evaluation.promise import (
    Certificate,
    Promise,
    photos_needed,
    promise_from_losses,
)
from leafscout.evaluation.scores import BoolArray
from leafscout.glance.choose import ChoiceRule
from leafscout.inference.load import Model, load
from leafscout.inference.unseen_photos import align_labels, read_run_labels
from leafscout.manifest import MANIFEST_NAME, ChoiceEntry, Manifest, PromiseEntry, seal_manifest
from leafscout.model import GlanceAndFocus, choose_read
from leafscout.photos.decode import decode_photo
from leafscout.photos.fingerprint import Fingerprint, fingerprint_many, near_duplicate_groups
from leafscout.photos.labels import LabelTable
from leafscout.photos.splits import merge_groups
from leafscout.training.checkpoint import write_atomically
from leafscout.training.photo_uses import PROMISE_PHOTOS, find_uses
from leafscout.training.progress import TrainingProgress
from leafscout.training.run_folder import read_plan, write_rows
from leafscout.types import Evidence

ANY_DISEASE = "any disease"
_THRESHOLD_STEPS, _CAP_STEPS = 20, 8
_LEAST_PROB = 1e-3


@dataclass(frozen=True)
class PromiseOutcome(JsonValue):
    """What came of asking for a promise.

    Attributes:
        promise: what may be said.
        choice: which tiles are read from now on; None when nothing is promised.
        tiles_read_frac: share of the tiles of calibration photos read by that choice, or by the
            model as it was when nothing is promised.
        notes: what a reader must know about the photos.
    """

    promise: Promise
    choice: ChoiceRule | None
    tiles_read_frac: dict[str, float]
    notes: tuple[str, ...]

    def sentences(self) -> tuple[str, ...]:
        """The promise, and what keeping it costs."""
        read = " and ".join(
            f"{100 * share:.1f}% of the tiles of {name} ones"
            for name, share in self.tiles_read_frac.items()
        )
        if self.choice is None:
            return (self.promise.words(), "The model stays as it was.")
        rule = (
            f"The model now reads tiles that the scout gives {self.choice.threshold_prob:.3f} or "
            f"more, at most {self.choice.max_tiles}: of the calibration photos, {read}."
        )
        return (self.promise.words(), rule)

    def to_dict(self) -> dict[str, Any]:
        """JSON-safe values, with the promise in words."""
        return {
            "words": self.promise.words(),
            "promise": self.promise.to_dict(),
            "choice": None if self.choice is None else json_safe(vars(self.choice)),
            "tiles_read_frac": json_safe(self.tiles_read_frac),
            "notes": list(self.notes),
        }


def promise_run(
    run: Path,
    data: Path,
    *,
    loss_frac: float = 0.05,
    confidence: float = 0.95,
    per_label: bool = False,
    photos_root: Path | None = None,
    seed: int = 0,
    progress: TrainingProgress | None = None,
) -> PromiseOutcome:
    """Choose the thriftiest choice of tiles of which the promise can be made, and keep it.

    Writes the choice and the promise into the model's manifest, ``promise.json`` and the list of
    photos used. Where nothing can be promised, the model stays as it is.

    Args:
        run: the run folder.
        data: photos with labels that the run has not used in any way.
        loss_frac: the largest share of diseased photos that may lose their diagnosis, 0..1.
        confidence: how sure that must be, 0..1.
        per_label: promise it for each label by itself instead of for any disease.
        photos_root: folder that the label file's photo names start from.
        seed: which photo of a group of photos that belong together counts.
        progress: where to show it.

    Raises:
        InputError: no finished model, unfitting labels, shares out of range, or photos that the
            run knows already.
    """
    needed = photos_needed(loss_frac, 1 - confidence)
    model = load(run)
    table, prints = _calibration_photos(run, data, photos_root)
    groups = merge_groups(table.groups, near_duplicate_groups(prints))
    truth = align_labels(table, model.labels)
    counting = _independent(truth, groups, seed, per_label=per_label, labels=model.labels)
    base = _base_choice(model.manifest)
    with progress or TrainingProgress() as shown:
        shown.say(
            f"{int(truth.any(axis=1).sum())} diseased photos for calibration; "
            f"the promise takes at least {needed}."
        )
        seen = _see_everything(model, table, shown)
    ladder = choice_ladder(base, max(len(one.read) for one in seen))
    answers, read = _answer(model.core, seen, ladder)
    losses, found = _lost(answers, truth, counting, model.labels)
    promise, certificate = promise_from_losses(
        losses, found, loss_frac, 1 - confidence, per_label=per_label
    )
    choice = None if certificate.setting is None else ladder[certificate.setting]
    deployed = len(ladder) if certificate.setting is None else certificate.setting
    if choice is None:
        read = np.vstack([read, _answer(model.core, seen, [model.core.rules.choice])[1]])
    outcome = PromiseOutcome(
        promise, choice, _mean_read(read[deployed], truth), _notes(table, truth, counting)
    )
    _write(run, model.manifest, base, outcome, certificate, ladder, losses)
    if choice is not None:
        rows = [
            {"image": name, "sha256": one.sha256}
            for name, one in zip(table.names, prints, strict=True)
        ]
        write_rows(run / PROMISE_PHOTOS, rows)
    return outcome


def choice_ladder(base: ChoiceRule, tiles: int) -> list[ChoiceRule]:
    """Choices of tiles from reading everything to reading next to nothing, through the model's own.

    First the threshold rises from 0 to the model's without a cap, then the cap comes down to the
    model's, then the threshold rises further. The steps depend on the model and on the size of
    photos alone: no label of a calibration photo has a part in them.

    Args:
        base: the model's own choice.
        tiles: in the largest photo.
    """

    def logit(prob: float) -> float:
        bounded = min(max(prob, _LEAST_PROB), 1 - _LEAST_PROB)
        return float(np.log(bounded / (1 - bounded)))

    own, everything = base.threshold_prob, max(tiles, base.max_tiles)
    below = sigmoid(np.linspace(logit(0.0), logit(own), _THRESHOLD_STEPS))
    above = sigmoid(np.linspace(logit(own), logit(1.0), _THRESHOLD_STEPS))
    caps = np.geomspace(everything, base.max_tiles, _CAP_STEPS).round().astype(int)
    steps = [(0.0, everything)]
    steps += [(float(prob), everything) for prob in below if prob < own]
    steps += [(own, int(cap)) for cap in caps]
    steps += [(float(prob), base.max_tiles) for prob in above if prob > own]
    return [replace(base, threshold_prob=prob, max_tiles=cap) for prob, cap in dict.fromkeys(steps)]


def _base_choice(manifest: Manifest) -> ChoiceRule:
    # A choice that an earlier promise made was fitted to its calibration photos.
    entry = manifest.choice if manifest.promise is None else manifest.promise.choice_before
    return ChoiceRule(**entry.model_dump())


def _calibration_photos(
    run: Path, data: Path, photos_root: Path | None
) -> tuple[LabelTable, list[Fingerprint]]:
    """The photos and their fingerprints; refuses photos that the run knows, or copies of them."""
    table = read_run_labels(data, read_plan(run), photos_root)
    prints = fingerprint_many(table.paths)
    uses = find_uses(run, prints, copies=True)
    known = [index for index, use in enumerate(uses) if use not in (None, "promise")]
    if known:
        words = {"train": "trained on", "val": "validated on", "test": "set aside for testing"}
        use = words.get(uses[known[0]] or "", "used")
        raise InputError(
            f"{len(known)} of the {len(uses)} photos in {data} are photos of {run} already, for "
            f"example {table.names[known[0]]}, which was {use}. A promise takes photos that were "
            "used for nothing else: give others."
        )
    return table, prints


def _independent(
    truth: BoolArray,
    groups: NDArray[np.int64],
    seed: int,
    *,
    per_label: bool,
    labels: tuple[str, ...],
) -> dict[str, NDArray[np.intp]]:
    """Population → one photo of each group: photos of one plant are not independent draws."""
    order = np.random.default_rng(seed).permutation(len(truth))
    populations = (
        {name: truth[:, column] for column, name in enumerate(labels)}
        if per_label
        else {ANY_DISEASE: np.asarray(truth.any(axis=1))}
    )
    chosen = {}
    for name, has_it in populations.items():
        members = order[has_it[order]]
        _, first = np.unique(groups[members], return_index=True)
        chosen[name] = np.sort(members[first])
    return chosen


def _see_everything(model: Model, table: LabelTable, progress: TrainingProgress) -> list[Evidence]:
    seen = []
    with progress.task("reading every tile", total=len(table.paths)) as task:
        for path in table.paths:
            seen.append(model.core.forward(decode_photo(path), read_all=True)[0])
            task.advance()
    return seen


def _answer(
    core: GlanceAndFocus, seen: list[Evidence], ladder: list[ChoiceRule]
) -> tuple[BoolArray, NDArray[np.float64]]:
    """(choices, photos, labels) what is found, and (choices, photos) share of the tiles read."""
    thresholds = np.asarray(core.rules.thresholds, dtype=np.float32)
    found = np.zeros((len(ladder), len(seen), len(thresholds)), dtype=np.bool_)
    read_frac = np.zeros((len(ladder), len(seen)))
    for row, choice in enumerate(ladder):
        for column, evidence in enumerate(seen):
            read = choose_read(evidence, choice)
            pooled = replace(evidence, read=read, focus_logits=core.pool(evidence, read))
            found[row, column] = core.label_probs(pooled) >= thresholds
            read_frac[row, column] = read.mean()
    return found, read_frac


def _lost(
    answers: BoolArray,
    truth: BoolArray,
    counting: dict[str, NDArray[np.intp]],
    labels: tuple[str, ...],
) -> tuple[dict[str, BoolArray], dict[str, BoolArray]]:
    """Population → (choices, photos) lost, and (photos,) found when every tile is read.

    The first choice reads everything: it is what the others are judged by.
    """
    right = answers & truth
    losses, found = {}, {}
    for name, photos in counting.items():
        mine = right[:, photos]
        is_right = np.asarray(
            mine.any(axis=2) if name == ANY_DISEASE else mine[:, :, labels.index(name)]
        )
        found[name] = is_right[0]
        losses[name] = is_right[:1] & ~is_right
    return losses, found


def _mean_read(read_frac: NDArray[np.float64], truth: BoolArray) -> dict[str, float]:
    diseased = truth.any(axis=1)
    groups = {"diseased": diseased, "healthy": ~diseased}
    return {name: float(read_frac[mask].mean()) for name, mask in groups.items() if mask.any()}


def _notes(
    table: LabelTable, truth: BoolArray, counting: dict[str, NDArray[np.intp]]
) -> tuple[str, ...]:
    notes = []
    if ANY_DISEASE in counting and len(counting[ANY_DISEASE]) < truth.any(axis=1).sum():
        notes.append(
            f"{int(truth.any(axis=1).sum())} photos are diseased; of those that belong together "
            f"(groups, near-duplicates) one counts, which leaves {len(counting[ANY_DISEASE])}."
        )
    if not table.healthy.any():
        notes.append(
            "No photo is healthy: what the choice costs on healthy photos was not measured."
        )
    return tuple(notes)


def _write(
    run: Path,
    manifest: Manifest,
    base: ChoiceRule,
    outcome: PromiseOutcome,
    certificate: Certificate,
    ladder: list[ChoiceRule],
    losses: dict[str, BoolArray],
) -> None:
    """``promise.json`` says how it came about; the manifest is what binds the model."""
    content = outcome.to_dict() | {
        "settings": [
            {
                "threshold_prob": choice.threshold_prob,
                "max_tiles": choice.max_tiles,
                "p_value": p_value,
                "losses": {name: int(lost[row].sum()) for name, lost in losses.items()},
            }
            for row, (choice, p_value) in enumerate(
                zip(ladder, certificate.p_values.tolist(), strict=True)
            )
        ],
        # Photo by photo the settings that lose it, for measuring how often promises hold.
        "lost_at": {
            name: [np.flatnonzero(column).tolist() for column in lost.T]
            for name, lost in losses.items()
        },
    }
    write_atomically(run / "promise.json", (json.dumps(content, indent=1) + "\n").encode())
    if outcome.choice is None:
        return
    entry = PromiseEntry(
        loss_frac=outcome.promise.loss_frac,
        confidence=outcome.promise.confidence,
        per_label=outcome.promise.per_label,
        words=outcome.promise.words(),
        choice=ChoiceEntry(**vars(outcome.choice)),
        choice_before=ChoiceEntry(**vars(base)),
    )
    changed = manifest.model_copy(update={"choice": entry.choice, "promise": entry})
    write_atomically(run / "model" / MANIFEST_NAME, seal_manifest(changed))
