"""Results as values that JSON can hold."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, cast

import numpy as np

if TYPE_CHECKING:
    from _typeshed import DataclassInstance


class JsonValue:
    """A mixin for frozen dataclasses of results: gives them ``to_dict``."""

    def to_dict(self) -> dict[str, Any]:
        """The fields as JSON-safe values: arrays as lists, undefined numbers (NaN) as None."""
        names = [entry.name for entry in dataclasses.fields(cast("DataclassInstance", self))]
        return {name: json_safe(getattr(self, name)) for name in names}


def json_safe(value: object) -> Any:
    """Turn dataclasses, mappings, sequences, arrays and numpy scalars into JSON values.

    Numbers that JSON cannot hold (NaN and the infinities) become None.
    """
    if isinstance(value, JsonValue):
        return value.to_dict()
    if isinstance(value, Mapping):
        return {str(key): json_safe(entry) for key, entry in value.items()}
    if isinstance(value, np.ndarray | np.generic):
        return json_safe(value.tolist())
    if isinstance(value, tuple | list):
        return [json_safe(entry) for entry in value]
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    return value
