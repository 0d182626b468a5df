"""What a model's heads read of a photo: features, taken while the model answers as always."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, NamedTuple, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from leafscout.gated_model import GatedModel
from leafscout.gated_networks import TorchTokenNetwork
from leafscout.inference.load import Model
from leafscout.inference.views import look_inside
from leafscout.networks import TorchNetworks
from leafscout.recogniser_model import RecogniserModel
from leafscout.recogniser_networks import TorchPhotoNetwork
from leafscout.types import FloatArray, Photo, Tiles

Box: TypeAlias = tuple[int, int, int, int]


class SeenFeature(NamedTuple):
    """What one network saw of one photo.

    Attributes:
        values: (features,) what its head read.
        box_px_xyxy: the part of the photo that they are of.
    """

    values: FloatArray
    box_px_xyxy: Box


LARGEST_SQUARE_PX = 256
"""Scouts and experts read squares of any size; a smaller one is drawn for sooner."""

Pick: TypeAlias = Callable[[Tensor, Tensor, Tiles, NDArray[np.bool_]], SeenFeature]
"""What a head read and what it said, the grid over the photo, and (tiles,) which were read."""


@dataclass(frozen=True, eq=False)
class Reader:
    """One network of a model, and how a photo's features are read from its head.

    Attributes:
        view: ``photo``, ``tiles``, ``glance`` or ``tokens``.
        words: what the features of a photo are, the end of a sentence.
        network: in evaluation mode.
        head: of the network.
        centres: (labels, features) the directions in which the evidence of each label grows.
        pick: which of what the head read is the photo's.
        side_px: of a square that the network can be shown by itself; None where it judges
            tokens and no whole picture.
    """

    view: str
    words: str
    network: nn.Module
    head: nn.Module
    centres: FloatArray
    pick: Pick
    side_px: int | None = None


def feature_readers(model: Model) -> tuple[Reader, ...]:
    """The networks of a model whose features of photos can be compared, the closest look first.

    Args:
        model: of a run.

    Raises:
        InputError: when the model is an exported one.
    """
    core: object = model.recogniser
    labels = len(model.labels)
    if isinstance(core, RecogniserModel):
        network = look_inside(model, core.network, TorchPhotoNetwork).network
        centres, side_px = network.class_centres().cpu().numpy(), core.rules.glance_px
        words = "the whole photo"
        return (Reader("photo", words, network, network.head, centres, _pick_whole, side_px),)
    if isinstance(core, GatedModel):
        gated = look_inside(model, core.network, TorchTokenNetwork).network
        words = "the kept token with the most evidence of any label"
        directions = _directions(gated.head)[:labels]
        return (Reader("tokens", words, gated, gated.head, directions, _pick_token(labels)),)
    networks = look_inside(model, model.core.networks, TorchNetworks)
    expert, scout, rules = networks.expert, networks.scout, model.core.rules
    place = "the place with the most evidence of any label, in the tiles that were read"
    # The scout's head gives a score, evidence of tiles, and, last, evidence of the photo.
    of_place, of_photo = _directions(expert.head), _directions(scout.head)[-labels:]
    of_tile, of_glance = (min(side, LARGEST_SQUARE_PX) for side in (rules.tile_px, rules.glance_px))
    return (
        Reader("tiles", place, expert, expert.head, of_place, _pick_place, of_tile),
        Reader("glance", "the whole glance", scout, scout.head, of_photo, _pick_whole, of_glance),
    )


def read_features(
    model: Model, readers: tuple[Reader, ...], photo: Photo
) -> tuple[SeenFeature | None, ...]:
    """Diagnose a photo and take what the heads read meanwhile.

    Args:
        model: the readers' own.
        readers: of ``feature_readers``.
        photo: the photo.

    Returns:
        One a reader; None where its network did not look.
    """
    with _listen(readers) as heard:
        evidence, tiles = model.recogniser.forward(photo)
    found: list[SeenFeature | None] = []
    for reader, parts in zip(readers, heard, strict=True):
        if not parts:
            found.append(None)
            continue
        # The scout may look more than once, mirrored or closer: its first look is the glance.
        kept = parts if reader.view == "tiles" else parts[:1]
        read, said = (torch.cat(side).float().cpu() for side in zip(*kept, strict=True))
        found.append(reader.pick(read, said, tiles, evidence.read))
    return tuple(found)


@contextmanager
def _listen(readers: tuple[Reader, ...]) -> Iterator[list[list[tuple[Tensor, Tensor]]]]:
    """What goes into each reader's head and what comes out, for as long as the context is open."""
    heard: list[list[tuple[Tensor, Tensor]]] = [[] for _ in readers]
    handles = [
        reader.head.register_forward_hook(_note_into(into))
        for reader, into in zip(readers, heard, strict=True)
    ]
    try:
        yield heard
    finally:
        for handle in handles:
            handle.remove()


def _note_into(heard: list[tuple[Tensor, Tensor]]) -> Callable[..., None]:
    def note(_module: nn.Module, inputs: tuple[Any, ...], output: Tensor) -> None:
        heard.append((inputs[0].detach(), output.detach()))

    return note


def _directions(head: nn.Linear | nn.Conv2d) -> FloatArray:
    """(outputs, features) weights of a linear head, of places or not."""
    weights: FloatArray = head.weight.detach().float().flatten(1).cpu().numpy()
    return weights


def _pick_whole(read: Tensor, _said: Tensor, tiles: Tiles, _kept: NDArray[np.bool_]) -> SeenFeature:
    height, width = tiles.photo_size_px_hw
    values: FloatArray = read[0].reshape(read.shape[1], -1).mean(dim=1).numpy()
    return SeenFeature(values, (0, 0, width, height))


def _pick_place(read: Tensor, said: Tensor, tiles: Tiles, kept: NDArray[np.bool_]) -> SeenFeature:
    loudest = said.amax(dim=1)  # (tiles, rows, columns)
    tile, row, column = np.unravel_index(int(loudest.argmax()), tuple(loudest.shape))
    return SeenFeature(read[tile, :, row, column].numpy(), _box_of(tiles, kept, int(tile)))


def _pick_token(labels: int) -> Pick:
    def pick(read: Tensor, said: Tensor, tiles: Tiles, kept: NDArray[np.bool_]) -> SeenFeature:
        token = int(said[0, :, :labels].amax(dim=1).argmax())
        return SeenFeature(read[0, token].numpy(), _box_of(tiles, kept, token))

    return pick


def _box_of(tiles: Tiles, kept: NDArray[np.bool_], index: int) -> Box:
    """Of the tile that is at this place among those that were read."""
    left, top, right, bottom = tiles.boxes_px_xyxy[np.flatnonzero(kept)[index]].tolist()
    return left, top, right, bottom
