"""The views that a model takes of a photo, each with the network that looks at it.

A method of explanation asks one network about the pixels it saw. A view says which pixels those
are, and lays the answer back over the photo. Another family of models plugs in with its own views.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from leafscout.errors import InputError
from leafscout.explanation.heat_pictures import HeatOverPhoto
from leafscout.explanation.lesion_map import lay_places, lesion_cell_px
from leafscout.focus.tile_reader import read_tiles
from leafscout.gated_model import GatedModel
from leafscout.gated_networks import TorchTokenNetwork
from leafscout.glance.view import take_glance, take_square
from leafscout.inference.deployed_tokens import DeployedTokens
from leafscout.inference.load import Model
from leafscout.model import GlanceAndFocus
from leafscout.networks import TorchNetworks, to_batch
from leafscout.nn.spatial_transformer import turn_back
from leafscout.recogniser_model import RecogniserModel
from leafscout.recogniser_networks import TorchPhotoNetwork
from leafscout.recognisers.whole_photo import without_transformer
from leafscout.types import Diagnosis, FloatArray, Photo

LayHeat = Callable[[FloatArray, bool], HeatOverPhoto]
"""(images, rows, columns) heat 0..1 of one label, and whether it is that of places as the network
sees them → over the photo."""


NOTHING_READ = "No tile was read: the glance alone decided, and only it is explained."
NOTHING_KEPT = (
    "No token was kept: the gate dropped all of the photo, so no place of it speaks for a label."
)

_Networks = TypeVar("_Networks")


@dataclass(frozen=True, eq=False)
class View:
    """What one network of a model saw of one photo.

    Attributes:
        name: ``tiles`` or ``glance``; ``photo`` of one network for the whole photo.
        network: in evaluation mode.
        pixels: (images, 3, height, width) 0..255.
        loudest: which image to show layer by layer.
        lay: from heat on the images to heat over the photo.
        note: what a reader must know of it; None where there is nothing.
    """

    name: str
    network: nn.Module
    pixels: Tensor
    loudest: int
    lay: LayHeat
    note: str | None = None


def take_views(model: Model, photo: Photo, diagnosis: Diagnosis) -> list[View]:
    """The views that a model took of a photo, the closest first.

    Args:
        model: of a run; its networks must be there with their weights.
        photo: the photo.
        diagnosis: what the model said about it.

    Raises:
        InputError: when the model is an exported one.
    """
    core: object = model.recogniser
    if isinstance(core, RecogniserModel):
        return [_view_photo(core, look_inside(model, core.network, TorchPhotoNetwork), photo)]
    if isinstance(core, GatedModel):
        runtime = look_inside(model, core.network, TorchTokenNetwork)
        return [_view_tokens(core, runtime, photo, diagnosis)]
    if not isinstance(core, GlanceAndFocus):
        raise TypeError(f"Expected a model of a known family, but got {type(core).__name__}.")
    networks = look_inside(model, core.networks, TorchNetworks)
    glance = _view_glance(core, networks, photo)
    if not diagnosis.read.any():
        return [replace(glance, note=NOTHING_READ)]
    return [_view_tiles(core, networks, photo, diagnosis), glance]


def look_inside(model: Model, networks: object, kind: type[_Networks]) -> _Networks:
    """The networks of a model in PyTorch, where they can be watched.

    Args:
        model: whose they are.
        networks: in any runtime.
        kind: the runtime in PyTorch.

    Raises:
        InputError: when the model is an exported one.
    """
    if not isinstance(networks, kind):
        raise InputError(
            f"The model in {model.run} is an exported one, whose networks cannot be looked into. "
            "Give the run folder that it was exported from."
        )
    return networks


def _view_photo(core: RecogniserModel, runtime: TorchPhotoNetwork, photo: Photo) -> View:
    """The photo as a recogniser's encoder saw it: turned and framed where it does that."""
    square = take_square(photo, core.rules.glance_px)
    with torch.no_grad():
        framed, affine = runtime.network.frame(_stack(square[None], runtime.device))

    def lay(heat: FloatArray, of_places: bool) -> HeatOverPhoto:  # noqa: ARG001
        over = torch.from_numpy(np.ascontiguousarray(heat[:1]))[None].float()
        if affine is not None:
            over = turn_back(over, affine.cpu()).clamp(0.0, 1.0)
        height, width = photo.size_px_hw
        return HeatOverPhoto(over[0, 0].numpy(), (float(height), float(width)))

    return View("photo", without_transformer(runtime.network), framed, 0, lay)


def _view_tokens(
    core: GatedModel, runtime: TorchTokenNetwork, photo: Photo, diagnosis: Diagnosis
) -> View:
    """The view of an integrated model: heat of tokens is laid where they lie in the photo."""
    tiles, cell_px = diagnosis.tiles, diagnosis.lesion_map_px
    rules = core.rules
    pixels = take_glance(photo, rules.glance_px).pixels

    def lay(heat: FloatArray, of_places: bool) -> HeatOverPhoto:
        if heat.shape[1:] != (tiles.rows, tiles.columns):  # of pixels: the view is the whole photo
            height, width = photo.size_px_hw
            return HeatOverPhoto(heat[0], (float(height), float(width)))
        shown = diagnosis.read if of_places else np.ones_like(diagnosis.read)
        over = lay_places(
            tiles, shown, heat.reshape(-1, 1, 1, 1)[shown], cell_px=cell_px
        )  # fmt: skip
        covered = over.shape[1] * cell_px, over.shape[2] * cell_px
        return HeatOverPhoto(over[0], covered, _looked_at(diagnosis, cell_px))

    return View(
        name="photo",
        network=DeployedTokens(runtime.network, rules.choice.threshold_prob, rules.pooling).eval(),
        pixels=_stack(pixels[None], runtime.device),
        loudest=0,
        lay=lay,
        note=None if diagnosis.read.any() else NOTHING_KEPT,
    )


def _view_tiles(
    core: GlanceAndFocus, networks: TorchNetworks, photo: Photo, diagnosis: Diagnosis
) -> View:
    tiles, read = diagnosis.tiles, diagnosis.read
    chosen = np.flatnonzero(read)
    pixels = read_tiles(photo, tiles, chosen)

    def lay(heat: FloatArray, of_places: bool) -> HeatOverPhoto:
        cell_px = lesion_cell_px(tiles.tile_px, heat.shape[2])
        over = lay_places(
            tiles,
            read,
            heat[:, None],
            cell_px=cell_px,
            place_offset_px=core.rules.place_offset_px if of_places else 0.0,
        )
        covered = over.shape[1] * cell_px, over.shape[2] * cell_px
        return HeatOverPhoto(over[0], covered, _looked_at(diagnosis, cell_px))

    loudest = int(np.nanmax(diagnosis.tile_probs[chosen], axis=1).argmax())
    return View("tiles", networks.expert, _stack(pixels, networks.device), loudest, lay)


def _view_glance(core: GlanceAndFocus, networks: TorchNetworks, photo: Photo) -> View:
    glance = core.take_glance(photo)

    def lay(heat: FloatArray, of_places: bool) -> HeatOverPhoto:  # noqa: ARG001
        return HeatOverPhoto(heat[0], (float(photo.size_px_hw[0]), float(photo.size_px_hw[1])))

    return View("glance", networks.scout, _stack(glance.pixels[None], networks.device), 0, lay)


def _looked_at(diagnosis: Diagnosis, cell_px: int) -> NDArray[np.bool_]:
    """(rows, columns) cells inside the tiles read."""
    height, width = diagnosis.photo_size_px_hw
    seen = np.zeros((-(-height // cell_px), -(-width // cell_px)), dtype=np.bool_)
    for left, top, right, bottom in diagnosis.tiles.boxes_px_xyxy[diagnosis.read].tolist():
        rows = slice(top // cell_px, -(-bottom // cell_px))
        seen[rows, left // cell_px : -(-right // cell_px)] = True
    return seen


def _stack(pixels: NDArray[np.uint8], device: torch.device) -> Tensor:
    return to_batch(pixels, device).float()
