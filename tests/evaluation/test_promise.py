"""The promise: exact against closed forms and scipy, and kept as often as it says."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import beta, binom

from leafscout.errors import InputError
from leafscout.evaluation.promise import (
    certify_threshold,
    loss_upper_bound,
    photos_needed,
    promise_from_losses,
    tail_prob,
)

ALPHA, DELTA = 0.05, 0.05


@pytest.mark.parametrize(("alpha", "needed"), [(0.02, 149), (0.05, 59), (0.1, 29)])
def test_photos_needed_without_a_loss(alpha: float, needed: int) -> None:
    assert photos_needed(alpha, 0.05) == needed
    assert needed == math.ceil(math.log(0.05) / math.log(1 - alpha))


@settings(max_examples=40, deadline=None)
@given(alpha=st.floats(0.005, 0.6), delta=st.floats(0.001, 0.5), losses=st.integers(0, 30))
def test_photos_needed_is_the_smallest_number(alpha: float, delta: float, losses: int) -> None:
    needed = photos_needed(alpha, delta, losses)
    assert binom.cdf(losses, needed, alpha) <= delta * (1 + 1e-9)
    assert needed - 1 <= losses or binom.cdf(losses, needed - 1, alpha) > delta * (1 - 1e-9)


@settings(max_examples=60, deadline=None)
@given(photos=st.integers(1, 5000), share=st.floats(0, 1), rate=st.floats(0.001, 0.999))
def test_tail_is_scipys(photos: int, share: float, rate: float) -> None:
    losses = round(share * photos)
    assert tail_prob(losses, photos, rate) == pytest.approx(
        float(binom.cdf(losses, photos, rate)), rel=1e-8, abs=1e-14
    )


@pytest.mark.parametrize(("losses", "photos"), [(0, 59), (3, 80), (17, 200), (199, 200), (7, 7)])
def test_upper_bound_is_clopper_pearson(losses: int, photos: int) -> None:
    expected = 1.0 if losses == photos else beta.ppf(0.95, losses + 1, photos - losses)
    assert loss_upper_bound(losses, photos, 0.05) == pytest.approx(expected, rel=1e-9)


def losses_of(counts: list[int], photos: int) -> np.ndarray:
    return np.array([np.arange(photos) < count for count in counts])


class TestSequence:
    def test_the_last_setting_before_the_first_failure_is_certified(self) -> None:
        # 0 of 100 and 1 of 100 are fine for 5%, 2 are not; what comes after a failure is not asked.
        losses = losses_of([0, 0, 1, 2, 0], 100)
        certificate = certify_threshold({"any disease": losses}, ALPHA, DELTA)
        assert certificate.setting == 2
        assert certificate.p_values == pytest.approx(binom.cdf([0, 0, 1, 2, 0], 100, ALPHA))

    def test_too_few_photos_certify_nothing(self) -> None:
        for photos, setting in ((58, None), (59, 1)):
            losses = losses_of([0, 0], photos)
            assert certify_threshold({"d": losses}, ALPHA, DELTA).setting == setting

    def test_every_population_must_pass(self) -> None:
        many, few = losses_of([0, 0, 0], 200), losses_of([0, 0, 3], 80)
        assert certify_threshold({"rust": many}, ALPHA, DELTA).setting == 2
        assert certify_threshold({"rust": many, "scab": few}, ALPHA, DELTA).setting == 1

    @pytest.mark.parametrize("bad", [0.0, 1.0, -0.1, 5.0, math.nan])
    def test_shares_outside_0_to_1_are_refused(self, bad: float) -> None:
        for alpha, delta in ((bad, 0.05), (0.05, bad)):
            with pytest.raises(InputError, match="between 0 and 1, both excluded, but got"):
                certify_threshold({"d": losses_of([0], 10)}, alpha, delta)
            with pytest.raises(InputError, match=r"Give 0\.05 for 5%"):
                photos_needed(alpha, delta)

    @pytest.mark.parametrize(
        "losses",
        [{}, {"d": np.zeros(4, bool)}, {"a": np.zeros((2, 4), bool), "b": np.zeros((3, 4), bool)}],
    )
    def test_unfitting_shapes_are_refused(self, losses: dict[str, np.ndarray]) -> None:
        with pytest.raises(InputError, match=r"Expected losses as \(settings, photos\)"):
            certify_threshold(losses, ALPHA, DELTA)


def test_coverage_is_what_was_promised() -> None:
    """At rates chosen to be hard: one setting just above what is promised after many just below."""
    rng = np.random.default_rng(0)
    rates = np.concatenate([np.linspace(0, 0.045, 10), np.linspace(0.055, 0.2, 10)])
    broken, made, naive = 0, 0, 0
    for _ in range(400):
        # Photo i is lost at every setting whose rate exceeds its score.
        losses = rng.random(300)[None] < rates[:, None]
        setting = certify_threshold({"d": losses}, 0.05, 0.1).setting
        made += setting is not None
        broken += setting is not None and rates[setting] > 0.05
        naive += rates[np.flatnonzero(losses.mean(axis=1) <= 0.05)[-1]] > 0.05
    assert made == 400
    assert broken / 400 <= 0.1 + 2 * math.sqrt(0.1 * 0.9 / 400)
    assert naive / 400 > 0.25


class TestWords:
    def words(self, counts: list[int], photos: int, *, per_label: bool = False) -> str:
        found = np.ones(photos, dtype=bool)
        found[:3] = False
        name = "rust" if per_label else "any disease"
        promise, _ = promise_from_losses(
            {name: losses_of(counts, photos)}, {name: found}, ALPHA, DELTA, per_label=per_label
        )
        return promise.words()

    def test_a_promise_names_its_share_confidence_and_counts(self) -> None:
        words = self.words([0, 1, 9], 100)
        assert "at most 5% of diseased photos lose their diagnosis" in words
        assert "with confidence 95%" in words
        assert "of 100 photos with any disease, reading every tile finds it in 97" in words
        assert "dropping loses 1." in words

    def test_too_few_photos_say_how_many_are_missing(self) -> None:
        words = self.words([0, 1], 40, per_label=True)
        assert "for each disease by itself" in words
        assert "at least 59 calibration photos even if none is lost" in words
        assert "19 more with rust (there are 40)" in words
        assert words.endswith("Nothing is promised.")

    def test_a_setting_that_always_loses_promises_nothing(self) -> None:
        words = self.words([30], 100)
        assert words.startswith("It cannot be promised")
        assert "even the most cautious setting loses too many" in words
        assert "dropping loses 30" in words
