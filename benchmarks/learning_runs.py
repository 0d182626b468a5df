"""What benchmarks that learn from rendered photos share: lists of photos, and progress unseen."""

from __future__ import annotations

import csv
from collections.abc import Mapping
from io import StringIO
from pathlib import Path
from typing import Any

LEARN_AND_TEST = {"learn": ("train", "val"), "test": ("test",)}
"""A list to learn from and one to test on."""


def write_label_lists(
    folder: Path, photos: Mapping[str, int], lists: Mapping[str, tuple[str, ...]]
) -> None:
    """Split the rendered photos in the order of ``labels.csv``, and write lists of the parts.

    Args:
        folder: what ``render_field`` wrote.
        photos: split → number of its photos.
        lists: name of a list → splits in it. A list of test photos alone names no split.
    """
    with (folder / "labels.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    splits = [name for name, count in photos.items() for _ in range(count)]
    for name, wanted in lists.items():
        columns = ["image", "labels"] if wanted == ("test",) else ["image", "labels", "split"]
        with (folder / f"{name}.csv").open("w", newline="") as file:
            writer = csv.DictWriter(file, columns, extrasaction="ignore", lineterminator="\n")
            writer.writeheader()
            writer.writerows(
                {**row, "split": split}
                for row, split in zip(rows, splits, strict=True)
                if split in wanted
            )


def quiet() -> Any:
    """Progress that nobody sees."""
    from rich.console import Console

    from leafscout.training.progress import TrainingProgress

    return TrainingProgress(Console(file=StringIO(), force_terminal=False))
