"""What counts as the same answer, and what is refused."""

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from leafscout.diagnosis.calibrate import Calibration
from leafscout.errors import InputError
from leafscout.export.parity import (
    ROUNDING,
    Limits,
    Parity,
    PhotoParity,
    answer_photo,
    compare_models,
    compare_on_photo,
    compare_with_answers,
)
from leafscout.glance.choose import ChoiceRule
from leafscout.model import GlanceAndFocus, GlanceEvidence, Rules, TileEvidence
from leafscout.photos.decode import open_photo
from leafscout.recogniser_model import PhotoAnswer, RecogniserModel
from leafscout.types import Photo, Pixels

RULES = Rules(
    labels=("mildew", "rust"),
    tile_px=64,
    glance_px=128,
    pooling="max",
    choice=ChoiceRule(threshold_prob=0.5, max_tiles=4),
    glance_weights=(0.0, 0.0),
    calibration=Calibration((1.0, 1.0), (0.0, 0.0)),
    thresholds=(0.5, 0.5),
    expert_macs=1,
    scout_macs_per_px=1.0,
)
SAME = PhotoParity("leaf.jpg", 1e-6, 1e-6, False, False, False)
FP32, INT8 = Limits(ROUNDING, 0.0), Limits(None, 0.02)


class Fixed:
    """Networks that always say the same; ``shift`` is added to all that the expert says."""

    def __init__(self, expert: float, scout: float = 2.0, *, shift: float = 0.0) -> None:
        self.scout_logit, self.expert_logit = scout, expert + shift

    def run_scout(self, _: Pixels) -> GlanceEvidence:
        score = np.full((8, 8), self.scout_logit, dtype=np.float32)
        return GlanceEvidence(score, np.full((2, 8, 8), -9, np.float32), np.full(2, -9, np.float32))

    def run_expert(self, tiles: Pixels) -> TileEvidence:
        logits = np.full((len(tiles), 2), self.expert_logit, dtype=np.float32)
        return TileEvidence(logits, logits * 0, np.zeros((len(tiles), 2, 2, 2), np.float32))


def compare(one: Fixed, other: Fixed) -> PhotoParity:
    photo = Photo(np.zeros((128, 128, 3), dtype=np.uint8), "folder/leaf.jpg")
    return compare_on_photo(GlanceAndFocus(one, RULES), GlanceAndFocus(other, RULES), photo)


def test_the_same_networks_agree() -> None:
    found = compare(Fixed(1.0), Fixed(1.0))
    assert found == PhotoParity("leaf.jpg", 0.0, 0.0, False, False, False)


@settings(max_examples=30, deadline=None)
@given(st.floats(-4, 4), st.floats(-2, 2))
def test_changes_are_those_of_the_probabilities(logit: float, shift: float) -> None:
    found = compare(Fixed(logit), Fixed(logit, shift=shift))
    before, after = (1 / (1 + np.exp(-value)) for value in (logit, logit + shift))
    assert found.prob_change == pytest.approx(abs(after - before), abs=1e-6)
    if min(abs(before - 0.5), abs(after - 0.5)) > 1e-5:
        assert found.decision_changed == ((before >= 0.5) != (after >= 0.5))
    assert not found.choice_changed


def test_other_tiles_are_seen() -> None:
    found = compare(Fixed(1.0, scout=2.0), Fixed(1.0, scout=-2.0))
    assert found.choice_changed
    assert found.scout_change == pytest.approx(np.tanh(1.0), abs=1e-6)


def test_the_cosine_is_that_of_all_logits_that_both_saw() -> None:
    same, other = compare(Fixed(1.0), Fixed(1.0)), compare(Fixed(1.0), Fixed(-2.0))
    assert Parity((same,)).logit_cosine == pytest.approx(1.0)
    # Four tiles and two labels of 1 against -2, and two glance logits of -9 each.
    dot, one, two = 8 * -2 + 2 * 81, 8 + 2 * 81, 8 * 4 + 2 * 81
    assert Parity((other,)).logit_cosine == pytest.approx(dot / math.sqrt(one * two))
    assert "Cosine of the logits: 1.00000." in Parity((same,)).sentences()[0]
    assert Parity((SAME,)).logit_cosine is None


class OneLook:
    """A recogniser that always says the same."""

    def __init__(self, *logits: float) -> None:
        self.logits = np.array(logits, dtype=np.float32)

    def run(self, _: Pixels) -> PhotoAnswer:
        return PhotoAnswer(self.logits, np.empty((len(self.logits), 0, 0), np.float32))


def compare_looks(folder: Path, one: OneLook, other: OneLook) -> list[Parity]:
    """Compared at once, and with answers that were given before."""
    path = folder / "leaf.png"
    Image.fromarray(np.zeros((128, 128, 3), dtype=np.uint8)).save(path)
    reference, exported = (RecogniserModel(network, RULES) for network in (one, other))
    before = [answer_photo(reference, open_photo(path))]
    return [
        compare_models(reference, exported, [path]),
        compare_with_answers(before, exported, [path]),
    ]


def test_of_one_look_nothing_is_said_of_tiles_and_scouts(tmp_path: Path) -> None:
    for parity in compare_looks(tmp_path, OneLook(1.0, -2.0), OneLook(1.0, 2.0)):
        said = " ".join(parity.sentences())
        assert said.startswith("Compared with PyTorch on 1 photos: other labels on 1. Largest ")
        assert "Other labels: leaf.png." in said
        with pytest.raises(
            InputError, match=r"The largest change of a probability is 0\.76\. R"
        ) as no:
            parity.check(FP32)
        for words in (said, str(no.value)):
            assert "scout" not in words
            assert "tiles" not in words
        assert parity.max_scout_change == 0.0
        assert parity.photos[0].logit_products == (-3.0, 5.0, 5.0), "its own logits alone"


def test_two_networks_still_say_what_they_chose() -> None:
    said = Parity((SAME,)).sentences()[0]
    assert (
        "other tiles read in 0. Largest change of a probability: 1e-06, of the scout's: 1e" in said
    )


def test_tiles_that_one_alone_read_do_not_count() -> None:
    found = compare(Fixed(1.0, scout=2.0), Fixed(5.0, scout=-2.0))
    assert found.logit_products == pytest.approx((162.0, 162.0, 162.0))


def test_no_number_is_no_agreement() -> None:
    found = compare(Fixed(-1.0), Fixed(np.nan))
    with pytest.raises(InputError, match=r"probabilities differ .* on 1 of 1 photos"):
        Parity((found,)).check(FP32)


def test_rounding_passes_and_is_listed() -> None:
    tie = replace(SAME, name="tie.jpg", prob_change=0.3, decision_changed=True, choice_changed=True)
    edge = replace(SAME, name="edge.jpg", decision_changed=True, near_threshold=True)
    parity = Parity((SAME, tie, edge))
    parity.check(FP32)
    assert parity.borderline == ("tie.jpg", "edge.jpg")
    assert parity.decisions_changed == ("tie.jpg", "edge.jpg")
    assert parity.max_prob_change == 1e-6, "other tiles are another question"
    said = " ".join(parity.sentences())
    assert "on 3 photos: other labels on 2, other tiles read in 1" in said
    assert "rounding decides: tie.jpg, edge.jpg." in said


REFUSED = {
    "a probability that moved": (
        replace(SAME, prob_change=2e-4), FP32,
        r"differ from the PyTorch model's by more than 0\.0001 on 1 of 1 photos \(leaf\.jpg\)\. N",
    ),
    "another decision": (
        replace(SAME, decision_changed=True), FP32,
        r"decides otherwise than the PyTorch model on 1 of 1 photos \(leaf\.jpg\), and at most 0\.",
    ),
    "other tiles for a reason": (
        replace(SAME, choice_changed=True, scout_change=1e-3, prob_change=0.1), FP32,
        r"by more than 0\.0001 on 1 of 1 photos",
    ),
    "near a threshold, but moved by more than rounding": (
        replace(SAME, decision_changed=True, near_threshold=True, prob_change=1e-2), FP32,
        r"decides otherwise",
    ),
    "too many other decisions for int8": (
        replace(SAME, decision_changed=True), INT8, r"at most 2\.0% may change\. Nothing was wri",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_more_than_rounding_is_refused(name: str) -> None:
    one, limits, sentence = REFUSED[name]
    with pytest.raises(InputError, match=sentence):
        Parity((one,)).check(limits)


def test_a_share_of_other_decisions_may_be_allowed() -> None:
    changed = replace(SAME, name="other.jpg", decision_changed=True, prob_change=0.2)
    Parity((changed, *[SAME] * 49)).check(INT8)
    with pytest.raises(InputError, match=r"on 1 of 49 photos \(other\.jpg\)"):
        Parity((changed, *[SAME] * 48)).check(INT8)


def test_many_names_are_cut_short() -> None:
    many = Parity(tuple(replace(SAME, name=f"{n}.jpg", prob_change=1.0) for n in range(9)))
    with pytest.raises(InputError, match=r"\(0\.jpg, 1\.jpg, 2\.jpg, 3\.jpg, 4\.jpg and 4 more\)"):
        many.check(FP32)


@pytest.mark.parametrize(
    ("prob_change", "decisions_frac", "sentence"),
    [
        (0.0, 0.0, r"--tolerance to be above 0 and at most 1, but got 0\.0"),
        (float("nan"), 0.0, r"--tolerance to be above 0 and at most 1, but got nan"),
        (1e-4, 1.0, r"--max-changed to be from 0 to below 1, but got 1\.0"),
        (1e-4, -0.1, r"--max-changed to be from 0 to below 1, but got -0\.1"),
    ],
)
def test_limits_out_of_range(prob_change: float, decisions_frac: float, sentence: str) -> None:
    with pytest.raises(InputError, match=sentence):
        Limits(prob_change, decisions_frac)


def test_names_are_those_of_files() -> None:
    assert compare(Fixed(1.0), Fixed(1.0)).name == Path("folder/leaf.jpg").name
