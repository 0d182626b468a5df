"""Models from strangers: data and nothing but data, every byte accounted for, nothing else read.

The long part flips every byte of a small model in turn.
"""

import contextlib
import json
import pickle
import shutil
import struct
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from photo_files import draw_photo
from pydantic import ValidationError
from safetensors.torch import save_file
from small_model import save_small_model

import leafscout
from leafscout import manifest as manifests
from leafscout.errors import InputError
from leafscout.manifest import MANIFEST_NAME, Manifest, read_manifest, seal_manifest, sha256_of
from leafscout.networks import build_expert
from leafscout.nn.backbones import load_pretrained_file
from leafscout.training.checkpoint import load_tensors


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A whole model folder; not to be changed."""
    return save_small_model(tmp_path_factory.mktemp("run"))


@pytest.fixture
def model(made, tmp_path):
    """A copy of it."""
    return Path(shutil.copytree(made, tmp_path / "model"))


@pytest.fixture
def small(model, tmp_path):
    """A model folder of few bytes: the manifest of a model, and two files of weights."""
    folder = tmp_path / "small"
    folder.mkdir()
    weights = {"weight": torch.arange(24, dtype=torch.float32)}
    files = {}
    for name in ("expert", "scout"):
        save_file(weights, folder / f"{name}.safetensors", metadata={"leafscout": "{}"})
        files[f"{name}.safetensors"] = sha256_of(folder / f"{name}.safetensors")
    changed = read_manifest(model).model_copy(update={"files": files})
    (folder / MANIFEST_NAME).write_bytes(seal_manifest(changed))
    read_manifest(folder)
    return folder


def edit(folder, **values):
    """Change the manifest as a stranger would: with a digest that fits, where it can."""
    path = folder / MANIFEST_NAME
    content = {**json.loads(path.read_text()), **values}
    path.write_text(json.dumps(content))
    if "version" not in values:  # sealing writes the present one
        with contextlib.suppress(ValidationError):
            path.write_bytes(seal_manifest(Manifest.model_validate(content)))


def flip_bytes(folder, step=1):
    """Flip bytes in turn; how many were flipped, and which flips were not noticed."""
    tried, missed = 0, []
    for path in sorted(folder.iterdir()):
        whole = path.read_bytes()
        for place in range(0, len(whole), step):
            for mask in (0xFF, 1 << place % 8):
                changed = bytearray(whole)
                changed[place] ^= mask
                path.write_bytes(changed)
                tried += 1
                try:
                    read_manifest(folder)
                except InputError:
                    continue
                missed.append(f"{path.name} at {place}")
        path.write_bytes(whole)
    return tried, missed


def test_changed_bytes_are_noticed(small):
    tried, missed = flip_bytes(small, step=9)
    assert tried > 300
    assert missed == []


def test_without_digests_they_are_not(small, monkeypatch):
    monkeypatch.setattr(manifests, "_check_digest", lambda *_: None)
    assert any(name.startswith(MANIFEST_NAME) for name in flip_bytes(small, step=9)[1])


@pytest.mark.faults
def test_every_byte_of_a_small_model(small, record, monkeypatch):
    size = sum(path.stat().st_size for path in small.iterdir())
    tried, missed = flip_bytes(small)
    monkeypatch.setattr(manifests, "_check_digest", lambda *_: None)
    without = flip_bytes(small, step=3)
    record(
        "flipped bytes of a model", bytes=size, flips=tried, missed=len(missed),
        without="the digest of the manifest",
        noticed=f"{len(without[1])} of {without[0]} flips are not noticed",
    )  # fmt: skip
    assert tried == 2 * size
    assert missed == []
    assert without[1]


HOSTILE_MANIFESTS = {
    "a path above": {"files": {"../expert.safetensors": "0" * 64}},
    "an absolute path": {"files": {"/etc/passwd": "0" * 64}},
    "a path of Windows": {"files": {"..\\expert.safetensors": "0" * 64}},
    "an empty name": {"files": {"": "0" * 64}},
    "no files": {"files": {}},
    "a network from an address": {"expert": "hf-hub:someone/something"},
    "a network from a folder": {"scout": "local-dir:/tmp/model"},
    "a tile of a million pixels a side": {"tile_px": 10**6},
    "a tile of no pixels": {"tile_px": 0},
    "a threshold that is no number": {"thresholds": [float("nan"), 0.5]},
    "a scale without end": {"calibration_scale": [float("inf"), 1.0]},
    "a label with an escape sequence": {"labels": ["ru\x1b[31mst", "mildew"]},
    "a label twice": {"labels": ["rust", "rust"]},
    "no labels": {"labels": []},
    "a key that nobody knows": {"__class__": "os.system"},
    "another version": {"version": 99},
    "a version that is no number": {"version": True},
}


@pytest.mark.parametrize("name", HOSTILE_MANIFESTS)
def test_hostile_manifests_are_refused(model, name):
    edit(model, **HOSTILE_MANIFESTS[name])
    with pytest.raises(InputError) as caught:
        leafscout.load(model)
    assert str(caught.value).isprintable()
    assert len(str(caught.value)) < 1000


@pytest.mark.parametrize(
    "text",
    [b"", b"null", b"[" * 200_000, b'{"a":' * 100_000, b"9" * 10_000, b"\x80\x04K\x01.",
     b"\xff\xfe"],
    ids=["nothing", "null", "nested lists", "nested objects", "digits", "a pickle", "UTF-16"],
)  # fmt: skip
def test_what_is_no_manifest_is_refused(model, text):
    (model / MANIFEST_NAME).write_bytes(text)
    with pytest.raises(InputError):
        leafscout.load(model)


class Evil:
    """Unpickled, it writes a file."""

    def __init__(self, mark):
        self.mark = mark

    def __reduce__(self):
        return (Path.write_text, (self.mark, "code ran"))


def headers():
    """Safetensors files whose headers lie."""

    def build(header, body=b""):
        text = header if isinstance(header, bytes) else json.dumps(header).encode()
        return struct.pack("<Q", len(text)) + text + body

    one = {"dtype": "F32", "shape": [4], "data_offsets": [0, 16]}
    return {
        "a length without end": struct.pack("<Q", 2**63) + b"{}",
        "a length beyond the file": struct.pack("<Q", 10**6) + b"{}",
        "no JSON": build(b"\x80\x04K\x01."),
        "nested JSON": build(b"[" * 100_000),
        "offsets beyond the file": build({"w": {**one, "data_offsets": [0, 2**40]}}, bytes(16)),
        "offsets that go back": build({"w": {**one, "data_offsets": [16, 0]}}, bytes(16)),
        "a shape that overflows": build({"w": {**one, "shape": [2**62, 2**62]}}, bytes(16)),
        "tensors that overlap": build({"a": one, "b": one}, bytes(16)),
        "a type that nobody knows": build({"w": {**one, "dtype": "PICKLE"}}, bytes(16)),
        "no tensors": build({"__metadata__": {"leafscout": "{}"}}),
        "nested metadata": build({"__metadata__": {"leafscout": "[" * 100_000}}),
    }


@pytest.mark.parametrize("name", headers())
def test_hostile_weights_are_refused(model, name):
    for file in ("expert.safetensors", "scout.safetensors"):
        (model / file).write_bytes(headers()[name])
    files = {path.name: sha256_of(path) for path in model.glob("*.safetensors")}
    edit(model, files=files)
    with pytest.raises(InputError):
        leafscout.load(model)


def test_weights_that_are_no_numbers_are_refused(model):
    path = model / "expert.safetensors"
    weights = load_tensors(path)[0]
    name = next(name for name, tensor in weights.items() if tensor.is_floating_point())
    weights[name].view(-1)[0] = float("nan")
    save_file(weights, path, metadata={"leafscout": "{}"})
    edit(model, files={one.name: sha256_of(one) for one in model.glob("*.safetensors")})
    with pytest.raises(InputError, match=r"expert\.safetensors holds weights that are no numbers"):
        leafscout.load(model)


def test_links_that_lead_out_are_refused(model, tmp_path):
    outside = tmp_path / "outside.safetensors"
    shutil.move(model / "expert.safetensors", outside)
    (model / "expert.safetensors").symlink_to(outside)
    with pytest.raises(InputError, match=r"is a link that leads out of its folder"):
        leafscout.load(model)


def test_weights_that_the_manifest_does_not_name_are_refused(model):
    shutil.copy(model / "expert.safetensors", model / "extra.safetensors")
    with pytest.raises(InputError, match=r"holds extra\.safetensors, which its manifest\.json"):
        leafscout.load(model)


def test_older_models_load_and_newer_ones_say_what_to_do(model):
    path = model / MANIFEST_NAME
    values = json.loads(path.read_text())
    old = {name: value for name, value in values.items() if name != "digest"} | {"version": 1}
    path.write_text(json.dumps(old))
    assert leafscout.load(model).labels == ("mildew", "rust")
    path.write_text(json.dumps({**old, "version": 2}))
    with pytest.raises(InputError, match="was changed since the model was saved"):
        leafscout.load(model)
    path.write_text(json.dumps({**old, "version": 3}))
    with pytest.raises(InputError, match=r"version 3, .* reads version 1 and 2. Use the LeafScout"):
        leafscout.load(model)


# No code runs ------------------------------------------------------------------------------------

WATCHED = """
import json, sys
from pathlib import Path
folder, photo, mark = map(Path, sys.argv[1:4])
import leafscout, torch, numpy  # what loads before is Python's own
from leafscout.inference import torch_runtime, load, runtimes
from leafscout.training import checkpoint
seen = []
def watch(event, arguments):
    if event == "open" and isinstance(arguments[0], (str, bytes)):
        seen.append(["open", str(arguments[0])])
    elif event in ("pickle.find_class", "os.system", "subprocess.Popen", "os.exec", "ctypes.dlopen",
                   "socket.connect", "os.posix_spawn", "os.fork"):
        seen.append([event, str(arguments)[:200]])
sys.addaudithook(watch)
try:
    answer = leafscout.load(folder).diagnose(photo).diagnosis.source
except Exception as error:
    answer = f"{type(error).__name__}: {error}"
print(json.dumps({"answer": answer, "seen": seen}))
"""


def watch(model, photo, mark):
    """What loading a model and diagnosing with it opens and starts, and what it answers."""
    done = subprocess.run(
        [sys.executable, "-c", WATCHED, str(model), str(photo), str(mark)],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    told = json.loads(done.stdout.splitlines()[-1])
    libraries = [sys.prefix, sys.base_prefix, str(Path(leafscout.__file__).parent), "/proc", "/sys",
                 "/dev"]  # fmt: skip
    outside = [
        what for event, what in told["seen"]
        if event == "open"
        and not any(what.startswith(place) for place in (str(model), str(photo), *libraries))
    ]  # fmt: skip
    started = [(event, what) for event, what in told["seen"] if event != "open"]
    return told["answer"], outside, started


def spoil(model, mark):
    """Put pickles in the place of weights, with digests that fit."""
    for file in ("expert.safetensors", "scout.safetensors"):
        (model / file).write_bytes(pickle.dumps(Evil(mark)))
    edit(model, files={one.name: sha256_of(one) for one in model.glob("*.safetensors")})


@pytest.mark.faults
def test_loading_opens_nothing_else_and_starts_nothing(model, tmp_path, record):
    photo, mark = tmp_path / "photo.png", tmp_path / "mark"
    draw_photo(1, 128).save(photo)
    answer, outside, started = watch(model, photo, mark)
    assert answer == str(photo)
    spoil(model, mark)
    answer_2, outside_2, started_2 = watch(model, photo, mark)
    torch.save(Evil(mark), tmp_path / "weights.pt")
    ran_before = mark.exists()
    torch.load(tmp_path / "weights.pt", weights_only=False)
    record(
        "loading, watched", models=2, files_outside=len(outside) + len(outside_2),
        programs_started=len(started) + len(started_2), code_ran=ran_before,
        without="reading pickles as tensors alone (weights_only)",
        noticed=f"the pickle's code ran: {mark.exists()}",
    )  # fmt: skip
    assert (outside, started) == (outside_2, started_2) == ([], [])
    assert answer_2.startswith("InputError")
    assert not ran_before


def test_pickles_never_run(model, tmp_path):
    mark = tmp_path / "mark"
    spoil(model, mark)
    with pytest.raises(InputError):
        leafscout.load(model)
    for name in ("weights.pt", "weights.pth", "weights.bin", "weights.safetensors"):
        torch.save(Evil(mark), tmp_path / name)
        with pytest.raises(InputError, match="could not be read as weights"):
            load_pretrained_file(build_expert("tiny_narrow", 2).backbone, tmp_path / name)
    assert not mark.exists()


def test_without_protection_a_pickle_runs(tmp_path):
    mark = tmp_path / "mark"
    torch.save(Evil(mark), tmp_path / "weights.pt")
    torch.load(tmp_path / "weights.pt", weights_only=False)
    assert mark.read_text() == "code ran"


def test_graphs_read_nothing_outside_their_folder(tmp_path):
    onnx = pytest.importorskip("onnx")
    from leafscout.inference.onnx_runtime import open_onnx_networks

    (tmp_path / "secret.bin").write_bytes(np.arange(4, dtype=np.float32).tobytes())
    folder = tmp_path / "model"
    folder.mkdir()
    for place in ("../secret.bin", str(tmp_path / "secret.bin")):
        kind = onnx.TensorProto.FLOAT
        secret = onnx.TensorProto(name="w", data_type=kind, dims=[4])
        secret.data_location = onnx.TensorProto.EXTERNAL
        for key, value in (("location", place), ("offset", "0"), ("length", "16")):
            secret.external_data.add(key=key, value=value)
        values = [onnx.helper.make_tensor_value_info(name, kind, [4]) for name in "xy"]
        node = onnx.helper.make_node("Add", ["x", "w"], ["y"])
        graph = onnx.helper.make_graph([node], "graph", values[:1], values[1:], [secret])
        for name in ("scout.onnx", "expert.onnx"):
            (folder / name).write_bytes(onnx.helper.make_model(graph).SerializeToString())
        with pytest.raises(InputError, match="cannot be run by ONNX Runtime"):
            open_onnx_networks(folder, 1)
