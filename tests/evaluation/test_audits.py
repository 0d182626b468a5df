"""Audits against cases whose answer is known: planted shortcuts, planted mistakes, moved maps."""

import numpy as np
import pytest
from sklearn.linear_model import Ridge

from leafscout.evaluation.audits import (
    CoverTrial,
    FrameAgreement,
    compare_frames,
    find_suspicious_labels,
    judge_covering,
    judge_frames,
    judge_label_probe,
    judge_labels,
    judge_split_probe,
    sample_map,
)
from leafscout.evaluation.probes import (
    _out_of_fold,
    probe_label,
    probe_source,
    probe_split,
)


def blobs(rows: int, columns: int, seed: int) -> np.ndarray:
    """A smooth random map, far larger than a lesion."""
    coarse = np.random.default_rng(seed).standard_normal((rows // 2, columns // 2))
    return np.kron(coarse, np.ones((2, 2))).astype(np.float32)


class TestFrames:
    def test_scores_that_move_with_the_picture(self) -> None:
        field = blobs(24, 32, 0)
        agreement = compare_frames(field[:20, :28], field[4:24, 4:32], (200, 280), 40)
        assert agreement is not None
        assert agreement.content == pytest.approx(1.0)
        assert abs(agreement.frame) < 0.4
        finding = judge_frames([agreement])
        assert finding.concern is False
        assert "follow the picture: correlation 1.00" in finding.sentence

    def test_scores_that_stay_with_the_frame(self) -> None:
        field = blobs(20, 28, 1)
        agreement = compare_frames(field, field, (200, 280), 40)
        assert agreement is not None
        assert agreement.frame == pytest.approx(1.0)
        finding = judge_frames([agreement] * 3)
        assert finding.concern is True
        assert "follow the FRAME" in finding.sentence

    def test_a_flat_map_says_nothing(self) -> None:
        flat = np.zeros((10, 10), dtype=np.float32)
        assert compare_frames(flat, flat, (100, 100), 20) is None
        assert judge_frames([]).concern is None

    def test_the_majority_of_photos_decides_too(self) -> None:
        agreements = [FrameAgreement(0.9, 0.1), FrameAgreement(0.2, 0.3), FrameAgreement(0.2, 0.4)]
        assert judge_frames(agreements).concern is True

    def test_sampling_is_bilinear_between_the_centres_of_cells(self) -> None:
        ramp = np.arange(6, dtype=np.float32)[None] * np.ones((4, 1), dtype=np.float32)
        x = np.array([[5.0, 10.0, 12.5, 59.9, 0.0]])
        sampled = sample_map(ramp, (40, 60), np.full_like(x, 20.0), x)
        assert sampled[0] == pytest.approx([0.0, 0.5, 0.75, 5.0, 0.0])


class TestProbes:
    def test_a_planted_shortcut_is_found(self) -> None:
        rng = np.random.default_rng(0)
        diseased = np.arange(60) % 2 == 0
        features = rng.standard_normal((60, 7))
        features[:, 3] += 1.5 * diseased
        probe = probe_label(features, diseased)
        assert probe is not None
        assert probe.auc > 0.75
        assert probe.above_chance
        assert probe.p_value == pytest.approx(1 / 201)
        finding = judge_label_probe("a", "the mean colour", probe)
        assert finding.concern is True
        assert "better than chance" in finding.sentence

    def test_without_a_shortcut_it_errs_as_often_as_it_says(self) -> None:
        rng = np.random.default_rng(1)
        diseased = np.arange(40) % 2 == 0
        probes = [
            probe_label(rng.standard_normal((40, 7)), diseased, seed=seed, permutations=99)
            for seed in range(40)
        ]
        assert all(probe is not None for probe in probes)
        assert sum(probe.above_chance for probe in probes if probe is not None) <= 6
        assert np.mean([probe.auc for probe in probes if probe is not None]) == pytest.approx(
            0.5, abs=0.06
        )

    def test_scores_are_those_of_ridge_regression(self) -> None:
        rng = np.random.default_rng(2)
        features, target = rng.standard_normal((30, 4)), rng.standard_normal((30, 1))
        folds = np.arange(30) % 5
        scores = _out_of_fold(features, target, folds)
        train = folds != 0
        middle, spread = features[train].mean(axis=0), features[train].std(axis=0)
        ridge = Ridge(alpha=1.0).fit((features[train] - middle) / spread, target[train, 0])
        expected = ridge.predict((features[~train] - middle) / spread) - target[train].mean()
        assert scores[~train, 0] == pytest.approx(expected)

    def test_too_few_photos_of_one_kind_are_not_probed(self) -> None:
        diseased = np.array([True] * 20 + [False] * 4)
        assert probe_label(np.zeros((24, 2)), diseased) is None
        assert judge_label_probe("a", "b", None).concern is None
        assert probe_split(np.zeros((24, 2)), np.arange(24), diseased) is None
        assert probe_source(np.zeros((3, 2)), np.array([0, 1, 2])) is None

    def test_tiles_that_share_the_light_of_their_photo_betray_it(self) -> None:
        rng = np.random.default_rng(3)
        photos = np.repeat(np.arange(20), 8)
        light = rng.standard_normal((20, 3))
        shared = light[photos] + 0.1 * rng.standard_normal((160, 3))
        probe = probe_source(shared, photos)
        assert probe is not None
        assert probe.accuracy > 0.8
        assert (probe.chance, probe.photos, probe.tiles) == (0.05, 20, 80)
        blind = probe_source(rng.standard_normal((160, 3)), photos)
        assert blind is not None
        assert blind.accuracy < 0.2

    def test_a_split_by_tiles_pretends_what_a_split_by_photos_does_not(self) -> None:
        rng = np.random.default_rng(4)
        photos = np.repeat(np.arange(40), 8)
        shared = rng.standard_normal((40, 3))[photos] + 0.05 * rng.standard_normal((320, 3))
        diseased = (np.arange(40) % 2 == 0)[photos]
        probe = probe_split(shared, photos, diseased)
        assert probe is not None
        assert probe.auc_by_tile > 0.95
        assert probe.auc_by_photo < 0.75
        assert "LeafScout splits by photo" in judge_split_probe(probe).sentence


class TestCovering:
    def trial(self, *, covered: bool, control: bool) -> CoverTrial:
        return CoverTrial("a.jpg", 0.9, 0.1, 0.8, covered, control)

    def test_a_diagnosis_that_falls_with_its_places_alone(self) -> None:
        finding = judge_covering([self.trial(covered=True, control=False)] * 4)
        assert finding.concern is False
        assert "4 of 4 diseased photos are called healthy" in finding.sentence
        assert "as many other places covered, 0." in finding.sentence
        assert "from 0.90 to 0.10" in finding.sentence

    @pytest.mark.parametrize(("covered", "control"), [(False, False), (True, True)])
    def test_a_diagnosis_that_stays_or_falls_with_anything(
        self, covered: bool, control: bool
    ) -> None:
        finding = judge_covering([self.trial(covered=covered, control=control)] * 4)
        assert finding.concern is True
        assert "Something besides the marked places" in finding.sentence

    def test_nothing_to_cover(self) -> None:
        assert judge_covering([]).concern is None


class TestLabels:
    def test_planted_mistakes_come_first(self) -> None:
        rng = np.random.default_rng(0)
        truth = np.zeros((50, 2), dtype=bool)
        truth[:20, 0] = truth[15:30, 1] = True
        probs = np.clip(np.where(truth, 0.85, 0.1) + 0.05 * rng.standard_normal((50, 2)), 0, 1)
        given = truth.copy()
        given[3, 0], given[44, 1] = False, True
        names = [f"{index}.jpg" for index in range(50)]
        found = find_suspicious_labels(names, ("rust", "scab"), given, probs)
        assert {(one.photo, one.label, one.labelled) for one in found[:2]} == {
            ("3.jpg", "rust", False),
            ("44.jpg", "scab", True),
        }
        finding = judge_labels(found, 50)
        assert finding.concern is True
        assert "3.jpg lacks rust" in finding.sentence
        assert "44.jpg has scab" in finding.sentence

    def test_a_model_that_agrees_or_knows_nothing_accuses_nobody(self) -> None:
        truth = np.array([[True], [True], [False], [False]])
        # Apart by a hair from its own side's mean is no disagreement.
        sure = np.array([[0.9], [0.8], [0.1], [0.2]])
        assert find_suspicious_labels("abcd", ("rust",), truth, sure) == ()
        assert find_suspicious_labels("abcd", ("rust",), truth, 1 - sure) == ()
        assert find_suspicious_labels("abcd", ("rust",), np.ones_like(truth), sure) == ()
        hardly = np.array([[0.15], [0.08], [0.14], [0.06]])
        assert find_suspicious_labels("abcd", ("rust",), truth, hardly) == ()
        assert judge_labels((), 4).concern is False

    def test_long_lists_are_cut(self) -> None:
        truth = np.arange(40)[:, None] % 2 == 0
        probs = np.where(truth, 0.9, 0.1)
        probs[:15] = 1 - probs[:15]
        found = find_suspicious_labels([str(i) for i in range(40)], ("rust",), truth, probs)
        assert len(found) == 15
        assert judge_labels(found, 40).sentence.endswith("; and 5 more.")
