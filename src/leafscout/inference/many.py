"""Many photos: the next ones decoded meanwhile, few in hand, a bad one named and passed over."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np

from leafscout.errors import InputError, PhotoError
from leafscout.focus.tile_reader import TileReader
from leafscout.inference.answer import Failure, PhotoDiagnosis, build_diagnosis
from leafscout.model import GlanceAndFocus, Scouted, TileEvidence
from leafscout.photos.decode import open_photo
from leafscout.types import Glance, Photo, Pixels


@dataclass(frozen=True)
class Pace:
    """How much is done at a time. It changes speed and memory, not the answers.

    Attributes:
        workers: threads that decode. At most so many JPEG photos are decoded in full at a time.
        ahead: photos in hand. Of each its file, its glance and its chosen tiles are held; of one
            that cannot be decoded small (PNG, TIFF, WebP, progressive JPEG) all its pixels.
        tiles_at_once: the expert reads tiles of different photos in one go, up to so many. That
            may be faster on a GPU, and changes probabilities by rounding, less than 1e-6. At 1
            each photo's tiles are read by themselves: its answer is exactly that of the photo
            alone.

    Raises:
        InputError: when one of them is below 1.
    """

    workers: int = 2
    ahead: int = 6
    tiles_at_once: int = 1

    def __post_init__(self) -> None:
        for name in ("workers", "ahead", "tiles_at_once"):
            value = getattr(self, name)
            if value < 1:
                raise InputError(f"Expected {name} to be at least 1, but got {value}.")


DEFAULT_PACE = Pace()


def diagnose_photos(
    core: GlanceAndFocus, photos: Iterable[str | Path], pace: Pace = DEFAULT_PACE
) -> Iterator[PhotoDiagnosis | Failure]:
    """Diagnose photos; one that cannot be used does not stop the others.

    Threads read, decode and cut, which releases the interpreter's lock; scout and expert run in
    the caller's thread, so that they never compete with themselves for the processor.

    Args:
        core: the model.
        photos: paths; taken as they are needed.
        pace: how much is done at a time.

    Yields:
        A diagnosis or a failure for each photo, in order. ``cost.seconds`` is the time spent on
        the photo itself, without waiting; the expert's time is shared out by tiles.
    """
    paths = iter(photos)
    opening: deque[Future[_Case]] = deque()
    waiting: deque[_Case] = deque()
    most_waiting = (pace.ahead + 1) // 2
    reader = TileReader()
    pool = ThreadPoolExecutor(pace.workers, thread_name_prefix="decode")
    try:
        while True:
            for path in islice(paths, pace.ahead - len(opening) - len(waiting)):
                opening.append(pool.submit(_open_case, core, str(path)))
            if not opening:
                break
            case = opening.popleft().result()
            _scout_case(core, case, pool, reader)
            waiting.append(case)
            full = _count(waiting) >= pace.tiles_at_once > 1
            enough = full or len(waiting) >= most_waiting
            yield from _finish(core, waiting, pace.tiles_at_once, all_of_them=enough)
        yield from _finish(core, waiting, pace.tiles_at_once, all_of_them=True)
    finally:
        pool.shutdown(cancel_futures=True)


@dataclass
class _Case:
    """A photo in hand, and how far the work on it has come."""

    source: str
    seconds: float = 0.0
    photo: Photo | None = None
    glance: Glance | None = None
    scouted: Scouted | None = None
    tiles: Future[tuple[Pixels, float]] | None = None
    error: str | None = None

    @property
    def count(self) -> int:
        """Tiles to read."""
        return 0 if self.scouted is None else int(self.scouted.read.sum())


def _count(cases: Iterable[_Case]) -> int:
    return sum(case.count for case in cases)


def _open_case(core: GlanceAndFocus, source: str) -> _Case:
    started_s, case = time.perf_counter(), _Case(source)
    try:
        case.photo = open_photo(source)
        case.glance = core.take_glance(case.photo)
    except PhotoError as error:
        case.photo, case.error = None, str(error)
    case.seconds = time.perf_counter() - started_s
    return case


def _scout_case(
    core: GlanceAndFocus, case: _Case, pool: ThreadPoolExecutor, reader: TileReader
) -> None:
    if case.photo is None or case.glance is None:
        return
    started_s = time.perf_counter()
    case.scouted = core.scout(case.glance)
    case.glance = None
    case.seconds += time.perf_counter() - started_s
    if case.count:
        case.tiles = pool.submit(_read, reader, case.photo, case.scouted)


def _read(reader: TileReader, photo: Photo, scouted: Scouted) -> tuple[Pixels, float]:
    """The tiles to read, and the seconds that it took."""
    started_s = time.perf_counter()
    read = reader.read(photo, scouted.tiles, np.flatnonzero(scouted.read))
    return read, time.perf_counter() - started_s


def _finish(
    core: GlanceAndFocus, waiting: deque[_Case], tiles_at_once: int, *, all_of_them: bool
) -> Iterator[PhotoDiagnosis | Failure]:
    """Answer the first cases: those that need no expert, or all of them, some tiles at a time."""
    while waiting:
        if not waiting[0].count:
            yield _answer(core, waiting.popleft(), None)
            continue
        if not all_of_them:
            return
        together = [waiting.popleft()]
        while waiting and _count(together) + waiting[0].count <= tiles_at_once:
            together.append(waiting.popleft())
        yield from _focus(core, together)


def _focus(core: GlanceAndFocus, cases: list[_Case]) -> Iterator[PhotoDiagnosis | Failure]:
    """Let the expert read the tiles of several photos in one go."""
    stacks = []
    for case in cases:
        if case.tiles is None:
            continue
        try:
            cut, seconds = case.tiles.result()
        except PhotoError as error:
            case.scouted, case.error = None, str(error)
            continue
        finally:
            case.tiles = None
        case.seconds += seconds
        stacks.append(cut)
    started_s, found = time.perf_counter(), None
    if stacks:
        found = core.networks.run_expert(stacks[0] if len(stacks) == 1 else np.concatenate(stacks))
        each_s = (time.perf_counter() - started_s) / len(found.tile_logits)
    at = 0
    for case in cases:
        part = None
        if found is not None and case.count:
            part = TileEvidence(*(values[at : at + case.count] for values in found))
            at += case.count
            case.seconds += each_s * case.count
        yield _answer(core, case, part)


def _answer(
    core: GlanceAndFocus, case: _Case, found: TileEvidence | None
) -> PhotoDiagnosis | Failure:
    if case.photo is None or case.scouted is None:
        return Failure(case.source, case.error or "")
    started_s = time.perf_counter() - case.seconds
    evidence = core.conclude(case.scouted, found)
    diagnosis = build_diagnosis(core, case.photo, evidence, case.scouted.tiles, started_s)
    return PhotoDiagnosis(diagnosis, case.photo)
