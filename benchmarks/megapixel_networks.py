"""Networks for megapixel digits: one tile encoder for all methods, poolings, scout, resized reader.

Shapes: (canvases, tiles, channels) features, (canvases, tiles, 2) middles of tiles in pixels (row,
column), (canvases, tiles) mask → (canvases, 4, 10) logits of the tasks in the order of ``TASKS``.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from leafscout.diagnosis.context import TransformerPooling, encode_cells
from leafscout.diagnosis.pooling_torch import pool_bags
from leafscout.focus.expert import GatedAttention
from megapixel_canvases import CLASSES
from megapixel_tasks import TASKS

TILE_PX = 64
CHANNELS = 64
PLACES = TILE_PX // 8
MIDDLE_PLACES = 1.5
"""Spread of the middle of a tile, in places of 8 px."""

POSITION_WIDTH = 16
LOWEST = -30.0


def _block(before: int, after: int, kernel: int = 3, stride: int = 1) -> list[nn.Module]:
    convolve = nn.Conv2d(before, after, kernel, stride, kernel // 2, bias=False)
    return [convolve, nn.BatchNorm2d(after), nn.ReLU(inplace=True)]


class TileEncoder(nn.Module):
    """Three convolutions, then a weighted mean over the places inside the tile.

    The weights depend on what a place holds and on where it lies: tiles that are centred on what
    they were opened for start by looking at their middle, tiles of a grid by looking everywhere.

    Args:
        centred: whether what matters lies in the middle of a tile.
    """

    def __init__(self, *, centred: bool = False) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            *_block(1, 16, 5, 2), nn.MaxPool2d(2),
            *_block(16, 32), nn.MaxPool2d(2),
            *_block(32, CHANNELS),
        )  # fmt: skip
        self.score = nn.Conv2d(CHANNELS, 1, 1)
        away = torch.arange(PLACES).float() - (PLACES - 1) / 2
        middle = -(away[:, None] ** 2 + away**2).flatten() / (2 * MIDDLE_PLACES**2)
        self.place_bias = nn.Parameter(middle if centred else torch.zeros_like(middle))
        self.leave = nn.Linear(CHANNELS, CHANNELS)

    def forward(self, tiles: Tensor) -> Tensor:
        """(tiles, 64, 64) bytes → (tiles, channels)."""
        pixels = tiles[:, None].float().div_(255.0).to(memory_format=torch.channels_last)
        with torch.autocast("cpu", torch.bfloat16, cache_enabled=False):
            places = self.layers(pixels)
            scores = self.score(places)
        weights = (scores.float().flatten(1) + self.place_bias).softmax(dim=1)
        seen = torch.einsum("tcp,tp->tc", places.float().flatten(2), weights)
        return F.relu(self.leave(seen))


class EvidencePooling(nn.Module):
    """Each tile says which digits it holds; the tasks are simple questions about that evidence.

    multi: noisy-or of the tiles. majority: a linear layer on expected counts. max: a linear layer
    on presence. top: tiles weighed by how surely they hold a digit and by how high they lie.
    """

    def __init__(self) -> None:
        super().__init__()
        self.evidence = nn.Linear(CHANNELS, CLASSES)
        nn.init.constant_(self.evidence.bias, -3.0)
        self.majority = nn.Linear(CLASSES, CLASSES)
        self.largest = nn.Linear(CLASSES, CLASSES)
        self.topmost = nn.Linear(CLASSES, CLASSES)
        for layer in (self.majority, self.largest, self.topmost):
            nn.init.eye_(layer.weight)
            nn.init.zeros_(layer.bias)
        self.trust = nn.Parameter(torch.tensor(1.0))
        self.slope = nn.Parameter(torch.tensor(0.0))

    def score_tiles(self, features: Tensor) -> Tensor:
        """(..., channels) → (...,) logit of the likeliest digit."""
        return self.evidence(features).amax(dim=-1)  # type: ignore[no-any-return]

    def forward(self, features: Tensor, middles_px: Tensor, side_px: int, mask: Tensor) -> Tensor:
        """Features of tiles → logits of the tasks."""
        evidence = self.evidence(features)
        present = pool_bags("noisy_or", evidence, torch.zeros_like(evidence), mask)
        probs = evidence.sigmoid() * mask[..., None]
        # Gains bring the steps of these few numbers to the size of all other weights' steps.
        height = middles_px[..., 0] / side_px
        surely = F.logsigmoid(evidence.amax(dim=2))
        weighed = 10 * self.trust * surely + 100 * self.slope * height
        weights = weighed.masked_fill(~mask, LOWEST * 10).softmax(dim=1)
        return torch.stack(
            [
                3 * self.majority(probs.sum(dim=1)),
                5 * self.largest(present.sigmoid()),
                5 * self.topmost((weights[..., None] * probs).sum(dim=1)),
                present,
            ],
            dim=1,
        )


class TransformerHeads(nn.Module):
    """All tiles see each other, and a token for the canvas answers; the package's own pooling."""

    def __init__(self) -> None:
        super().__init__()
        answers = len(TASKS) * CLASSES
        self.evidence = nn.Linear(CHANNELS, answers)
        self.pooling = TransformerPooling(CHANNELS, answers, layers=2)

    def forward(self, features: Tensor, middles_px: Tensor, side_px: int, mask: Tensor) -> Tensor:
        """Features of tiles → logits of the tasks."""
        del side_px
        out = self.pooling(features, self.evidence(features), middles_px / TILE_PX, mask)
        return out.unflatten(1, (len(TASKS), CLASSES))


class CrossAttentionHeads(nn.Module):
    """One learnt question a task, asked of all tiles (as in Bergner et al. 2023); 4 heads."""

    def __init__(self, heads: int = 4) -> None:
        super().__init__()
        self.heads = heads
        self.enter = nn.Linear(CHANNELS, CHANNELS)
        self.key = nn.Linear(CHANNELS, CHANNELS)
        self.questions = nn.Parameter(torch.randn(len(TASKS), CHANNELS) * 0.5)
        self.leave = nn.Sequential(
            nn.LayerNorm(CHANNELS), nn.Linear(CHANNELS, 2 * CHANNELS), nn.GELU()
        )
        self.answer = nn.ModuleList(nn.Linear(2 * CHANNELS, CLASSES) for _ in TASKS)

    def _tokens(self, features: Tensor, middles_px: Tensor) -> Tensor:
        return self.enter(features) + encode_cells(middles_px / TILE_PX, CHANNELS)  # type: ignore[no-any-return]

    def _weigh(self, tokens: Tensor, mask: Tensor) -> Tensor:
        keys = self.key(tokens).unflatten(2, (self.heads, -1))
        questions = self.questions.unflatten(1, (self.heads, -1))
        scores = torch.einsum("qhc,bthc->bqht", questions, keys) / keys.shape[-1] ** 0.5
        return scores.masked_fill(~mask[:, None, None], LOWEST * 10)

    def score_tiles(self, features: Tensor, middles_px: Tensor) -> Tensor:
        """(..., tiles, channels) → (..., tiles): how much the questions want each tile."""
        tokens = self._tokens(features, middles_px)
        everything = torch.ones(tokens.shape[:2], dtype=torch.bool)
        return self._weigh(tokens, everything).amax(dim=(1, 2))

    def forward(self, features: Tensor, middles_px: Tensor, side_px: int, mask: Tensor) -> Tensor:
        """Features of tiles → logits of the tasks."""
        del side_px
        tokens = self._tokens(features, middles_px)
        weights = self._weigh(tokens, mask).softmax(dim=3)
        values = tokens.unflatten(2, (self.heads, -1))
        told = torch.einsum("bqht,bthc->bqhc", weights, values).flatten(2)
        told = self.leave(told)
        return torch.stack([head(told[:, row]) for row, head in enumerate(self.answer)], dim=1)


class GatedAttentionHeads(nn.Module):
    """Gated attention of Ilse et al. (2018), one set of weights a task; the package's own gate."""

    def __init__(self) -> None:
        super().__init__()
        width = CHANNELS + POSITION_WIDTH
        self.gate = GatedAttention(width, CHANNELS, len(TASKS))
        self.answer = nn.ModuleList(nn.Linear(width, CLASSES) for _ in TASKS)

    def forward(self, features: Tensor, middles_px: Tensor, side_px: int, mask: Tensor) -> Tensor:
        """Features of tiles → logits of the tasks."""
        del side_px
        tokens = torch.cat([features, encode_cells(middles_px / TILE_PX, POSITION_WIDTH)], dim=2)
        weights = self.gate(tokens).masked_fill(~mask[..., None], LOWEST * 10).softmax(dim=1)
        told = torch.einsum("btq,btc->bqc", weights, tokens)
        return torch.stack([head(told[:, row]) for row, head in enumerate(self.answer)], dim=1)


Heads = EvidencePooling | TransformerHeads | CrossAttentionHeads | GatedAttentionHeads

POOLINGS: dict[str, Callable[[], Heads]] = {
    "evidence": EvidencePooling,
    "transformer": TransformerHeads,
    "cross_attention": CrossAttentionHeads,
    "gated_attention": GatedAttentionHeads,
}
"""Name → what turns features of tiles into answers."""


class TileReader(nn.Module):
    """The expert: encoder and pooling. Tiles that are not there cost nothing."""

    def __init__(self, pooling: str, *, centred: bool = False) -> None:
        super().__init__()
        self.encoder = TileEncoder(centred=centred)
        self.heads = POOLINGS[pooling]()

    def encode(self, tiles: Tensor, mask: Tensor) -> Tensor:
        """(canvases, tiles, 64, 64) bytes → (canvases, tiles, channels); zeros outside the mask."""
        features = torch.zeros(*mask.shape, CHANNELS)
        if not mask.any():
            return features
        return features.masked_scatter(mask[..., None], self.encoder(tiles[mask]))

    def forward(self, tiles: Tensor, middles_px: Tensor, side_px: int, mask: Tensor) -> Tensor:
        """Tiles → logits of the tasks."""
        return self.heads(self.encode(tiles, mask), middles_px, side_px, mask)  # type: ignore[no-any-return]


class GlanceScout(nn.Module):
    """Scores every place of a glance: is there a digit? One cell for 4×4 pixels of the glance."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(*_block(1, 8, 3, 2), *_block(8, 16, 3, 2), *_block(16, 24))
        self.score = nn.Conv2d(24, 1, 1)
        nn.init.constant_(self.score.bias, -3.0)

    def forward(self, glances: Tensor) -> Tensor:
        """(canvases, side, side) bytes → (canvases, side/4, side/4) logits."""
        pixels = glances[:, None].float().div_(255.0).to(memory_format=torch.channels_last)
        with torch.autocast("cpu", torch.bfloat16, cache_enabled=False):
            maps = self.layers(pixels)
            return self.score(maps).float()[:, 0]


class ResizedReader(nn.Module):
    """One network on the whole canvas made small; it is told how high each place lies."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            *_block(2, 16), nn.MaxPool2d(2),
            *_block(16, 24), nn.MaxPool2d(2),
            *_block(24, 48), nn.MaxPool2d(2),
            *_block(48, 64),
        )  # fmt: skip
        self.answer = nn.Sequential(
            nn.Linear(128, 128), nn.ReLU(), nn.Linear(128, len(TASKS) * CLASSES)
        )

    def forward(self, glances: Tensor) -> Tensor:
        """(canvases, side, side) bytes → (canvases, 4, 10) logits."""
        pixels = glances[:, None].float().div_(255.0)
        height = torch.linspace(-1, 1, pixels.shape[2])[:, None].expand_as(pixels)
        both = torch.cat([pixels, height], dim=1).to(memory_format=torch.channels_last)
        with torch.autocast("cpu", torch.bfloat16, cache_enabled=False):
            maps = self.layers(both).float()
        told = torch.cat([maps.amax(dim=(2, 3)), maps.mean(dim=(2, 3))], dim=1)
        return self.answer(told).unflatten(1, (len(TASKS), CLASSES))  # type: ignore[no-any-return]
