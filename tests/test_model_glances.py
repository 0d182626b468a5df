"""Further glances in the whole method: mirrored ones that disagree, and closer ones."""

from dataclasses import replace

import numpy as np
import pytest

from leafscout.glance.choose import ChoiceRule
from leafscout.manifest import ChoiceEntry
from leafscout.model import GlanceAndFocus, GlanceEvidence, choose_read
from leafscout.types import Glance, Photo, Pixels
from test_model import RED, ColourNetworks, make_model, paint

SIZE_HW = (192, 256)


class LopsidedNetworks(ColourNetworks):
    """A scout that is blind in the left half of what it is shown."""

    def run_scout(self, glance: Pixels) -> GlanceEvidence:
        seen = super().run_scout(glance)
        score = seen.score_map.copy()
        score[:, : score.shape[1] // 2] = -4.0
        return seen._replace(score_map=score)


def with_choice(model: GlanceAndFocus, **values: float) -> GlanceAndFocus:
    choice = replace(model.rules.choice, **values)  # type: ignore[arg-type]
    return replace(model, rules=replace(model.rules, choice=choice))


@pytest.mark.parametrize("count", [1, 2, 3])
def test_a_scout_that_treats_all_sides_alike_does_not_disagree(count: int) -> None:
    model, _ = make_model()
    photo = paint(SIZE_HW, {5: RED})
    once, _ = model.forward(photo)
    often, _ = with_choice(model, mirrored_glances=count).forward(photo)
    assert once.scout_spread is None
    assert often.scout_spread is not None
    np.testing.assert_allclose(often.scout_spread, 0.0, atol=1e-5)
    np.testing.assert_allclose(often.scout_logits, once.scout_logits, rtol=1e-5)
    np.testing.assert_allclose(often.scout_label_logits, once.scout_label_logits, rtol=1e-5)
    np.testing.assert_array_equal(often.read, once.read)


def test_where_mirrored_glances_disagree_the_expert_looks() -> None:
    model, _ = make_model()
    model = replace(model, networks=LopsidedNetworks())
    photo = paint(SIZE_HW, {4: RED})  # in the blind half
    assert not model.forward(photo)[0].read.any()
    # The mean of both glances is no higher than the threshold, but they say opposite things.
    twice = with_choice(model, mirrored_glances=1, threshold_prob=0.9)
    evidence, _ = twice.forward(photo)
    assert not evidence.read.any()
    assert evidence.scout_spread is not None
    assert int(evidence.scout_spread.argmax()) == 4
    unsure = with_choice(
        model, mirrored_glances=1, threshold_prob=0.9, uncertain_tiles=1, uncertain_spread=1.0
    )
    evidence, _ = unsure.forward(photo)
    assert np.flatnonzero(evidence.read).tolist() == [4]
    np.testing.assert_array_equal(choose_read(evidence, unsure.rules.choice), evidence.read)


def test_further_glances_are_counted() -> None:
    model, _ = make_model()
    area = SIZE_HW[0] * SIZE_HW[1]
    assert model.count_macs(SIZE_HW, 0) == 2 * area
    assert with_choice(model, mirrored_glances=3).count_macs(SIZE_HW, 1) == 4 * 2 * area + 1000
    closer = with_choice(model, closer_glance_px=256, closer_regions=2)
    closer = replace(closer, rules=replace(closer.rules, glance_px=64))
    assert closer.count_macs(SIZE_HW, 0) == 2 * (48 * 64 + 2 * 128 * 128)


def small_spot() -> Photo:
    """A spot that a glance of 64 px averages away: 8 px of its 1024."""
    pixels = np.zeros((768, 1024, 3), np.uint8)
    pixels[100:108, 900:908] = RED
    return Photo(pixels, "<array>")


class FaintNetworks(ColourNetworks):
    """Sees how red a place is on the whole; nothing stands out in a coarse glance."""

    def run_scout(self, glance: Pixels) -> GlanceEvidence:
        cells = glance.reshape(glance.shape[0] // 16, 16, glance.shape[1] // 16, 16, 3)
        red = cells[..., 0].max(axis=(1, 3)).astype(np.float32) / 255
        score = red * 8 - 4
        return GlanceEvidence(score, np.stack([score, score]), np.full(2, -5.0, np.float32))


def test_a_closer_glance_finds_what_the_coarse_one_only_hints_at() -> None:
    model, _ = make_model()
    coarse = GlanceAndFocus(FaintNetworks(), replace(model.rules, glance_px=64))
    # One place of the coarse glance covers four regions of the closer one.
    closer = with_choice(coarse, closer_glance_px=1024, closer_regions=4)
    photo = small_spot()
    assert not coarse.forward(photo)[0].read.any()
    evidence, tiles = closer.forward(photo)
    boxes = tiles.boxes_px_xyxy[evidence.read]
    assert len(boxes) == 1
    left, top, right, bottom = boxes[0]
    assert left <= 900 < 908 <= right
    assert top <= 100 < 108 <= bottom


def test_a_closer_glance_must_be_taken_before_it_is_looked_at() -> None:
    model, _ = make_model()
    closer = with_choice(model, closer_glance_px=512)
    photo = paint(SIZE_HW, {})
    assert closer.take_glance(photo).closer is not None
    assert model.take_glance(photo).closer is None
    with pytest.raises(ValueError, match="take it with the model"):
        closer.scout(Glance(np.zeros((192, 256, 3), np.uint8), SIZE_HW))


def test_a_choice_from_before_has_one_glance() -> None:
    old = {"threshold_prob": 0.3, "max_tiles": 4, "suspicion_prob": 0.5, "suspicion_tiles": 2}
    assert ChoiceRule(**ChoiceEntry(**old).model_dump()) == ChoiceRule(0.3, 4)
    rule = ChoiceRule(0.3, 4, mirrored_glances=2, uncertain_tiles=1, uncertain_spread=0.7)
    entry = ChoiceEntry.model_validate_json(ChoiceEntry(**vars(rule)).model_dump_json())
    assert ChoiceRule(**entry.model_dump()) == rule
