"""Poolings that see all tiles at once: order, padding, unread tiles, empty bags, neighbours."""

import numpy as np
import pytest
import torch
from torch import Tensor

from leafscout.diagnosis.context import (
    CONTEXT_POOLINGS,
    GraphPooling,
    TransformerPooling,
    encode_cells,
    join_tiles,
    normalise_edges,
)
from leafscout.diagnosis.pooling import EMPTY_BAG_LOGIT
from leafscout.diagnosis.pooling_torch import pool_bags
from leafscout.errors import InputError
from leafscout.training.recipes import CONTEXT_POOLING_NAMES, choose_recipe

CHANNELS, LABELS, ROWS, COLUMNS = 6, 2, 3, 4
NAMES = sorted(CONTEXT_POOLINGS)
Bag = tuple[Tensor, Tensor, Tensor, Tensor]


def build(name: str) -> torch.nn.Module:
    torch.manual_seed(0)
    pooling = CONTEXT_POOLINGS[name](CHANNELS, LABELS).eval()
    for parameter in pooling.parameters():
        # The graph's last layer begins at zero: it must say something to be tested.
        torch.nn.init.normal_(parameter, std=0.3)
    return pooling


def draw_bag(seed: int = 0, bags: int = 1) -> Bag:
    rng = torch.Generator().manual_seed(seed)
    tiles = ROWS * COLUMNS
    cells = torch.from_numpy(np.stack(np.divmod(np.arange(tiles), COLUMNS), axis=1))
    return (
        torch.randn(bags, tiles, CHANNELS, generator=rng),
        torch.randn(bags, tiles, LABELS, generator=rng),
        cells.expand(bags, tiles, 2),
        torch.ones(bags, tiles, dtype=torch.bool),
    )


def test_recipes_name_what_there_is() -> None:
    assert set(CONTEXT_POOLING_NAMES) == set(CONTEXT_POOLINGS)


@pytest.mark.parametrize("name", NAMES)
def test_a_recipe_cannot_deploy_them_and_is_told_what_to_do(name: str) -> None:
    with pytest.raises(InputError, match=r"cannot be deployed with it\. Train with context"):
        choose_recipe("tiny", {"pooling": name})
    assert choose_recipe("tiny", {"context_pooling": name}).context_pooling == name


@pytest.mark.parametrize("name", NAMES)
def test_the_order_of_the_tiles_does_not_matter(name: str) -> None:
    pooling, bag = build(name), draw_bag()
    order = torch.randperm(ROWS * COLUMNS, generator=torch.Generator().manual_seed(1))
    moved = [part[:, order] for part in bag]
    torch.testing.assert_close(pooling(*moved), pooling(*bag), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("filling", [0.0, 1e4, float("nan")])
def test_tiles_that_were_not_read_have_no_influence(name: str, filling: float) -> None:
    pooling = build(name)
    features, logits, cells, mask = draw_bag()
    mask[0, [2, 5, 6]] = False
    short = [part[:, mask[0]] for part in (features, logits, cells, mask)]
    filled_features, filled_logits = features.clone(), logits.clone()
    filled_features[~mask], filled_logits[~mask] = filling, filling
    got = pooling(filled_features, filled_logits, cells, mask)
    torch.testing.assert_close(got, pooling(*short), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("name", NAMES)
def test_an_empty_bag_is_defined_and_spoils_no_gradient(name: str) -> None:
    pooling = build(name)
    features, logits, cells, mask = draw_bag(bags=2)
    mask[0] = False
    features.requires_grad_()
    pooled = pooling(features, logits, cells, mask)
    assert (pooled[0] == EMPTY_BAG_LOGIT).all()
    pooled.sum().backward()
    assert features.grad is not None
    assert torch.isfinite(features.grad).all()
    assert (features.grad[0] == 0).all()
    assert (features.grad[1] != 0).any()
    assert all(torch.isfinite(p.grad).all() for p in pooling.parameters() if p.grad is not None)


@pytest.mark.parametrize("name", NAMES)
def test_it_matters_where_the_tiles_lie(name: str) -> None:
    pooling = build(name)
    features, logits, cells, mask = draw_bag()
    apart = cells * 10  # nobody has neighbours any more
    change = pooling(features, logits, apart, mask) - pooling(features, logits, cells, mask)
    assert change.abs().max() > 1e-4


@pytest.mark.parametrize("name", NAMES)
def test_it_can_learn_that_neighbours_count(name: str) -> None:
    """Two marked tiles side by side are a disease; the same two apart are not."""
    torch.manual_seed(0)
    # Edges between similar tiles would join the two wherever they lie.
    pooling = GraphPooling(1, 1, similar=0) if name == "graph" else CONTEXT_POOLINGS[name](1, 1)
    rng = np.random.default_rng(0)

    def draw(bags: int) -> tuple[Bag, Tensor]:
        _, _, cells, mask = draw_bag(bags=bags)
        features = torch.zeros(bags, ROWS * COLUMNS, 1)
        truth = torch.zeros(bags, 1)
        for bag in range(bags):
            row, left = rng.integers(ROWS), rng.integers(COLUMNS - 3)
            near = bool(rng.integers(2))
            first = row * COLUMNS + left
            features[bag, [first, first + (1 if near else 3)]] = 1.0
            truth[bag] = float(near)
        return (features, torch.zeros(bags, ROWS * COLUMNS, 1), cells, mask), truth

    optimizer = torch.optim.Adam(pooling.parameters(), lr=3e-3)
    for _ in range(100):
        bag, truth = draw(16)
        optimizer.zero_grad()
        loss = torch.nn.functional.binary_cross_entropy_with_logits(pooling(*bag), truth)
        loss.backward()
        optimizer.step()
    pooling.eval()
    bag, truth = draw(60)
    with torch.no_grad():
        right = ((pooling(*bag) > 0) == (truth > 0.5)).float().mean()
    assert right > 0.95


def test_a_graph_starts_as_the_pooling_of_the_tiles_own_evidence() -> None:
    features, logits, cells, mask = draw_bag()
    mask[0, 3] = False
    expected = pool_bags("log_sum_exp", logits, torch.zeros_like(logits), mask)
    torch.testing.assert_close(
        GraphPooling(CHANNELS, LABELS)(features, logits, cells, mask), expected
    )


def test_graph_messages_are_equivariant() -> None:
    pooling = build("graph")
    assert isinstance(pooling, GraphPooling)
    bag = draw_bag()
    order = torch.randperm(ROWS * COLUMNS, generator=torch.Generator().manual_seed(2))
    pooling.double()
    exact = [part.double() if part.is_floating_point() else part for part in bag]
    straight = pooling.read_tiles(*exact)
    moved = pooling.read_tiles(*(part[:, order] for part in exact))
    torch.testing.assert_close(moved, straight[:, order], rtol=0, atol=1e-6)


def test_a_round_of_messages_is_kipf_and_wellings_formula() -> None:
    features, _, cells, mask = draw_bag()
    edges = join_tiles(features, cells, mask, similar=0)[0].double().numpy()
    neighbours = np.array(
        [
            [
                max(abs(a // COLUMNS - b // COLUMNS), abs(a % COLUMNS - b % COLUMNS)) <= 1
                for b in range(ROWS * COLUMNS)
            ]
            for a in range(ROWS * COLUMNS)
        ]
    )
    np.testing.assert_array_equal(edges, neighbours)
    root = np.diag(1 / np.sqrt(edges.sum(axis=1)))
    got = normalise_edges(torch.from_numpy(edges)[None])[0].numpy()
    np.testing.assert_allclose(got, root @ edges @ root, rtol=1e-9)


def test_alike_tiles_are_joined_from_afar() -> None:
    features, _, cells, mask = draw_bag()
    features[0, 0] = features[0, 11] = 5.0
    assert join_tiles(features, cells, mask, similar=0)[0, 0, 11] == 0
    joined = join_tiles(features, cells, mask, similar=1)[0]
    assert joined[0, 11] == joined[11, 0] == 1
    torch.testing.assert_close(joined, joined.T)


def test_positions_are_waves_of_row_and_column() -> None:
    code = encode_cells(torch.tensor([[2, 3]]), 8)[0]
    slow = 1 / 64
    expected = [
        np.sin(2), np.sin(2 * slow), np.cos(2), np.cos(2 * slow),
        np.sin(3), np.sin(3 * slow), np.cos(3), np.cos(3 * slow),
    ]  # fmt: skip
    np.testing.assert_allclose(code.numpy(), expected, rtol=1e-5)


def test_a_transformer_of_two_layers_is_built_too() -> None:
    pooling = TransformerPooling(CHANNELS, LABELS, layers=2).eval()
    assert pooling(*draw_bag(bags=3)).shape == (3, LABELS)
