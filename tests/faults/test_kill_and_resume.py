"""Trainings that are killed, or whose disk fails them: nothing is lost, and the end is the same.

Here are some kills; `make test-kills` does 200, and can itself be stopped and gone on with.
"""

import json
import os
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from kill_trainings import Trainings, sum_up
from tiny_trainings import (
    Orders,
    describe_folder,
    find_unloadable,
    fork,
    read_log,
    run_command,
    wait_for,
)
from torch import nn

from leafscout.errors import InputError
from leafscout.training import checkpoint
from leafscout.training.checkpoint import (
    HASHES,
    forget,
    keep_copy,
    load_checkpoint,
    save_checkpoint,
)

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="processes are forked")

FIRST = "expert, scout"


@pytest.fixture(scope="module")
def trainings(tmp_path_factory):
    """Small trainings, and one of them that nobody interrupted."""
    return Trainings(tmp_path_factory.mktemp("trainings"))


def check(found):
    """Every kill was survived."""
    assert found["unloadable"] == 0
    assert found["not_ended"] == 0
    assert found["different"] == 0
    assert found["lost_more"] == 0
    assert found["most_steps_lost_without_interval"] <= 1


@pytest.mark.parametrize("where", ["anywhere", "half written"])
def test_a_killed_training_ends_like_one_that_was_not(trainings, where):
    killed = trainings.kill(1, FIRST, where)
    assert killed["where"] == where
    assert killed["differs"] == [], killed
    check(sum_up([killed]))


@pytest.mark.faults
def test_a_sample_of_the_kills(trainings, record):
    kills = [trainings.kill(number) for number in range(0, 96, 3)]
    found = sum_up(kills)
    record("kills of trainings, a sample", **found)
    assert found["kinds"] == 6
    check(found)


@pytest.mark.faults
@pytest.mark.parametrize(
    ("without", "kind", "where", "what", "sign"),
    [
        ("rename", FIRST, "half written", "a file in place, not under another name", "unloadable"),
        ("random state", FIRST, "anywhere", "the random state of each step", "different"),
        ("optimiser", FIRST, "anywhere", "what the optimiser remembers", "different"),
        ("notes", "gated", "anywhere", "what a stage has in mind beside its network", "different"),
    ],
)  # fmt: skip
def test_without_a_protection_kills_do_harm(
    without, kind, where, what, sign, tmp_path, record
) -> None:
    trainings = Trainings(tmp_path, [without])
    kills = [trainings.kill(number, kind, where) for number in range(8)]
    found = sum_up(kills)
    record(
        f"kills of trainings ({without})", kills=found["kills"], harmed=found[sign], without=what,
        noticed=f"of {found['kills']} trainings {found['unloadable']} leave a checkpoint that "
        f"cannot be read, and {found['different']} end otherwise",
    )  # fmt: skip
    assert found[sign] > 0


# Checkpoints and their hashes --------------------------------------------------------------------


@pytest.fixture
def saved(tmp_path):
    """A small network, its optimiser, and a checkpoint of both."""
    torch.manual_seed(0)
    network = nn.Linear(3, 2)
    optimizer = torch.optim.AdamW(network.parameters())
    save_checkpoint(tmp_path / "last.safetensors", network, optimizer, {"epoch": 1})
    return network, optimizer, tmp_path / "last.safetensors"


def flip_weight(path):
    """Change one bit of the last weight, so that the file can still be read."""
    content = bytearray(path.read_bytes())
    content[-2] ^= 1
    path.write_bytes(content)


def test_a_changed_checkpoint_is_refused(saved):
    network, optimizer, path = saved
    flip_weight(path)
    with pytest.raises(InputError, match=r"last\.safetensors was changed since it was saved"):
        load_checkpoint(path, network, optimizer)


def test_without_hashes_it_is_not(saved, monkeypatch, record):
    network, optimizer, path = saved
    flip_weight(path)
    monkeypatch.setattr(checkpoint, "_check_hash", lambda _: None)
    assert load_checkpoint(path, network, optimizer) == {"epoch": 1}
    record(
        "a changed checkpoint", without="the hashes beside checkpoints",
        noticed="a changed weight is read",
    )  # fmt: skip


def test_a_checkpoint_without_hashes_beside_it_is_read(saved):
    network, optimizer, path = saved
    (path.parent / HASHES).unlink()
    assert load_checkpoint(path, network, optimizer) == {"epoch": 1}


def test_damaged_hashes_are_named(saved):
    network, optimizer, path = saved
    (path.parent / HASHES).write_text("[")
    with pytest.raises(InputError, match=r"hashes\.json is damaged"):
        load_checkpoint(path, network, optimizer)


def test_the_order_of_a_save(saved, monkeypatch):
    """Data, flushed; both hashes, so that each file is known; the name; the folder; the hash."""
    network, optimizer, path = saved
    done = []

    def note(owner, name, describe):
        whole = getattr(owner, name)

        def noted(*args):
            done.append(describe(*args))
            return whole(*args)

        monkeypatch.setattr(owner, name, noted)

    note(os, "fsync", lambda descriptor: f"flush {name_of(descriptor)}")
    note(Path, "replace", lambda _, new: f"rename {new.name}")
    save_checkpoint(path, network, optimizer, {"epoch": 2})
    noting = ["flush hashes.json", f"rename {HASHES}", "flush folder"]
    assert done == [
        "flush last.safetensors", *noting, "rename last.safetensors", "flush folder", *noting
    ]  # fmt: skip
    assert len(json.loads((path.parent / HASHES).read_text())[path.name]) == 1


def name_of(descriptor):
    """What a descriptor belongs to, without the ends of temporary names."""
    if not Path("/proc/self/fd").is_dir():
        pytest.skip("names of open files come from /proc")
    path = Path(f"/proc/self/fd/{descriptor}").readlink()
    if path.is_dir():
        return "folder"
    return re.sub(r"^\.(.*)\.\d+\.part$", r"\1", path.name)


@pytest.mark.parametrize("link", [True, False])
def test_a_copy_outlives_the_checkpoint(saved, link, monkeypatch):
    network, optimizer, path = saved
    if not link:

        def refuse(*_):
            raise OSError(1, "Operation not permitted")

        monkeypatch.setattr(os, "link", refuse)
    copy = path.with_name("good.safetensors")
    keep_copy(path, copy)
    save_checkpoint(path, network, optimizer, {"epoch": 2})
    assert load_checkpoint(copy, network, optimizer) == {"epoch": 1}
    keep_copy(path, copy)
    assert load_checkpoint(copy, network, optimizer) == {"epoch": 2}
    forget(copy)
    assert sorted(one.name for one in path.parent.iterdir()) == [HASHES, path.name]
    assert list(json.loads((path.parent / HASHES).read_text())) == [path.name]


# The disk fails ----------------------------------------------------------------------------------


def mount_small(folder):
    """A file system of its own in a folder, where that is allowed; whether it is."""
    command = ["mount", "-t", "tmpfs", "-o", "size=24m", "leafscout-test", str(folder)]
    if sys.platform != "linux" or shutil.which("mount") is None:
        return False
    return subprocess.run(command, capture_output=True, check=False).returncode == 0


@pytest.fixture
def disk(tmp_path):
    """A small disk; skips where none can be made."""
    folder = tmp_path / "disk"
    folder.mkdir()
    if not mount_small(folder):
        pytest.skip("mounting is not allowed here")
    yield folder
    subprocess.run(["umount", "--lazy", str(folder)], capture_output=True, check=False)


def fill(disk):
    """Leave not a byte."""
    with (disk / "filler").open("wb", buffering=0) as file:
        for size in (1 << 20, 1 << 10, 1):
            try:
                while True:
                    file.write(bytes(size))
            except OSError:
                continue


def forbid_writing(disk):
    """Make the disk read-only."""
    subprocess.run(["mount", "-o", "remount,ro", str(disk)], check=True, capture_output=True)


def break_flushing(_disk):
    """From here on the disk cannot keep anything."""

    def fail(_):
        raise OSError(5, "Input/output error")

    os.fsync = fail


TROUBLES = {
    "full disk": (fill, "The disk is full", "a small disk of its own, filled"),
    "read-only disk": (forbid_writing, "Read-only file system", "the same, mounted read-only"),
    "I/O error": (break_flushing, "Input/output error", "every fsync fails"),
}


@pytest.mark.faults
@pytest.mark.parametrize("trouble", TROUBLES)
def test_a_disk_that_fails(trouble, trainings, disk, record):
    spoil, sentence, way = TROUBLES[trouble]
    out, began_s = disk / "run", []

    def at_step(number):
        if number == 9:
            (disk.parent / "began").write_text(str(time.monotonic()))
            spoil(disk)

    orders = Orders(interval_s=0.0, at_step=at_step, log=disk.parent / "log")
    said = disk.parent / "said"
    code = wait_for(fork(lambda: run_command(trainings.data, out, orders), said))
    began_s = float((disk.parent / "began").read_text())
    words, seconds = said.read_text(), time.monotonic() - began_s
    (disk / "filler").unlink(missing_ok=True) if trouble == "full disk" else None
    subprocess.run(["mount", "-o", "remount,rw", str(disk)], check=False, capture_output=True)
    unloadable = find_unloadable(out)
    again = Orders(resume=True, interval_s=0.0, log=disk.parent / "log2")
    resumed = wait_for(fork(lambda: run_command(trainings.data, out, again), disk.parent / "said2"))
    steps = [line["step"] for line in read_log(again.log) if "step" in line]
    before = [line["step"] for line in read_log(orders.log) if "step" in line]
    mine, whole = describe_folder(out), trainings.reference(FIRST)["files"]
    different = sorted(name for name in whole if mine.get(name) != whole[name])
    record(
        f"a training and a {trouble}", code=code, seconds=round(seconds, 2), way=way,
        unloadable=len(unloadable), steps_lost=sum(step in steps for step in before),
        different=len(different),
    )  # fmt: skip
    assert code == 2, words
    assert sentence in " ".join(words.split())
    assert "Traceback" not in words
    assert seconds < 5
    assert unloadable == []
    assert resumed == 0, (disk.parent / "said2").read_text()
    assert different == []
