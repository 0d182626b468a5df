"""A recogniser as one graph, rounded to int8 where wanted, compared with PyTorch."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch
from torch import nn

from leafscout.errors import InputError
from leafscout.export.folder import describe_parity
from leafscout.export.parity import (
    Limits,
    Parity,
    answer_photo,
    compare_models,
    compare_with_answers,
)
from leafscout.inference.recogniser_runtime import (
    RECOGNISER_FILE,
    open_photo_graph,
    open_recogniser,
)
from leafscout.inference.runtimes import StoredModel
from leafscout.manifest import ExportEntry
from leafscout.photos.decode import open_photo
from leafscout.recogniser_model import RecogniserModel
from leafscout.recogniser_networks import TorchPhotoNetwork
from leafscout.types import Pixels

Show = Callable[[int, int], None]
Squares = dict[str, tuple[Pixels, ...]]

LEAST_WEIGHTS_FRAC = 0.5
"""Share of a network's weights that convolutions must hold for int8 to be worth anything."""


def export_recogniser(
    source: StoredModel,
    folder: Path,
    photos: list[Path],
    runtime: Literal["onnxruntime", "openvino"],
    limits: Limits,
    *,
    calibration: list[Path] | None,
    threads: int | None,
    say: Callable[[str], None],
    show: Show | None,
) -> tuple[ExportEntry, Parity, tuple[str, ...]]:
    """Write the graph of a recogniser and compare it with PyTorch on photos.

    Args:
        source: of a run.
        folder: empty; the graph goes there.
        photos: to compare on.
        runtime: that the graph is for.
        limits: how much it may differ.
        calibration: photos that the ranges of int8 are measured on; None for single precision.
        threads: CPU threads of both.
        say: told each step.
        show: told the photos compared and all.

    Returns:
        What the manifest says of it, how it compared, and what a reader must know.

    Raises:
        InputError: a network that cannot be exported or rounded, or that differs too much.
    """
    from leafscout.export.graphs import write_recogniser_graph

    model = open_recogniser(source, threads)
    if not isinstance(model.network, TorchPhotoNetwork):
        raise InputError(f"{source.folder} is an exported model already.")
    # In plain single precision: GPUs round products to fewer digits.
    network = model.network.network.cpu()
    reference = RecogniserModel(TorchPhotoNetwork(network, torch.device("cpu")), model.rules)
    work = _Work(source, folder, photos, runtime, limits, reference, threads, say, show)
    squares = None if calibration is None else work.gather(network, calibration)
    say("Writing the graph of the recogniser.")
    write_recogniser_graph(network, work.file)
    if squares is not None:
        return work.round_graph(squares)
    say(f"Comparing with PyTorch on {len(photos)} photos.")
    parity = compare_models(reference, work.open_exported(), photos, show=show)
    parity.check(limits)
    return work.describe(parity), parity, ()


@dataclass(frozen=True)
class _Work:
    """One export at work in its temporary folder."""

    source: StoredModel
    folder: Path
    photos: list[Path]
    runtime: Literal["onnxruntime", "openvino"]
    limits: Limits
    reference: RecogniserModel
    threads: int | None
    say: Callable[[str], None]
    show: Show | None

    @property
    def file(self) -> Path:
        return self.folder / f"{RECOGNISER_FILE}.onnx"

    def open_exported(self) -> RecogniserModel:
        """The graph as its runtime runs it; for OpenVINO it is taken over first."""
        if self.runtime == "openvino":
            from leafscout.export.openvino_graphs import convert_graph

            convert_graph(self.file, self.file.with_suffix(".xml"))
            self.file.unlink()
        network = open_photo_graph(self.folder, self.runtime, self.threads)
        return RecogniserModel(network, self.reference.rules)

    def gather(self, network: nn.Module, calibration: list[Path]) -> Squares:
        from leafscout.export.calibration_set import gather_squares

        frac = _weigh_convolutions(network)
        if frac < LEAST_WEIGHTS_FRAC:
            raise InputError(
                f"int8 rounds convolutions, and these hold {frac:.0%} of the weights of the "
                f"recogniser on {self.source.manifest.expert!r}: little would be gained. Export it "
                "without --int8."
            )
        self.say("Looking at photos that set the ranges of int8.")
        return gather_squares(self.reference, calibration)

    def round_graph(self, inputs: Squares) -> tuple[ExportEntry, Parity, tuple[str, ...]]:
        from leafscout.inference.round_graphs import describe_size, round_until_alike

        self.say(f"Comparing with PyTorch on {len(self.photos)} photos.")
        answers = []
        for done, path in enumerate(self.photos, start=1):
            answers.append(answer_photo(self.reference, open_photo(path)))
            if self.show is not None:
                self.show(done, len(self.photos))
        fp32_bytes = self.file.stat().st_size
        with tempfile.TemporaryDirectory(dir=self.folder) as aside:
            rounded = round_until_alike(
                {RECOGNISER_FILE: self.file.rename(Path(aside) / self.file.name)},
                {RECOGNISER_FILE: self.file},
                inputs,
                lambda: compare_with_answers(answers, self.open_exported(), self.photos),
                self.limits,
                threads=self.threads,
                say=self.say,
            )
        size = sum(file.stat().st_size for file in self.folder.iterdir())
        notes = (rounded.sentence(), describe_size(size, fp32_bytes))
        entry = self.describe(rounded.parity, len(inputs[RECOGNISER_FILE]), rounded.fp32_layers)
        return entry, rounded.parity, tuple(filter(None, notes))

    def describe(
        self,
        parity: Parity,
        calibrated: int = 0,
        fp32_layers: dict[str, tuple[str, ...]] | None = None,
    ) -> ExportEntry:
        """What the manifest says; ``calibrated`` photos mean int8, each of them one tile."""
        return ExportEntry(
            runtime=self.runtime,
            precision="int8" if calibrated else "fp32",
            source_files=self.source.manifest.files,
            calibration_photos=calibrated,
            calibration_tiles=calibrated,
            fp32_layers=fp32_layers or {},
            parity=describe_parity(parity),
        )


def _weigh_convolutions(network: nn.Module) -> float:
    """Share of a network's weights that convolutions hold, 0..1."""
    inside = sum(one.weight.numel() for one in network.modules() if isinstance(one, nn.Conv2d))
    return inside / sum(one.numel() for one in network.parameters())
