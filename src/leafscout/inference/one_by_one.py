"""Many photos for a model of one network: each by itself, the next ones opened meanwhile."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice
from pathlib import Path

from leafscout.errors import PhotoError
from leafscout.inference.answer import Failure, PhotoDiagnosis, build_diagnosis
from leafscout.inference.many import Pace
from leafscout.model import Core
from leafscout.photos.decode import open_photo
from leafscout.types import Photo


def diagnose_one_by_one(
    core: Core, photos: Iterable[str | Path], pace: Pace
) -> Iterator[PhotoDiagnosis | Failure]:
    """Diagnose photos one by one, the next ones opened meanwhile; a bad one stops no other.

    Args:
        core: the model.
        photos: paths; taken as they are needed.
        pace: how many are opened ahead, by how many threads.

    Yields:
        A diagnosis or a failure for each photo, in order.
    """
    paths = iter(photos)
    opening: deque[tuple[str, Future[tuple[Photo, float]]]] = deque()
    pool = ThreadPoolExecutor(pace.workers, thread_name_prefix="decode")
    try:
        while True:
            for path in islice(paths, pace.ahead - len(opening)):
                opening.append((str(path), pool.submit(_open, str(path))))
            if not opening:
                break
            source, future = opening.popleft()
            try:
                photo, seconds = future.result()
                started_s = time.perf_counter() - seconds
                evidence, tiles = core.forward(photo)
            except PhotoError as error:
                yield Failure(source, str(error))
                continue
            yield PhotoDiagnosis(build_diagnosis(core, photo, evidence, tiles, started_s), photo)
    finally:
        pool.shutdown(cancel_futures=True)


def _open(path: str) -> tuple[Photo, float]:
    started_s = time.perf_counter()
    photo = open_photo(path)
    return photo, time.perf_counter() - started_s
