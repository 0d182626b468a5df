"""Photos one after another, the next ones decoded while the present one is worked on."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

from leafscout.photos.decode import decode_photo
from leafscout.types import Photo


def load_photos(
    paths: Sequence[Path], order: Sequence[int], *, ahead: int = 2
) -> Iterator[tuple[int, Photo]]:
    """Decode photos in a given order, a few ahead in threads.

    Decoding releases the interpreter's lock, so threads are enough and nothing is copied between
    processes. At most ``ahead + 1`` decoded photos are held at a time.

    Args:
        paths: all photos.
        order: indices into ``paths``.
        ahead: photos decoded ahead, from 1.

    Yields:
        Index and photo, in the order given.

    Raises:
        PhotoError: when a photo cannot be decoded.
    """
    with ThreadPoolExecutor(max_workers=ahead, thread_name_prefix="decode") as pool:
        waiting: deque[tuple[int, Future[Photo]]] = deque()
        try:
            for index in order:
                waiting.append((index, pool.submit(decode_photo, paths[index])))
                if len(waiting) > ahead:
                    ready, future = waiting.popleft()
                    yield ready, future.result()
            while waiting:
                ready, future = waiting.popleft()
                yield ready, future.result()
        finally:
            for _, future in waiting:
                future.cancel()
