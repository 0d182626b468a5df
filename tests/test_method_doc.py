"""What docs/method.md says is true: its derivations, its names and its pictures."""

import ast
import importlib
import math
import re
import sys
import xml.etree.ElementTree as ET
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from torch import Tensor
from torch.nn import functional as F

from leafscout.diagnosis.calibrate import Calibration, sigmoid
from leafscout.diagnosis.fuse import fill_unread, fuse_evidence
from leafscout.diagnosis.pooling import POOL_SHARPNESS, pool_log_sum_exp
from leafscout.diagnosis.pooling_torch import pool_bags
from leafscout.evaluation.promise import photos_needed, tail_prob
from leafscout.focus.expert import Expert, TileFeatures
from leafscout.glance.choose import ChoiceRule, choose_tiles, fit_threshold
from leafscout.glance.view import take_glance
from leafscout.losses.bag import bag_loss, exact_negative_loss
from leafscout.losses.evidence import evidence_loss
from leafscout.losses.exclusive import exclusive_bag_loss
from leafscout.losses.sparsity import sparsity_loss
from leafscout.losses.tile_labels import background_class_loss, copied_label_loss
from leafscout.nn.backbones import build_backbone
from leafscout.photos.tiles import lay_tiles
from leafscout.types import Photo

ROOT = Path(__file__).resolve().parent.parent
TEXT = (ROOT / "docs" / "method.md").read_text(encoding="utf-8")
ONE = torch.ones(1, dtype=torch.float64)

logits = arrays(np.float64, st.integers(2, 12), elements=st.floats(-8, 8))


def double(values: object) -> Tensor:
    return torch.tensor(values, dtype=torch.float64, requires_grad=True)


def pool(tile_logits: Tensor, name: str = "log_sum_exp") -> Tensor:
    """(tiles,) → (1, 1) pooled evidence."""
    bag = tile_logits[None, :, None]
    mask = torch.ones(1, len(tile_logits), dtype=torch.bool)
    return pool_bags(name, bag, torch.zeros_like(bag), mask)


def soft_maximum(z: np.ndarray) -> float:
    column = z.reshape(-1, 1)
    return float(pool_log_sum_exp(column, np.zeros_like(column))[0])


class TestTheProblem:
    def test_a_spot_of_ten_pixels_keeps_little_and_the_grid_has_88_tiles(self) -> None:
        assert f"{10 * 512 / 4000:.2f} pixels" in TEXT
        tiles = lay_tiles((3000, 4000), 384)
        said = f"{tiles.rows}×{tiles.columns} = {len(tiles)} tiles"
        assert said in TEXT.replace("\n", " ")

    @pytest.mark.parametrize("side", [2, 4, 6])
    def test_averaging_thins_the_contrast_of_a_spot_by_its_area(self, side: int) -> None:
        pixels = np.full((256, 256, 3), 40, dtype=np.uint8)
        pixels[64 : 64 + side, 64 : 64 + side] = 200
        glance = take_glance(Photo(pixels, "made"), 32)
        block = 256 // glance.pixels.shape[0]
        assert block == 8
        contrast = float(glance.pixels[8, 8, 0]) - 40
        assert contrast == pytest.approx(160 * (side / block) ** 2, abs=0.5)

    @pytest.mark.parametrize(("side", "block"), [(16, 4), (8, 8), (4, 8), (2, 8)])
    def test_averaging_costs_signal_only_below_one_pixel(self, side: int, block: int) -> None:
        rng = np.random.default_rng(0)

        def shrink(image: np.ndarray) -> np.ndarray:
            cut = len(image) // block
            return image.reshape(cut, block, cut, block).mean(axis=(1, 3))

        spot = np.zeros((64, 64))
        spot[:side, :side] = 1.0
        # The best detector for white noise knows the spot: its signal is the root of its energy.
        before = math.sqrt((spot**2).sum())
        noise = shrink(rng.normal(size=(1024, 1024))).std()
        after = math.sqrt((shrink(spot) ** 2).sum()) / noise
        assert after / before == pytest.approx(min(1.0, side / block), rel=0.03)


class TestTheBag:
    def test_the_error_is_probability_minus_label(self) -> None:
        for truth in (0.0, 1.0):
            pooled = double([[0.7]])
            bag_loss(pooled, torch.full((1, 1), truth, dtype=torch.float64), ONE).backward()
            assert pooled.grad is not None
            assert float(pooled.grad) == pytest.approx(float(sigmoid(np.array(0.7))) - truth)

    @pytest.mark.parametrize("scale", [1.0, 5.0, 50.0])
    def test_a_class_for_background_leaves_ln_2_to_a_perfect_classifier(self, scale: float) -> None:
        # One lesion tile; of two background tiles, the second looks a little less like it.
        tile_logits = double([[[scale], [-scale], [-scale]]])
        background = double([[0.0, scale, scale - 0.5]])
        truth = torch.ones(1, 1, dtype=torch.float64)
        loss = background_class_loss(tile_logits, background, truth, ONE)
        assert loss.item() == pytest.approx(math.log(2), abs=1e-12)
        loss.backward()
        assert background.grad is not None
        # Descent lowers what rightly looks like background.
        assert background.grad[0, 1].item() == pytest.approx(0.5)

    @pytest.mark.parametrize("scale", [1.0, 5.0, 20.0])
    def test_a_sigmoid_for_each_disease_leaves_nothing(self, scale: float) -> None:
        pooled = pool(torch.tensor([scale, -scale, -scale], dtype=torch.float64), "max")
        loss = bag_loss(pooled, torch.ones_like(pooled), ONE)
        assert loss.item() == pytest.approx(math.log1p(math.exp(-scale)), rel=1e-9)

    def test_a_softmax_with_healthy_at_0_leaves_nothing_either(self) -> None:
        both = torch.ones(2, dtype=torch.float64)
        for truth in ([[1.0, 0.0]], [[0.0, 0.0]]):
            pooled = torch.tensor([[20.0 if value else -20.0 for value in truth[0]]]).double()
            assert exclusive_bag_loss(pooled, torch.tensor(truth).double(), both).item() < 1e-8


class TestTheSoftMaximum:
    @given(logits)
    @settings(max_examples=25, deadline=None)
    def test_its_gradient_is_a_softmax(self, z: np.ndarray) -> None:
        tiles = double(z)
        pool(tiles).sum().backward()
        assert tiles.grad is not None
        share = torch.softmax(POOL_SHARPNESS * tiles.detach(), dim=0)
        torch.testing.assert_close(tiles.grad, share, rtol=1e-6, atol=1e-9)
        assert float(tiles.grad.sum()) == pytest.approx(1.0)

    @given(logits)
    @settings(max_examples=25, deadline=None)
    def test_it_lies_below_the_maximum_by_at_most_the_price(self, z: np.ndarray) -> None:
        pooled = soft_maximum(z)
        assert pooled <= z.max() + 1e-9
        assert pooled >= z.max() - math.log(len(z)) / POOL_SHARPNESS - 1e-9

    def test_two_levels_of_one_sharpness_are_one(self) -> None:
        z = np.random.default_rng(1).normal(size=(5, 16))
        levels = soft_maximum(np.array([soft_maximum(tile) for tile in z]))
        assert levels == pytest.approx(soft_maximum(z), abs=1e-12)

    @pytest.mark.parametrize("truth", [0.0, 1.0])
    def test_a_place_hears_error_times_share_times_share(self, truth: float) -> None:
        torch.manual_seed(3)
        sharpness = 3.0
        expert = Expert(build_backbone("tiny", stride=32), labels=1, sharpness=sharpness).eval()
        coarse = torch.randn(4, expert.backbone.channels, 3, 3)
        out = expert.read_features(TileFeatures(coarse))
        out.place_logits.retain_grad()
        pooled = pool(out.tile_logits[:, 0])
        bag_loss(pooled, torch.full_like(pooled, truth), ONE.float()).backward()
        z = out.place_logits.detach().double().flatten(2)[:, 0]
        tiles = out.tile_logits.detach().double()[:, 0]
        error = torch.sigmoid(pooled.detach().double())[0, 0] - truth
        expected = (
            error
            * torch.softmax(POOL_SHARPNESS * tiles, dim=0)[:, None]
            * torch.softmax(sharpness * z, dim=1)
        )
        heard = out.place_logits.grad
        assert heard is not None
        torch.testing.assert_close(heard.double().flatten(2)[:, 0], expected, rtol=1e-4, atol=1e-7)

    def test_whoever_is_ahead_gains_ground(self) -> None:
        tiles = double([0.3, 0.1, -1.0])
        pooled = pool(tiles)
        bag_loss(pooled, torch.ones_like(pooled), ONE).backward()
        assert tiles.grad is not None
        speed = -tiles.grad  # of a step downhill
        share = torch.softmax(POOL_SHARPNESS * tiles.detach(), dim=0)
        gap = (1 - torch.sigmoid(pooled.detach())[0, 0]) * (share[0] - share[1])
        assert float(speed[0] - speed[1]) == pytest.approx(float(gap), rel=1e-6)
        assert float(gap) > 0

    @given(logits, st.integers(0, 99))
    @settings(max_examples=25, deadline=None)
    def test_without_the_disease_the_loss_is_convex(self, z: np.ndarray, seed: int) -> None:
        other = np.random.default_rng(seed).normal(scale=3, size=z.shape)

        def loss(at: np.ndarray) -> float:
            return float(np.logaddexp(0.0, soft_maximum(at)))

        assert loss((z + other) / 2) <= (loss(z) + loss(other)) / 2 + 1e-9

    def test_with_the_disease_it_is_not(self) -> None:
        def loss(at: list[float]) -> float:
            return float(np.logaddexp(0.0, -soft_maximum(np.array(at))))

        assert loss([0.0, 0.0]) > (loss([4.0, -4.0]) + loss([-4.0, 4.0])) / 2


class TestNegativesAndSparsity:
    def test_exact_negatives_press_with_the_probability(self) -> None:
        tiles = double([[[-1.0], [2.0]], [[0.5], [3.0]]])
        truth = torch.tensor([[0.0], [1.0]], dtype=torch.float64)
        exact_negative_loss(tiles, truth, labels_complete=True).backward()
        assert tiles.grad is not None
        expected = torch.sigmoid(tiles.detach()[0]) / 2
        torch.testing.assert_close(tiles.grad[0], expected, rtol=1e-6, atol=1e-9)
        assert not tiles.grad[1].any()

    @pytest.mark.parametrize("diseased", [1, 2, 4])
    def test_a_copied_label_is_content_with_the_share_of_diseased_photos(
        self, diseased: int
    ) -> None:
        share = diseased / 5
        common = double(math.log(share / (1 - share)))
        truth = torch.tensor([[1.0]] * diseased + [[0.0]] * (5 - diseased), dtype=torch.float64)
        copied_label_loss(common.expand(5, 3, 1), truth, ONE).backward()
        assert common.grad is not None
        assert float(common.grad) == pytest.approx(0.0, abs=1e-12)

    def test_the_sum_of_a_softmax_is_constant_and_pulls_nowhere(self) -> None:
        z = double([1.0, -2.0, 0.3])
        norm = torch.softmax(z, dim=0).abs().sum()
        norm.backward()
        assert norm.item() == pytest.approx(1.0, abs=1e-12)
        assert z.grad is not None
        assert float(z.grad.abs().max()) < 1e-12

    def test_the_pressure_on_a_disease_probability(self) -> None:
        tiles = double([[[-3.0], [2.0], [4.0]]])
        truth = torch.ones(1, 1, dtype=torch.float64)
        sparsity_loss(tiles, truth, labels_complete=True).backward()
        assert tiles.grad is not None
        p = torch.sigmoid(tiles.detach())
        torch.testing.assert_close(tiles.grad, p * (1 - p) / 3, rtol=1e-6, atol=1e-12)

    @pytest.mark.parametrize("tiles", [3, 5])
    def test_a_lesion_tile_stays_up_while_the_weight_is_below_the_number_of_tiles(
        self, tiles: int
    ) -> None:
        def slope(prob: float, weight: float) -> float:
            lesion = math.log(prob / (1 - prob))
            z = double([lesion] + [-12.0] * (tiles - 1))
            pooled = pool(z, "max")
            truth = torch.ones_like(pooled)
            pressure = sparsity_loss(z[None, :, None], truth, labels_complete=True)
            (bag_loss(pooled, truth, ONE) + weight * pressure).backward()
            assert z.grad is not None
            return float(z.grad[0])

        for prob in (0.05, 0.28, 0.72, 0.95, 0.999):
            assert slope(prob, 0.99 * tiles) < 0  # a step downhill raises it
        assert slope(0.95, 1.5 * tiles) > 0


class TestTheScoutsLoss:
    def test_squared_error_does_not_tell_a_silent_scout(self) -> None:
        target = torch.ones(1, dtype=torch.float64)
        silent = double([-15.0])
        ((torch.sigmoid(silent) - target) ** 2).sum().backward()
        assert silent.grad is not None
        p = float(torch.sigmoid(silent.detach()))
        assert float(silent.grad) == pytest.approx(2 * (p - 1) * p * (1 - p), rel=1e-6)
        assert abs(float(silent.grad)) < 1e-6
        told = double([-15.0])
        evidence_loss(told, target, positive_weight=4.0).backward()
        assert told.grad is not None
        assert float(told.grad) == pytest.approx(-1.0, abs=1e-6)

    @given(
        arrays(np.float64, st.integers(2, 10), elements=st.floats(0.01, 0.99)),
        st.floats(1.0, 10.0),
    )
    @settings(max_examples=25, deadline=None)
    def test_where_it_is_least(self, targets: np.ndarray, weight: float) -> None:
        mean, square = targets.mean(), (targets**2).mean()
        best = (mean + (weight - 1) * square) / (1 + (weight - 1) * mean)
        common = double(math.log(best / (1 - best)))
        evidence_loss(common.expand(len(targets)), torch.from_numpy(targets), weight).backward()
        assert common.grad is not None
        assert float(common.grad) == pytest.approx(0.0, abs=1e-9)

    def test_sure_targets_have_their_odds_multiplied(self) -> None:
        share, weight = 0.2, 4.0
        best = weight * share / (1 + (weight - 1) * share)
        assert best / (1 - best) == pytest.approx(weight * share / (1 - share))


class TestTheChoice:
    @given(logits)
    @settings(max_examples=25, deadline=None)
    def test_scores_normalised_within_a_photo_cannot_say_nothing(self, z: np.ndarray) -> None:
        assert torch.softmax(torch.from_numpy(z), dim=0).max() >= 1 / len(z) - 1e-12
        quiet = sigmoid(z - z.max() - 5.0).astype(np.float32)
        rule = ChoiceRule(threshold_prob=0.1, max_tiles=3)
        nothing = np.zeros(1, dtype=np.float32)
        assert not choose_tiles(quiet, nothing, rule).any()
        if z.max() - z.min() > 1e-6:
            stretched = (quiet - quiet.min()) / np.ptp(quiet)
            assert choose_tiles(stretched.astype(np.float32), nothing, rule).any()

    def test_the_share_lost_on_new_photos(self) -> None:
        rng = np.random.default_rng(5)
        photos, keep, draws = 20, 0.75, 3000
        lost = []
        for scores in rng.random((draws, photos)).astype(np.float32):
            threshold = fit_threshold([one[None] for one in scores], [[0]] * photos, keep)
            assert (scores < threshold).sum() == 5
            lost.append(threshold)  # of new uniform scores, so many lie below it
        expected = (5 + 1) / (photos + 1)
        assert np.mean(lost) == pytest.approx(expected, abs=4 * np.std(lost) / math.sqrt(draws))
        assert abs(np.mean(lost) - 5 / photos) > 0.02

    @given(logits, st.integers(0, 999))
    @settings(max_examples=40, deadline=None)
    def test_what_skipping_can_change(self, z: np.ndarray, seed: int) -> None:
        rng = np.random.default_rng(seed)
        read = rng.random(len(z)) < 0.5
        score = rng.normal(-2, 1, len(z)).astype(np.float32)
        guess = rng.normal(-2, 2, (len(z), 1)).astype(np.float32)
        tile_logits = z.astype(np.float32)[:, None]
        before = tile_logits[:, 0].astype(np.float64)
        after = fill_unread(tile_logits, score, guess, read)[:, 0].astype(np.float64)
        assert (after[~read] <= score[~read] + 1e-6).all()
        assert (after[read] == before[read]).all()
        error = after - before
        first, second = (F.softmax(torch.tensor(POOL_SHARPNESS * at), dim=0).numpy()
                         for at in (before, after))  # fmt: skip
        change = soft_maximum(after) - soft_maximum(before)
        assert (first * error).sum() - 1e-9 <= change <= (second * error).sum() + 1e-9
        share = max(first[~read].sum(), second[~read].sum())
        assert abs(change) <= share * np.abs(error).max() + 1e-9


class TestTheAnswer:
    def test_fusion_and_calibration_are_a_logistic_regression(self) -> None:
        rng = np.random.default_rng(2)
        focus, glance = rng.normal(size=(2, 6, 1)).astype(np.float32)
        probs = Calibration((1.7,), (-0.4,)).apply(fuse_evidence(focus, glance, 0.3))
        expected = 1 / (1 + np.exp(-(1.7 * 0.7 * focus + 1.7 * 0.3 * glance - 0.4)))
        np.testing.assert_allclose(probs, expected, rtol=1e-5)

    @pytest.mark.parametrize(("alpha", "said"), [(0.02, "149 photos"), (0.05, "59"), (0.10, "29")])
    def test_the_photos_that_a_promise_takes(self, alpha: float, said: str) -> None:
        needed = photos_needed(alpha, 0.05)
        assert needed == math.ceil(math.log(0.05) / math.log(1 - alpha))
        assert (1 - alpha) ** needed <= 0.05 < (1 - alpha) ** (needed - 1)
        section = TEXT[TEXT.index("### 4.10") : TEXT.index("## 5.")]
        assert said.split()[0] == str(needed)
        assert said in section

    @pytest.mark.parametrize(("losses", "photos"), [(0, 149), (2, 120), (7, 90)])
    def test_the_tail_is_the_binomial_sum(self, losses: int, photos: int) -> None:
        rate = 0.05
        direct = sum(
            math.comb(photos, i) * rate**i * (1 - rate) ** (photos - i) for i in range(losses + 1)
        )
        assert tail_prob(losses, photos, rate) == pytest.approx(direct, rel=1e-10)
        # A larger share makes few losses less likely: the bound at α covers every share above it.
        assert tail_prob(losses, photos, 0.06) < direct


@pytest.fixture(scope="module")
def drawer() -> Iterator[ModuleType]:
    sys.path.insert(0, str(ROOT / "docs"))
    try:
        yield importlib.import_module("draw_method")
    finally:
        sys.path.remove(str(ROOT / "docs"))


class TestPicturesAndNames:
    def test_they_fit_the_code(self, drawer: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(sys, "argv", ["draw_method.py", "--check"])
        drawer.main()

    def test_another_sentence_in_the_code_is_noticed(
        self, drawer: ModuleType, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(take_glance, "__doc__", "Squint. And so on.")
        monkeypatch.setattr(sys, "argv", ["draw_method.py", "--check"])
        with pytest.raises(SystemExit, match=r"method_mechanism.svg, method.md differ"):
            drawer.main()

    def test_another_name_in_the_code_is_noticed(
        self, drawer: ModuleType, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(evidence_loss, "__qualname__", "other_loss")
        files = drawer.make_files()
        assert ">other_loss<" in files[drawer.PICTURES / "method_gradients.svg"]
        assert "`other_loss`" in files[drawer.PAGE]

    def test_every_drawing_is_whole_and_its_words_stay_inside(self, drawer: ModuleType) -> None:
        for name, draw in drawer.DRAWINGS.items():
            assert f"pictures/{name}.svg" in TEXT
            drawing = draw().render()
            assert "var(" not in drawing
            root = ET.fromstring(drawing)  # noqa: S314 — our own drawing
            width, height = (float(root.attrib[key]) for key in ("width", "height"))
            words = list(root.iter("{http://www.w3.org/2000/svg}text"))
            assert len(words) > 20
            for one in words:
                length = 6.6 * len("".join(one.itertext()))
                start = {"start": 0.0, "middle": 0.5, "end": 1.0}[one.attrib["text-anchor"]]
                left = float(one.attrib["x"]) - start * length
                assert left > 0, one.attrib
                assert left + length < width + 12, "".join(one.itertext())
                assert 0 < float(one.attrib["y"]) < height

    def test_dark_and_light_colours_can_be_told_apart(self, drawer: ModuleType) -> None:
        palette = importlib.import_module("drawing.canvas").PALETTE
        light = [colours[0] for colours in palette.values()]
        assert len(set(light)) == len(light)  # the dark ones are found by the light ones
        drawing = drawer.draw_structure().render()
        assert "prefers-color-scheme: dark" in drawing
        assert palette["ink"][1] in drawing

    @pytest.mark.usefixtures("drawer")
    def test_the_shares_drawn_are_those_of_the_pooling(self) -> None:
        drawn = importlib.import_module("drawing.mathematics")
        tiles = double(drawn.EXAMPLE)
        pooled = pool(tiles)
        pooled.sum().backward()
        assert tiles.grad is not None
        share = drawn.shares(drawn.EXAMPLE, POOL_SHARPNESS)
        np.testing.assert_allclose(share, tiles.grad.numpy(), rtol=1e-6)
        assert drawn.soft_maximum(drawn.EXAMPLE, POOL_SHARPNESS) == pytest.approx(pooled.item())
        assert drawn.soft_maximum(drawn.EXAMPLE, 0.0) == pytest.approx(np.mean(drawn.EXAMPLE))
        assert drawn.soft_maximum(drawn.EXAMPLE, 1e-4) == pytest.approx(
            np.mean(drawn.EXAMPLE), abs=1e-3
        )
        assert drawn.shares(drawn.EXAMPLE, 60.0).max() == pytest.approx(1.0)

    def test_every_name_in_the_text_exists(self) -> None:
        text = TEXT[: TEXT.index("<!-- names -->")]
        named = set(re.findall(r"`([A-Za-z_]\w*)`", text))
        assert len(named) > 15
        known = set()
        for path in (ROOT / "src" / "leafscout").rglob("*.py"):
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
                if isinstance(node, ast.FunctionDef | ast.ClassDef):
                    known.add(node.name)
                elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
                    known.add(node.target.id)
        assert named <= known, named - known

    def test_every_source_that_is_cited_is_listed(self) -> None:
        body = TEXT[: TEXT.index("<!-- names -->")]
        listed = TEXT[TEXT.index("## 13. Sources") :]
        cite = r"([A-Z][a-z]+)(?: et al\.| & [A-Z][a-z]+)?,? \(?((?:19|20)\d\d)\b"
        cited = set(re.findall(cite, body.replace("\n", " ")))
        assert len(cited) > 20
        for name, year in cited:
            assert re.search(rf"^- {name}.*{year}", listed, flags=re.MULTILINE), (name, year)
        for name in re.findall(r"^- ([A-Z][a-z]+)", listed, flags=re.MULTILINE):
            assert name in body, f"{name} is listed and never cited"
