"""How a network came to look where it looks: its heat on one photo, epoch after epoch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from leafscout.errors import InputError
from leafscout.explanation.heat_pictures import draw_heat, write_film, write_image
from leafscout.inference.explain_photo import LabelHeat, PhotoExplanation, Question, ask_view
from leafscout.inference.explanation_files import safe_name
from leafscout.inference.load import Model
from leafscout.inference.views import View, take_views
from leafscout.model import GlanceAndFocus
from leafscout.networks import TorchNetworks
from leafscout.recogniser_model import RecogniserModel
from leafscout.recogniser_networks import TorchPhotoNetwork
from leafscout.reports.diagnosis_records import write_json
from leafscout.training.kept_epochs import list_epochs, load_epoch
from leafscout.training.recogniser_stage import STAGE_NAME

STAGES = {"tiles": "expert", "glance": "scout", "photo": STAGE_NAME}
"""View → the stage whose network looks there."""


@dataclass(frozen=True)
class EpochFrame:
    """One epoch of a film.

    Attributes:
        epoch: from 1.
        heat: of one label, over the photo.
    """

    epoch: int
    heat: LabelHeat


@dataclass(frozen=True)
class EpochFilm:
    """Heat of one label in one view over the epochs of its stage.

    Attributes:
        view: ``tiles``, ``glance`` or ``photo``.
        stage: whose epochs they are.
        method: how the network was asked.
        label: the label.
        frames: first epoch to last.
    """

    view: str
    stage: str
    method: str
    label: str
    frames: tuple[EpochFrame, ...]


def find_epochs(model: Model) -> dict[str, dict[int, Path]]:
    """Stage → epoch → weights that a run kept.

    Raises:
        InputError: when the run kept none.
    """
    folder = model.run / "checkpoints"
    found = {stage: list_epochs(folder / stage) for stage in STAGES.values()}
    found = {stage: epochs for stage, epochs in found.items() if epochs}
    if not found:
        raise InputError(
            f"{model.run} kept no weights of its epochs. Train it with --keep-epochs to see how "
            "it learnt."
        )
    return found


def explain_epochs(
    model: Model,
    explanation: PhotoExplanation,
    question: Question,
    epochs: Mapping[str, Mapping[int, Path]],
) -> tuple[EpochFilm, ...]:
    """Ask the networks of every epoch about a photo, on the very tiles that the model read.

    Afterwards the model is as it was.

    Args:
        model: of a run.
        explanation: of the photo, by the finished model: its views, methods and labels are asked
            again.
        question: as it was asked.
        epochs: from ``find_epochs``.

    Raises:
        InputError: when the model is an exported one or of a family without views, or weights do
            not fit.
    """
    networks = _networks_of(model)
    films = []

    def look() -> dict[str, View]:
        answer = explanation.answer
        return {view.name: view for view in take_views(model, answer.photo, answer.diagnosis)}

    views = look()
    for seen in explanation.views:
        stage = STAGES[seen.view]
        if stage not in epochs:
            continue
        asked = [one.label for one in seen.labels]
        wishes = Question(method=seen.method, layer=question.layer)
        frames: dict[str, list[EpochFrame]] = {label: [] for label in asked}
        kept = _copy_state(networks[stage])
        try:
            for epoch, path in epochs[stage].items():
                load_epoch(path, networks[stage])
                # A recogniser frames the photo by what it had learnt by then.
                view = look()[seen.view] if stage == STAGE_NAME else views[seen.view]
                heat = ask_view(view, model.labels, asked, wishes)
                for one in heat.labels:
                    frames[one.label].append(EpochFrame(epoch, one))
        finally:
            networks[stage].load_state_dict(kept)
        films += [
            EpochFilm(seen.view, stage, seen.method, label, tuple(found))
            for label, found in frames.items()
        ]
    return tuple(films)


def _networks_of(model: Model) -> dict[str, nn.Module]:
    """Stage → its network."""
    core: object = model.recogniser
    if isinstance(core, GlanceAndFocus) and isinstance(core.networks, TorchNetworks):
        return {"expert": core.networks.expert, "scout": core.networks.scout}
    if isinstance(core, RecogniserModel) and isinstance(core.network, TorchPhotoNetwork):
        return {STAGE_NAME: core.network.network}
    raise InputError(
        f"{model.run} does not hold networks in PyTorch whose epochs can be asked. Give the run "
        "folder of another recipe, for example tiny."
    )


def _copy_state(network: nn.Module) -> dict[str, Tensor]:
    return {name: value.detach().clone() for name, value in network.state_dict().items()}


def write_epochs(
    explanation: PhotoExplanation, films: tuple[EpochFilm, ...], folder: Path, stem: str
) -> list[dict[str, Any]]:
    """Write a film for each label and view, its pictures one by one, and a JSON that names them.

    Args:
        explanation: of the photo.
        films: from ``explain_epochs``.
        folder: where to.
        stem: what the names of all files start with.

    Returns:
        What the JSON holds.

    Raises:
        InputError: when a file cannot be written.
    """
    record = []
    for film in films:
        name = f"{stem}_{safe_name(film.label)}_{film.view}_{safe_name(film.method)}_epochs"
        last = film.frames[-1].epoch
        drawn, pictures = [], []
        for frame in film.frames:
            caption = f"epoch {frame.epoch} of {last} · {film.label} · {film.view} · {film.method}"
            drawn.append(draw_heat(explanation.answer.photo.pixels, frame.heat.over, caption))
            path = write_image(folder / name / f"{frame.epoch:04d}.jpg", drawn[-1])
            pictures.append(path.relative_to(folder).as_posix())
        record.append(
            {
                "view": film.view,
                "stage": film.stage,
                "method": film.method,
                "label": film.label,
                "epochs": len(film.frames),
                "peaks": [frame.heat.peak for frame in film.frames],
                "film": write_film(folder / f"{name}.gif", drawn).name,
                "pictures": pictures,
            }
        )
    write_json(folder / f"{stem}_epochs.json", {"films": record})
    return record
