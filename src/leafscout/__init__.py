"""LeafScout: glance at a field photo, focus on the few tiles that matter, diagnose the disease."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from leafscout.inference.load import Model

# ONNX Runtime from 1.29 and huggingface_hub tell their makers that they are used, unless they are
# told not to before they are loaded. Whoever wants that sets these to 0.
for _name in ("ORT_DISABLE_TELEMETRY", "HF_HUB_DISABLE_TELEMETRY"):
    os.environ.setdefault(_name, "1")

__version__ = "0.1.0"
__all__ = ["__version__", "load", "train"]


def train(
    data: str | Path, out: str | Path | None = None, recipe: str = "mobile", **options: Any
) -> Model:
    """Train a model from photo-level labels and load it.

    Args:
        data: a folder per class, or a label CSV.
        out: the run folder to write; by default a new one in ``runs/``, named after the data.
        recipe: ``tiny``, ``mobile`` or ``full``.
        **options: fields of ``leafscout.training.run.TrainOptions`` (``time_s=600``, ``seed=1``)
            and settings of the recipe (``tile_px=256``, ``epochs=3``).

    Returns:
        The trained model; its folder is ``model.run``.

    Raises:
        InputError: unusable data, options or run folder.
    """
    # Imported here: PyTorch takes seconds to load, and much of LeafScout works without it.
    from dataclasses import fields

    from leafscout.training import run as training

    source = Path(data)
    names = {field.name for field in fields(training.TrainOptions)}
    chosen = {key: value for key, value in options.items() if key in names}
    settings = {key: value for key, value in options.items() if key not in names}
    folder = training.train(
        source,
        free_folder(Path("runs") / (source.stem or "run")) if out is None else Path(out),
        recipe=recipe,
        overrides=settings,
        options=training.TrainOptions(**chosen),
    )
    return load(folder)


def load(run: str | Path, *, runtime: str | None = None, threads: int | None = None) -> Model:
    """Load the model of a run, or an exported one, which needs no PyTorch.

    Args:
        run: a run folder, or a model folder.
        runtime: ``torch``, ``onnxruntime`` or ``openvino``; by default what the folder holds.
        threads: CPU threads of the runtime; by default one a core that this process may use.

    Raises:
        InputError: when there is no finished model, it is damaged or of another version, or its
            runtime is not installed.
    """
    from leafscout.inference import load as loading

    return loading.load(run, runtime=runtime, threads=threads)


def free_folder(wanted: Path) -> Path:
    """``wanted``, or the first of ``wanted-2``, ``wanted-3`` … that is not there yet."""
    candidate, number = wanted, 1
    while candidate.exists():
        number += 1
        candidate = wanted.with_name(f"{wanted.name}-{number}")
    return candidate
