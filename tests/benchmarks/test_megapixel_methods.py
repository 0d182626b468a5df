"""The parts of the reading methods: peaks, the best tiles a chunk at a time, poolings, the loss."""

import sys
from pathlib import Path

import numpy as np
import pytest
import torch

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))

from torch import nn
from torch.nn import functional as F

from leafscout.glance.view import take_glance
from leafscout.types import Photo
from megapixel_canvases import DigitPool, Sheet, draw_canvases, draw_strokes, render_canvas
from megapixel_grid import KEPT_TILES, keep_best
from megapixel_learning import loss_of, read_answers
from megapixel_looking import (
    CanvasSet,
    Peaks,
    cut_around,
    cut_grid,
    find_peaks,
    grid_corners_px,
    join_bag,
    snap_to_grid,
    take_gray_glance,
)
from megapixel_networks import CHANNELS, POOLINGS, TILE_PX, GatedAttentionHeads, TileReader

SIDE = 300


@pytest.fixture(scope="module")
def data() -> CanvasSet:
    rng = np.random.default_rng(0)
    images = rng.integers(1, 256, (20, 28, 28)).astype(np.uint8)
    sheet = Sheet(DigitPool(images, np.arange(20) % 10), draw_strokes(16, seed=1))
    return CanvasSet(draw_canvases(sheet, SIDE, 60, full=2, empty=1, seed=4), sheet)


def test_the_gray_glance_is_the_glance_of_a_photo(data: CanvasSet) -> None:
    gray = render_canvas(data.canvases[0], data.sheet)
    photo = Photo(np.repeat(gray[:, :, None], 3, axis=2), "canvas")
    expected = take_glance(photo, SIDE // 4).pixels[:, :, 0]
    assert (take_gray_glance(gray) == expected).all()


def test_tiles_of_the_grid_are_parts_of_the_canvas(data: CanvasSet) -> None:
    pixels = render_canvas(data.canvases[0], data.sheet)
    tiles, corners = cut_grid(data, 0, None)
    assert len(tiles) == len(grid_corners_px(SIDE)) == 25
    for tile, (top, left) in zip(tiles, corners, strict=True):
        assert (tile == pixels[top : top + TILE_PX, left : left + TILE_PX]).all()
    moved, aside = cut_grid(data, 0, np.random.default_rng(3))
    assert (aside - corners == (aside - corners)[0]).all()
    inside = 6 * 1 + 6  # a tile away from the border
    top, left = aside[inside]
    assert (moved[inside] == pixels[top : top + TILE_PX, left : left + TILE_PX]).all()


def test_peaks_are_apart_sorted_and_where_they_were_put(data: CanvasSet) -> None:
    scores = torch.full((20, 20), -9.0)
    scores[3, 4], scores[3, 5], scores[12, 16] = 2.0, 1.0, 4.0
    peaks = find_peaks(scores, 20 * 16, 2)
    assert peaks.cells.tolist() == [12 * 20 + 16, 3 * 20 + 4]
    assert peaks.scores.tolist() == [4.0, 2.0]
    middles = peaks.corners_px + TILE_PX / 2
    assert np.abs(middles[0] - [12.5 * 16, 16.5 * 16]).max() <= 1
    # A strong neighbour on the right draws the middle that way.
    assert 4.5 * 16 + 4 < middles[1, 1] < 5.5 * 16
    assert abs(middles[1, 0] - 3.5 * 16) <= 1


def test_peaks_on_the_grid_open_its_tiles_once() -> None:
    corners = np.array([[3, 2], [60, 70], [1, 8]])
    peaks = Peaks(np.arange(3), np.array([3.0, 2.0, 1.0], np.float32), corners)
    snapped = snap_to_grid(peaks, SIDE)
    assert snapped.corners_px.tolist() == [[0, 0], [59, 59]]
    assert snapped.scores.tolist() == [3.0, 2.0]


def test_a_tile_beyond_the_border_goes_on_with_paper(data: CanvasSet) -> None:
    pixels = render_canvas(data.canvases[0], data.sheet)
    (tile,) = cut_around(data, 0, np.array([[-20, SIDE - 40]]))
    assert not tile[:20].any()
    assert not tile[:, 40:].any()
    assert (tile[20:, :40] == pixels[: TILE_PX - 20, SIDE - 40 :]).all()


@pytest.mark.parametrize("pooling", ["cross_attention", "evidence"])
def test_the_best_of_chunks_are_the_best_of_all(pooling: str) -> None:
    torch.manual_seed(0)
    reader = TileReader(pooling).eval()
    rng = np.random.default_rng(0)
    tiles = rng.integers(0, 256, (75, TILE_PX, TILE_PX)).astype(np.uint8)
    corners = rng.integers(0, 500, (75, 2))
    found = keep_best(reader, tiles, corners, rng)
    with torch.no_grad():
        features = torch.cat([reader.encoder(torch.from_numpy(one[None])) for one in tiles])
        if pooling == "evidence":
            scores = reader.heads.score_tiles(features)
        else:
            middles = torch.from_numpy(corners + 32.0).float()
            scores = reader.heads.score_tiles(features[None], middles[None])[0]
    worst_found = scores[found].min()
    assert len(found) == len(set(found.tolist())) == KEPT_TILES
    # In 16-bit steps a tile's score depends a little on who is beside it in a batch.
    assert int((scores > worst_found + 0.02).sum()) <= KEPT_TILES


@pytest.mark.parametrize("pooling", POOLINGS)
def test_masked_tiles_and_order_do_not_matter(pooling: str) -> None:
    torch.manual_seed(1)
    heads = POOLINGS[pooling]().eval()
    features, middles = torch.rand(2, 6, CHANNELS), torch.rand(2, 6, 2) * 300
    mask = torch.tensor([[True] * 6, [True] * 4 + [False] * 2])
    with torch.no_grad():
        out = heads(features, middles, 300, mask)
        changed = features.clone()
        changed[1, 4:] = 50.0
        order = torch.tensor([3, 1, 0, 2, 5, 4])
        again = heads(changed[:, order], middles[:, order], 300, mask[:, order])
        alone = heads(features[1:, :4], middles[1:, :4], 300, mask[1:, :4])
    assert out.shape == (2, 4, 10)
    assert torch.allclose(out, again, atol=1e-4)
    assert torch.allclose(out[1:], alone, atol=1e-4)


@pytest.mark.parametrize("pooling", POOLINGS)
def test_every_pooling_can_tell_which_digit_is_on_top(pooling: str) -> None:
    torch.manual_seed(2)
    heads = POOLINGS[pooling]().eval()
    features = torch.rand(1, 2, CHANNELS) * 3
    low, high = (
        torch.tensor([[[250.0, 50.0], [20.0, 60.0]]]),
        torch.tensor([[[20.0, 50.0], [250.0, 60.0]]]),
    )
    if pooling == "evidence":
        nn.init.constant_(heads.slope, -0.5)
    with torch.no_grad():
        mask = torch.ones(1, 2, dtype=torch.bool)
        first, second = (heads(features, one, 300, mask)[:, 2] for one in (low, high))
    assert not torch.allclose(first, second, atol=1e-4)


def test_gated_attention_agrees_with_torchmil() -> None:
    attention = pytest.importorskip("torchmil.nn.attention")
    torch.manual_seed(3)
    ours = GatedAttentionHeads().eval()
    width = ours.gate.value.in_features
    theirs = attention.AttentionPool(in_dim=width, att_dim=CHANNELS, gated=True)
    tokens = torch.rand(2, 5, width)
    mask = torch.tensor([[True] * 5, [True] * 3 + [False] * 2])
    with torch.no_grad():
        for layer, own in ((theirs.fc1, ours.gate.value), (theirs.fc_gated, ours.gate.gate)):
            inner = getattr(layer, "module", layer)
            inner.weight.copy_(own.weight)
            inner.bias.copy_(own.bias)
        theirs.fc2.weight.copy_(ours.gate.score.weight[:1])
        expected = theirs(tokens, mask.float())
        weights = ours.gate(tokens).masked_fill(~mask[..., None], -300.0).softmax(dim=1)
        found = torch.einsum("btq,btc->bqc", weights, tokens)[:, 0]
    assert torch.allclose(found, expected, atol=1e-5)


def test_the_loss_asks_only_for_the_set_where_there_are_no_digits() -> None:
    logits = torch.randn(2, 4, 10, generator=torch.Generator().manual_seed(0))
    nothing = torch.zeros(2, 10)
    empty = loss_of(logits, torch.full((2, 3), -1), nothing)
    assert float(empty) == pytest.approx(5 * float(F.softplus(logits[:, 3]).mean()), rel=1e-5)
    asked = loss_of(logits, torch.tensor([[1, 2, 3], [-1, -1, -1]]), nothing)
    questions = sum(float(F.cross_entropy(logits[:1, task], torch.tensor([task + 1])))
                    for task in range(3))  # fmt: skip
    assert float(asked - empty) == pytest.approx(questions, rel=1e-5)


def test_answers_are_the_likeliest_digit_and_the_likely_set() -> None:
    logits = torch.full((1, 4, 10), -1.0)
    logits[0, 0, 3] = logits[0, 1, 9] = logits[0, 2, 4] = 2.0
    logits[0, 3, [3, 9]] = 0.5
    answers = read_answers(logits)
    assert answers.choices.tolist() == [[3, 9, 4]]
    assert np.flatnonzero(answers.present[0]).tolist() == [3, 9]


def test_bags_of_different_length_are_filled_up() -> None:
    parts = [
        (np.full((count, TILE_PX, TILE_PX), count, np.uint8), np.full((count, 2), 10 * count))
        for count in (3, 0, 1)
    ]
    bag = join_bag(parts)
    assert bag.mask.sum(dim=1).tolist() == [3, 0, 1]
    assert bag.middles_px[2, 0].tolist() == [42.0, 42.0]
    reader = TileReader("evidence").eval()
    with torch.no_grad():
        out = reader(bag.tiles, bag.middles_px, 100, bag.mask)
    assert torch.isfinite(out).all()
    assert (out[1, 3] < -5).all(), "no tile opened means no digit"
