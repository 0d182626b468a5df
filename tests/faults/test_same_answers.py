"""The same photo gets the same answer: twice, on other threads, in batches, in other runtimes.

The long part does it with 1,000 photos and a model that learnt from others of their kind.
"""

import hashlib
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from leaf_photos import draw_checkerboard, write_leaves

from leafscout.export.parity import ROUNDING, compare_models
from leafscout.inference.answer import Failure
from leafscout.inference.export_run import INT8_DECISIONS_FRAC, ExportOptions, export_run
from leafscout.inference.load import load
from leafscout.inference.many import Pace
from leafscout.training.run import TrainOptions, train

SMALL = {"tile_px": 64, "glance_px": 96, "tiles_best": 3, "tiles_random": 1, "epochs": 1}
GATED = {"glance_px": 96, "width": 16, "later_blocks": 1, "epochs": 1}
OPTIONS = TrainOptions(threads=1, workers=1, seed=0)

FRESH = """
import sys
from pathlib import Path
from test_same_answers import fingerprint
from leafscout.inference.load import load
print(fingerprint(load(sys.argv[1], threads=1), sorted(map(Path, sys.argv[2:]))))
"""


def answer(model, paths, pace=None):
    """(photos, labels) probabilities: one photo after another, or as a folder."""
    if pace is None:
        return np.stack([model.diagnose(path).diagnosis.label_probs for path in paths])
    found = list(model.diagnose_many(paths, pace=pace))
    assert not any(isinstance(one, Failure) for one in found)
    return np.stack([one.diagnosis.label_probs for one in found])


def fingerprint(model, paths):
    """A hash of every bit of the answers: probabilities, lesion maps, tiles."""
    digest = hashlib.sha256()
    for path in paths:
        one = model.diagnose(path).diagnosis
        for array in (one.label_probs, one.scout_probs, one.tile_probs, one.lesion_map, one.read):
            digest.update(np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()


def fingerprint_afresh(run, paths):
    """The same in a new process."""
    done = subprocess.run(
        [sys.executable, "-c", FRESH, str(run), *map(str, paths)],
        capture_output=True, text=True, check=True, cwd=Path(__file__).parent,
    )  # fmt: skip
    return done.stdout.strip()


def judge(one, other, thresholds):
    """Largest change, photos whose labels changed, and those of them that rounding may decide."""
    changed = ((one >= thresholds) != (other >= thresholds)).any(axis=1)
    near = (np.abs(one - thresholds) <= ROUNDING).any(axis=1)
    return (
        float(np.abs(one - other).max()),
        int((changed & ~near).sum()),
        int((changed & near).sum()),
    )


def leave_in_training_mode(model):
    """Take away what makes answers repeatable: dropout goes on."""
    networks = model.recogniser.networks
    for network in (networks.scout, networks.expert):
        network.train()
        for part in network.modules():
            if isinstance(part, torch.nn.modules.dropout._DropoutNd):
                part.p = 0.5
    return model


def round_numbers(model):
    """Take away single precision: weights are rounded to bfloat16."""
    for network in (model.recogniser.networks.scout, model.recogniser.networks.expert):
        with torch.no_grad():
            for weight in network.parameters():
                weight.copy_(weight.bfloat16().float())
    return model


def compare_ways(run, paths):
    """What becomes of the answers on other threads, in folders, and in batches."""
    model = load(run, threads=1)
    first = answer(model, paths)
    thresholds = np.asarray(model.manifest.thresholds, dtype=np.float32)
    ways = {
        "a folder": answer(model, paths, Pace()),
        "a folder, all at once": answer(model, paths, Pace(workers=3, ahead=32, tiles_at_once=64)),
    }
    for threads in (2, 4):
        ways[f"{threads} threads"] = answer(load(run, threads=threads), paths)
    load(run, threads=1)  # PyTorch's threads are those of the process
    return {name: judge(first, probs, thresholds) for name, probs in ways.items()}


def strange_photo():
    return draw_checkerboard(np.random.default_rng(0), 128, 192)


@pytest.fixture(scope="module")
def leaves(tmp_path_factory):
    return write_leaves(tmp_path_factory.mktemp("leaves") / "photos", 16, 0, splits=True)


@pytest.fixture(scope="module")
def run(leaves, tmp_path_factory):
    out = tmp_path_factory.mktemp("parity") / "run"
    return train(leaves, out, recipe="tiny", overrides=SMALL, options=OPTIONS)


def check_export(run, paths, **options):
    """An export and what differs; decisions and choices near their thresholds are named."""
    done = export_run(run, ExportOptions(threads=1, photos=tuple(paths[:4]), **options))
    reference, exported = load(run, threads=1), load(done.folder, threads=1)
    return compare_models(reference.recogniser, exported.recogniser, paths)


def test_the_same_bits_twice(run, leaves):
    paths = sorted(leaves.glob("*.jpg"))[:4]
    first = fingerprint(load(run, threads=1), paths)
    assert fingerprint(load(run, threads=1), paths) == first
    restless = leave_in_training_mode(load(run, threads=1))
    assert fingerprint(restless, paths) != fingerprint(restless, paths)


def test_threads_and_batches_change_nothing_but_rounding(run, leaves):
    paths = sorted(leaves.glob("*.jpg"))
    for name, (change, decisions, _) in compare_ways(run, paths).items():
        assert change <= ROUNDING, name
        assert decisions == 0, name


def test_an_exported_model_says_the_same(run, leaves):
    paths = sorted(leaves.glob("*.jpg"))
    parity = check_export(run, paths)
    assert parity.max_prob_change <= ROUNDING
    assert set(parity.decisions_changed) <= set(parity.borderline)
    for model in (load(run, threads=1), load(run / "exports" / "onnx", threads=1)):
        assert model.manifest.familiarity is not None
        assert model.diagnose(strange_photo()).diagnosis.strangeness > 1
    rounded = round_numbers(load(run, threads=1))
    noticed = compare_models(load(run, threads=1).recogniser, rounded.recogniser, paths)
    assert noticed.max_scout_change > ROUNDING


def test_the_integrated_variant_is_the_same_alone_and_in_a_folder(leaves, tmp_path):
    run = train(leaves, tmp_path / "run", recipe="gated", overrides=GATED, options=OPTIONS)
    paths = sorted(leaves.glob("*.jpg"))[:8]
    assert fingerprint(load(run, threads=1), paths) == fingerprint(load(run, threads=1), paths)
    for name, (change, decisions, _) in compare_ways(run, paths).items():
        assert (change <= ROUNDING, decisions) == (True, 0), name


# The long part -----------------------------------------------------------------------------------


@pytest.mark.faults
def test_a_thousand_photos_in_every_way(tmp_path, record):
    from leafscout.photos.synthetic import DEMO_FIELD, render_field

    field = replace(DEMO_FIELD, size_px_hw=(200, 264), lesion_sizes_px=(16, 24))
    learnt = render_field(tmp_path / "learnt", photos=120, settings=field, seed=3, workers=1)
    asked = render_field(tmp_path / "asked", photos=1000, settings=field, seed=4, workers=1)
    paths = sorted((asked / "photos").glob("*.jpg"))
    assert len(paths) == 1000
    figures, troubles = {}, []
    for recipe, sizes in (
        ("tiny", {**SMALL, "glance_px": 160, "epochs": 4}),
        ("gated", {**GATED, "glance_px": 160, "epochs": 3}),
    ):
        run = train(learnt, tmp_path / recipe, recipe=recipe, overrides=sizes, options=OPTIONS)
        model = load(run, threads=1)
        same = fingerprint(model, paths[:200]) == fingerprint_afresh(run, paths[:200])
        ways = compare_ways(run, paths)
        figures[recipe] = {
            "bit_equal": same,
            "most_change": max(change for change, _, _ in ways.values()),
            "decisions": sum(decisions for _, decisions, _ in ways.values()),
            "near": sum(near for _, _, near in ways.values()),
        }
        troubles += [] if same else [f"{recipe}: other bits in a new process"]
        troubles += [
            f"{recipe}, {name}: {found}" for name, found in ways.items()
            if found[0] > ROUNDING or found[1]
        ]  # fmt: skip
    run = tmp_path / "tiny"
    for name, options in (
        ("onnx", {}), ("openvino", {"target": "openvino"}), ("onnx, int8", {"int8": True}),
    ):  # fmt: skip
        parity = check_export(run, paths, **options)
        outside = sorted(set(parity.decisions_changed) - set(parity.borderline))
        figures[name] = {
            "most_change": parity.max_prob_change,
            "decisions": len(outside),
            "near": [Path(one).name for one in parity.borderline],
            "other_tiles": len(parity.choices_changed),
        }
        most = INT8_DECISIONS_FRAC * len(paths) if "int8" in name else 0
        if len(outside) > most:
            troubles.append(f"{name}: {len(outside)} decisions changed, such as {outside[0]}")
        if "int8" not in name and parity.max_prob_change > ROUNDING:
            troubles.append(f"{name}: a probability changed by {parity.max_prob_change:.2g}")
    rounded = round_numbers(load(run, threads=1))
    noticed = compare_models(load(run, threads=1).recogniser, rounded.recogniser, paths[:100])
    record(
        "parity", photos=len(paths), figures=figures, wrong=len(troubles),
        without="single precision (weights rounded to bfloat16)",
        noticed=f"probabilities change by up to {noticed.max_prob_change:.2g}, those of the scout "
        f"by up to {noticed.max_scout_change:.2g}",
    )  # fmt: skip
    assert troubles == []
    assert max(noticed.max_prob_change, noticed.max_scout_change) > ROUNDING
