"""Networks as ONNX graphs: bytes of pixels in, evidence out, normalisation inside."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypeVar

import onnxruntime
import torch
from torch import Tensor, nn

from leafscout.errors import InputError
from leafscout.export.quiet import quiet_logs
from leafscout.focus.expert import Expert
from leafscout.gated_model import EarlyAnswer, LaterAnswer
from leafscout.glance.scout import Scout
from leafscout.glance.view import GLANCE_STEP_PX
from leafscout.model import GlanceEvidence, TileEvidence
from leafscout.recogniser_model import PhotoAnswer
from leafscout.recogniser_networks import PhotoGraph
from leafscout.recognisers.gated_transformer import GatedTransformer
from leafscout.recognisers.whole_photo import Recogniser

OPSET = 20
"""Version of the ONNX operators; every onnxruntime that LeafScout accepts knows it."""

_LARGEST_GLANCE_PX = 1 << 14
_MOST_TILES = 1 << 16
_OTHER_SIZES = ((3, 9), (12, 16))
_MOST_TOKENS = 1 << 20
_OTHER_COUNTS = (1, 7, 150)
_SIZE_TOLERANCE = 1e-2
_ONE_SIZE = (
    "cannot be written as ONNX: its graph is right for glances of one size alone. Train with "
    "another backbone, for example mobilenetv2_100, or use the run as it is."
)
_ONE_COUNT = (
    "cannot be written as ONNX: its graph is right for one number of tokens alone. Train with "
    "another stem, for example tiny, or use the run as it is."
)


_Network = TypeVar("_Network", bound=nn.Module)


class ScoutGraph(nn.Module):
    """The scout as a runtime sees it: one glance in, the fields of ``GlanceEvidence`` out.

    Args:
        scout: in evaluation mode.
    """

    def __init__(self, scout: Scout) -> None:
        super().__init__()
        self.scout = scout

    def forward(self, glance: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """(height, width, 3) bytes → score map, label maps, glance logits."""
        out = self.scout(glance.permute(2, 0, 1)[None])
        return out.score_map[0], out.label_maps[0], out.glance_logits[0]


class ExpertGraph(nn.Module):
    """The expert as a runtime sees it: tiles in, the fields of ``TileEvidence`` out.

    Args:
        expert: in evaluation mode.
        attention: whether the model's pooling reads attention logits; they are zeros otherwise.
    """

    def __init__(self, expert: Expert, *, attention: bool = True) -> None:
        super().__init__()
        self.expert = expert
        self.attention = attention

    def forward(self, tiles: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """(tiles, tile_px, tile_px, 3) bytes → tile, attention and place logits."""
        out = self.expert(tiles.permute(0, 3, 1, 2))
        attention_logits = out.attention_logits
        if not self.attention:
            attention_logits = torch.zeros_like(out.tile_logits)
        return out.tile_logits, attention_logits, out.place_logits


class EarlyGraph(nn.Module):
    """The early layers and the gate: one view in, the fields of ``EarlyAnswer`` out.

    Args:
        network: in evaluation mode.
    """

    def __init__(self, network: GatedTransformer) -> None:
        super().__init__()
        self.network = network

    def forward(self, view: Tensor) -> tuple[Tensor, Tensor]:
        """(height, width, 3) bytes → values (rows, columns, width), gate logits (rows, columns)."""
        tokens = self.network.embed(view.permute(2, 0, 1)[None])
        grid = tokens.rows, tokens.columns
        values, logits = tokens.values[0], self.network.gate(tokens.values)[0]
        return values.reshape(*grid, values.shape[1]), logits.reshape(grid)


class LaterGraph(nn.Module):
    """The later layers: values of the tokens kept in, the fields of ``LaterAnswer`` out.

    Args:
        network: in evaluation mode.
        attention: see ``ExpertGraph``.
    """

    def __init__(self, network: GatedTransformer, *, attention: bool = True) -> None:
        super().__init__()
        self.network = network
        self.attention = attention

    def forward(self, token_values: Tensor) -> tuple[Tensor, Tensor]:
        """(tokens, width) values → evidence and attention logits, (tokens, labels) each."""
        found = self.network.read(token_values[None])
        evidence = found.token_logits[0]
        attention = found.attention_logits[0] if self.attention else torch.zeros_like(evidence)
        return evidence, attention


def write_scout_graph(scout: Scout, path: Path) -> None:
    """Write the scout for glances of any size in steps of ``GLANCE_STEP_PX``.

    Args:
        scout: trained.
        path: of the ONNX file.

    Raises:
        InputError: when a part of it cannot be written as ONNX.
    """
    what = f"The scout, on the backbone {scout.backbone.name!r},"
    names = "glance", GlanceEvidence._fields
    graph = ScoutGraph(prepare_network(scout))
    _write_graph(graph, _example_view(), _any_view(), path, what=what, names=names)
    _check_other_sizes(graph, path, _draw_views(), names, f"{what} {_ONE_SIZE}")


def write_token_graphs(
    network: GatedTransformer, early: Path, later: Path, *, attention: bool = True
) -> None:
    """Write an integrated network as two graphs, between which dropped tokens leave.

    Args:
        network: trained.
        early: of the ONNX file of early layers and gate, for views of any size in steps of
            ``GLANCE_STEP_PX``.
        later: of the ONNX file of the later layers, for any number of tokens.
        attention: see ``write_expert_graph``.

    Raises:
        InputError: when a part of it cannot be written as ONNX.
    """
    what = f"The integrated network, on the stem {network.stem.name!r},"
    prepared = prepare_network(network)
    names = "view", EarlyAnswer._fields
    graph = EarlyGraph(prepared)
    _write_graph(graph, _example_view(), _any_view(), early, what=what, names=names)
    _check_other_sizes(graph, early, _draw_views(), names, f"{what} {_ONE_SIZE}")
    names, rest = ("token_values", LaterAnswer._fields), LaterGraph(prepared, attention=attention)
    any_count = {0: torch.export.Dim("tokens", min=1, max=_MOST_TOKENS)}
    generator = torch.Generator().manual_seed(0)
    values = [
        torch.randn(count, network.width, generator=generator) for count in (2, *_OTHER_COUNTS)
    ]
    _write_graph(rest, values[0], any_count, later, what=what, names=names)
    _check_other_sizes(rest, later, values, names, f"{what} {_ONE_COUNT}")


def _example_view() -> Tensor:
    return torch.zeros(16 * GLANCE_STEP_PX, 12 * GLANCE_STEP_PX, 3, dtype=torch.uint8)


def _any_view() -> dict[int, Any]:
    """The sides of a view that a graph is for, any in steps of ``GLANCE_STEP_PX``."""
    step, most = GLANCE_STEP_PX, _LARGEST_GLANCE_PX // GLANCE_STEP_PX
    rows, columns = (torch.export.Dim(name, min=2, max=most) for name in ("rows", "columns"))
    return {0: step * rows, 1: step * columns}


def _draw_views() -> list[Tensor]:
    """Noise of other sizes than the example's."""
    generator = torch.Generator().manual_seed(0)
    sizes = [(rows * GLANCE_STEP_PX, columns * GLANCE_STEP_PX, 3) for rows, columns in _OTHER_SIZES]
    return [torch.randint(0, 256, size, dtype=torch.uint8, generator=generator) for size in sizes]


def _check_other_sizes(
    graph: nn.Module,
    path: Path,
    inputs: Sequence[Tensor],
    names: tuple[str, tuple[str, ...]],
    refusal: str,
) -> None:
    """The exporter may take a number that follows from the example's size for a constant."""
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    given, wanted = names
    for one in inputs:
        with torch.no_grad():
            expected = graph(one)
        found = session.run(list(wanted), {given: one.numpy()})
        for values, other in zip(found, expected, strict=True):
            scale = 1.0 + float(other.abs().max())
            if float((torch.from_numpy(values) - other).abs().max()) > _SIZE_TOLERANCE * scale:
                raise InputError(refusal)


def write_expert_graph(expert: Expert, tile_px: int, path: Path, *, attention: bool = True) -> None:
    """Write the expert for any number of tiles.

    Args:
        expert: trained.
        tile_px: side of a tile.
        path: of the ONNX file.
        attention: whether the model's pooling reads attention logits. Where it does not, zeros
            take their place, and the layers behind them are left out.

    Raises:
        InputError: when a part of it cannot be written as ONNX.
    """
    _write_graph(
        ExpertGraph(prepare_network(expert), attention=attention),
        torch.zeros(2, tile_px, tile_px, 3, dtype=torch.uint8),
        {0: torch.export.Dim("tiles", min=1, max=_MOST_TILES)},
        path,
        what=f"The expert, on the backbone {expert.backbone.name!r},",
        names=("tiles", TileEvidence._fields),
    )


def write_recogniser_graph(network: Recogniser, path: Path) -> None:
    """Write a recogniser for one photo of the size that it was built for.

    Args:
        network: trained.
        path: of the ONNX file.

    Raises:
        InputError: when a part of it cannot be written as ONNX.
    """
    side = network.shape.photo_px
    _write_graph(
        PhotoGraph(prepare_network(network)),
        torch.zeros(side, side, 3, dtype=torch.uint8),
        None,
        path,
        what=f"The recogniser, on the encoder {network.shape.encoder!r},",
        names=("photo", PhotoAnswer._fields),
    )


def prepare_network(network: _Network) -> _Network:
    """A copy on the CPU, in evaluation mode, whose settings are numbers instead of tensors.

    A setting that is saved with the weights (how much the expert shrinks its tiles) is a tensor of
    no dimensions. As a tensor its value is unknown while the graph is drawn, and no branch could
    be taken by it.
    """
    copied = copy.deepcopy(network).cpu().eval()
    for name, value in list(copied.named_buffers(recurse=False)):
        if value.dim() == 0:
            delattr(copied, name)
            setattr(copied, name, value.item())
    return copied


def _write_graph(
    network: nn.Module,
    example: Tensor,
    dynamic_dims: dict[int, Any] | None,
    path: Path,
    *,
    what: str,
    names: tuple[str, tuple[str, ...]],
) -> None:
    given, found = names
    with quiet_logs():
        try:
            program = torch.onnx.export(
                network,
                (example,),
                input_names=[given],
                output_names=list(found),
                opset_version=OPSET,
                dynamic_shapes=None if dynamic_dims is None else (dynamic_dims,),
                dynamo=True,
                external_data=False,
                verbose=False,
            )
        except Exception as error:  # the exporter lets through whatever a network raises
            raise InputError(
                f"{what} cannot be written as ONNX: {_reason(error)}. Train with another "
                "backbone, for example mobilenetv2_100, or use the run as it is."
            ) from error
    if program is None:
        raise InputError(f"{what} cannot be written as ONNX by this version of PyTorch.")
    forget_origins(program.model)
    program.save(str(path), external_data=False)


def forget_origins(model: Any) -> None:
    """Remove the exporter's notes: they name source files and folders of this computer.

    Args:
        model: an ``onnx_ir.Model``; changed in place.
    """
    for graph in model.graphs():
        graph.metadata_props.clear()
        graph.doc_string = None
        values = [*graph.inputs, *graph.initializers.values()]
        for node in graph:
            node.metadata_props.clear()
            node.doc_string = None
            values += node.outputs
        for value in values:
            value.metadata_props.clear()
    model.metadata_props.clear()


def _reason(error: BaseException) -> str:
    """The innermost reason, in one line."""
    while error.__cause__ is not None:
        error = error.__cause__
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return (lines[0] if lines else type(error).__name__).rstrip(".")[:300]
