"""The manifest of a trained model: everything about it that is not a weight, as JSON."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict, ValidationError, model_validator

from leafscout.diagnosis.calibrate import Calibration
from leafscout.diagnosis.pooling import POOLINGS
from leafscout.errors import InputError
from leafscout.glance.choose import ChoiceRule
from leafscout.model import Rules

MANIFEST_VERSION = 1
MANIFEST_NAME = "manifest.json"


class ChoiceEntry(BaseModel):
    """``leafscout.glance.choose.ChoiceRule`` as JSON."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    threshold_prob: float
    max_tiles: int
    suspicion_prob: float
    suspicion_tiles: int


class PromiseEntry(BaseModel):
    """What was promised about diagnoses lost through dropping tiles.

    Attributes:
        loss_frac: the largest share of diseased photos that may lose their diagnosis, 0..1.
        confidence: how sure that is, 0..1.
        per_label: whether it holds for each label by itself.
        words: the promise in sentences.
        choice: which tiles are read when it holds.
        choice_before: which were read before; another promise starts from these again.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)
    loss_frac: float
    confidence: float
    per_label: bool
    words: str
    choice: ChoiceEntry
    choice_before: ChoiceEntry


class ParityEntry(BaseModel):
    """How an exported model compared with the PyTorch model on real photos.

    Attributes:
        photos: photos that both diagnosed.
        max_prob_change: largest change of a label's probability where both read the same tiles.
        max_scout_change: largest change of a probability that decides which tiles are read.
        decisions_changed: photos on which another set of labels was found.
        choices_changed: photos of which other tiles were read.
        borderline: photos so near a threshold that rounding alone may decide them.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)
    photos: int
    max_prob_change: float
    max_scout_change: float
    decisions_changed: int
    choices_changed: int
    borderline: tuple[str, ...]


class ExportEntry(BaseModel):
    """What an exported model is made of and made from.

    Attributes:
        runtime: what runs its graphs.
        precision: of its numbers.
        source_files: SHA-256 of the weights files that it was made from.
        calibration_photos: photos that the ranges of int8 were measured on; 0 for fp32.
        calibration_tiles: tiles of those photos.
        parity: how it compared with what it was made from.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)
    runtime: Literal["onnxruntime", "openvino"]
    precision: Literal["fp32", "int8"]
    source_files: dict[str, str]
    calibration_photos: int
    calibration_tiles: int
    parity: ParityEntry


class Manifest(BaseModel):
    """What ``model/manifest.json`` holds.

    Attributes:
        version: of this format.
        leafscout: version of the package that wrote it.
        labels: names of the diseases; healthy is the absence of all of them.
        expert: backbone of the expert.
        scout: backbone of the scout.
        tile_px: side of a tile in pixels of the photo.
        glance_px: long side of the glance in pixels.
        pooling: evidence of tiles → evidence of the photo.
        choice: which tiles are read.
        glance_weights: of the glance in the fused evidence, one a label.
        calibration_scale: one a label.
        calibration_shift: one a label.
        exclusive: whether photos show one disease or none: probabilities are a softmax.
        thresholds: one a label.
        thresholds_fitted: one a label; False where validation held no photo with the label.
        expert_macs: multiply-adds of the expert for one tile.
        scout_macs_per_px: multiply-adds of the scout for one pixel of the glance.
        scout_stride: where the scout's backbone ends, 16 or 32.
        place_stride: pixels that the expert's backbone sees per place, 16 or 32.
        place_offset_px: how far right of and below an even grid the expert sees its places.
        data_fingerprint: of the training data.
        files: SHA-256 of the weights files beside the manifest.
        promise: about diagnoses lost through dropping tiles, where one was made.
        export: of an exported model; None for the PyTorch model of a run.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)
    version: int
    leafscout: str
    labels: tuple[str, ...]
    expert: str
    scout: str
    tile_px: int
    glance_px: int
    pooling: str
    choice: ChoiceEntry
    glance_weights: tuple[float, ...]
    calibration_scale: tuple[float, ...]
    calibration_shift: tuple[float, ...]
    exclusive: bool = False
    thresholds: tuple[float, ...]
    thresholds_fitted: tuple[bool, ...]
    expert_macs: int
    scout_macs_per_px: float
    scout_stride: int
    place_stride: int
    place_offset_px: float
    data_fingerprint: str
    files: dict[str, str]
    promise: PromiseEntry | None = None
    export: ExportEntry | None = None

    @model_validator(mode="after")
    def _check_consistency(self) -> Self:
        for name in (
            "glance_weights",
            "calibration_scale",
            "calibration_shift",
            "thresholds",
            "thresholds_fitted",
        ):
            if len(getattr(self, name)) != len(self.labels):
                raise ValueError(f"expected one value a label in {name}")
        if self.pooling not in POOLINGS:
            raise ValueError(f"there is no pooling called {self.pooling!r}")
        if self.promise is not None and self.promise.choice != self.choice:
            raise ValueError("the promise was made for another choice of tiles")
        return self

    def rules(self) -> Rules:
        """The rules that the model decides by."""
        return Rules(
            labels=self.labels,
            tile_px=self.tile_px,
            glance_px=self.glance_px,
            pooling=self.pooling,
            choice=ChoiceRule(**self.choice.model_dump()),
            glance_weights=self.glance_weights,
            calibration=Calibration(self.calibration_scale, self.calibration_shift, self.exclusive),
            thresholds=self.thresholds,
            expert_macs=self.expert_macs,
            scout_macs_per_px=self.scout_macs_per_px,
            place_offset_px=self.place_offset_px,
        )


def read_manifest(model_folder: Path) -> Manifest:
    """Read and check a model folder's manifest and the hashes of its files.

    Raises:
        InputError: missing or damaged manifest, another version, or a file that was changed.
    """
    path = model_folder / MANIFEST_NAME
    if not path.is_file():
        raise InputError(
            f"There is no trained model in {model_folder}: {MANIFEST_NAME} is missing. "
            "Train to the end first; `leafscout train … --resume` goes on with a stopped run."
        )
    try:
        values: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, OSError) as error:
        raise InputError(f"{path} is damaged: it is not readable as JSON ({error}).") from error
    version = values.get("version") if isinstance(values, dict) else None
    if version != MANIFEST_VERSION:
        raise InputError(
            f"{path} has version {version}, but this LeafScout reads version {MANIFEST_VERSION}. "
            "Use the LeafScout that wrote it, or train again."
        )
    try:
        manifest = Manifest.model_validate(values)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"])) or "its values"
        raise InputError(f"{path} is damaged: {place}: {first['msg']}.") from error
    for name, expected in manifest.files.items():
        if Path(name).name != name:
            raise InputError(f"{path} names a file outside its folder: {name!r}.")
        file = model_folder / name
        if not file.is_file() or sha256_of(file) != expected:
            remedy = "train again" if manifest.export is None else "export the model again"
            raise InputError(
                f"{file} is missing or was changed since the model was saved. "
                f"Restore it from a copy, or {remedy}."
            )
    return manifest


def sha256_of(path: Path) -> str:
    """SHA-256 of a file, as hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
