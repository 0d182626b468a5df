"""A finished run as a teacher: which of its networks teaches, and what it is asked."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from leafscout.diagnosis.pooling import pool_tiles
from leafscout.errors import InputError
from leafscout.focus.expert import EXPERT_STRIDE, Expert
from leafscout.glance.view import glance_size_px_hw, take_glance, take_square
from leafscout.manifest import read_manifest, sha256_of
from leafscout.networks import build_expert, count_macs, to_batch
from leafscout.nn.backbones import build_backbone
from leafscout.photos.decode import list_photos
from leafscout.photos.fingerprint import fingerprint_many
from leafscout.photos.loader import load_photos
from leafscout.photos.tiles import lay_tiles
from leafscout.recogniser_networks import build_recogniser_network
from leafscout.recognisers.shapes import RecogniserShape
from leafscout.recognisers.whole_photo import Recogniser
from leafscout.training.checkpoint import load_checkpoint, load_tensors, save_tensors
from leafscout.training.distil_settings import check_teacher_kind, read_levels
from leafscout.training.distillation import NetworkTutor
from leafscout.training.evidence_pass import gather_evidence
from leafscout.training.photo_uses import find_uses
from leafscout.training.progress import TrainingProgress
from leafscout.training.recipes import Recipe, recipe_from_dict
from leafscout.training.recogniser_recipe import RECOGNISER_FAMILY
from leafscout.training.resized_baseline import ResizedPhotoNetwork
from leafscout.training.run_folder import read_plan
from leafscout.types import FloatArray


@dataclass(frozen=True, eq=False)
class Teacher:
    """A network of a finished run that a student learns from.

    Attributes:
        run: its run folder.
        kind: a key of ``TEACHER_KINDS``.
        labels: the diseases it knows.
        exclusive: whether its labels exclude each other.
        pooling: evidence of its tiles → evidence of the photo.
        tile_px: side of its tiles; None for a network on the resized photo.
        side_px: long side of the photo that it is given; None for an expert.
        expert: the expert; None for a network on the resized photo.
        photo_network: the other way round; gives logits.
        weights_sha256: of the file that its weights came from.
        square: whether the resized photo is squeezed into a square, as recognisers want it.
    """

    run: Path
    kind: str
    labels: tuple[str, ...]
    exclusive: bool
    pooling: str
    tile_px: int | None
    side_px: int | None
    expert: Expert | None
    photo_network: nn.Module | None
    weights_sha256: str
    square: bool = False

    def to_dict(self) -> dict[str, str]:
        """What a plan says of it, JSON-safe: where it may lie is not part of it."""
        return {"kind": self.kind, "run": self.run.name, "weights_sha256": self.weights_sha256}

    def count_macs(self, photo_size_px_hw: tuple[int, int]) -> int:
        """Multiply-adds of the teacher, which drops nothing, for one photo of this size."""
        if self.expert is not None and self.tile_px is not None:
            tiles = lay_tiles(photo_size_px_hw, self.tile_px)
            return len(tiles) * count_macs(self.expert, self.tile_px, self.tile_px)
        if self.photo_network is None or self.side_px is None:
            raise ValueError("A teacher has an expert or a network on the resized photo.")
        sides = glance_size_px_hw(photo_size_px_hw, self.side_px)
        if self.square:
            sides = self.side_px, self.side_px
        return count_macs(self.photo_network, *sides)


def load_teacher(run: Path, kind: str, device: torch.device) -> Teacher:
    """The network of a finished run that teaches.

    Args:
        run: a run folder.
        kind: a key of ``TEACHER_KINDS``.
        device: where it is to run.

    Raises:
        InputError: unknown kind, or no such finished network in the run.
    """
    check_teacher_kind(kind)
    plan = read_plan(run)
    return _load_expert(run, device) if kind == "expert" else _load_photo(run, plan, device)


def _load_expert(run: Path, device: torch.device) -> Teacher:
    folder = run / "model"
    manifest = read_manifest(folder)
    if manifest.recogniser is not None:
        raise InputError(
            f"{run} holds a recogniser of whole photos, which can teach what a photo shows but not "
            "where. Add --teacher-kind photo, or give a run of scout and expert as --teacher."
        )
    if manifest.family != "glance_and_focus":
        raise InputError(
            f"{run} holds one network that drops tokens, not an expert that reads tiles, so it "
            "cannot teach one. Give a run of scout and expert as --teacher."
        )
    expert = build_expert(
        manifest.expert, len(manifest.labels), place_stride=manifest.place_stride
    ).to(device)
    path = folder / "expert.safetensors"
    try:
        expert.load_state_dict(load_tensors(path)[0])
    except RuntimeError as error:
        raise InputError(
            f"{path} does not hold the weights that the manifest describes. "
            "Restore the model folder from a copy, or choose another teacher."
        ) from error
    return Teacher(
        run, "expert", manifest.labels, manifest.exclusive, manifest.pooling, manifest.tile_px,
        None, expert.eval().requires_grad_(requires_grad=False), None,
        manifest.files.get(path.name) or sha256_of(path),
    )  # fmt: skip


class RecogniserLogits(nn.Module):
    """A recogniser as a teacher is asked: pixels in, logits out."""

    def __init__(self, network: Recogniser) -> None:
        super().__init__()
        self.network = network

    def forward(self, pixels: Tensor) -> Tensor:
        """(photos, 3, side, side) 0..255 → (photos, labels)."""
        logits: Tensor = self.network(pixels).logits
        return logits


def _load_recogniser(run: Path, device: torch.device) -> Teacher:
    manifest = read_manifest(run / "model")
    if manifest.recogniser is None:
        raise ValueError("Expected the run of a recogniser.")
    shape = RecogniserShape(manifest.expert, manifest.glance_px, **manifest.recogniser.model_dump())
    network = build_recogniser_network(shape, len(manifest.labels)).to(device)
    name = next(iter(manifest.files))
    try:
        network.load_state_dict(load_tensors(run / "model" / name)[0])
    except RuntimeError as error:
        raise InputError(
            f"{run / 'model' / name} does not hold the weights that the manifest describes. "
            "Restore the model folder from a copy, or choose another teacher."
        ) from error
    return Teacher(
        run, "photo", manifest.labels, manifest.exclusive, manifest.pooling, None,
        manifest.glance_px, None,
        RecogniserLogits(network).eval().requires_grad_(requires_grad=False),
        manifest.files[name], square=True,
    )  # fmt: skip


def _load_photo(run: Path, plan: Mapping[str, Any], device: torch.device) -> Teacher:
    if plan.get("recipe", {}).get("family") == RECOGNISER_FAMILY:
        return _load_recogniser(run, device)
    found = {
        int(path.parent.name.removeprefix("resized_photo_").removesuffix("px")): path
        for path in (run / "checkpoints").glob("resized_photo_*px/best.safetensors")
    }
    if not found:
        raise InputError(
            f"{run} holds no network on the resized photo, so it cannot teach with "
            "--teacher-kind photo. Run `leafscout evaluate … --baselines` on it first, or use "
            "--teacher-kind expert."
        )
    side_px = max(found)
    recipe, labels = recipe_from_dict(plan["recipe"]), tuple(plan["labels"])
    backbone = build_backbone(recipe.expert, stride=EXPERT_STRIDE)
    network = ResizedPhotoNetwork(backbone, len(labels)).to(device)
    load_checkpoint(found[side_px], network, None)
    return Teacher(
        run,
        "photo",
        labels,
        exclusive=False,
        pooling=recipe.pooling,
        tile_px=None,
        side_px=side_px,
        expert=None,
        photo_network=network.eval().requires_grad_(requires_grad=False),
        weights_sha256=sha256_of(found[side_px]),
    )


def take_sizes(overrides: Mapping[str, Any] | None, teacher: Teacher | None) -> dict[str, Any]:
    """Settings of a student's recipe: what was asked for, and the teacher's tiles beside it.

    Both must speak of the same tiles, so a student reads tiles of its teacher's size unless asked
    otherwise; and with a teacher it learns from it.
    """
    given = {key: value for key, value in (overrides or {}).items() if value is not None}
    if teacher is None:
        return given
    defaults: dict[str, Any] = {"distil_mode": "offline"}
    if teacher.tile_px is not None:
        defaults["tile_px"] = teacher.tile_px
    if teacher.kind == "photo":
        defaults["distil_levels"] = "photo"
    return {**defaults, **given}


def find_unlabelled(folder: Path | None, run: Path, workers: int | None) -> tuple[Path, ...]:
    """Photos below a folder of which a run knows no copy: labelled ones, test photos too, stay out.

    Args:
        folder: None for no such photos.
        run: the student's run folder, with its splits.
        workers: processes; None for one a core.

    Raises:
        InputError: when there is no such folder, or no such photo in it.
    """
    if folder is None:
        return ()
    photos = list_photos(folder)
    uses = find_uses(run, fingerprint_many(photos, workers=workers), copies=True)
    found = tuple(photo for photo, use in zip(photos, uses, strict=True) if use is None)
    if not found:
        raise InputError(
            f"{folder} holds no photos beside those with labels. Give a folder of other photos, "
            "or leave --unlabelled out."
        )
    return found


def hire_tutor(
    teacher: Teacher,
    recipe: Recipe,
    paths: Sequence[Path],
    store: Path,
    device: torch.device,
    *,
    mixed_precision: bool,
    progress: TrainingProgress,
) -> NetworkTutor:
    """The teacher, ready for lessons: soft labels of photos are made once and kept.

    Args:
        teacher: already checked.
        recipe: the student's.
        paths: the photos that the student learns from, in their order.
        store: safetensors file that the soft labels are kept in, for resuming.
        device: where the teacher runs.
        mixed_precision: use bfloat16.
        progress: where to show it.
    """
    photo_logits: FloatArray | None = None
    store.parent.mkdir(parents=True, exist_ok=True)
    if "photo" in read_levels(recipe.distil_levels):
        if teacher.photo_network is not None:
            photo_logits = _ask_photos(teacher, paths, store, device, progress)
        elif teacher.expert is not None and teacher.tile_px is not None:
            rows = gather_evidence(
                teacher.expert, paths, teacher.tile_px, store, device,
                mixed_precision=mixed_precision, progress=progress,
            )  # fmt: skip
            photo_logits = np.stack([_pool(teacher.pooling, row) for row in rows])
    return NetworkTutor(recipe, teacher.expert, photo_logits)


def _pool(pooling: str, tile_logits: FloatArray) -> FloatArray:
    everything = np.ones(len(tile_logits), dtype=np.bool_)
    return pool_tiles(pooling, tile_logits, np.zeros_like(tile_logits), everything)


@torch.no_grad()
def _ask_photos(
    teacher: Teacher,
    paths: Sequence[Path],
    store: Path,
    device: torch.device,
    progress: TrainingProgress,
) -> FloatArray:
    """(photos, labels) logits of a network on the resized photo."""
    if store.exists():
        return load_tensors(store)[0]["photo_logits"].numpy()
    if teacher.photo_network is None or teacher.side_px is None:
        raise ValueError("This teacher has no network on the resized photo.")
    rows = torch.zeros(len(paths), len(teacher.labels))
    with progress.task("asking the teacher", total=len(paths)) as task:
        for index, photo in load_photos(paths, range(len(paths))):
            if teacher.square:
                small = take_square(photo, teacher.side_px)
            else:
                small = take_glance(photo, teacher.side_px).pixels
            rows[index] = teacher.photo_network(to_batch(small[None], device))[0].float().cpu()
            task.advance()
    save_tensors(store, {"photo_logits": rows}, {})
    return rows.numpy()
