"""Question a finished run: what does it not see, and does it look at lesions at all?

Nothing is trained. What takes trainings of its own, random labels and reversed shortcuts, is in
``benchmarks/training_controls.py``.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from leafscout.errors import InputError
from leafscout.evaluation.audits import (
    CoverTrial,
    Finding,
    FrameAgreement,
    find_suspicious_labels,
    judge_covering,
    judge_frames,
    judge_label_probe,
    judge_labels,
    judge_source_probe,
    judge_split_probe,
)
from leafscout.evaluation.blind_zone import BlindZone, LesionTrial
from leafscout.evaluation.json_values import JsonValue, json_safe
from leafscout.evaluation.probes import probe_label, probe_source, probe_split
from leafscout.inference.blind_zone_run import BlindZonePicture, find_blind_zone
from leafscout.inference.lesion_truth import read_lesion_truth
from leafscout.inference.load import Model, load
from leafscout.inference.pictures import BLIND_ZONE, replace_pictures
from leafscout.inference.second_looks import look_covered, look_shifted
from leafscout.inference.sightings import Sighting, see_photo
from leafscout.inference.unseen_photos import align_labels, read_run_labels
from leafscout.photos.fingerprint import fingerprint_many
from leafscout.photos.labels import LabelTable
from leafscout.training.checkpoint import write_atomically
from leafscout.training.photo_uses import find_uses
from leafscout.training.progress import TrainingProgress
from leafscout.training.run_folder import read_plan

PHOTOS = 60
PASTED_LESIONS = 10
FRAMES = 20
COVERED = 12
"""Photos behind the audits that look several times at each."""


@dataclass(frozen=True, eq=False)
class Audit(JsonValue):
    """Everything that an audit of a run found.

    Attributes:
        photos: photos looked at.
        healthy: of which healthy.
        notes: what a reader must know about them.
        findings: one an audit.
        blind_zone: which lesions the scout does not see.
        trials: what the blind zone was measured by.
    """

    photos: int
    healthy: int
    notes: tuple[str, ...]
    findings: tuple[Finding, ...]
    blind_zone: BlindZone
    trials: tuple[LesionTrial, ...]

    def to_dict(self) -> dict[str, Any]:
        """JSON-safe values, with the blind zone in words."""
        return {
            "photos": self.photos,
            "healthy": self.healthy,
            "notes": list(self.notes),
            "blind_zone_sentences": list(self.blind_zone.sentences()),
            "findings": json_safe(self.findings),
            "blind_zone": self.blind_zone.to_dict(),
            "trials": json_safe(self.trials),
        }


def audit_run(
    run: Path,
    data: Path,
    *,
    boxes: Path | None = None,
    masks: Path | None = None,
    most: int = PHOTOS,
    pasted: int = PASTED_LESIONS,
    photos_root: Path | None = None,
    force: bool = False,
    seed: int = 0,
    progress: TrainingProgress | None = None,
) -> Audit:
    """Make all audits that need no training.

    Writes ``audit.json`` and the pictures of the blind zone into the run folder.

    Args:
        run: the run folder.
        data: photos with labels. Photos that the run was trained on are left out.
        boxes: CSV of lesion boxes, instead of the places that the expert finds.
        masks: folder of lesion masks, likewise.
        most: at most so many photos, as many healthy as diseased ones where there are enough.
        pasted: at most so many lesions are made smaller and pasted.
        photos_root: folder that the label file's photo names start from.
        force: take photos that the run was trained on too.
        seed: which photos, places and folds.
        progress: where to show it.

    Raises:
        InputError: no finished model, unfitting labels, or photos that were all trained on.
    """
    if most < 2:
        raise InputError(f"Expected --most to be at least 2 photos, but got {most}.")
    model = load(run)
    table, notes = _auditable_photos(run, data, photos_root, force=force)
    lesions = None if boxes is None and masks is None else read_lesion_truth(boxes, masks)
    if lesions is not None:
        lesions.check_names(table.names)
    table = table.subset(_choose_photos(table.healthy, most, seed))
    truth = align_labels(table, model.labels)
    with progress or TrainingProgress() as shown:
        sightings = []
        with shown.task("reading every tile", total=len(table.paths)) as task:
            for path, name, row in zip(table.paths, table.names, truth, strict=True):
                sightings.append(see_photo(model, path, name, row, lesions))
                task.advance()
        zone, trials, pictures = find_blind_zone(
            model, sightings, donors=pasted, seed=seed, progress=shown
        )
        findings = (
            *_look_again(model, sightings, seed, shown),
            *_probe_background(sightings, seed),
            _question_labels(sightings, model.labels),
        )
    healthy = sum(one.healthy for one in sightings)
    audit = Audit(len(sightings), healthy, tuple(notes), findings, zone, trials)
    _write(run, audit, pictures)
    return audit


def _auditable_photos(
    run: Path, data: Path, photos_root: Path | None, *, force: bool
) -> tuple[LabelTable, list[str]]:
    """Photos that the run was not trained on; validation photos will do."""
    table = read_run_labels(data, read_plan(run), photos_root)
    uses = find_uses(run, fingerprint_many(table.paths))
    kept = [index for index, use in enumerate(uses) if force or use != "train"]
    if not kept:
        raise InputError(
            f"All {len(uses)} photos in {data} were used to train {run}: it knows their labels by "
            "heart. Give other photos, or add --force to audit on these."
        )
    notes = []
    if force and "train" in uses:
        notes.append(
            f"FORCED: {uses.count('train')} of {len(uses)} photos were used to train this model; "
            "it looks better on them than on new ones."
        )
    if len(kept) < len(uses):
        notes.append(
            f"The {len(uses) - len(kept)} photos that the run was trained on were left out."
        )
    validated = sum(uses[index] == "val" for index in kept)
    if validated:
        notes.append(
            f"{validated} of the photos are validation photos: thresholds were chosen on them."
        )
    return table.subset(kept), notes


def _choose_photos(healthy: NDArray[np.bool_], most: int, seed: int) -> list[int]:
    """As many healthy as diseased photos where there are enough, in their order."""
    order = np.random.default_rng(seed).permutation(len(healthy))
    well, ill = order[healthy[order]], order[~healthy[order]]
    chosen = [
        *well[: max(most // 2, most - len(ill))],
        *ill[: max(most - most // 2, most - len(well))],
    ]
    return sorted(int(index) for index in chosen)


def _look_again(
    model: Model, sightings: Sequence[Sighting], seed: int, progress: TrainingProgress
) -> tuple[Finding, Finding]:
    diseased = [one for one in sightings if not one.healthy]
    rng = np.random.default_rng(seed)
    frames: list[FrameAgreement] = []
    covered: list[CoverTrial] = []
    with progress.task("looking again", total=len(diseased)) as task:
        for one in diseased:
            agreement = look_shifted(model, one) if len(frames) < FRAMES else None
            trial = look_covered(model, one, rng) if len(covered) < COVERED else None
            frames += [agreement] if agreement is not None else []
            covered += [trial] if trial is not None else []
            task.advance()
    return judge_frames(frames), judge_covering(covered)


def _probe_background(sightings: Sequence[Sighting], seed: int) -> tuple[Finding, ...]:
    """Ask tiles that nothing speaks for about the label and the photo they come from."""
    quiet = [_quiet_tiles(one) for one in sightings]
    kept = [index for index, tiles in enumerate(quiet) if len(tiles)]
    colours = [sightings[index].colours[quiet[index]] for index in kept]
    scores = [
        np.column_stack(
            [
                sightings[index].evidence.scout_logits,
                sightings[index].evidence.scout_label_logits,
            ]
        )[quiet[index]].astype(np.float64)
        for index in kept
    ]
    diseased = np.array([not sightings[index].healthy for index in kept], dtype=np.bool_)
    counts = [len(part) for part in colours]
    of_tile = np.repeat(np.arange(len(kept)), counts)
    tiles = np.concatenate(colours) if colours else np.zeros((0, 7))
    audit = "background betrays the label"
    return (
        judge_label_probe(
            f"{audit} (colour)",
            "the mean colour",
            probe_label(_means(colours), diseased, seed=seed),
        ),
        judge_label_probe(
            f"{audit} (scout)",
            "the scout's scores",
            probe_label(_means(scores), diseased, seed=seed),
        ),
        judge_source_probe(probe_source(tiles, of_tile, seed=seed)),
        judge_split_probe(probe_split(tiles, of_tile, np.repeat(diseased, counts), seed=seed)),
    )


def _quiet_tiles(sighting: Sighting) -> NDArray[np.intp]:
    """Of the tiles not chosen, the half with the least evidence, as long as it speaks against."""
    unread = np.flatnonzero(~sighting.chosen & (sighting.tile_evidence < 0))
    quietest = unread[np.argsort(sighting.tile_evidence[unread], kind="stable")]
    return np.asarray(quietest[: -(-len(quietest) // 2)])


def _means(parts: Sequence[NDArray[np.float64]]) -> NDArray[np.float64]:
    return np.array([part.mean(axis=0) for part in parts])


def _question_labels(sightings: Sequence[Sighting], labels: tuple[str, ...]) -> Finding:
    suspicious = find_suspicious_labels(
        [one.name for one in sightings],
        labels,
        np.stack([one.truth for one in sightings]),
        np.stack([one.probs for one in sightings]),
    )
    return judge_labels(suspicious, len(sightings))


def _write(run: Path, audit: Audit, pictures: Sequence[BlindZonePicture]) -> None:
    content = json.dumps(audit.to_dict(), indent=1, ensure_ascii=False, allow_nan=False)
    replace_pictures(
        run / "pictures",
        BLIND_ZONE,
        [(picture.pixels, picture.caption) for picture in pictures],
    )
    # Last, so that an audit that stands there has its pictures.
    write_atomically(run / "audit.json", (content + "\n").encode())
