"""The whole method with networks made of numpy: what is read, what is pooled, what it costs."""

from dataclasses import dataclass, field, replace

import numpy as np
import pytest

from leafscout.diagnosis.calibrate import Calibration
from leafscout.diagnosis.pooling import POOLINGS, pool_tiles
from leafscout.glance.choose import ChoiceRule
from leafscout.glance.places import pool_places
from leafscout.model import GlanceAndFocus, GlanceEvidence, Rules, TileEvidence
from leafscout.photos.tiles import cut_tiles, lay_tiles
from leafscout.types import Photo, Pixels

TILE_PX = 64
RED, BLUE = (255, 0, 0), (0, 0, 255)


@dataclass
class ColourNetworks:
    """The scout sees red and blue places of a glance; the expert tells red (0) from blue (1)."""

    glance_logits: tuple[float, float] = (-5.0, -5.0)
    tiles_seen: list[Pixels] = field(default_factory=list)

    def run_scout(self, glance: Pixels) -> GlanceEvidence:
        cells = glance.reshape(glance.shape[0] // 16, 16, glance.shape[1] // 16, 16, 3)
        colour = cells.max(axis=(1, 3)).astype(np.float32) / 255
        maps = np.stack([colour[..., 0], colour[..., 2]]) * 8 - 4
        return GlanceEvidence(maps.max(axis=0), maps, np.array(self.glance_logits, np.float32))

    def run_expert(self, tiles: Pixels) -> TileEvidence:
        self.tiles_seen.append(tiles)
        colour = tiles.max(axis=(1, 2)).astype(np.float32)[:, [0, 2]] / 255
        logits = colour * 12 - 6
        return TileEvidence(logits, colour, np.zeros((len(tiles), 2, 2, 2), np.float32))


def make_model(pooling: str = "max", **networks: object) -> tuple[GlanceAndFocus, ColourNetworks]:
    fake = ColourNetworks(**networks)  # type: ignore[arg-type]
    rules = Rules(
        labels=("red", "blue"),
        tile_px=TILE_PX,
        glance_px=256,
        pooling=pooling,
        choice=ChoiceRule(threshold_prob=0.5, max_tiles=3),
        glance_weights=(0.25, 0.25),
        calibration=Calibration((1.0, 2.0), (0.0, 0.5)),
        thresholds=(0.5, 0.5),
        expert_macs=1000,
        scout_macs_per_px=2.0,
    )
    return GlanceAndFocus(fake, rules), fake


def paint(size: tuple[int, int], tiles: dict[int, tuple[int, int, int]]) -> Photo:
    pixels = np.zeros((*size, 3), np.uint8)
    boxes = lay_tiles(size, TILE_PX).boxes_px_xyxy
    for index, colour in tiles.items():
        left, top, right, bottom = boxes[index]
        pixels[top + 16 : bottom - 16, left + 16 : right - 16] = colour
    return Photo(pixels, "<array>")


def test_with_nothing_to_see_the_expert_never_runs() -> None:
    model, fake = make_model()
    evidence, tiles = model.forward(paint((192, 256), {}))
    assert fake.tiles_seen == []
    assert not evidence.read.any()
    assert np.isnan(evidence.tile_logits).all()
    assert evidence.place_logits.shape[:2] == (0, 2)
    assert len(tiles) == 12
    assert (model.label_probs(evidence) < 0.05).all()
    assert model.count_macs((192, 256), 0) == 2 * 192 * 256


@pytest.mark.parametrize("size", [(192, 256), (256, 192), (256, 256)])
def test_exactly_the_chosen_tiles_are_read_at_full_resolution(size: tuple[int, int]) -> None:
    model, fake = make_model()
    photo = paint(size, {5: RED, 10: BLUE})
    evidence, tiles = model.forward(photo)
    assert np.flatnonzero(evidence.read).tolist() == [5, 10]
    rectangles = [photo.pixels[t:b, le:r] for le, t, r, b in tiles.boxes_px_xyxy[[5, 10]]]
    (seen,) = fake.tiles_seen
    np.testing.assert_array_equal(seen, rectangles)
    np.testing.assert_allclose(evidence.tile_logits[[5, 10]], [[6, -6], [-6, 6]])
    assert np.isnan(evidence.tile_logits[~evidence.read]).all()
    assert evidence.place_logits.shape == (2, 2, 2, 2)
    np.testing.assert_allclose(evidence.focus_logits, [6, 6])


def test_unread_tiles_enter_by_the_scouts_guess_alone() -> None:
    model, _ = make_model("log_sum_exp")
    photo = paint((192, 256), {5: RED})
    evidence, tiles = model.forward(photo)
    guess = pool_places(ColourNetworks().run_scout(photo.pixels).label_maps, tiles)
    expected = np.minimum(guess, evidence.scout_logits[:, None])
    expected[5] = [6, -6]
    mask = np.ones(12, np.bool_)
    np.testing.assert_allclose(
        evidence.focus_logits, pool_tiles("log_sum_exp", expected, np.zeros((12, 2)), mask),
        rtol=1e-5,
    )  # fmt: skip


def test_a_suspicious_glance_forbids_the_early_exit() -> None:
    model, fake = make_model(glance_logits=(3.0, -5.0))
    evidence, _ = model.forward(paint((192, 256), {}))
    assert evidence.read.sum() == model.rules.choice.suspicion_tiles
    assert len(fake.tiles_seen) == 1


def test_reading_everything_is_the_reference() -> None:
    model, fake = make_model()
    photo = paint((192, 256), {5: RED})
    evidence, tiles = model.forward(photo, read_all=True)
    assert evidence.read.all()
    np.testing.assert_array_equal(fake.tiles_seen[0], cut_tiles(photo.pixels, tiles))
    # With the maximum, and a scout that misses nothing, skipping changes nothing.
    skipped, _ = model.forward(photo)
    np.testing.assert_allclose(skipped.focus_logits[0], evidence.focus_logits[0])
    read = np.arange(12) == 5
    np.testing.assert_allclose(model.pool(evidence, read), skipped.focus_logits)


@pytest.mark.parametrize("pooling", sorted(POOLINGS))
@pytest.mark.parametrize("spots", [{}, {0: RED}, {3: RED, 4: BLUE, 5: RED, 6: BLUE}])
def test_every_pooling_gives_finite_evidence(
    pooling: str, spots: dict[int, tuple[int, int, int]]
) -> None:
    model, _ = make_model(pooling)
    evidence, _ = model.forward(paint((192, 256), spots))
    assert np.isfinite(evidence.focus_logits).all()
    probs = model.label_probs(evidence)
    assert ((probs > 0) & (probs < 1)).all()


def test_attention_weighs_only_what_was_read() -> None:
    model, _ = make_model("gated_attention")
    evidence, _ = model.forward(paint((192, 256), {5: RED, 6: BLUE}))
    weight = np.exp(1) / (1 + np.exp(1))
    np.testing.assert_allclose(evidence.focus_logits, 6 * (2 * weight - 1), rtol=1e-5)


def test_probabilities_are_those_of_the_fused_evidence() -> None:
    model, _ = make_model()
    evidence, _ = model.forward(paint((192, 256), {5: RED}))
    fused = 0.75 * evidence.focus_logits + 0.25 * np.array([-5.0, -5.0])
    expected = 1 / (1 + np.exp(-(fused * [1, 2] + [0, 0.5])))
    np.testing.assert_allclose(model.label_probs(evidence), expected, rtol=1e-5)


def test_macs_are_the_glance_and_the_tiles_read() -> None:
    model, _ = make_model()
    assert model.count_macs((3000, 4000), 5) == 2 * 192 * 256 + 5 * 1000
    wide = replace(model, rules=replace(model.rules, glance_px=512))
    assert wide.count_macs((3000, 4000), 5) == 2 * 384 * 512 + 5 * 1000


def test_a_photo_smaller_than_a_tile_is_one_tile() -> None:
    model, fake = make_model()
    pixels = np.full((40, 50, 3), RED, np.uint8)
    evidence, tiles = model.forward(Photo(pixels, "<array>"))
    assert len(tiles) == 1
    assert evidence.read.tolist() == [True]
    assert fake.tiles_seen[0].shape == (1, TILE_PX, TILE_PX, 3)
