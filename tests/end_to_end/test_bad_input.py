"""What goes wrong in real use, end to end: a sentence, an exit code, and nothing lost.

``REFUSED`` is the list: each entry arranges one mistake, gives a command line, and names what must
be said. All of them must leave every file as it was: the photos, the run, and the bad input itself.
What cannot be arranged by files alone (a full disk, Ctrl-C, a bomb's time) has tests of its own.
"""

import errno
import json
import os
import re
import shutil
import signal
import struct
import subprocess
import sys
import time
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import safetensors.numpy
import torch
from painted_field import QUICK, paint_field, paint_photo, run, said, snapshot
from torch import Tensor

from leafscout.errors import PhotoError
from leafscout.inference.load import load
from leafscout.photos.decode import decode_photo
from leafscout.training.checkpoint import load_tensors
from leafscout.training.expert_stage import ExpertStage
from leafscout.types import Photo

MISTAKE, PROBLEMS, STOPPED = 2, 1, 130


@dataclass(frozen=True)
class Bench:
    """What a mistake is made from.

    Attributes:
        field: good photos with a label file; must not be changed.
        trained: a run trained on them; must not be changed.
        tmp: a folder of this test's own.
    """

    field: Path
    trained: Path
    tmp: Path

    def copy_field(self, label_rows: Callable[[list[str]], list[str]] = list) -> Path:
        """A copy of the field whose label file's lines may be changed."""
        folder = self.tmp / "field"
        shutil.copytree(self.field, folder)
        labels = folder / "labels.csv"
        lines = label_rows(labels.read_text().splitlines())
        labels.write_text("\n".join(lines) + "\n")
        return folder

    def class_folders(self, *names: str) -> Path:
        """A folder per class with six photos each."""
        for number, name in enumerate(names):
            (self.tmp / "classes" / name).mkdir(parents=True)
            for index in range(6):
                picture = paint_photo(100 * number + index, ())
                picture.save(self.tmp / "classes" / name / f"{index}.jpg")
        return self.tmp / "classes"

    def copy_run(self) -> Path:
        """A copy of the run."""
        return Path(shutil.copytree(self.trained, self.tmp / "copied_run"))

    @property
    def out(self) -> Path:
        """A run folder that does not exist and must not come to exist."""
        return self.tmp / "new_run"


def train_on(data: Path, bench: Bench, *more: str | Path) -> list[str | Path]:
    return ["train", data, "--out", bench.out, *QUICK, *more]


def write_bomb(path: Path, side: int = 20_000) -> Path:
    """A valid PNG of few bytes that unfolds to ``side`` × ``side`` pixels."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return (
            struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        )

    header = struct.pack(">IIBBBBB", side, side, 1, 0, 0, 0, 0)
    rows = zlib.compress(bytes((side // 8 + 1) * side), 9)
    parts = [chunk(b"IHDR", header), chunk(b"IDAT", rows), chunk(b"IEND", b"")]
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + b"".join(parts))
    return path


# Photos that cannot be used ----------------------------------------------------------------------


def put_words(path: Path) -> None:
    path.write_text("This is no photo, whatever its name says.")


def cut_in_half(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def shrink(path: Path) -> None:
    paint_photo(1, ()).resize((30, 30)).save(path)


BAD_PHOTOS = {
    "a text file named .jpg": (put_words, r"03\.jpg is not a photo"),
    "a truncated JPEG": (cut_in_half, r"03\.jpg is cut short: .* Copy it again\."),
    "a photo of 30×30 px": (
        shrink,
        r"03\.jpg is too small: expected sides of at least 64 px, but it has 30×30 px\. Use the",
    ),
    "a PNG bomb": (
        write_bomb,
        r"03\.jpg is too large: expected at most 100 megapixels, but it has 20000×20000 px",
    ),
}


@pytest.mark.parametrize("name", BAD_PHOTOS)
def test_a_bad_photo_is_named_by_check_train_and_diagnose(
    name: str, field: Path, trained: Path, tmp_path: Path
) -> None:
    spoil, sentence = BAD_PHOTOS[name]
    bench = Bench(field, trained, tmp_path)
    data = bench.copy_field()
    spoil(data / "03.jpg")
    before = snapshot(data)

    checked = run("check", data, "--workers", "1")
    assert checked.exit_code == PROBLEMS
    assert said(checked).count("error (") == 1
    refused = run(*train_on(data, bench))
    assert refused.exit_code == MISTAKE
    assert not bench.out.exists()
    # The other photo is diagnosed all the same.
    diagnosed = run("diagnose", trained, data / "03.jpg", data / "04.jpg", "--json")
    assert diagnosed.exit_code == PROBLEMS
    records = [json.loads(line) for line in diagnosed.stdout.splitlines()]
    assert ["error" in record for record in records] == [True, False]
    for result in (checked, refused, diagnosed):
        assert_words(said(result), sentence)
    assert snapshot(data) == before


def test_a_png_bomb_is_refused_within_a_second(tmp_path: Path) -> None:
    bomb = write_bomb(tmp_path / "bomb.png")
    assert bomb.stat().st_size < 100_000
    started_s = time.process_time()
    with pytest.raises(PhotoError, match="too large"):
        decode_photo(bomb)
    assert time.process_time() - started_s < 1


# Everything else that is refused -----------------------------------------------------------------


def missing_data(bench: Bench) -> list[str | Path]:
    return train_on(bench.tmp / "nowhere", bench)


def no_label_column(bench: Bench) -> list[str | Path]:
    return train_on(bench.copy_field(lambda rows: [row.split(",")[0] for row in rows]), bench)


def missing_photo(bench: Bench) -> list[str | Path]:
    return train_on(bench.copy_field(lambda rows: [*rows, "gone.jpg,rust"]), bench)


def empty_class(bench: Bench) -> list[str | Path]:
    data = bench.class_folders("rust", "healthy")
    (data / "mildew").mkdir()
    return train_on(data, bench)


def one_class(bench: Bench) -> list[str | Path]:
    return train_on(bench.class_folders("rust"), bench)


def no_disease(bench: Bench) -> list[str | Path]:
    return train_on(bench.class_folders("healthy", "background"), bench)


def training_with(*options: str) -> Callable[[Bench], list[str | Path]]:
    return lambda bench: train_on(bench.field, bench, *options)


def missing_weights(bench: Bench) -> list[str | Path]:
    return train_on(bench.field, bench, "--weights", bench.tmp / "gone.safetensors")


def weights_of_words(bench: Bench) -> list[str | Path]:
    path = bench.tmp / "words.safetensors"
    put_words(path)
    return train_on(bench.field, bench, "--weights", path)


def weights_of_another_network(bench: Bench) -> list[str | Path]:
    path = bench.tmp / "other.safetensors"
    safetensors.numpy.save_file({"stem.weight": np.zeros((3, 3), np.float32)}, path)
    return train_on(bench.field, bench, "--weights", path)


def manifest_of_another_version(bench: Bench) -> list[str | Path]:
    copied = bench.copy_run()
    change_json(copied / "model" / "manifest.json", version=99)
    return ["diagnose", copied, bench.field / "03.jpg"]


def damaged_manifest(bench: Bench) -> list[str | Path]:
    copied = bench.copy_run()
    cut_in_half(copied / "model" / "manifest.json")
    return ["diagnose", copied, bench.field / "03.jpg"]


def changed_weights(bench: Bench) -> list[str | Path]:
    copied = bench.copy_run()
    cut_in_half(copied / "model" / "expert.safetensors")
    return ["diagnose", copied, bench.field / "03.jpg"]


def unfinished_run(bench: Bench) -> list[str | Path]:
    copied = bench.copy_run()
    shutil.rmtree(copied / "model")
    return ["diagnose", copied, bench.field / "03.jpg"]


def plan_of_another_version(bench: Bench) -> list[str | Path]:
    copied = bench.copy_run()
    change_json(copied / "plan.json", version=99)
    return ["train", bench.field, "--out", copied, *QUICK, "--resume"]


def checkpoint_of_another_version(bench: Bench) -> list[str | Path]:
    copied = bench.copy_run()
    path = copied / "checkpoints" / "expert" / "last.safetensors"
    tensors, header = load_tensors(path)
    safetensors.numpy.save_file(
        {name: tensor.numpy() for name, tensor in tensors.items()},
        path,
        {"leafscout": json.dumps({**header, "version": 99})},
    )
    return ["train", bench.field, "--out", copied, *QUICK, "--resume"]


def resumed_with_other_labels(bench: Bench) -> list[str | Path]:
    data = bench.copy_field(lambda rows: [row.replace("mildew", "blight") for row in rows])
    return ["train", data, "--out", bench.copy_run(), *QUICK, "--resume"]


def resumed_with_other_options(bench: Bench) -> list[str | Path]:
    return ["train", bench.field, "--out", bench.copy_run(), *QUICK, "--resume", "--seed", "5"]


def a_run_written_over(bench: Bench) -> list[str | Path]:
    return ["train", bench.field, "--out", bench.copy_run(), *QUICK]


def a_folder_of_other_files(bench: Bench) -> list[str | Path]:
    bench.out.mkdir()
    (bench.out / "thesis.txt").write_text("mine")
    return train_on(bench.field, bench)


def out_below_a_file(bench: Bench) -> list[str | Path]:
    (bench.tmp / "file").write_text("")
    return ["train", bench.field, "--out", bench.tmp / "file" / "new_run", *QUICK]


def page_below_a_file(bench: Bench) -> list[str | Path]:
    (bench.tmp / "file").write_text("")
    return ["diagnose", bench.trained, bench.field / "03.jpg",
            "--html", bench.tmp / "file" / "page.html"]  # fmt: skip


def pictures_below_a_file(bench: Bench) -> list[str | Path]:
    (bench.tmp / "file").write_text("")
    return ["diagnose", bench.trained, bench.field / "03.jpg",
            "--overlay", bench.tmp / "file" / "pictures"]  # fmt: skip


def unknown_labels(bench: Bench) -> list[str | Path]:
    data = paint_field(bench.tmp / "field", 8, seed=7)
    labels = data / "labels.csv"
    labels.write_text(labels.read_text().replace("mildew", "blight"))
    return ["evaluate", bench.trained, data]


def photos_trained_on(bench: Bench) -> list[str | Path]:
    return ["evaluate", bench.trained, bench.field]


def evaluation_with(option: str, text: str | bytes) -> Callable[[Bench], list[str | Path]]:
    def arrange(bench: Bench) -> list[str | Path]:
        data = paint_field(bench.tmp / "field", 8, seed=7)
        path = bench.tmp / "truth.csv"
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return ["evaluate", bench.trained, data, option, path]

    return arrange


def masks_of_another_size(bench: Bench) -> list[str | Path]:
    data = paint_field(bench.tmp / "field", 8, seed=7)
    (bench.tmp / "masks").mkdir()
    for index in range(8):
        mask = paint_photo(0, ()).convert("L").resize((32, 32))
        mask.save(bench.tmp / "masks" / f"{index:02d}.png")
    return ["evaluate", bench.trained, data, "--masks", bench.tmp / "masks"]


def change_json(path: Path, **values: object) -> None:
    path.write_text(json.dumps({**json.loads(path.read_text()), **values}))


BOXES = "image,x_px,y_px,width_px,height_px\n"

REFUSED: dict[str, tuple[Callable[[Bench], list[str | Path]], str]] = {
    # labels
    "missing data folder": (missing_data, r"There is no file or folder .*nowhere\. Check the path"),
    "CSV without a label column": (
        no_label_column,
        r"labels\.csv: expected a column named labels or a 0/1 column per label, but got only ima",
    ),
    "label file with a photo that does not exist": (
        missing_photo,
        r"labels\.csv, row 26: there is no photo gone\.jpg in .*Correct its name or remove the row",
    ),
    "empty class folder": (
        empty_class,
        r"folder .*mildew of the class mildew holds no photos\. Add photos or remove the folder",
    ),
    "one class only": (one_class, r"all 6 photos have the same label, rust, .*Add healthy photos"),
    "no disease at all": (no_disease, r"names no disease: .*Label at least one disease"),
    # options
    "unknown expert": (
        training_with("--expert", "resnet5"),
        r"no backbone called 'resnet5'\. Did you mean (\w+ or )*resnet50",
    ),
    "unknown scout": (
        training_with("--scout", "tinny"), r"no backbone called 'tinny'\. Did you mean tiny"
    ),
    "a backbone without feature maps": (
        training_with("--expert", "vit_tiny_patch16_224"),
        r"'vit_tiny_patch16_224' .* Choose",
    ),
    "unknown recipe": (
        training_with("--recipe", "moblie"),
        r"no recipe called 'moblie'\. Did you mean mobile or small_vit\? Expected one of: tiny",
    ),
    "unknown pooling": (
        training_with("--pooling", "maxx"), r"no pooling called 'maxx'\. Did you mean max"
    ),
    "time without a unit": (
        training_with("--time", "20"), r"such as 90s, 20m or 1h30m, but got '20'"
    ),
    "negative time": (training_with("--time=-5m"), r"such as 90s, 20m or 1h30m, but got '-5m'"),
    "no time": (training_with("--time", "0s"), r"such as 90s, 20m or 1h30m, but got '0s'"),
    "tiles no multiple of 32": (
        training_with("--tile-px", "100"), r"--tile-px to be a multiple of 32 from 64 .*got 100"
    ),
    "no tiles": (training_with("--tile-px", "0"), r"--tile-px to be a multiple of 32 .*got 0"),
    "huge tiles": (training_with("--tile-px", "38400"), r"--tile-px .* to 2048, but got 38400"),
    "tiny glance": (
        training_with("--glance-px", "10"), r"--glance-px to be at least 64, but got 10"
    ),
    "negative glance": (training_with("--glance-px=-768"), r"--glance-px to be at least 64, but"),
    "no epochs": (training_with("--epochs", "0"), r"at least 1 epoch, but got 0"),
    # weights
    "missing weights": (missing_weights, r"no weights file at .*gone\.safetensors\. Give an exist"),
    "weights that are words": (
        weights_of_words, r"words\.safetensors could not be read as weights .*Expected a"
    ),
    "weights of another network": (
        weights_of_another_network,
        r"other\.safetensors do not fit the backbone 'tiny': .*Give the weights of 'tiny'",
    ),
    # run folders
    "manifest of another version": (
        manifest_of_another_version,
        r"manifest\.json has version 99, but this LeafScout reads version 1 and 2\. Use the L",
    ),
    "damaged manifest": (damaged_manifest, r"manifest\.json is damaged: it is not readable as"),
    "changed weights of the model": (
        changed_weights, r"expert\.safetensors is missing or was changed .*Restore it"
    ),
    "a run without a model": (unfinished_run, r"no trained model in .*--resume` goes on"),
    "plan of another version": (
        plan_of_another_version, r"plan\.json has version 99, .*Use the LeafScout that began"
    ),
    "checkpoint of another version": (
        checkpoint_of_another_version,
        r"last\.safetensors is a checkpoint of version 99, .*Use the LeafScout that wrote it",
    ),
    "resumed with other labels": (
        resumed_with_other_labels,
        r"labels \(mildew, rust\) than .* now \(blight, rust\)\. Resume with the same data, or",
    ),
    "resumed with another seed": (
        resumed_with_other_options, r"begun with .*(seed|splits).*Resume with the .*options"
    ),
    "a run written over": (a_run_written_over, r"already holds a run\. Add --resume"),
    "a folder of other files": (
        a_folder_of_other_files, r"new_run exists and is not an empty folder\. Choose another --out"
    ),
    "run folder below a file": (
        out_below_a_file, r"run folder .*new_run cannot be written \(.*\)\. Choose another --out"
    ),
    "page below a file": (page_below_a_file, r"folder of .*page\.html does not exist\. Make it"),
    "pictures below a file": (pictures_below_a_file, r"pictures cannot be used: Not a directory"),
    # evaluation
    "labels that the model does not know": (
        unknown_labels, r"labels that the model does not know: blight\. It was trained on: mildew"
    ),
    "photos that were trained on": (
        photos_trained_on,
        r"24 of the 24 photos in .* were used to train or validate .*(00\.jpg).*or add --force",
    ),
    "boxes without columns": (
        evaluation_with("--boxes", "image,left\n"), r"truth\.csv lacks the columns x_px, y_px, widt"
    ),
    "boxes without numbers": (
        evaluation_with("--boxes", BOXES + "00.jpg,1,2,3,4\n00.jpg,1,2,inf,4\n"),
        r"truth\.csv, row 3: expected numbers in x_px, y_px, width_px, height_px",
    ),
    "boxes of no size": (
        evaluation_with("--boxes", BOXES + "00.jpg,1,2,0,4\n"),
        r"truth\.csv, row 2: expected a box of at least 1 px, but got 0×4 px\. Correct or remove",
    ),
    "boxes in another encoding": (
        evaluation_with("--boxes", BOXES.encode() + b"f\xfcr.jpg,1,2,3,4\n"),
        r"truth\.csv is not UTF-8 text\. Save it",
    ),
    "boxes of other photos": (
        evaluation_with("--boxes", BOXES + "other.jpg,1,2,3,4\n"),
        r"None of the 8 photos, for example 00\.jpg, is named in the lesion boxes or masks\. Give",
    ),
    "masks of another size": (
        masks_of_another_size, r"mask .*\.png has 32×32 px, but its photo .* has 320×256 px\. Give"
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_refused_with_a_sentence_and_nothing_changed(
    name: str, field: Path, trained: Path, tmp_path: Path
) -> None:
    arrange, sentence = REFUSED[name]
    args = arrange(Bench(field, trained, tmp_path))
    before = snapshot(field, trained, tmp_path)
    result = run(*args)
    assert result.exit_code == MISTAKE, said(result)
    assert isinstance(result.exception, SystemExit), "no traceback"
    assert_words(said(result), sentence)
    assert snapshot(field, trained, tmp_path) == before


def assert_words(words: str, sentence: str) -> None:
    assert "Traceback" not in words
    assert re.search(sentence, words), words


def test_photos_that_were_trained_on_are_marked_when_forced(
    field: Path, trained: Path, tmp_path: Path
) -> None:
    copied = Bench(field, trained, tmp_path).copy_run()
    result = run("evaluate", copied, field, "--force", "--json")
    assert result.exit_code == 0, said(result)
    notes = json.loads(result.stdout)["notes"]
    assert [note for note in notes if note.startswith("FORCED: 24 of 24 photos were used to train")]
    assert "FORCED" in (copied / "report.html").read_text(encoding="utf-8")


# What happens while training ---------------------------------------------------------------------


@pytest.mark.skipif(sys.platform != "linux", reason="names of open files come from /proc")
@pytest.mark.parametrize("stage", ["expert", "scout"])
def test_a_full_disk_leaves_the_last_good_checkpoint(
    stage: str, field: Path, trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out, synchronise = tmp_path / "run", os.fsync
    args = ["train", field, "--out", out, *QUICK, "--epochs", "2"]
    # The disk is full when the stage's second epoch is to be saved. Saved before: its start, what
    # was learnt in the first epoch, and how that was judged.
    saved: list[str] = []

    def fill_disk(descriptor: int) -> None:
        name = str(Path(f"/proc/self/fd/{descriptor}").readlink())
        if f"checkpoints/{stage}/.last.safetensors" in name:
            saved.append(name)
            if len(saved) > 3:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        synchronise(descriptor)

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", fill_disk)
        result = run(*args)
    assert result.exit_code == MISTAKE, said(result)
    assert_words(said(result), r"The disk is full\..* free some space and run the command again")
    folder = out / "checkpoints" / stage
    assert len(saved) == 4
    assert not [path.name for path in folder.iterdir() if path.name.endswith(".part")]
    assert load_tensors(folder / "last.safetensors")[1]["progress"]["epoch"] == 1
    resumed = run(*args, "--resume")
    assert resumed.exit_code == 0, said(resumed)
    assert load(out).labels == ("mildew", "rust")


def lose_the_number(loss: Tensor) -> Tensor:
    return loss * float("nan")


def want_too_much_memory(loss: Tensor) -> Tensor:
    return loss + torch.zeros(2**52)


@pytest.mark.parametrize(
    ("spoil", "sentence"),
    [
        (
            lose_the_number,
            r"The loss of the expert became nan in epoch 2, and 3 returns .* Begin a",
        ),
        (want_too_much_memory, r"There is not enough memory\. Use .* a smaller recipe, or close"),
    ],
    ids=["a loss that is no number", "too little memory"],
)
def test_what_goes_wrong_in_the_second_epoch_leaves_the_first(
    spoil: Callable[[Tensor], Tensor],
    sentence: str,
    field: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    whole = ExpertStage.loss

    def loss(self: ExpertStage, index: int, photo: Photo, epoch: int) -> Tensor:
        value: Tensor = whole(self, index, photo, epoch)
        return spoil(value) if epoch == 1 else value

    monkeypatch.setattr(ExpertStage, "loss", loss)
    out = tmp_path / "run"
    result = run("train", field, "--out", out, *QUICK, "--epochs", "2")
    assert result.exit_code == MISTAKE, said(result)
    assert_words(said(result), sentence)
    kept = load_tensors(out / "checkpoints" / "expert" / "last.safetensors")
    assert kept[1]["progress"]["epoch"] == 1
    assert all(torch.isfinite(tensor).all() for tensor in kept[0].values())


@pytest.mark.slow
@pytest.mark.skipif(os.name != "posix", reason="signals are POSIX")
def test_ctrl_c_saves_says_how_to_go_on_and_resume_finishes(field: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    args = ["train", field, "--out", out, *QUICK]
    args[args.index("--epochs") + 1] = "400"
    command = [sys.executable, "-m", "leafscout", *map(str, args)]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdout=pipe, stderr=pipe, text=True) as one:
        deadline_s = time.monotonic() + 240
        while not (out / "history.csv").exists():
            assert one.poll() is None, one.communicate()
            assert time.monotonic() < deadline_s
            time.sleep(0.05)
        one.send_signal(signal.SIGINT)
        _, words = one.communicate(timeout=240)
    assert one.returncode == STOPPED, words
    assert_words(" ".join(words.split()), r"Stopped\. .*run: give the same command .* --resume")
    assert not (out / "model").exists()
    epochs = len((out / "history.csv").read_text().splitlines())
    assert 1 < epochs < 400

    # The same command with a bound of time, so that it ends soon.
    resumed = run(*args, "--resume", "--time", "1s")
    assert resumed.exit_code == 0, said(resumed)
    assert load(out).labels == ("mildew", "rust")
    assert len((out / "history.csv").read_text().splitlines()) > epochs


@pytest.mark.slow
def test_pretrained_weights_without_a_network(field: Path, tmp_path: Path) -> None:
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "HF_HOME": str(tmp_path / "empty")}
    args = ["train", field, "--out", tmp_path / "run", "--recipe", "mobile", "--workers", "1"]
    done = subprocess.run(
        [sys.executable, "-m", "leafscout", *map(str, args)],
        capture_output=True, text=True, env=environment, timeout=240, check=False,
    )  # fmt: skip
    assert done.returncode == MISTAKE, done.stderr
    assert_words(
        " ".join(done.stderr.split()),
        r"pretrained weights of 'mobilenetv2_100' could not be downloaded .*Check the network, or "
        r"give a local file with --weights FILE, or use --recipe tiny",
    )
    assert not (tmp_path / "run").exists()
