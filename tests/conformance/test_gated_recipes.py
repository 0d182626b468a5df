"""Every recipe of the integrated variant: what all of them can do, trained or not."""

from pathlib import Path

import numpy as np
import pytest
import torch

from leafscout.explanation.methods import list_methods
from leafscout.export.graphs import write_token_graphs
from leafscout.export.token_macs import fit_token_macs
from leafscout.gated_model import EarlyAnswer, GatedModel, LaterAnswer
from leafscout.gated_networks import TorchTokenNetwork
from leafscout.inference.deployed_tokens import DeployedTokens
from leafscout.inference.graph_networks import GraphTokenNetwork
from leafscout.inference.onnx_runtime import open_onnx_graph
from leafscout.training.gated_recipe import GATED_RECIPES, GatedRecipe, choose_gated_recipe
from leafscout.training.gated_run import build_network, first_rules
from leafscout.types import Photo

LABELS = ("mildew", "rust")


@pytest.fixture(scope="module", params=sorted(GATED_RECIPES))
def recipe(request: pytest.FixtureRequest) -> GatedRecipe:
    return choose_gated_recipe(request.param, {"glance_px": 192})


@pytest.fixture(scope="module")
def model(recipe: GatedRecipe) -> GatedModel:
    network = build_network(recipe, len(LABELS), seed=0).eval()
    return GatedModel(TorchTokenNetwork(network, torch.device("cpu")), first_rules(recipe, LABELS))


@pytest.fixture(scope="module")
def photo() -> Photo:
    pixels = np.random.default_rng(0).integers(0, 256, (300, 400, 3), dtype=np.uint8)
    return Photo(pixels, "noise.png")


def test_names_and_sizes_are_sound(recipe: GatedRecipe) -> None:
    assert recipe.name in GATED_RECIPES
    assert recipe.view_px % recipe.token_px == 0
    assert GATED_RECIPES[recipe.name]().view_px > recipe.view_px


def test_it_answers_about_every_token(model: GatedModel, photo: Photo) -> None:
    evidence, tiles = model.forward(photo, read_all=True)
    assert evidence.read.all()
    assert evidence.tile_logits.shape == (len(tiles), len(LABELS))
    assert np.isfinite(evidence.focus_logits).all()
    assert model.count_macs(photo.size_px_hw, len(tiles)) == model.count_macs_all_tiles(
        photo.size_px_hw
    )


def test_it_can_be_asked_why(model: GatedModel) -> None:
    assert isinstance(model.network, TorchTokenNetwork)
    rules = model.rules
    network = DeployedTokens(model.network.network, rules.choice.threshold_prob, rules.pooling)
    assert list_methods(network.eval(), torch.zeros(1, 3, 96, 128)) == [
        "cam", "grad-cam", "grad-cam++", "saliency", "integrated-gradients",
    ]  # fmt: skip


def test_its_graphs_say_the_same(model: GatedModel, photo: Photo, tmp_path: Path) -> None:
    assert isinstance(model.network, TorchTokenNetwork)
    files = tmp_path / "early.onnx", tmp_path / "later.onnx"
    write_token_graphs(model.network.network, *files)
    graphs = GraphTokenNetwork(
        early=open_onnx_graph(files[0], EarlyAnswer._fields, 1),
        later=open_onnx_graph(files[1], LaterAnswer._fields, 1),
        labels=len(LABELS),
        token_px=model.rules.tile_px,
        macs=fit_token_macs(model.network),
    )
    exported = GatedModel(graphs, model.rules)
    for read_all in (False, True):
        found, own = (one.forward(photo, read_all=read_all)[0] for one in (exported, model))
        np.testing.assert_array_equal(found.read, own.read)
        np.testing.assert_allclose(found.focus_logits, own.focus_logits, atol=1e-4)
        np.testing.assert_allclose(found.tile_logits, own.tile_logits, atol=1e-4)
    for kept in (0, 5):
        size = photo.size_px_hw
        assert exported.count_macs(size, kept) == model.count_macs(size, kept)
    assert exported.count_macs_all_tiles(size) == model.count_macs_all_tiles(size)
