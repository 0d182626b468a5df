"""An integrated model from its folder, and many photos with it."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice
from pathlib import Path

from leafscout.errors import InputError, PhotoError
from leafscout.gated_model import GatedModel
from leafscout.inference.answer import Failure, PhotoDiagnosis, build_diagnosis
from leafscout.inference.many import Pace
from leafscout.inference.runtimes import StoredModel, check_installed
from leafscout.photos.decode import open_photo
from leafscout.types import Photo


def open_gated_model(stored: StoredModel, threads: int | None = None) -> GatedModel:
    """Build the network of a model folder and fill it with its weights.

    Args:
        stored: a folder whose manifest describes an integrated model.
        threads: CPU threads of PyTorch; None takes every core that this process may use.

    Raises:
        InputError: when PyTorch is not installed, or the weights do not fit the manifest.
    """
    check_installed(stored.runtime)
    from leafscout.gated_networks import TorchTokenNetwork, build_gated_transformer
    from leafscout.inference.torch_runtime import fill
    from leafscout.networks import choose_device, set_threads

    manifest = stored.manifest
    if manifest.gate is None:
        raise InputError(f"{stored.folder} does not hold an integrated model.")
    set_threads(threads)
    network = build_gated_transformer(
        manifest.expert,
        len(manifest.labels),
        token_px=manifest.tile_px,
        **manifest.gate.model_dump(),
    )
    fill(network, stored.folder / next(iter(manifest.files)))
    device = choose_device()
    return GatedModel(TorchTokenNetwork(network.to(device).eval(), device), manifest.rules())


def diagnose_gated_photos(
    core: GatedModel, photos: Iterable[str | Path], pace: Pace
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
