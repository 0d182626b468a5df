"""Diagnoses made by hand, and a run whose networks were never trained: what is said is arbitrary,
but it is always the same."""

import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from leafscout.diagnosis.calibrate import Calibration
from leafscout.gated_model import GatedModel
from leafscout.glance.choose import ChoiceRule
from leafscout.inference.answer import Failure, PhotoDiagnosis
from leafscout.inference.export_run import ExportOptions, export_run
from leafscout.inference.load import Model, load
from leafscout.model import Rules
from leafscout.networks import build_expert, build_scout
from leafscout.photos.decode import decode_photo
from leafscout.photos.fingerprint import fingerprint_many
from leafscout.photos.labels import read_labels
from leafscout.photos.tiles import lay_tiles
from leafscout.training.fit_rules import READ_EVERYTHING, FittedRules
from leafscout.training.recipes import choose_recipe
from leafscout.training.run import TrainOptions, train
from leafscout.training.run_folder import PLAN_VERSION, open_run, save_model, write_splits
from leafscout.types import Cost, Diagnosis, LesionBox

LABELS = ("mildew", "rust")
SIZE_HW = (128, 192)
RULES = Rules(
    labels=LABELS,
    tile_px=64,
    glance_px=128,
    pooling="max",
    choice=ChoiceRule(threshold_prob=0.0, max_tiles=2),
    glance_weights=(0.25, 0.25),
    calibration=Calibration((3.0, 2.0), (0.5, 0.25)),
    thresholds=(0.4, 0.5),
    expert_macs=1000,
    scout_macs_per_px=2.0,
)


def write_photos(folder: Path, rows: Sequence[tuple[str, str]], seed: int) -> Path:
    """Photos of noise under a label file; those of another seed are other photos."""
    folder.mkdir(parents=True)
    rng = np.random.default_rng(seed)
    for name, _ in rows:
        coarse = rng.integers(0, 255, (8, 12, 3), dtype=np.uint8)
        Image.fromarray(coarse).resize(SIZE_HW[::-1], Image.Resampling.BICUBIC).save(folder / name)
    lines = ["image,labels", *(f"{name},{labels}" for name, labels in rows)]
    (folder / "labels.csv").write_text("\n".join(lines) + "\n")
    return folder


@pytest.fixture(scope="session")
def photo_writer() -> Callable[..., Path]:
    return write_photos


@pytest.fixture(scope="session")
def used_photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The photos behind ``untrained_run``: of eight, the last two are its test split."""
    words = ("healthy", "rust", "mildew", "rust mildew")
    rows = [(f"{index}.png", words[index % 4]) for index in range(8)]
    return write_photos(tmp_path_factory.mktemp("used") / "photos", rows, seed=1)


def write_untrained_run(run: Path, used_photos: Path) -> Path:
    table = read_labels(used_photos)
    splits = ["train"] * 4 + ["val"] * 2 + ["test"] * 2
    plan = {
        "version": PLAN_VERSION, "data": str(used_photos), "photos_root": None,
        "labels": list(LABELS), "healthy_names": ["healthy"], "labels_complete": True,
        "recipe": choose_recipe("tiny").to_dict(),
    }  # fmt: skip
    open_run(run, plan, resume=False)
    prints = fingerprint_many(table.paths, workers=1)
    write_splits(
        run, table, splits, list(range(8)), [(one.sha256, one.phash_hex) for one in prints]
    )
    torch.manual_seed(3)
    variants = {
        "same": RULES,
        "all_tiles_same": Rules(**{**vars(RULES), "choice": READ_EVERYTHING}),
    }
    save_model(
        run, build_expert("tiny", 2), build_scout("tiny", 2),
        FittedRules(RULES, (True, True), variants), version="0", data_fingerprint="0",
    )  # fmt: skip
    return run


@pytest.fixture
def untrained_run(used_photos: Path, tmp_path: Path) -> Path:
    """A run folder as training leaves it."""
    return write_untrained_run(tmp_path / "run", used_photos)


@pytest.fixture
def planned_run(untrained_run: Path) -> Path:
    """The same with a plan that fits its networks, and one epoch for a scout."""
    path = untrained_run / "plan.json"
    plan = json.loads(path.read_text(encoding="utf-8"))
    settings = {"tile_px": 64, "glance_px": 128, "scout_epochs": 1}
    plan |= {"seed": 0, "recipe": choose_recipe("tiny", settings).to_dict()}
    path.write_text(json.dumps(plan), encoding="utf-8")
    return untrained_run


@pytest.fixture(scope="session")
def exported_run(used_photos: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Such a run with an ONNX model in ``exports/onnx``; must not be changed."""
    run = write_untrained_run(tmp_path_factory.mktemp("runs") / "exported_run", used_photos)
    export_run(run, ExportOptions(threads=1))
    return run


@pytest.fixture(scope="session")
def gated_run(used_photos: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of the integrated variant, trained for a moment; must not be changed."""
    return train(
        used_photos,
        tmp_path_factory.mktemp("gated") / "run",
        recipe="gated",
        overrides={"epochs": 2, "glance_px": 128, "width": 16, "later_blocks": 1},
        options=TrainOptions(threads=1, workers=1, seed=2),
    )


@pytest.fixture(scope="session")
def with_threshold() -> Callable[[Model, float], Model]:
    """The same integrated model whose gate keeps tokens from another probability on."""

    def choose(model: Model, threshold_prob: float) -> Model:
        core = model.recogniser
        assert isinstance(core, GatedModel)
        choice = replace(core.rules.choice, threshold_prob=threshold_prob)
        return Model(
            replace(core, rules=replace(core.rules, choice=choice)), model.manifest, model.run
        )

    return choose


@pytest.fixture(scope="session")
def same_every_way() -> Callable[[Path, Path], list[PhotoDiagnosis]]:
    """Three photos diagnosed alone, in a folder with one that is missing, and as pixels."""

    def diagnose(run: Path, photos: Path) -> list[PhotoDiagnosis]:
        model = load(run)
        paths = sorted(photos.glob("*.png"))[:3]
        *together, missing = model.diagnose_many([*paths, photos / "none.png"])
        assert isinstance(missing, Failure)
        assert len(together) == len(paths)
        answers = []
        for path, answer in zip(paths, together, strict=True):
            assert isinstance(answer, PhotoDiagnosis)
            for other in (model.diagnose(path), model.diagnose(decode_photo(path).pixels)):
                assert other.probs == answer.probs
                assert np.array_equal(other.diagnosis.read, answer.diagnosis.read)
            answers.append(answer)
        return answers

    return diagnose


@pytest.fixture(scope="session")
def diagnosis_of() -> Callable[..., Diagnosis]:
    def make(*probs: float, box_px: int | None = None, source: str = "<array>") -> Diagnosis:
        """A diagnosis with these probabilities, thresholds of one half, and perhaps a rust box."""
        tiles = lay_tiles(SIZE_HW, 64)
        values = np.array(probs, dtype=np.float32)
        labels = ("rust", *(f"disease_{number}" for number in range(1, len(probs))))
        boxes = () if box_px is None else (LesionBox("rust", (4, 4, 4 + box_px, 6), 0.9),)
        read = np.zeros(len(tiles), dtype=np.bool_)
        read[0] = True
        return Diagnosis(
            source=source,
            photo_size_px_hw=SIZE_HW,
            labels=labels,
            label_probs=values,
            thresholds=np.full(len(probs), 0.5, dtype=np.float32),
            healthy_prob=float(np.prod(1 - values)),
            unsure=None,
            tiles=tiles,
            read=read,
            scout_probs=np.linspace(0, 1, len(tiles), dtype=np.float32),
            tile_probs=np.full((len(tiles), len(probs)), 0.25, dtype=np.float32),
            lesion_map=np.full((len(probs), 8, 12), 0.25, dtype=np.float32),
            lesion_map_px=16,
            lesion_boxes=boxes,
            cost=Cost(10, 60, 1, len(tiles), 1 / 6, 0.01),
        )

    return make
