"""The evidence pass: what a plain forward gives, and nothing done twice."""

import signal
from pathlib import Path

import numpy as np
import pytest
import torch

from leafscout.focus.expert import Expert
from leafscout.networks import build_expert
from leafscout.photos.decode import decode_photo
from leafscout.photos.labels import LabelTable
from leafscout.photos.tiles import cut_tiles, lay_tiles
from leafscout.training.evidence_pass import gather_evidence
from leafscout.training.progress import TrainingProgress
from leafscout.types import FloatArray

CPU = torch.device("cpu")


@pytest.fixture
def expert() -> Expert:
    torch.manual_seed(0)
    return build_expert("tiny", 2)


def gather(
    expert: Expert, table: LabelTable, store: Path, progress: TrainingProgress
) -> list[FloatArray]:
    return gather_evidence(
        expert, table.paths, 64, store, CPU, mixed_precision=False, progress=progress
    )


def test_it_is_the_experts_answer_and_is_kept(
    spots: LabelTable, expert: Expert, tmp_path: Path, progress: TrainingProgress
) -> None:
    evidence = gather(expert, spots, tmp_path / "e.safetensors", progress)
    photo = decode_photo(spots.paths[3])
    tiles = lay_tiles(photo.size_px_hw, 64)
    with torch.no_grad():
        cut = torch.from_numpy(cut_tiles(photo.pixels, tiles)).permute(0, 3, 1, 2)
        expected = expert.eval()(cut).tile_logits.numpy()
    np.testing.assert_allclose(evidence[3], expected, rtol=1e-4, atol=1e-5)

    calls: list[int] = []
    expert.register_forward_pre_hook(lambda *_: calls.append(1))
    again = gather(expert, spots, tmp_path / "e.safetensors", progress)
    assert calls == []
    for first, second in zip(evidence, again, strict=True):
        np.testing.assert_array_equal(first, second)


def test_a_stopped_pass_goes_on_where_it_was(
    spots: LabelTable, expert: Expert, tmp_path: Path, progress: TrainingProgress
) -> None:
    calls: list[int] = []

    def stop_after_five(*_: object) -> None:
        calls.append(1)
        if len(calls) == 5:
            signal.raise_signal(signal.SIGINT)

    hook = expert.register_forward_pre_hook(stop_after_five)
    with pytest.raises(KeyboardInterrupt):
        gather(expert, spots, tmp_path / "e.safetensors", progress)
    assert len(calls) == 5
    resumed = gather(expert, spots, tmp_path / "e.safetensors", progress)
    assert len(calls) == len(spots)
    hook.remove()
    whole = gather(expert, spots, tmp_path / "whole.safetensors", progress)
    for first, second in zip(resumed, whole, strict=True):
        np.testing.assert_array_equal(first, second)
