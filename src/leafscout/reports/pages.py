"""What all pages share: templates that escape whatever they are given, pictures inside the file."""

from __future__ import annotations

import base64
from collections.abc import Callable
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from leafscout.plain_text import show_plainly


def open_templates(**filters: Callable[..., Any]) -> Environment:
    """The templates of this package.

    Names of photos and labels come from strangers: they are escaped, signs that cannot be seen are
    shown, and a value that is missing is an error.

    Args:
        filters: that templates may use, by name.
    """
    environment = Environment(
        loader=PackageLoader("leafscout.reports", "templates"),
        autoescape=True,
        finalize=show_plainly,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(filters)
    return environment


def png_uri(png: bytes) -> str:
    """A PNG as a data URI: a page with it opens offline and loads nothing."""
    return f"data:image/png;base64,{base64.b64encode(png).decode('ascii')}"
