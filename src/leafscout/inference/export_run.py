"""Export a run: graphs, int8 where wanted, compared with PyTorch before anything looks finished."""

from __future__ import annotations

import importlib.util
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch

from leafscout.diagnosis.pooling import ATTENTION_POOLINGS
from leafscout.errors import InputError
from leafscout.export.calibration_set import CalibrationSet
from leafscout.export.folder import describe_parity, new_folder, write_manifest
from leafscout.export.parity import (
    ROUNDING,
    Limits,
    Parity,
    answer_photo,
    compare_models,
    compare_with_answers,
)
from leafscout.inference.export_one_network import export_one_network
from leafscout.inference.own_answers import copy_own_answers
from leafscout.inference.run_photos import find_run_photos, list_named_photos
from leafscout.inference.runtimes import (
    EXPORTS,
    TORCH,
    StoredModel,
    check_installed,
    find_model,
    open_graphs,
)
from leafscout.inference.torch_runtime import load_networks
from leafscout.manifest import ExportEntry, Manifest
from leafscout.model import GlanceAndFocus
from leafscout.networks import TorchNetworks
from leafscout.photos.decode import open_photo

Target = Literal["onnx", "openvino"]
RUNTIME_OF: dict[str, Literal["onnxruntime", "openvino"]] = {
    "onnx": "onnxruntime",
    "openvino": "openvino",
}
"""What ``--to`` may be → the runtime of what is written."""

PARITY_PHOTOS = 64
CALIBRATION_PHOTOS = 64
INT8_DECISIONS_FRAC = 0.02

Say = Callable[[str], None]
Show = Callable[[int, int], None]


@dataclass(frozen=True)
class ExportOptions:
    """What may be said about an export.

    Attributes:
        target: ``onnx`` or ``openvino``.
        int8: round weights and activations to eight bits.
        out: the folder to write; None takes one in the run folder.
        photos: photos or folders to compare on; empty takes the run's validation photos.
        calibration: photos or folders whose values set the ranges of int8; empty takes the run's
            training photos.
        tolerance: largest change of a probability; None is ``ROUNDING`` for fp32, any for int8.
        max_changed: largest share of photos with other labels; None is 0 for fp32 and
            ``INT8_DECISIONS_FRAC`` for int8.
        threads: CPU threads of both runtimes.
    """

    target: str = "onnx"
    int8: bool = False
    out: Path | None = None
    photos: tuple[Path, ...] = ()
    calibration: tuple[Path, ...] = ()
    tolerance: float | None = None
    max_changed: float | None = None
    threads: int | None = None

    def limits(self) -> Limits:
        """How much the exported model may differ.

        Raises:
            InputError: when a limit is out of range.
        """
        tolerance, changed = self.tolerance, self.max_changed
        if tolerance is None and not self.int8:
            tolerance = ROUNDING
        if changed is None:
            changed = INT8_DECISIONS_FRAC if self.int8 else 0.0
        return Limits(tolerance, changed)


@dataclass(frozen=True)
class Exported:
    """What came of an export.

    Attributes:
        folder: the exported model.
        manifest: of it.
        parity: how it compared.
        notes: what a reader must know.
    """

    folder: Path
    manifest: Manifest
    parity: Parity
    notes: tuple[str, ...]


def export_run(
    run: Path,
    options: ExportOptions,
    *,
    say: Say = lambda _: None,
    show: Show | None = None,
) -> Exported:
    """Export a run's model and compare it with PyTorch on real photos.

    Args:
        run: the run folder.
        options: what to write.
        say: told each step.
        show: told the photos compared and all.

    Raises:
        InputError: no finished model, a missing package, too few photos, a network that cannot be
            exported, a model that differs too much, or a folder that cannot be written.
    """
    limits = options.limits()
    _check_target(options)
    source = _find_source(run)
    photos = _parity_photos(run, options)
    if options.int8 and source.manifest.family == "gated":
        raise InputError(
            f"{run} holds an integrated model, one network that drops tokens on the way, which is "
            "exported in single precision alone. Leave --int8 out."
        )
    calibration = _calibration_photos(run, options) if options.int8 else []
    out = options.out or _default_folder(run, options)
    with new_folder(out) as folder:
        if source.manifest.family in ("recogniser", "gated"):
            entry, parity, notes = export_one_network(
                source, folder, photos, RUNTIME_OF[options.target], limits,
                calibration=calibration if options.int8 else None,
                threads=options.threads, say=say, show=show,
            )  # fmt: skip
        else:
            export = _Export(source, _open_on_cpu(source, options.threads), folder, options, say)
            entry, parity, notes = export.make(calibration, photos, limits, show)
        manifest = write_manifest(folder, source.manifest, entry)
        copy_own_answers(source, folder)
    return Exported(out, manifest, parity, (*notes, *_notes(source.manifest, manifest)))


@dataclass(frozen=True)
class _Export:
    """One export at work in its temporary folder."""

    source: StoredModel
    networks: TorchNetworks
    folder: Path
    options: ExportOptions
    say: Say

    @property
    def reference(self) -> GlanceAndFocus:
        return GlanceAndFocus(self.networks, self.source.manifest.rules())

    @property
    def files(self) -> dict[str, Path]:
        return {name: self.folder / f"{name}.onnx" for name in ("scout", "expert")}

    def make(
        self, calibration: list[Path], photos: list[Path], limits: Limits, show: Show | None
    ) -> tuple[ExportEntry, Parity, tuple[str, ...]]:
        self.write_graphs()
        if self.options.int8:
            return self.round_graphs(calibration, photos, limits, show)
        self.say(f"Comparing with PyTorch on {len(photos)} photos.")
        parity = compare_models(self.reference, self.open_exported(), photos, show=show)
        parity.check(limits)
        return self.describe(parity), parity, ()

    def write_graphs(self) -> None:
        from leafscout.export.graphs import write_expert_graph, write_scout_graph

        self.say("Writing the graphs of scout and expert.")
        write_scout_graph(self.networks.scout, self.files["scout"])
        manifest = self.source.manifest
        write_expert_graph(
            self.networks.expert,
            manifest.tile_px,
            self.files["expert"],
            attention=manifest.pooling in ATTENTION_POOLINGS,
        )

    def open_exported(self) -> GlanceAndFocus:
        """The graphs as their runtime runs them; for OpenVINO they are taken over first."""
        if self.options.target == "openvino":
            from leafscout.export.openvino_graphs import convert_graph

            for file in self.files.values():
                convert_graph(file, file.with_suffix(".xml"))
                file.unlink()
        runtime = RUNTIME_OF[self.options.target]
        networks = open_graphs(self.folder, runtime, self.options.threads)
        return GlanceAndFocus(networks, self.source.manifest.rules())

    def round_graphs(
        self, calibration: list[Path], photos: list[Path], limits: Limits, show: Show | None
    ) -> tuple[ExportEntry, Parity, tuple[str, ...]]:
        from leafscout.export.calibration_set import gather_calibration_set
        from leafscout.inference.round_graphs import describe_size, round_until_alike

        self.say("Measuring the ranges of int8 on photos.")
        seen = gather_calibration_set(self.reference, calibration)
        self.say(f"Comparing with PyTorch on {len(photos)} photos.")
        answers = []
        for done, path in enumerate(photos, start=1):
            answers.append(answer_photo(self.reference, open_photo(path)))
            if show is not None:
                show(done, len(photos))
        fp32_bytes = sum(file.stat().st_size for file in self.files.values())
        with tempfile.TemporaryDirectory(dir=self.folder) as aside:
            sources = {
                name: file.rename(Path(aside) / file.name) for name, file in self.files.items()
            }
            rounded = round_until_alike(
                sources,
                self.files,
                seen.inputs(),
                lambda: compare_with_answers(answers, self.open_exported(), photos),
                limits,
                threads=self.options.threads,
                say=self.say,
            )
        entry = self.describe(rounded.parity, seen, rounded.fp32_layers)
        size = sum(file.stat().st_size for file in self.folder.iterdir())
        notes = [describe_size(size, fp32_bytes)]
        return entry, rounded.parity, tuple(filter(None, [rounded.sentence(), *notes]))

    def describe(
        self,
        parity: Parity,
        seen: CalibrationSet | None = None,
        fp32_layers: dict[str, tuple[str, ...]] | None = None,
    ) -> ExportEntry:
        return ExportEntry(
            runtime=RUNTIME_OF[self.options.target],
            precision="int8" if self.options.int8 else "fp32",
            source_files=self.source.manifest.files,
            calibration_photos=len(seen.glances) if seen else 0,
            calibration_tiles=len(seen.tiles) if seen else 0,
            fp32_layers=fp32_layers or {},
            parity=describe_parity(parity),
        )


def _find_source(run: Path) -> StoredModel:
    model = find_model(run, TORCH if (run / "plan.json").is_file() else None)
    if model.runtime != TORCH:
        raise InputError(
            f"{run} is an exported model already. Name the run folder that it was made from."
        )
    return model


def _open_on_cpu(model: StoredModel, threads: int | None) -> TorchNetworks:
    """The networks in plain single precision: GPUs round products to fewer digits."""
    networks = load_networks(model.folder, model.manifest, threads)
    return TorchNetworks(networks.scout.cpu(), networks.expert.cpu(), torch.device("cpu"))


def _notes(source: Manifest, manifest: Manifest) -> tuple[str, ...]:
    if source.promise is None or manifest.promise is not None:
        return ()
    note = (
        "The promise about lost diagnoses was made with other numbers than int8: it does not hold "
        "for this model and was left out."
    )
    return (note,)


def _check_target(options: ExportOptions) -> None:
    if options.target not in RUNTIME_OF:
        raise InputError(
            f"Expected --to to be one of {', '.join(RUNTIME_OF)}, but got {options.target!r}."
        )
    check_installed(RUNTIME_OF[options.target])
    for package in ("onnx", "onnxscript"):
        if importlib.util.find_spec(package) is None:
            raise InputError(
                f"Exporting needs the package {package}, which is not installed. "
                'Install it: pip install "leafscout[export]"'
            )
    if options.calibration and not options.int8:
        raise InputError("--calibration is for int8 alone. Add --int8, or leave it out.")


def _default_folder(run: Path, options: ExportOptions) -> Path:
    if not (run / "plan.json").is_file():
        raise InputError(
            f"{run} is a model folder outside a run folder. Name the folder to write with --out."
        )
    return run / EXPORTS / (options.target + ("-int8" if options.int8 else ""))


def _parity_photos(run: Path, options: ExportOptions) -> list[Path]:
    if options.photos:
        return list_named_photos(options.photos)
    photos = find_run_photos(run, "val", option="--photos")
    return photos[:: max(1, len(photos) // PARITY_PHOTOS)][:PARITY_PHOTOS]


def _calibration_photos(run: Path, options: ExportOptions) -> list[Path]:
    if options.calibration:
        return list_named_photos(options.calibration)
    photos = find_run_photos(run, "train", option="--calibration")
    # Evenly from the whole list, which may be sorted by label.
    step = max(1, len(photos) // CALIBRATION_PHOTOS)
    return photos[::step][:CALIBRATION_PHOTOS]
