"""The smallest glance that sees what is wanted, at a cost that is allowed."""

import pytest

from leafscout.evaluation.blind_zone import PASTED, LesionTrial, measure_blind_zone
from leafscout.evaluation.glance_choice import GlanceTrial, describe_trial, pick_glance


def trial(glance_px: int, blind_below_px: float | None, macs_share: float = 0.1) -> GlanceTrial:
    return GlanceTrial(glance_px, blind_below_px, macs_share, 0.1, 20)


def test_the_smallest_that_sees_enough_is_picked_whatever_the_order() -> None:
    trials = [trial(1024, 8, 0.4), trial(256, 48), trial(512, 20, 0.2), trial(768, 12)]
    choice = pick_glance(trials, lesion_px=20, wanted_recall=0.8)
    assert choice.picked_px == 512
    assert [one.glance_px for one in choice.trials] == [256, 512, 768, 1024]
    assert "512 px is the smallest of 256, 512, 768, 1024 px" in choice.sentence
    assert "80% of the lesions from 20 px on, at 20% of the cost" in choice.sentence
    assert choice.sentence.endswith("It is blind below 20 px.")


def test_a_scout_that_saw_everything_is_not_called_blind() -> None:
    choice = pick_glance([trial(256, 0.0)], lesion_px=4, wanted_recall=0.5)
    assert choice.picked_px == 256
    assert choice.sentence.endswith("It saw all sizes tested.")


def test_a_glance_beyond_the_budget_is_named_and_not_picked() -> None:
    trials = [trial(256, None, 0.05), trial(512, 10, 0.5)]
    choice = pick_glance(trials, lesion_px=20, wanted_recall=0.8, most_macs_share=0.3)
    assert choice.picked_px is None
    assert "512 px sees 80%" in choice.sentence
    assert "at 50% of the cost of reading every tile, more than the 30%" in choice.sentence


@pytest.mark.parametrize("blind", [None, 40.0])
def test_where_none_sees_enough_it_says_what_to_do(blind: float | None) -> None:
    choice = pick_glance([trial(256, blind)], lesion_px=20, wanted_recall=0.8)
    assert choice.picked_px is None
    assert "No glance of 256 px sees 80%" in choice.sentence
    assert "read every tile" in choice.sentence


def test_without_lesions_to_show_nothing_is_said_about_the_glances() -> None:
    trials = [GlanceTrial(size_px, None, 0.1, 0.0, 0) for size_px in (256, 512)]
    choice = pick_glance(trials, lesion_px=20, wanted_recall=0.8)
    assert choice.picked_px is None
    assert "Whether a glance of 256, 512 px sees 80%" in choice.sentence
    assert "the expert finds no lesion" in choice.sentence


def shown(size_px: float, *, seen: bool) -> LesionTrial:
    return LesionTrial(
        source=PASTED, label="rust", size_px=size_px, glance_px=size_px / 4, contrast=1.0,
        visibility=1.0, seen=seen, chosen=seen, seen_without=False, expert_sees=None,
    )  # fmt: skip


def test_a_trial_counts_the_lesions_behind_it() -> None:
    trials = [shown(8, seen=False)] * 3 + [shown(16, seen=True)] * 4
    zone = measure_blind_zone(trials, glance_px=256, photo_px=1024, wanted_recall=0.8)
    made = describe_trial(zone, macs_share=0.2, tiles_share=0.1)
    assert (made.glance_px, made.blind_below_px, made.tested) == (256, 16, 7)
    nothing = measure_blind_zone([], glance_px=256, photo_px=1024)
    assert describe_trial(nothing, 0.2, 0.1).blind_below_px is None
    assert describe_trial(nothing, 0.2, 0.1).tested == 0
