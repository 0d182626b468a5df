"""Options that several commands share, and how their values are read."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

_UNIT_S = {"h": 3600.0, "m": 60.0, "s": 1.0}
_DURATION = re.compile(r"(?:(\d+(?:\.\d+)?)h)?(?:(\d+(?:\.\d+)?)m)?(?:(\d+(?:\.\d+)?)s)?")
_SIZE = re.compile(r"(\d+)\s*[x×*]\s*(\d+)")


def parse_duration(text: str) -> float:
    """Seconds of ``90s``, ``20m``, ``1h30m`` or ``1.5h``.

    Raises:
        typer.BadParameter: for anything else, and for nothing at all.
    """
    found = _DURATION.fullmatch(text.strip().lower())
    parts = [float(part or 0) for part in found.groups()] if found else []
    seconds = sum(part * unit for part, unit in zip(parts, _UNIT_S.values(), strict=False))
    if seconds <= 0:
        raise typer.BadParameter(
            f"Expected a duration such as 90s, 20m or 1h30m, but got {text!r}."
        )
    return seconds


@dataclass(frozen=True)
class PhotoSize:
    """Height and width of a photo in pixels."""

    height_px: int
    width_px: int


def parse_size(text: str) -> PhotoSize:
    """The size that ``4000x3000`` names, width first.

    Raises:
        typer.BadParameter: for anything else.
    """
    found = _SIZE.fullmatch(text.strip().lower())
    if found is None:
        raise typer.BadParameter(
            f"Expected width and height in pixels such as 4000x3000, but got {text!r}."
        )
    return PhotoSize(height_px=int(found.group(2)), width_px=int(found.group(1)))


def read_sizes(text: str) -> tuple[int, ...]:
    """Whole numbers with commas between them, such as ``256,384``.

    Raises:
        typer.BadParameter: for anything else.
    """
    parts = [part.strip() for part in text.split(",")]
    if not all(part.isdecimal() for part in parts):
        raise typer.BadParameter(f"Expected pixels such as 256,384,512, but got {text!r}.")
    return tuple(int(part) for part in parts)


def read_settings(pairs: Sequence[str]) -> dict[str, int | float | str]:
    """Names and values of ``name=value`` pairs; what they mean is the recipe's to say.

    A value that reads as a number is one.

    Raises:
        typer.BadParameter: for a pair without a name or a value, or a name that comes twice.
    """
    settings: dict[str, int | float | str] = {}
    for pair in pairs:
        name, equals, value = (part.strip() for part in pair.partition("="))
        if not name or not equals or not value:
            raise typer.BadParameter(
                f"Expected --set with a name and a value such as tiles_best=8, but got {pair!r}."
            )
        if name in settings:
            raise typer.BadParameter(f"--set names {name} twice. Give it once.")
        settings[name] = _read_number(value)
    return settings


def _read_number(text: str) -> int | float | str:
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text


RULES = "f1, bagged_f1, f_beta=2, recall=0.95, precision=0.9 or cost=5:1"
LOOKS = "flips, rotations, scales, mirror or symmetries"


def set_limits(max_megapixels: float | None) -> None:
    """Let photos be larger or smaller than by default, in this process and those it starts.

    Raises:
        InputError: when it is not a number above 0 and up to 4,295.
    """
    if max_megapixels is not None:
        from leafscout.photos.limits import allow_megapixels

        allow_megapixels(max_megapixels)


Data = Annotated[
    Path, typer.Argument(help="A folder per class, or a label CSV.", show_default=False)
]
PhotosRoot = Annotated[
    Path | None,
    typer.Option(
        "--photos",
        metavar="FOLDER",
        help="The folder that the label file's photo names start from; beside it by default.",
        show_default=False,
    ),
]
Weights = Annotated[
    Path | None,
    typer.Option(
        help="Local safetensors file of pretrained weights; downloaded by default.",
        show_default=False,
    ),
]
Run = Annotated[Path, typer.Argument(help="A run folder.", show_default=False)]
RunOrExported = Annotated[
    Path, typer.Argument(help="A run folder, or an exported model.", show_default=False)
]
Seed = Annotated[int, typer.Option(min=0, help="Everything random follows from it.")]
Workers = Annotated[
    int | None,
    typer.Option(min=1, help="Processes or threads; one a core by default.", show_default=False),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON to standard output.")]
HealthyNames = Annotated[
    list[str] | None,
    typer.Option(
        "--healthy",
        metavar="NAME",
        help="A name in the labels that means: no disease. May be repeated; replaces the usual "
        "ones (healthy, background, …).",
        show_default=False,
    ),
]
MainLabelOnly = Annotated[
    bool,
    typer.Option(
        "--main-label-only",
        help="The labels name only the main disease: others may be there unnamed.",
    ),
]
Duration = Annotated[
    float | None,
    typer.Option(
        "--time",
        parser=parse_duration,
        metavar="DURATION",
        help="Wall time for the whole run, such as 90s, 20m or 1h30m.",
        show_default=False,
    ),
]
Runtime = Annotated[
    str | None,
    typer.Option(
        help="torch, onnxruntime or openvino; what the folder holds by default.",
        show_default=False,
    ),
]
Threads = Annotated[
    int | None,
    typer.Option(min=1, help="CPU threads of the networks; all cores by default."),
]
MaxMegapixels = Annotated[
    float | None,
    typer.Option(
        "--max-megapixels",
        metavar="N",
        help="Refuse JPEG photos above so many megapixels, and others above half as many; 200 by "
        "default. More of them take more memory.",
        show_default=False,
    ),
]
