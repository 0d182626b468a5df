"""Which runtime runs a model: by what its folder holds, what is installed, and what is asked for.

A run folder holds a PyTorch model in ``model/``, and may hold exported ones in ``exports/``. Any
of these model folders can be moved elsewhere and used by itself.
"""

from __future__ import annotations

import importlib.util
from dataclasses import dataclass
from pathlib import Path

from leafscout.errors import InputError, describe_unknown
from leafscout.inference.graph_networks import RunGraph, usable_cores
from leafscout.manifest import MANIFEST_NAME, Manifest, read_manifest
from leafscout.model import Networks

EXPORTS = "exports"
"""Folder of the exported models inside a run folder."""

TORCH = "torch"
INSTALLS = {
    TORCH: ("torch", 'pip install "leafscout[train]"'),
    "onnxruntime": ("onnxruntime", "pip install onnxruntime"),
    "openvino": ("openvino", 'pip install "leafscout[openvino]"'),
}
"""Runtime → the package that it needs, and what installs it."""


@dataclass(frozen=True)
class StoredModel:
    """A model folder whose files are as its manifest says.

    Attributes:
        folder: holds ``manifest.json`` and the weights or graphs.
        manifest: of that folder.
    """

    folder: Path
    manifest: Manifest

    @property
    def runtime(self) -> str:
        """A key of ``INSTALLS``."""
        return TORCH if self.manifest.export is None else self.manifest.export.runtime

    @property
    def precision(self) -> str:
        """``fp32`` or ``int8``."""
        return "fp32" if self.manifest.export is None else self.manifest.export.precision

    def open_networks(self, threads: int | None = None) -> Networks:
        """Scout and expert, ready to run.

        Args:
            threads: of the runtime; None takes every core that this process may use.

        Raises:
            InputError: when the runtime is not installed or cannot run the model.
        """
        check_installed(self.runtime)
        if self.runtime == TORCH:
            from leafscout.inference.torch_runtime import load_networks

            return load_networks(self.folder, self.manifest, threads)
        return open_graphs(self.folder, self.runtime, threads)


def open_graphs(folder: Path, runtime: str, threads: int | None = None) -> Networks:
    """Open the graphs of an exported model.

    Args:
        folder: holds the graphs.
        runtime: ``onnxruntime`` or ``openvino``.
        threads: of the runtime; None takes every core that this process may use.

    Raises:
        InputError: when the runtime cannot run them.
    """
    wanted = usable_cores() if threads is None else threads
    if runtime == "openvino":
        from leafscout.inference.openvino_runtime import open_openvino_networks

        return open_openvino_networks(folder, wanted)
    from leafscout.inference.onnx_runtime import open_onnx_networks

    return open_onnx_networks(folder, wanted)


def open_graph(file: Path, fields: tuple[str, ...], runtime: str, threads: int | None) -> RunGraph:
    """Open one graph of an exported model of one network.

    Args:
        file: without its ending.
        fields: names of what it gives.
        runtime: ``onnxruntime`` or ``openvino``.
        threads: of the runtime; None takes every core that this process may use.

    Raises:
        InputError: when the runtime cannot run it.
    """
    wanted = usable_cores() if threads is None else threads
    if runtime == "openvino":
        from leafscout.inference.openvino_runtime import open_openvino_graph

        return open_openvino_graph(file.with_name(f"{file.name}.xml"), fields, wanted)
    from leafscout.inference.onnx_runtime import open_onnx_graph

    return open_onnx_graph(file.with_name(f"{file.name}.onnx"), fields, wanted)


def find_model(folder: Path, runtime: str | None = None) -> StoredModel:
    """The model of a folder that a runtime can run.

    Args:
        folder: a run folder, or a model folder (of a run, exported, or moved elsewhere).
        runtime: a key of ``INSTALLS``; None takes the run's own PyTorch model where PyTorch is
            installed, else an exported one whose runtime is.

    Raises:
        InputError: no model, none of this runtime, or one that is damaged or out of date.
    """
    if runtime is not None and runtime not in INSTALLS:
        raise InputError(describe_unknown("runtime", runtime, INSTALLS))
    if not folder.is_dir():
        raise InputError(f"There is no run folder {folder}. Train one with `leafscout train`.")
    if not (folder / "plan.json").is_file():
        return _only_model(folder, runtime)
    own = folder / "model"
    if runtime == TORCH or (runtime is None and is_installed(TORCH)):
        return StoredModel(own, read_manifest(own))
    exported = list_exports(folder)
    for model in exported:
        if runtime in (None, model.runtime) and is_installed(model.runtime):
            return model
    if runtime is not None:
        check_installed(runtime)
        target = "openvino" if runtime == "openvino" else "onnx"
        raise InputError(
            f"{folder} holds no model for {runtime}. Make one first: "
            f"leafscout export {folder} --to {target}"
        )
    return StoredModel(own, read_manifest(own))


def list_exports(run: Path) -> list[StoredModel]:
    """The exported models of a run folder, fp32 before int8.

    Raises:
        InputError: when one is damaged, or was made before the run's model was changed.
    """
    folders = sorted(path.parent for path in (run / EXPORTS).glob(f"*/{MANIFEST_NAME}"))
    found = [
        StoredModel(path, read_manifest(path)) for path in folders if not path.name.startswith(".")
    ]
    if found:
        source = read_manifest(run / "model")
        for model in found:
            _check_up_to_date(model, source)
    return sorted(found, key=lambda model: model.precision)


def _check_up_to_date(model: StoredModel, source: Manifest) -> None:
    export = model.manifest.export
    same = export is not None and export.source_files == source.files
    if not same or model.manifest.rules() != source.rules():
        raise InputError(
            f"{model.folder} was exported before the model of its run was changed. "
            "Export it again, or remove that folder."
        )


def _only_model(folder: Path, runtime: str | None) -> StoredModel:
    model = StoredModel(folder, read_manifest(folder))
    if runtime not in (None, model.runtime):
        raise InputError(
            f"{folder} holds a model for {model.runtime}, but {runtime} was asked for. "
            "Leave the runtime out, or export the run for it with `leafscout export`."
        )
    return model


def is_installed(runtime: str) -> bool:
    """Whether a runtime's package can be imported; it is not imported."""
    return importlib.util.find_spec(INSTALLS[runtime][0]) is not None


def check_installed(runtime: str) -> None:
    """Refuse a runtime whose package is not installed.

    Raises:
        InputError: with the command that installs it.
    """
    if not is_installed(runtime):
        package, command = INSTALLS[runtime]
        raise InputError(
            f"The runtime {runtime} needs the package {package}, which is not installed. "
            f"Install it: {command}"
        )
