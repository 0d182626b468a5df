"""What the command line says when something goes wrong: a sentence and an exit code."""

from __future__ import annotations

import errno
import io
import sys
from typing import Any

import typer
from typer.core import TyperGroup

from leafscout.errors import InputError
from leafscout.plain_text import printable

MISTAKE = 2
STOPPED = 130

_PERHAPS_EXPLAINED = (
    InputError, OSError, MemoryError, ModuleNotFoundError, FloatingPointError, RuntimeError,
)  # fmt: skip
_TRAINING_PACKAGES = ("torch", "torchvision", "timm", "sklearn", "pandas", "matplotlib")


class PatientGroup(TyperGroup):
    """The group of all commands: turns expected failures into sentences on standard error."""

    def invoke(self, ctx: Any) -> Any:
        """Run the chosen command."""
        for stream in (sys.stdout, sys.stderr):
            if isinstance(stream, io.TextIOWrapper):
                # A file's name need not be valid text: what is not is written as an escape.
                stream.reconfigure(errors="backslashreplace")
        try:
            return super().invoke(ctx)
        except _PERHAPS_EXPLAINED as error:
            message = explain_failure(error)
            if message is None:
                raise
            typer.echo(f"Error: {message}", err=True)
            raise typer.Exit(MISTAKE) from error
        except KeyboardInterrupt as error:
            typer.echo("Stopped.", err=True)
            raise typer.Exit(STOPPED) from error


def explain_failure(error: Exception) -> str | None:
    """The sentence for a failure that a user can do something about; None for any other."""
    if isinstance(error, InputError | FloatingPointError):
        return printable(str(error))
    if isinstance(error, MemoryError) or _is_torch_out_of_memory(error):
        return (
            "There is not enough memory. Use fewer --workers, a smaller --tile-px or --glance-px, "
            "a smaller recipe, or close other programs."
        )
    if isinstance(error, ModuleNotFoundError):
        package = (error.name or "").partition(".")[0]
        if package not in _TRAINING_PACKAGES:
            return None
        return (
            f"This needs {package}, which is not installed. Install LeafScout with its training "
            'extra: pip install "leafscout[train]".'
        )
    if isinstance(error, OSError):
        return _explain_system_error(error)
    return None


def _is_torch_out_of_memory(error: Exception) -> bool:
    # PyTorch has no common error for it, and must not be imported to ask.
    return type(error).__name__ == "OutOfMemoryError" or (
        isinstance(error, RuntimeError) and "DefaultCPUAllocator" in str(error)
    )


def _explain_system_error(error: OSError) -> str | None:
    place = printable(str(error.filename)) if error.filename is not None else "A file"
    if error.errno == errno.EPIPE:
        return None  # the reader of our output has gone: typer ends quietly
    if error.errno in {errno.ENOSPC, errno.EDQUOT}:
        return (
            "The disk is full. Nothing that was complete is lost; free some space and run the "
            "command again."
        )
    if error.errno in {errno.EACCES, errno.EPERM, errno.EROFS}:
        return (
            f"{place} cannot be read or written: {error.strerror}. Check its permissions, or "
            "choose another place."
        )
    if error.errno is None:
        return None
    return f"{place} cannot be used: {error.strerror}."
