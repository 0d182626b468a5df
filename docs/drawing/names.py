"""Names and first sentences of functions and classes, as they are imported."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable

Named = Callable[..., object]


def name_of(thing: Named) -> str:
    """The name of a function or class, with its class where it is a method."""
    return thing.__qualname__


def sentence_of(thing: Named) -> str:
    """The first sentence of a docstring, without code marks."""
    paragraph = " ".join((inspect.getdoc(thing) or "").split("\n\n", maxsplit=1)[0].split())
    return re.split(r"(?<=\.)\s", paragraph, maxsplit=1)[0].replace("`", "")
