"""The manifest of a trained model: everything about it that is not a weight, as JSON."""

from __future__ import annotations

import hashlib
import json
import re
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from leafscout.diagnosis.calibrate import Calibration
from leafscout.diagnosis.pooling import POOLINGS
from leafscout.errors import InputError
from leafscout.glance.choose import ChoiceRule
from leafscout.glance.familiarity import FEATURES, Familiarity
from leafscout.model import Rules
from leafscout.plain_text import hidden_signs

MANIFEST_VERSION = 2
READABLE_VERSIONS = (1, 2)
"""Version 1 lacks the digest of the manifest itself; it is read as it is."""
MANIFEST_NAME = "manifest.json"
MOST_MANIFEST_BYTES = 16 << 20
_WEIGHTS = {".safetensors", ".onnx", ".xml", ".bin", ".data"}

_DIGEST = re.compile(rb'(?<="digest": ")[0-9a-f]{64}(?=")')
_BACKBONE = r"^[A-Za-z0-9_.\-]{1,100}$"
"""A name that a list of networks may hold: never an address or a path to fetch one from."""


class ChoiceEntry(BaseModel):
    """``leafscout.glance.choose.ChoiceRule`` as JSON."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    threshold_prob: float
    max_tiles: int
    suspicion_prob: float
    suspicion_tiles: int
    mirrored_glances: int = 0
    uncertain_tiles: int = 0
    uncertain_spread: float = 0.0
    closer_glance_px: int = 0
    closer_regions: int = 8
    border_exponent: float = 1.0


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
        max_scout_change: largest change of a probability that decides which tiles are read; 0
            where there is one look.
        decisions_changed: photos on which another set of labels was found.
        choices_changed: photos of which other tiles were read; 0 where there is one look.
        borderline: photos so near a threshold that rounding alone may decide them.
        logit_cosine: between the logits of both on what both looked at, -1..1.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)
    photos: int
    max_prob_change: float
    max_scout_change: float
    decisions_changed: int
    choices_changed: int
    borderline: tuple[str, ...]
    logit_cosine: float | None = None


class TokenMacsEntry(BaseModel):
    """``leafscout.gated_model.TokenMacs`` as JSON."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    fixed: int
    per_cell: int
    per_coarse_cell: int
    per_token: int
    per_token_pair: int
    per_kept: int
    per_kept_pair: int


class ExportEntry(BaseModel):
    """What an exported model is made of and made from.

    Attributes:
        runtime: what runs its graphs.
        precision: of its numbers.
        source_files: SHA-256 of the weights files that it was made from.
        calibration_photos: photos that the ranges of int8 were measured on; 0 for fp32.
        calibration_tiles: tiles of those photos.
        fp32_layers: network → its convolutions that stay in single precision in an int8 model,
            beside the last ones; those that rounding would harm most.
        token_macs: what its multiply-adds are counted by; of an integrated model alone.
        parity: how it compared with what it was made from.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)
    runtime: Literal["onnxruntime", "openvino"]
    precision: Literal["fp32", "int8"]
    source_files: dict[str, str]
    calibration_photos: int
    calibration_tiles: int
    fp32_layers: dict[str, tuple[str, ...]] = {}
    token_macs: TokenMacsEntry | None = None
    parity: ParityEntry


class FamiliarityEntry(BaseModel):
    """``leafscout.glance.familiarity.Familiarity`` as JSON."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    centre: tuple[float, ...] = Field(min_length=FEATURES, max_length=FEATURES)
    spread: tuple[Annotated[float, Field(gt=0)], ...] = Field(
        min_length=FEATURES, max_length=FEATURES
    )
    precision: tuple[float, ...] = Field(
        min_length=FEATURES * (FEATURES + 1) // 2, max_length=FEATURES * (FEATURES + 1) // 2
    )
    view_px: int = Field(ge=32, le=16_384)
    limit: float = Field(gt=0)
    prior: tuple[Annotated[float, Field(ge=0, le=1)], ...]
    false_alarm_frac: float = Field(gt=0, lt=1)


class GateEntry(BaseModel):
    """What an integrated model is built of; see ``GatedTransformer``.

    Attributes:
        width: of a token.
        early_blocks: transformer blocks before the gate.
        later_blocks: transformer blocks behind it.
        num_heads: of the attention.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)
    width: int
    early_blocks: int
    later_blocks: int
    num_heads: int


class RecogniserEntry(BaseModel):
    """What a recogniser is built of; see ``leafscout.recognisers.shapes.RecogniserShape``.

    Attributes:
        spatial_transformer: it turns and frames the photo first.
        polarised: polarised attention between encoder and head.
        head: how features become evidence.
        features: length of the vector behind polarised attention.
        margin: of ArcFace while it learnt, radians; its answers hold none.
        easy_margin: only where the angle was below 90 degrees.
        scale: of ArcFace's cosines when it began to learn.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)
    spatial_transformer: bool
    polarised: bool
    head: Literal["linear", "arcface"]
    features: int = Field(ge=1, le=8192)
    margin: float = Field(ge=0.0, lt=3.15)
    easy_margin: bool
    scale: float = Field(gt=0.0)


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
        digest: SHA-256 of the manifest's own text with this one left out; ``seal_manifest``
            fills it in.
        gate: of an integrated model, whose ``expert`` is the stem, whose tiles are tokens and
            whose glance is its view of the photo; None for the other families.
        recogniser: of a recogniser of whole photos, whose ``expert`` is the encoder and whose
            ``glance_px`` is the side of the photo that it is given; None for the other families.
        familiarity: what the training photos look like; None where it was not learnt.
        promise: about diagnoses lost through dropping tiles, where one was made.
        export: of an exported model; None for the PyTorch model of a run.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)
    version: int
    leafscout: str
    labels: tuple[str, ...] = Field(min_length=1, max_length=100_000)
    expert: str = Field(pattern=_BACKBONE)
    scout: str = Field(pattern=_BACKBONE)
    tile_px: int = Field(ge=1, le=16_384)
    glance_px: int = Field(ge=1, le=16_384)
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
    gate: GateEntry | None = None
    recogniser: RecogniserEntry | None = None
    familiarity: FamiliarityEntry | None = None
    promise: PromiseEntry | None = None
    export: ExportEntry | None = None
    digest: str = ""

    @property
    def family(self) -> str:
        """``glance_and_focus``, ``gated`` or ``recogniser``."""
        if self.recogniser is not None:
            return "recogniser"
        return "glance_and_focus" if self.gate is None else "gated"

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
        if len(set(self.labels)) < len(self.labels) or not all(self.labels):
            raise ValueError("expected labels with different names")
        if any(hidden_signs(label) for label in self.labels):
            raise ValueError("a label holds signs that cannot be seen")
        if self.pooling not in POOLINGS:
            raise ValueError(f"there is no pooling called {self.pooling!r}")
        if self.gate is not None and self.recogniser is not None:
            raise ValueError("a model is either gated or a recogniser")
        if self.export is not None and (self.gate is None) != (self.export.token_macs is None):
            raise ValueError("expected export.token_macs of an integrated model, and of no other")
        if self.familiarity is not None and len(self.familiarity.prior) != len(self.labels):
            raise ValueError("expected one value a label in familiarity.prior")
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
            familiarity=None
            if self.familiarity is None
            else Familiarity(**self.familiarity.model_dump()),
        )


def read_manifest(model_folder: Path) -> Manifest:
    """Read and check a model folder's manifest and the hashes of its files.

    Raises:
        InputError: missing or damaged manifest, another version, or a file that was changed.
    """
    path = model_folder / MANIFEST_NAME
    _check_inside(path, model_folder)
    if not path.is_file():
        raise InputError(
            f"There is no trained model in {model_folder}: {MANIFEST_NAME} is missing. "
            "Train to the end first; `leafscout train … --resume` goes on with a stopped run."
        )
    try:
        with path.open("rb") as opened:
            text = opened.read(MOST_MANIFEST_BYTES)
        values: dict[str, Any] = json.loads(text.decode("utf-8"))
    except (ValueError, OSError, RecursionError) as error:
        why = str(error)[:200]
        raise InputError(f"{path} is damaged: it is not readable as JSON ({why}).") from error
    version = values.get("version") if isinstance(values, dict) else None
    if version not in READABLE_VERSIONS or isinstance(version, bool):
        raise InputError(
            f"{path} has version {str(version)[:50]}, but this LeafScout reads version "
            f"{' and '.join(map(str, READABLE_VERSIONS))}. "
            "Use the LeafScout that wrote it, or train again."
        )
    try:
        manifest = Manifest.model_validate(values)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"])) or "its values"
        raise InputError(f"{path} is damaged: {place}: {first['msg']}.") from error
    _check_digest(text, manifest, path)
    for name, expected in manifest.files.items():
        if Path(name).name != name or name in ("", ".", "..") or "\\" in name:
            raise InputError(f"{path} names a file outside its folder: {name!r}.")
        file = model_folder / name
        _check_inside(file, model_folder)
        if not file.is_file() or sha256_of(file) != expected:
            remedy = "train again" if manifest.export is None else "export the model again"
            raise InputError(
                f"{file} is missing or was changed since the model was saved. "
                f"Restore it from a copy, or {remedy}."
            )
    _check_unnamed(model_folder, manifest)
    return manifest


def seal_manifest(manifest: Manifest) -> bytes:
    """The text of a manifest, with the digest that tells whether a byte of it was changed."""
    update = {"digest": "", "version": MANIFEST_VERSION}
    values = manifest.model_copy(update=update).model_dump(mode="json")
    text = (json.dumps(values, indent=2, ensure_ascii=False) + "\n").encode()
    digest = hashlib.sha256(text).hexdigest().encode()
    return text.replace(b'"digest": ""', b'"digest": "' + digest + b'"')


def _check_digest(text: bytes, manifest: Manifest, path: Path) -> None:
    if manifest.version == 1 and not manifest.digest:
        return
    blank = _DIGEST.sub(b"", text)
    if hashlib.sha256(blank).hexdigest() != manifest.digest:
        raise InputError(
            f"{path} was changed since the model was saved. Restore it from a copy, or train or "
            "export the model again."
        )


def _check_unnamed(folder: Path, manifest: Manifest) -> None:
    """Refuse weights that the manifest does not name, so that none is used unchecked."""
    found = (path.name for path in folder.iterdir() if path.suffix in _WEIGHTS)
    unnamed = next((name for name in found if name not in manifest.files), None)
    if unnamed is not None:
        raise InputError(
            f"{folder} holds {unnamed}, which its {MANIFEST_NAME} does not name. Remove that file."
        )


def _check_inside(file: Path, folder: Path) -> None:
    """Refuse a link that leads out of the model's folder."""
    if file.resolve().parent != folder.resolve():
        raise InputError(
            f"{file} is a link that leads out of its folder. Put the file itself there."
        )


def sha256_of(path: Path) -> str:
    """SHA-256 of a file, as hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
