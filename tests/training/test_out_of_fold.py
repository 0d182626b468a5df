"""Evidence out of fold: no photo's evidence comes from layers that learnt from it."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from leafscout.errors import InputError
from leafscout.networks import build_expert
from leafscout.photos.labels import LabelTable
from leafscout.photos.tiles import lay_tiles
from leafscout.training import out_of_fold
from leafscout.training.evidence_pass import draw_tile_share, gather_evidence
from leafscout.training.loop import LoopOptions
from leafscout.training.out_of_fold import FoldTraining, deal_folds, gather_out_of_fold
from leafscout.training.progress import TrainingProgress
from leafscout.training.recipes import Recipe

CPU = torch.device("cpu")


@pytest.fixture
def make_work(spots: LabelTable, recipe: Recipe, tmp_path: Path) -> Callable[[str], FoldTraining]:
    def build() -> torch.nn.Module:
        torch.manual_seed(1)
        return build_expert("tiny", 2, sharpness=recipe.place_sharpness)

    def options(name: str) -> LoopOptions:
        return LoopOptions(tmp_path / name, 0, None, CPU, False, lambda _: None)

    def make(kind: str) -> FoldTraining:
        stage = replace(recipe.expert_stage, epochs=1)
        return FoldTraining(
            recipe=replace(recipe, scout_evidence=kind, scout_folds=2, expert_stage=stage),
            train=spots.subset(range(8)), validation=spots.subset(range(8, 12)), groups=None,
            seed=0, device=CPU, mixed_precision=False, folder=tmp_path,
            build=build, loop_options=options,  # type: ignore[arg-type]
        )  # fmt: skip

    return make


@pytest.mark.parametrize("kind", ["out_of_fold_heads", "out_of_fold"])
def test_every_photo_gets_evidence_and_no_layer_saw_it(
    make_work: Callable[[str], FoldTraining],
    kind: str,
    progress: TrainingProgress,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    work = make_work(kind)
    trained = work.build()
    before = {name: value.clone() for name, value in trained.state_dict().items()}
    learnt: list[set[str]] = []
    judged: list[set[str]] = []
    monkeypatch.setattr(
        out_of_fold, "fit_new_layers",
        lambda stage, bags, *_, **__: learnt.append({stage.paths[b.index].name for b in bags}),
    )  # fmt: skip
    monkeypatch.setattr(
        out_of_fold, "train_stage",
        lambda stage, *_: learnt.append({path.name for path in stage.paths}),
    )  # fmt: skip

    def gather(expert: object, paths: list[Path], *rest: object, **more: object) -> list:
        judged.append({path.name for path in paths})
        return gather_evidence(expert, paths, *rest, **more)  # type: ignore[arg-type]

    monkeypatch.setattr(out_of_fold, "gather_evidence", gather)
    evidence = gather_out_of_fold(trained, work, progress)
    tiles = len(lay_tiles((150, 200), work.recipe.tile_px))
    assert [one.shape for one in evidence] == [(tiles, 2)] * 8
    assert len(learnt) == len(judged) == 2
    everything = {path.name for path in work.train.paths}
    for known, asked in zip(learnt, judged, strict=True):
        assert not known & asked
        assert known | asked == everything
    assert judged[0] | judged[1] == everything
    for name, value in trained.state_dict().items():
        torch.testing.assert_close(value, before[name], msg=f"{name} of the expert was changed")


@pytest.mark.parametrize("kind", ["out_of_fold_heads", "out_of_fold"])
def test_it_resumes_without_learning_again(
    make_work: Callable[[str], FoldTraining],
    kind: str,
    progress: TrainingProgress,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    work = make_work(kind)
    trained = work.build()
    first = gather_out_of_fold(trained, work, progress)
    forbid = pytest.fail

    monkeypatch.setattr(out_of_fold, "fit_new_layers", lambda *_, **__: forbid("learnt again"))
    monkeypatch.setattr(out_of_fold, "train_stage", lambda *_: forbid("learnt again"))
    again = gather_out_of_fold(trained, work, progress)
    for one, other in zip(first, again, strict=True):
        np.testing.assert_array_equal(one, other)


def test_groups_stay_whole_and_too_few_of_them_are_refused(
    make_work: Callable[[str], FoldTraining],
) -> None:
    work = make_work("out_of_fold")
    groups = np.array([0, 0, 1, 1, 2, 2, 3, 3])
    folds = deal_folds(replace(work, groups=groups))
    assert all(len(set(folds[groups == group])) == 1 for group in range(4))
    with pytest.raises(InputError, match="Expected at least 2 groups of training photos"):
        deal_folds(replace(work, groups=np.zeros(8, np.int64)))


def test_a_share_of_the_tiles_is_read_and_the_others_are_unknown(
    spots: LabelTable, recipe: Recipe, tmp_path: Path, progress: TrainingProgress
) -> None:
    torch.manual_seed(0)
    expert = build_expert("tiny", 2)
    whole, part = (
        gather_evidence(
            expert, spots.paths[:3], recipe.tile_px, tmp_path / f"{share}.safetensors", CPU,
            mixed_precision=False, progress=progress, share=share, seed=5,
        )
        for share in (1.0, 0.4)
    )  # fmt: skip
    for index, (all_of_them, some) in enumerate(zip(whole, part, strict=True)):
        read = draw_tile_share(len(all_of_them), 0.4, 5, index)
        assert len(read) == round(0.4 * len(all_of_them))
        np.testing.assert_allclose(some[read], all_of_them[read], rtol=1e-4, atol=1e-5)
        assert np.isnan(np.delete(some, read, axis=0)).all()
    assert draw_tile_share(7, 1.0, 0, 0).tolist() == list(range(7))
    assert len(draw_tile_share(7, 0.01, 0, 0)) == 1
