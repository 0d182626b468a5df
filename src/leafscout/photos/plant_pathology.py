"""The label strings of Plant Pathology 2021: twelve combinations of six labels, there and back.

``leafscout.photos.labels.read_labels`` reads the competition's folders as they are. This module
is for tables of strings outside of it: answers to be handed in, or figures by combination.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

from leafscout.errors import InputError, describe_unknown

LABELS = ("scab", "healthy", "frog_eye_leaf_spot", "rust", "complex", "powdery_mildew")
"""In the order of the published multi-hot tables."""

STRINGS = (
    "scab",
    "healthy",
    "frog_eye_leaf_spot",
    "rust",
    "complex",
    "powdery_mildew",
    "scab frog_eye_leaf_spot",
    "scab frog_eye_leaf_spot complex",
    "frog_eye_leaf_spot complex",
    "rust frog_eye_leaf_spot",
    "rust complex",
    "powdery_mildew complex",
)
"""All label strings of the competition, words in its order."""

_WORD_ORDER = ("healthy", "scab", "rust", "powdery_mildew", "frog_eye_leaf_spot", "complex")
"""The one order that all strings of several words keep to."""


def merge_strings(strings: Iterable[str]) -> NDArray[np.bool_]:
    """Label strings → a 0/1 column for each of ``LABELS``.

    Args:
        strings: labels with spaces between them.

    Returns:
        (strings, labels) bool.

    Raises:
        InputError: for an empty string, an unknown label, or healthy beside a disease.
    """
    rows = []
    for text in strings:
        words = text.split()
        unknown = next((word for word in words if word not in LABELS), None)
        if unknown is not None:
            raise InputError(describe_unknown("label", unknown, LABELS))
        if not words or ("healthy" in words and len(set(words)) > 1):
            raise InputError(f"Expected diseases or healthy alone, but got the labels {text!r}.")
        rows.append([label in words for label in LABELS])
    return np.array(rows, dtype=np.bool_).reshape(len(rows), len(LABELS))


def restore_strings(bits: NDArray[np.bool_] | Sequence[Sequence[int]]) -> tuple[str, ...]:
    """A 0/1 column for each of ``LABELS`` → label strings, words in the competition's order.

    A row without any label is healthy. Combinations that the competition does not know are written
    in the same order of words.

    Args:
        bits: (photos, labels).

    Raises:
        InputError: when there are not as many columns as labels, or healthy is beside a disease.
    """
    rows = np.asarray(bits, dtype=np.bool_)
    if rows.ndim != 2 or rows.shape[1] != len(LABELS):
        raise InputError(
            f"Expected one column for each of {', '.join(LABELS)}, but got {rows.shape}."
        )
    strings = []
    for row in rows:
        words = {label for label, there in zip(LABELS, row, strict=True) if there} or {"healthy"}
        if "healthy" in words and len(words) > 1:
            raise InputError(f"Expected healthy alone, but got {' and '.join(sorted(words))}.")
        strings.append(" ".join(word for word in _WORD_ORDER if word in words))
    return tuple(strings)
