"""Differences between models: closed cases, an exact oracle, and the correction for many."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from leafscout.errors import InputError
from leafscout.evaluation.differences import (
    BETTER,
    FEWEST_POSITIVES,
    OPEN,
    SAME,
    TOO_FEW,
    WORSE,
    FigureDifference,
    PhotoAnswers,
    compare_answers,
    holm,
)

LABELS = ("mildew", "rust")


def make_truth(photos: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).random((photos, 2)) < 0.4


def make_answers(truth: np.ndarray, noise: float, seed: int, macs: float = 0.2) -> PhotoAnswers:
    """Answers that are the truth with some noise: the more noise, the worse."""
    rng = np.random.default_rng(seed)
    probs = np.clip(0.25 + 0.5 * truth + noise * rng.normal(size=truth.shape), 0, 1)
    cost = macs * (1 + 0.1 * rng.random(len(truth)))
    return PhotoAnswers(probs, probs >= 0.5, cost, np.round(50 * cost))


def by_name(row: tuple[FigureDifference, ...]) -> dict[tuple[str, str], FigureDifference]:
    return {(one.figure, one.label): one for one in row}


def test_identical_models_never_differ() -> None:
    truth = make_truth(60)
    answers = make_answers(truth, 0.3, seed=1)
    (row,) = compare_answers(truth, LABELS, answers, [answers])
    assert {one.verdict for one in row} == {SAME}
    assert all(
        one.difference.value == one.difference.low == one.difference.high == 0 for one in row
    )
    assert all(math.isnan(one.p) for one in row)


def test_a_clearly_better_and_cheaper_model_is_called_so_both_ways_round() -> None:
    truth = make_truth(120)
    good, bad = make_answers(truth, 0.05, 1, macs=0.1), make_answers(truth, 0.6, 2, macs=0.4)
    (forth,) = compare_answers(truth, LABELS, bad, [good])
    (back,) = compare_answers(truth, LABELS, good, [bad])
    assert {one.verdict for one in forth} == {BETTER}
    assert {one.verdict for one in back} == {WORSE}
    for one, other in zip(forth, back, strict=True):
        assert one.difference.value == pytest.approx(-other.difference.value)
        assert one.difference.low == pytest.approx(-other.difference.high)
    found = by_name(forth)
    assert found["macro_ap", ""].difference.low > 0
    # Cheaper is a negative difference, and still better.
    assert found["macs_share", ""].difference.high < 0


def test_two_equally_noisy_models_cannot_be_told_apart() -> None:
    truth = make_truth(80)
    models = [make_answers(truth, 0.3, seed) for seed in (1, 2)]
    (row,) = compare_answers(truth, LABELS, models[0], [models[1]])
    found = by_name(row)
    assert found["macro_ap", ""].verdict == found["macro_f1", ""].verdict == OPEN
    gap = found["macro_ap", ""].difference
    assert gap.low < 0 < gap.high
    assert gap.low <= gap.value <= gap.high


def test_the_mean_cost_and_its_interval_are_those_of_a_paired_mean() -> None:
    truth = make_truth(200)
    first, second = make_answers(truth, 0.3, 1), make_answers(truth, 0.3, 2, macs=0.25)
    (row,) = compare_answers(truth, LABELS, first, [second])
    gap = by_name(row)["macs_share", ""].difference
    differences = second.macs_share - first.macs_share
    half = 1.96 * differences.std(ddof=1) / math.sqrt(len(differences))
    assert gap.value == pytest.approx(differences.mean())
    assert gap.low == pytest.approx(differences.mean() - half, abs=0.15 * half)
    assert gap.high == pytest.approx(differences.mean() + half, abs=0.15 * half)


def test_too_few_photos_of_a_label_are_not_judged() -> None:
    truth = np.zeros((100, 2), dtype=bool)
    truth[:50, 0] = True
    truth[: FEWEST_POSITIVES - 1, 1] = True
    right = PhotoAnswers(truth * 0.9, truth, np.full(100, 0.2), np.full(100, 3.0))
    wrong = PhotoAnswers(np.where(truth, 0.0, 0.9), ~truth, np.full(100, 0.2), np.full(100, 3.0))
    found = by_name(compare_answers(truth, LABELS, wrong, [right])[0])
    assert found["f1", "mildew"].verdict == BETTER
    assert found["f1", "rust"].verdict == TOO_FEW
    assert math.isnan(found["f1", "rust"].p_corrected)


def test_groups_are_drawn_together_and_widen_the_interval() -> None:
    truth = np.repeat(make_truth(20, seed=3), 6, axis=0)
    one = make_answers(truth[::6], 0.5, 1)
    other = make_answers(truth[::6], 0.1, 2)

    def repeat(answers: PhotoAnswers) -> PhotoAnswers:
        return PhotoAnswers(*(np.repeat(part, 6, axis=0) for part in vars(answers).values()))

    groups = np.repeat(np.arange(20), 6)
    alone = compare_answers(truth, LABELS, repeat(one), [repeat(other)])[0][0].difference
    together = compare_answers(
        truth, LABELS, repeat(one), [repeat(other)], groups=groups
    )[0][0].difference  # fmt: skip
    assert together.value == alone.value
    assert together.high - together.low > 1.5 * (alone.high - alone.low)


def test_more_models_make_the_same_difference_less_sure() -> None:
    truth = make_truth(100)
    reference = make_answers(truth, 0.35, 1)
    others = [make_answers(truth, 0.3, seed) for seed in range(2, 6)]
    alone = by_name(compare_answers(truth, LABELS, reference, others[:1])[0])["macro_ap", ""]
    among = by_name(compare_answers(truth, LABELS, reference, others)[0])["macro_ap", ""]
    assert among.difference.value == alone.difference.value
    assert among.p_corrected >= alone.p_corrected


def test_false_alarms_stay_near_five_percent() -> None:
    """Under equality (both models draw their noise alike), verdicts are rarely given."""
    alarms = 0
    for seed in range(30):
        truth = make_truth(60, seed)
        pair = [make_answers(truth, 0.35, 1000 + seed), make_answers(truth, 0.35, 2000 + seed)]
        (row,) = compare_answers(truth, LABELS, pair[0], [pair[1]], resamples=300)
        found = by_name(row)
        alarms += any(found[name, ""].verdict != OPEN for name in ("macro_ap", "macro_f1"))
    assert alarms <= 5  # binomial(30, .05): more than 5 in 0.3% of worlds


def test_holm_by_hand() -> None:
    assert holm([0.01, 0.04, 0.03, math.nan]) == pytest.approx(
        [0.03, 0.06, 0.06, math.nan], nan_ok=True
    )
    assert holm([]) == []


@settings(max_examples=50)
@given(st.lists(st.floats(0, 1), min_size=1, max_size=12))
def test_holm_keeps_the_order_and_lies_between_raw_and_bonferroni(values: list[float]) -> None:
    corrected = holm(values)
    assert np.all(np.diff(np.array(corrected)[np.argsort(values)]) >= 0)
    for raw, new in zip(values, corrected, strict=True):
        assert raw <= new + 1e-12
        assert (
            new <= min(1.0, raw * len(values)) + 1e-12
            or new
            <= max(
                min(1.0, other * (len(values) - rank)) for rank, other in enumerate(sorted(values))
            )
            + 1e-12
        )


def test_shapes_that_do_not_fit_are_refused() -> None:
    truth = make_truth(10)
    good = make_answers(truth, 0.1, 1)
    short = make_answers(truth[:9], 0.1, 1)
    with pytest.raises(InputError, match="same shape"):
        compare_answers(truth, LABELS, good, [short])
    with pytest.raises(InputError, match="costs of shape"):
        compare_answers(
            truth, LABELS, good, [PhotoAnswers(good.probs, good.decided, good.macs_share[:3],
                                               good.tiles_read)],
        )  # fmt: skip
