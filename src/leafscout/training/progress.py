"""What long work shows: a bar with rate, time left, losses and memory, or plain lines in a log."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

LINE_EVERY_S = 30.0


class TrainingProgress:
    """Shows the stages of a training; a context manager.

    On a terminal there is a live bar for each stage; elsewhere a plain line every
    ``LINE_EVERY_S`` seconds, so that logs stay readable.

    Args:
        console: where to write; standard error by default.
    """

    def __init__(self, console: Console | None = None) -> None:
        self._console = console or Console(stderr=True)
        self._bars = Progress(
            TextColumn("[bold]{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[rate]}"),
            TimeRemainingColumn(),
            TextColumn("{task.fields[note]}"),
            console=self._console,
            transient=True,
            disable=not self._console.is_terminal,
        )

    def __enter__(self) -> Self:
        self._bars.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._bars.stop()

    def say(self, message: str) -> None:
        """A line that stays."""
        self._console.print(message, markup=False, highlight=False, soft_wrap=True)

    @contextmanager
    def task(self, title: str, total: int, done: int = 0) -> Iterator[ProgressTask]:
        """A bar of ``total`` photos, ``done`` of which are behind us."""
        identity = self._bars.add_task(title, total=total, completed=done, rate="", note="")
        try:
            yield ProgressTask(self, identity, title, total, done)
        finally:
            self._bars.remove_task(identity)

    def _show(self, task: ProgressTask, rate: str, note: str) -> None:
        self._bars.update(task.identity, completed=task.done, rate=rate, note=note)  # type: ignore[arg-type]
        if self._bars.disable and time.monotonic() - task.last_line_s > LINE_EVERY_S:
            task.last_line_s = time.monotonic()
            self.say(f"{task.title}: {task.done}/{task.total}  {rate}  {note}")


class ProgressTask:
    """One bar; made by ``TrainingProgress.task``."""

    def __init__(
        self, owner: TrainingProgress, identity: int, title: str, total: int, done: int
    ) -> None:
        self.identity = identity
        self.title = title
        self.total = total
        self.done = done
        self.last_line_s = time.monotonic()
        self._owner = owner
        self._started_s = time.monotonic()
        self._done_at_start = done

    def advance(self, photos: int = 1, note: str = "") -> None:
        """Move on by some photos and say something about them."""
        self.done += photos
        elapsed = max(time.monotonic() - self._started_s, 1e-6)
        rate = (self.done - self._done_at_start) / elapsed
        memory = f"{peak_memory_mib():.0f} MiB"
        self._owner._show(self, f"{rate:.2f} photos/s", f"{note}  {memory}".strip())


def peak_memory_mib() -> float:
    """Peak resident memory of this process so far, in MiB; 0 where the system does not tell."""
    if sys.platform == "win32":
        return 0.0
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / 1024 if sys.platform != "darwin" else peak / 1024**2
