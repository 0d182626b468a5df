"""Fingerprints of photos: the same file, or the same picture resized, recompressed or turned.

A picture is kept as the fine detail of a 32×32 thumbnail: what a small blur takes away. Two leaves
on one background share the coarse shape but not that. Mirroring and quarter turns only change
signs and indices of its cosine transform, so sorted magnitudes find candidates in one matrix
product without losing any; candidates are then compared place by place in all eight positions.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from leafscout.errors import PhotoError
from leafscout.photos.decode import decode_photo, read_photo_file
from leafscout.photos.splits import merge_groups
from leafscout.types import FloatArray, Photo

SAME_PICTURE = 0.85
"""Correlation of fine detail from which two photos count as the same picture.

Copies (half or an eighth of the size, JPEG quality 30, mirrored, turned, squashed to a square)
stay above 0.94; different leaves on the same background stay below 0.65.
"""

_SIDE = 32
_BLUR = np.array([1, 4, 6, 4, 1]) / 16
_LEAST_DETAIL = 0.4  # grey levels, root mean square: less is mostly rounding
_BLOCK = 1024

Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class Fingerprint:
    """What tells one photo from another.

    Attributes:
        sha256: of the file, hexadecimal.
        phash_hex: 64 bits of the coarse picture, hexadecimal; the same for a mirrored or turned
            copy, and a few bits off for a resized or recompressed one.
        detail: (32, 32) fine detail of the grey thumbnail, mean 0 and norm 1; all 0 for a photo
            without any, which is like no other.
        size_px_hw: height and width of the upright photo.
    """

    sha256: str
    phash_hex: str
    detail: FloatArray = field(repr=False, compare=False)
    size_px_hw: tuple[int, int] = field(default=(0, 0), compare=False)


def fingerprint(path: Path) -> Fingerprint:
    """Take the fingerprint of a photo; it is decoded in full.

    Raises:
        PhotoError: when it cannot be decoded.
    """
    data = read_photo_file(path)
    return _take_fingerprint(decode_photo(data, name=str(path)), hashlib.sha256(data).hexdigest())


def fingerprint_many(
    paths: Sequence[Path], *, workers: int | None = None, progress: Progress | None = None
) -> list[Fingerprint]:
    """Take the fingerprints of photos in threads.

    Args:
        paths: the photos.
        workers: threads; None takes one for each processor that may be used.
        progress: called with photos done and photos in all.

    Returns:
        One fingerprint for each photo, in their order.

    Raises:
        PhotoError: for the first photo that cannot be decoded.
    """
    taken = []
    for result in _attempt_each(paths, workers, progress):
        if isinstance(result, PhotoError):
            raise result
        taken.append(result)
    return taken


def try_fingerprints(
    paths: Sequence[Path], *, workers: int | None = None, progress: Progress | None = None
) -> list[Fingerprint | PhotoError]:
    """Take the fingerprints of photos; one that cannot be decoded gives its error instead.

    Args:
        paths: the photos.
        workers: threads; None takes one for each processor that may be used.
        progress: called with photos done and photos in all.
    """
    return list(_attempt_each(paths, workers, progress))


def near_duplicate_groups(
    fingerprints: Sequence[Fingerprint], *, same_picture: float = SAME_PICTURE
) -> list[list[int]]:
    """Find photos that show the same picture: copies, resized, recompressed, mirrored or turned.

    Every pair is compared, in blocks: a quarter of a minute for 20,000 photos on two cores.

    Args:
        fingerprints: of all photos.
        same_picture: correlation of fine detail, 0..1, from which two pictures are the same.

    Returns:
        Lists of two or more indices, sorted.
    """
    pairs = [*_same_files(fingerprints), *_same_pictures(fingerprints, same_picture)]
    numbers = merge_groups([None] * len(fingerprints), pairs)
    members: dict[int, list[int]] = {}
    for index, number in enumerate(numbers):
        members.setdefault(int(number), []).append(index)
    return [group for group in members.values() if len(group) > 1]


def _attempt_each(
    paths: Sequence[Path], workers: int | None, progress: Progress | None
) -> Iterator[Fingerprint | PhotoError]:
    threads = workers if workers is not None else _count_processors()
    pool = ThreadPoolExecutor(max_workers=max(1, threads), thread_name_prefix="fingerprint")
    try:
        for done, result in enumerate(pool.map(_attempt, paths), start=1):
            yield result
            if progress is not None:
                progress(done, len(paths))
    finally:
        pool.shutdown(cancel_futures=True)


def _count_processors() -> int:
    if hasattr(os, "sched_getaffinity"):  # not on every system
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _attempt(path: Path) -> Fingerprint | PhotoError:
    try:
        return fingerprint(path)
    except PhotoError as problem:
        return problem


def _take_fingerprint(photo: Photo, sha256: str) -> Fingerprint:
    grey = Image.fromarray(photo.pixels).convert("L")
    thumbnail = np.asarray(grey.resize((_SIDE, _SIDE), Image.Resampling.BOX), dtype=np.float64)
    return Fingerprint(sha256, _hash_coarse(thumbnail), _fine_detail(thumbnail), photo.size_px_hw)


def _fine_detail(thumbnail: NDArray[np.float64]) -> FloatArray:
    margin = len(_BLUR) // 2
    rows = np.pad(thumbnail, ((margin, margin), (0, 0)), mode="symmetric")
    rows = np.lib.stride_tricks.sliding_window_view(rows, len(_BLUR), axis=0) @ _BLUR
    both = np.pad(rows, ((0, 0), (margin, margin)), mode="symmetric")
    both = np.lib.stride_tricks.sliding_window_view(both, len(_BLUR), axis=1) @ _BLUR
    detail = thumbnail - both
    detail -= detail.mean()
    norm = float(np.linalg.norm(detail))
    if norm < _LEAST_DETAIL * _SIDE:
        return np.zeros((_SIDE, _SIDE), dtype=np.float32)
    return (detail / norm).astype(np.float32)


def _hash_coarse(thumbnail: NDArray[np.float64]) -> str:
    """64 bits: which low frequencies, sorted within transposed pairs, exceed their median."""
    low = _sort_magnitudes((thumbnail - thumbnail.mean())[None])[0].reshape(_SIDE, _SIDE)[:8, :8]
    return bytes(np.packbits(low.ravel() > np.median(low))).hex()


def _sort_magnitudes(pictures: NDArray[np.floating]) -> FloatArray:
    """Magnitudes of the cosine transform, the larger of each transposed pair above the diagonal.

    Taking magnitudes and sorting can only bring two pictures closer, and the transform keeps
    norms: so this product is never below the correlation in the best of the eight positions.

    Args:
        pictures: (pictures, 32, 32).

    Returns:
        (pictures, 1024) with the norms of the pictures.
    """
    steps = np.arange(_SIDE)
    cosines = np.cos(np.pi * (2 * steps + 1) * steps[:, None] / (2 * _SIDE)) * np.sqrt(2 / _SIDE)
    cosines[0] /= np.sqrt(2)
    magnitudes = np.abs(cosines @ pictures @ cosines.T)
    turned = magnitudes.transpose(0, 2, 1)
    upper = np.triu(np.ones((_SIDE, _SIDE), dtype=bool))
    ordered = np.where(upper, np.maximum(magnitudes, turned), np.minimum(magnitudes, turned))
    return np.asarray(ordered, dtype=np.float32).reshape(len(pictures), -1)


def _same_files(fingerprints: Sequence[Fingerprint]) -> Iterator[tuple[int, int]]:
    first: dict[str, int] = {}
    for index, one in enumerate(fingerprints):
        earlier = first.setdefault(one.sha256, index)
        if earlier != index:
            yield earlier, index


def _same_pictures(
    fingerprints: Sequence[Fingerprint], same_picture: float
) -> Iterator[tuple[int, int]]:
    if not fingerprints:
        return
    details = np.stack([one.detail for one in fingerprints])
    sorted_magnitudes = _sort_magnitudes(details)
    flat = details.reshape(len(details), -1)
    for start in range(0, len(details), _BLOCK):
        stop = start + _BLOCK
        upper_bound = sorted_magnitudes[start:stop] @ sorted_magnitudes[start:].T
        near, far = np.nonzero(upper_bound >= same_picture - 1e-4)
        ahead = far > near
        near, far = near[ahead] + start, far[ahead] + start
        for begin in range(0, len(near), _BLOCK):
            one, other = near[begin : begin + _BLOCK], far[begin : begin + _BLOCK]
            alike = np.full(len(one), -1, dtype=np.float32)
            for position in _eight_positions(details[one]):
                alike = np.maximum(alike, np.einsum("nk,nk->n", position, flat[other]))
            for index in np.flatnonzero(alike >= same_picture):
                yield int(one[index]), int(other[index])


def _eight_positions(details: FloatArray) -> Iterator[FloatArray]:
    """(pictures, 1024) each, turned by quarters, as they are and mirrored."""
    for quarters in range(4):
        turned = np.rot90(details, quarters, axes=(1, 2))
        yield turned.reshape(len(details), -1)
        yield turned[:, :, ::-1].reshape(len(details), -1)
