"""Load a trained model and diagnose photos with it."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from leafscout.errors import InputError
from leafscout.focus.tile_reader import TileReader
from leafscout.inference.answer import Failure, PhotoDiagnosis, build_diagnosis
from leafscout.inference.gated_runtime import open_gated_model
from leafscout.inference.many import DEFAULT_PACE, Pace, diagnose_photos
from leafscout.inference.one_by_one import diagnose_one_by_one
from leafscout.inference.recogniser_runtime import open_recogniser
from leafscout.inference.runtimes import StoredModel, find_model
from leafscout.manifest import Manifest
from leafscout.model import Core, GlanceAndFocus
from leafscout.photos.decode import open_photo

PhotoSource = str | Path | bytes | NDArray[Any]


class Model:
    """A trained model, ready to diagnose. Made by ``leafscout.load`` or ``leafscout.train``.

    Args:
        recogniser: networks and rules.
        manifest: what is known about the model.
        run: its run folder, or its model folder.
    """

    def __init__(self, recogniser: Core, manifest: Manifest, run: Path) -> None:
        self.recogniser = recogniser
        self.manifest = manifest
        self.run = run
        self._reader = TileReader()

    @property
    def core(self) -> GlanceAndFocus:
        """The model as scout and expert.

        Raises:
            InputError: when it is one network for the whole photo.
        """
        if not isinstance(self.recogniser, GlanceAndFocus):
            raise InputError(
                f"{self.run} holds one network without scout and expert, and this needs both. "
                "Train another recipe for it, for example tiny."
            )
        return self.recogniser

    @property
    def labels(self) -> tuple[str, ...]:
        """The diseases that the model knows."""
        return self.manifest.labels

    def diagnose(self, photo: PhotoSource, *, read_all: bool = False) -> PhotoDiagnosis:
        """Diagnose one photo.

        Args:
            photo: a path, the bytes of a file, or (height, width, 3) RGB pixels.
            read_all: read every tile, for comparison; dear.

        Returns:
            The diagnosis with its photo.

        Raises:
            PhotoError: when the photo cannot be used.
        """
        started_s = time.perf_counter()
        opened = open_photo(photo)
        evidence, tiles = self.recogniser.forward(opened, read_all=read_all, read=self._reader.read)
        diagnosis = build_diagnosis(self.recogniser, opened, evidence, tiles, started_s)
        return PhotoDiagnosis(diagnosis, opened)

    def diagnose_many(
        self, photos: Iterable[str | Path], *, pace: Pace = DEFAULT_PACE
    ) -> Iterator[PhotoDiagnosis | Failure]:
        """Diagnose photos, the next ones decoded meanwhile; a bad one does not stop the others.

        Args:
            photos: paths.
            pace: how much is done at a time; the answers do not depend on it.

        Yields:
            A diagnosis or a failure for each, in order.
        """
        if isinstance(self.recogniser, GlanceAndFocus):
            return diagnose_photos(self.recogniser, photos, pace)
        return diagnose_one_by_one(self.recogniser, photos, pace)


def load(run: str | Path, *, runtime: str | None = None, threads: int | None = None) -> Model:
    """Load the model of a run, or an exported one.

    Args:
        run: a run folder, or a model folder.
        runtime: ``torch``, ``onnxruntime`` or ``openvino``; by default what the folder holds.
        threads: CPU threads of the runtime; by default one a core that this process may use.

    Raises:
        InputError: when there is no finished model, it is damaged or of another version, or its
            runtime is not installed.
    """
    if threads is not None and threads < 1:
        raise InputError(f"Expected threads to be at least 1, but got {threads}.")
    folder = Path(run)
    stored = find_model(folder, runtime)
    return Model(open_core(stored, threads), stored.manifest, folder)


def open_core(stored: StoredModel, threads: int | None = None) -> Core:
    """The networks and rules of a model folder, of any family.

    Args:
        stored: of ``leafscout.inference.runtimes.find_model``.
        threads: see ``load``.

    Raises:
        InputError: when the runtime is not installed, or cannot run what the folder holds.
    """
    if stored.manifest.gate is not None:
        return open_gated_model(stored, threads)
    if stored.manifest.recogniser is not None:
        return open_recogniser(stored, threads)
    return GlanceAndFocus(stored.open_networks(threads), stored.manifest.rules())
