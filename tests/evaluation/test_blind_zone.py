"""The blind zone: visibility against its formula, and limits that follow from counted trials."""

import numpy as np
import pytest
from scipy.stats import beta

from leafscout.errors import InputError
from leafscout.evaluation.blind_zone import (
    CONTROL,
    NATIVE,
    PASTED,
    TESTED_GLANCE_PX,
    LesionTrial,
    measure_blind_zone,
    nearest_tested,
)
from leafscout.evaluation.visibility import LEAST_NOISE, measure_visibility


class TestVisibility:
    def picture(self, noise: float = 0.0, lesion: int = 160) -> np.ndarray:
        rng = np.random.default_rng(0)
        pixels = 100 + noise * rng.standard_normal((60, 60, 3))
        pixels[20:28, 30:38] = lesion
        return np.clip(np.rint(pixels), 0, 255).astype(np.uint8)

    def test_it_is_contrast_over_noise_times_size(self) -> None:
        seen = measure_visibility(self.picture(noise=6), (30, 20, 38, 28))
        assert seen.size_px == pytest.approx(8)
        assert seen.contrast == pytest.approx(np.sqrt(3) * 60 / 255, rel=0.02)
        # Noise along one direction of three independent channels is that of one of them.
        assert seen.noise == pytest.approx(6 / 255, rel=0.1)
        assert seen.score == pytest.approx(seen.contrast / seen.noise * 8)

    def test_smooth_surroundings_have_the_noise_of_rounding(self) -> None:
        assert measure_visibility(self.picture(), (30, 20, 38, 28)).noise == LEAST_NOISE

    def test_a_lesion_like_its_surroundings_is_invisible(self) -> None:
        seen = measure_visibility(self.picture(lesion=100), (30, 20, 38, 28))
        assert seen.score == pytest.approx(0, abs=1e-6)

    def test_parts_of_pixels_count_as_parts(self) -> None:
        part = measure_visibility(self.picture(), (30.25, 20.5, 30.75, 21.5))
        assert part.size_px == pytest.approx(np.sqrt(0.5))
        assert part.contrast == pytest.approx(0.41, abs=0.2)

    @pytest.mark.parametrize("box", [(0, 0, 60, 60), (-5, -5, 3, 3), (58.5, 10, 60, 12)])
    def test_borders_and_whole_pictures_are_survived(self, box: tuple[float, ...]) -> None:
        seen = measure_visibility(self.picture(noise=4), (box[0], box[1], box[2], box[3]))
        assert np.isfinite(seen.score)
        assert seen.size_px <= 60


def trials(
    recalls: dict[float, float], count: int = 20, source: str = PASTED, **fields: object
) -> list[LesionTrial]:
    """Lesions of these sizes at glance scale; a lesion pixel of the photo is 1/8 of it."""
    return [
        LesionTrial(
            source=source,
            label="rust",
            size_px=8 * size,
            glance_px=size,
            contrast=float(fields.get("contrast", 1.0)),  # type: ignore[arg-type]
            visibility=size,
            seen=index < round(recall * count),
            chosen=False,
            seen_without=bool(fields.get("seen_without", False)),
            expert_sees=fields.get("expert_sees"),  # type: ignore[arg-type]
        )
        for size, recall in recalls.items()
        for index in range(count)
    ]


def test_the_limit_is_where_all_larger_sizes_are_seen() -> None:
    # 2 px are seen by luck; 3 px are not: what counts is from where on all are.
    shown = trials({1: 0.1, 2: 0.6, 3: 0.3, 4: 0.5, 8: 0.9}, expert_sees=True)
    zone = measure_blind_zone(shown, glance_px=500, photo_px=4000)
    assert (zone.blind_below_px, zone.blind_below_glance_px) == (32, 4)
    sentences = " ".join(zone.sentences())
    assert "Lesions under 32 px (4 px of the glance) are not seen" in sentences
    assert "of smaller ones the scout finds 20 of 60 (33%), of larger ones 28 of 40" in sentences
    # 20 px of the photo are 4 px of a glance of 800.
    assert "Lesions of 20 px would take a glance of about 800 px instead of 500 px" in sentences
    assert "the expert finds 60 of 60 of these lesions that are too small" in sentences


def test_points_carry_exact_intervals() -> None:
    zone = measure_blind_zone(trials({4: 0.75}), glance_px=500, photo_px=4000)
    (point,) = zone.points(PASTED)
    assert (point.lesions, point.seen, point.recall, point.size_px) == (20, 15, 0.75, 32)
    assert point.low == pytest.approx(beta.ppf(0.025, 15, 6))
    assert point.high == pytest.approx(beta.ppf(0.975, 16, 5))


def test_all_or_nothing_seen() -> None:
    everything = measure_blind_zone(trials({1: 1, 8: 1}), glance_px=500, photo_px=4000)
    assert everything.blind_below_px == 0
    assert "all tested sizes, from 8 px" in everything.sentences()[0]
    nothing = measure_blind_zone(trials({1: 0, 8: 0.4}), glance_px=500, photo_px=4000)
    assert nothing.blind_below_px is None
    assert "not see lesions reliably at any tested size up to 64 px" in (nothing.sentences()[0])
    assert measure_blind_zone(
        trials({1: 0, 8: 0.4}), glance_px=500, photo_px=4000, wanted_recall=0.4
    ).blind_below_px == pytest.approx(64)


def test_lesions_in_places_worth_reading_anyway_prove_nothing() -> None:
    shown = trials({4: 0.2}) + trials({4: 1.0}, seen_without=True)
    zone = measure_blind_zone(shown, glance_px=500, photo_px=4000)
    assert zone.proved_nothing == 20
    assert zone.points(PASTED)[0].recall == 0.2


def test_pasted_lesions_decide_and_others_stand_in_for_them() -> None:
    native = trials({8: 1.0}, source=NATIVE)
    assert measure_blind_zone(native, glance_px=500, photo_px=4000).source == NATIVE
    zone = measure_blind_zone(native + trials({8: 0.0}), glance_px=500, photo_px=4000)
    assert (zone.source, zone.blind_below_px) == (PASTED, None)
    nothing = measure_blind_zone([], glance_px=500, photo_px=4000)
    assert nothing.source is None
    assert "could not be measured" in nothing.sentences()[0]
    # A control is no lesion.
    control = trials({8: 1.0}, source=CONTROL)
    assert measure_blind_zone(control, glance_px=500, photo_px=4000).source is None


def test_faint_lesions_and_the_control_are_said() -> None:
    shown = [
        *trials({4: 1.0}),
        *trials({4: 0.25}, contrast=0.5),
        *trials({4: 0.05}, source=CONTROL),
    ]
    sentences = measure_blind_zone(shown, glance_px=500, photo_px=4000).sentences()
    assert "At 50% of their contrast it finds 5 of 20 (25%) of all sizes." in sentences
    assert any("calls the scout in 1 of 20 (5%)" in sentence for sentence in sentences)


def test_a_lesion_counts_with_the_nearest_size_by_ratio() -> None:
    assert [nearest_tested(size) for size in TESTED_GLANCE_PX] == list(TESTED_GLANCE_PX)
    assert nearest_tested(0.0) == 1.0
    assert nearest_tested(500) == 16.0
    assert nearest_tested(2.5) == 3.0


@pytest.mark.parametrize("wanted", [0.0, 1.1, -1.0])
def test_a_wanted_recall_out_of_range_is_refused(wanted: float) -> None:
    with pytest.raises(InputError, match="above 0 and up to 1, but got"):
        measure_blind_zone([], glance_px=1, photo_px=1, wanted_recall=wanted)
