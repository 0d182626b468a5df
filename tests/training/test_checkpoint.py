"""Checkpoints: whole or not at all, and exactly what was saved."""

import json
import os
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from leafscout.errors import InputError
from leafscout.training import checkpoint
from leafscout.training.checkpoint import (
    CHECKPOINT_VERSION,
    load_checkpoint,
    load_tensors,
    save_checkpoint,
    save_tensors,
    write_atomically,
)


def make_network(width: int = 4) -> tuple[nn.Module, torch.optim.Optimizer]:
    network = nn.Sequential(nn.Conv2d(3, width, 3), nn.BatchNorm2d(width), nn.Conv2d(width, 1, 1))
    network = network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    groups = [{"params": network[0].parameters(), "lr": 0.1}, {"params": network[2].parameters()}]
    return network, torch.optim.AdamW(groups, lr=0.01)


def learn(network: nn.Module, optimizer: torch.optim.Optimizer, steps: int, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    for _ in range(steps):
        optimizer.zero_grad()
        network(torch.randn(2, 3, 8, 8, generator=generator)).square().mean().backward()
        optimizer.step()


def test_a_restored_network_goes_on_exactly_as_the_other_one(tmp_path: Path) -> None:
    torch.manual_seed(0)
    network, optimizer = make_network()
    learn(network, optimizer, 3, seed=1)
    progress = {"epoch": 2, "best": -float("inf"), "history": [{"loss": 0.1}]}
    save_checkpoint(tmp_path / "c.safetensors", network, optimizer, progress)

    other, other_optimizer = make_network()
    assert load_checkpoint(tmp_path / "c.safetensors", other, other_optimizer) == progress
    learn(network, optimizer, 3, seed=2)
    learn(other, other_optimizer, 3, seed=2)
    for name, value in network.state_dict().items():
        assert torch.equal(other.state_dict()[name], value), name
    assert [group["lr"] for group in other_optimizer.param_groups] == [0.1, 0.01]


def test_moments_matter(tmp_path: Path) -> None:
    """The round trip above would fail if the optimiser were forgotten."""
    torch.manual_seed(0)
    network, optimizer = make_network()
    learn(network, optimizer, 3, seed=1)
    save_checkpoint(tmp_path / "c.safetensors", network, optimizer, {})
    other, other_optimizer = make_network()
    load_checkpoint(tmp_path / "c.safetensors", other, None)
    learn(network, optimizer, 1, seed=2)
    learn(other, other_optimizer, 1, seed=2)
    states = network.state_dict(), other.state_dict()
    assert not all(torch.equal(states[0][name], states[1][name]) for name in states[0])


@pytest.mark.parametrize("keep", [0, 7, 100, -1])
def test_a_truncated_file_is_refused(tmp_path: Path, keep: int) -> None:
    network, optimizer = make_network()
    file = tmp_path / "c.safetensors"
    save_checkpoint(file, network, optimizer, {})
    file.write_bytes(file.read_bytes()[:keep])
    with pytest.raises(InputError, match=r"c\.safetensors is not a LeafScout file or is damaged"):
        load_checkpoint(file, network, optimizer)


def test_missing_and_foreign_files_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"There is no file .*none"):
        load_tensors(tmp_path / "none")
    save_file({"a": torch.zeros(1)}, tmp_path / "foreign")
    with pytest.raises(InputError, match="foreign is not a LeafScout file"):
        load_tensors(tmp_path / "foreign")


def test_another_version_is_refused(tmp_path: Path) -> None:
    header = {"version": CHECKPOINT_VERSION + 1, "progress": {}}
    save_tensors(tmp_path / "c", {"network/a": torch.zeros(1)}, header)
    with pytest.raises(InputError, match=f"checkpoint of version {CHECKPOINT_VERSION + 1}"):
        load_checkpoint(tmp_path / "c", nn.Linear(1, 1), None)


def test_another_network_is_refused(tmp_path: Path) -> None:
    network, optimizer = make_network(width=4)
    save_checkpoint(tmp_path / "c", network, optimizer, {})
    with pytest.raises(InputError, match="weights of another network or of other labels"):
        load_checkpoint(tmp_path / "c", make_network(width=5)[0], None)


def test_tensors_and_header_come_back(tmp_path: Path) -> None:
    turned = torch.arange(6.0).view(2, 3).T
    save_tensors(tmp_path / "t", {"turned": turned}, {"ä": [1, None, "x"]})
    tensors, header = load_tensors(tmp_path / "t")
    assert torch.equal(tensors["turned"], turned)
    assert header == {"ä": [1, None, "x"]}
    assert json.loads(json.dumps(header)) == header


@pytest.mark.parametrize("step", ["write", "fsync", "replace"])
def test_an_error_leaves_the_old_file_and_no_litter(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    file = tmp_path / "plan.json"
    write_atomically(file, b"old")

    def fail(*args: object) -> None:
        raise OSError(28, "No space left on device")

    if step == "write":
        data: bytes = "not bytes"  # type: ignore[assignment]
    else:
        data = b"new"
        target = (checkpoint.os, "fsync") if step == "fsync" else (Path, "replace")
        monkeypatch.setattr(*target, fail)
    with pytest.raises((OSError, TypeError)):
        write_atomically(file, data)
    monkeypatch.undo()
    assert file.read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["plan.json"]  # noqa: PTH208 - hidden files too
    write_atomically(file, b"new")
    assert file.read_bytes() == b"new"
