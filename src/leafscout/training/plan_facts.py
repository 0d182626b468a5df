"""What a plan goes by: the photos and labels there are, and the machine; no network is needed."""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from leafscout.errors import InputError
from leafscout.evaluation.json_values import JsonValue
from leafscout.photos.decode import read_photo_size
from leafscout.photos.label_table import LabelTable
from leafscout.photos.tiles import lay_tiles

SIZES_READ = 300
"""Photos whose headers are read; of more, as many spread evenly."""

FEW_PHOTOS = 20
"""A label with fewer photos is named as rare: validation then holds four or fewer of them."""


@dataclass(frozen=True)
class DataFacts(JsonValue):
    """What there is to learn from.

    Attributes:
        photos: all photos.
        train: photos to learn from, once validation is set aside.
        validation: photos to validate with.
        test: photos that the labels set aside for testing.
        healthy: photos without a disease.
        labels: photos per label.
        rare: labels with fewer than ``FEW_PHOTOS`` photos.
        sizes_px_hw: (height, width) of the photos whose headers were read.
        indices: of these photos in the label table.
    """

    photos: int
    train: int
    validation: int
    test: int
    healthy: int
    labels: dict[str, int]
    rare: tuple[str, ...]
    sizes_px_hw: tuple[tuple[int, int], ...]
    indices: tuple[int, ...]

    @property
    def median_px_hw(self) -> tuple[int, int]:
        """The size of the photo with the median number of pixels."""
        ranked = sorted(self.sizes_px_hw, key=lambda size: size[0] * size[1])
        return ranked[len(ranked) // 2]

    @property
    def long_side_px(self) -> int:
        """Long side of the median photo."""
        return max(self.median_px_hw)

    def tiles_per_photo(self, tile_px: int) -> float:
        """Mean number of tiles of a photo."""
        return float(np.mean([len(lay_tiles(size, tile_px)) for size in self.sizes_px_hw]))


@dataclass(frozen=True)
class MachineFacts(JsonValue):
    """What there is to compute with.

    Attributes:
        cores: that this process may use.
        memory_bytes: main memory that this process may use; 0 where the system does not tell.
        gpu: name of the GPU; empty without one.
    """

    cores: int
    memory_bytes: int
    gpu: str = ""


def read_data_facts(table: LabelTable, val_frac: float) -> DataFacts:
    """Count photos and labels, and read the photos' sizes from their headers.

    Args:
        table: the photos.
        val_frac: share of the training photos used for validation, where no split is given.

    Raises:
        InputError: no photos for training or validation.
        PhotoError: a header that is not that of a photo.
    """
    splits = np.array([split or "train" for split in table.splits])
    test = int((splits == "test").sum())
    validation = int((splits == "val").sum())
    train = int((splits == "train").sum())
    if not validation:
        validation = round(val_frac * train)
        train -= validation
    if train < 1 or validation < 1:
        raise InputError(
            f"{table.source} leaves {train} photos for training and {validation} for validation; "
            "both need some. Add photos, or give a split column."
        )
    used = np.flatnonzero(splits != "test")
    chosen = used[np.unique(np.linspace(0, len(used) - 1, min(SIZES_READ, len(used))).astype(int))]
    counts = {
        label: int(count)
        for label, count in zip(table.labels, table.truth.sum(axis=0), strict=True)
    }
    return DataFacts(
        photos=len(table),
        train=train,
        validation=validation,
        test=test,
        healthy=int(table.healthy.sum()),
        labels=counts,
        rare=tuple(label for label, count in counts.items() if count < FEW_PHOTOS),
        sizes_px_hw=tuple(read_photo_size(table.paths[index]) for index in chosen),
        indices=tuple(int(index) for index in chosen),
    )


def read_machine_facts(gpu: str = "") -> MachineFacts:
    """Count cores and memory.

    Args:
        gpu: name of the GPU, found elsewhere.
    """
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return MachineFacts(cores=max(1, cores or 1), memory_bytes=_count_memory(), gpu=gpu)


def _count_memory() -> int:
    if sys.platform == "win32":
        return 0
    try:
        memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (ValueError, OSError):
        return 0
    limit = Path("/sys/fs/cgroup/memory.max")
    try:
        text = limit.read_text(encoding="ascii").strip()
    except OSError:
        return memory
    return min(memory, int(text)) if text.isdigit() else memory
