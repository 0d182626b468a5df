"""What a model says about its own validation photos, kept beside it: thresholds come from there.

The file lies in a model's folder, so that thresholds by another rule can be fitted wherever the
model goes, without the photos and in every runtime. It holds no photo and no name of one.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from leafscout.errors import InputError

VALIDATION_ANSWERS = "validation_answers.json"
"""Beside a model's manifest."""

VERSION = 1
ONE_LOOK = "none"
"""The kind of answers that one look gives."""

_MOST_BYTES = 256 << 20


class ValidationAnswers(BaseModel):
    """Truth and probabilities of the validation photos.

    Attributes:
        version: of this format.
        model: fingerprint of the networks and rules that gave the answers.
        labels: their names.
        truth: (photos, labels) 0 or 1.
        probs: kind of looks → (photos, labels) calibrated probabilities, 0..1.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)
    version: int
    model: str
    labels: tuple[str, ...] = Field(min_length=1)
    truth: tuple[tuple[int, ...], ...] = Field(min_length=1)
    probs: dict[str, tuple[tuple[float, ...], ...]]

    @model_validator(mode="after")
    def _check_shapes(self) -> Self:
        for name, rows in {"truth": self.truth, **self.probs}.items():
            if len(rows) != len(self.truth):
                raise ValueError(f"expected one row a photo in {name}")
            if any(len(row) != len(self.labels) for row in rows):
                raise ValueError(f"expected one value a label in {name}")
            if any(not 0 <= value <= 1 for row in rows for value in row):
                raise ValueError(f"expected values from 0 to 1 in {name}")
        return self

    def truth_array(self) -> NDArray[np.bool_]:
        """(photos, labels) truth."""
        return np.array(self.truth, dtype=np.bool_)

    def probs_array(self, looks: str) -> NDArray[np.float64]:
        """(photos, labels) probabilities of a kind of looks, which is there."""
        return np.array(self.probs[looks], dtype=np.float64)

    def with_probs(self, looks: str, probs: NDArray[Any]) -> ValidationAnswers:
        """The same with the answers of one more kind of looks."""
        rows = tuple(tuple(float(value) for value in row) for row in probs)
        return self.model_copy(update={"probs": {**self.probs, looks: rows}})

    def to_json(self) -> bytes:
        """The file's content."""
        return (json.dumps(self.model_dump(mode="json"), ensure_ascii=False) + "\n").encode()


def read_validation_answers(path: Path) -> ValidationAnswers | None:
    """Read what was kept; None where there is no such file.

    Raises:
        InputError: when the file is damaged or of another version.
    """
    if not path.is_file():
        return None
    again = "Remove it, and fit thresholds again with `leafscout evaluate … --thresholds`."
    try:
        with path.open("rb") as file:
            values = json.loads(file.read(_MOST_BYTES).decode("utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise InputError(f"{path} is damaged: it is not readable as JSON. {again}") from error
    version = values.get("version") if isinstance(values, dict) else None
    if version != VERSION or isinstance(version, bool):
        raise InputError(
            f"{path} has version {str(version)[:50]}, but this LeafScout reads version {VERSION}. "
            f"{again}"
        )
    try:
        return ValidationAnswers.model_validate(values)
    except ValidationError as error:
        why = error.errors()[0]["msg"]
        raise InputError(f"{path} is damaged: {why}. {again}") from error
