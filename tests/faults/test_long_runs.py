"""Long work: ten thousand diagnoses in one process, and folders whose diagnosis is killed.

The quick part does some hundred, and some kills.
"""

import csv
import gc
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from photo_files import draw_photo, encode
from small_model import save_small_model
from tiny_trainings import fork, wait_for

from leafscout.cli import main
from leafscout.errors import InputError, PhotoError
from leafscout.inference.export_run import ExportOptions, export_run
from leafscout.inference.load import load
from leafscout.reports import journal as journals
from leafscout.reports.journal import Journal, journal_path, open_journal

GROWTH_MB = 50.0


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A small model that has learnt nothing."""
    return save_small_model(tmp_path_factory.mktemp("run"))


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    """A folder of small photos of several kinds, one of them broken."""
    folder = tmp_path_factory.mktemp("photos")
    for index in range(24):
        photo = draw_photo(index, side_px=100 + index)
        kind = "PNG" if index % 6 == 5 else "JPEG"
        name = f"{index:02d} Blätter.{kind.lower()}"
        (folder / name).write_bytes(encode(photo, kind))
    whole = (folder / "00 Blätter.jpeg").read_bytes()
    (folder / "broken.jpg").write_bytes(whole[: len(whole) // 2])
    (folder / "separate.tif").write_bytes(encode(draw_photo(7), "TIFF"))
    return folder


def resident_mb():
    """Memory of this process."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


def count_files():
    """Open file handles of this process."""
    return len(os.listdir("/proc/self/fd"))  # noqa: PTH208


def diagnose_often(model, folder, count, keep=None, hold=None):
    """Diagnose photos over and over, by path, as bytes, as pixels and many at a time.

    Returns:
        Growth of memory in MB and of open files, from a fifth of the way to the highest later.
    """
    # A photo in a process of its own takes longer: now and then is enough.
    usual = sorted(path for path in folder.iterdir() if path.suffix != ".tif")
    contents = {path: path.read_bytes() for path in usual}
    pixels = np.asarray(draw_photo(1))
    done, memory, files = 0, [], []
    while done < count:
        for index, path in enumerate(usual):
            source = [path, contents[path], pixels][index % 3]
            try:
                answer = model.diagnose(source)
            except PhotoError:
                answer = None
            if keep is not None:
                keep.append(answer)
            if hold is not None:
                hold.append(path.open("rb"))
        answers = list(model.diagnose_many(usual))
        done += len(usual) + len(answers)
        if len(memory) % 20 == 0:
            model.diagnose(folder / "separate.tif")
            done += 1
        gc.collect()
        memory.append((done, resident_mb()))
        files.append((done, count_files()))
    warm = max(count // 5, 1)
    return done, *(
        max(value for at, value in values if at > warm)
        - max(value for at, value in values if at <= warm)
        for values in (memory, files)
    )


linux = pytest.mark.skipif(sys.platform != "linux", reason="memory and files come from /proc")


@linux
def test_some_hundred_diagnoses_leave_nothing_behind(run, photos):
    done, growth_mb, files = diagnose_often(load(run, threads=1), photos, 400)
    assert done >= 400
    assert growth_mb <= GROWTH_MB
    assert files == 0


WORKER = """
import json, sys
sys.path.insert(0, sys.argv[1])
from test_long_runs import diagnose_often, load
from pathlib import Path
model = load(sys.argv[2], threads=1)
keep = [] if sys.argv[5] == "keep" else None
hold = [] if sys.argv[5] == "hold" else None
print(json.dumps(diagnose_often(model, Path(sys.argv[3]), int(sys.argv[4]), keep, hold)))
"""


def in_a_process(model, photos, count, how=""):
    """The same in a process of its own."""
    command = [sys.executable, "-c", WORKER, str(Path(__file__).parent), model, photos, count, how]
    done = subprocess.run(
        [str(part) for part in command], capture_output=True, text=True, check=False, timeout=3000
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


@linux
@pytest.mark.faults
@pytest.mark.parametrize("runtime", ["torch", "onnxruntime"])
def test_ten_thousand_diagnoses_in_one_process(run, photos, runtime, tmp_path, record):
    model = run
    if runtime == "onnxruntime":
        some = tuple(sorted(photos.glob("*.jpeg")))[:4]
        model = tmp_path / "exported"
        export_run(run, ExportOptions(out=model, photos=some, threads=1))
    done, growth_mb, files = in_a_process(model, photos, 10_000)
    record(
        f"diagnoses in one process ({runtime})", diagnoses=done, growth_mb=round(growth_mb, 1),
        files=files,
    )  # fmt: skip
    assert done >= 10_000
    assert growth_mb <= GROWTH_MB
    assert files == 0


@linux
@pytest.mark.faults
@pytest.mark.parametrize(
    ("how", "without"), [("keep", "letting answers go"), ("hold", "closing files")]
)
def test_what_leaks_is_seen(run, photos, how, without, record):
    done, growth_mb, files = in_a_process(run, photos, 5_000, how)
    record(
        f"diagnoses in one process ({how})", diagnoses=done, without=without,
        noticed=f"{growth_mb:.0f} MB and {files} file handles more after {done:,} diagnoses",
    )  # fmt: skip
    assert growth_mb > GROWTH_MB if how == "keep" else files > 100


# Folders whose diagnosis is killed ---------------------------------------------------------------


class FolderDiagnosis:
    """Diagnoses of a folder in processes of their own, killed and gone on with."""

    def __init__(self, run, photos, work):
        self.run, self.photos, self.work = run, photos, work
        self.paths = sorted(str(path) for path in photos.iterdir())
        self.begin("whole", None)
        started_s = time.monotonic()
        assert self.begin("whole", None) == 1, "one photo is broken"
        self.seconds = time.monotonic() - started_s
        self.whole = self.read("whole")

    def begin(self, name, kill_after_s, *, resume=True):
        """Diagnose, and kill after a time; the exit code, negative for a kill."""
        out = self.work / name
        log = self.work / f"{name}.log"

        def work():
            append = Journal.append

            def noted(journal, record):
                with log.open("a") as file:
                    file.write(f"{record['source']}\n")
                append(journal, record)

            Journal.append = noted
            sys.argv = [
                "leafscout", "diagnose", str(self.run), str(self.photos), "--threads=1",
                "--workers=1", f"--jsonl={out}.jsonl", f"--csv={out}.csv",
                *(["--resume"] if resume else []),
            ]  # fmt: skip
            main()

        pid = fork(work, self.work / f"{name}.said")
        if kill_after_s is not None:
            time.sleep(kill_after_s)
            os.kill(pid, signal.SIGKILL)
        return wait_for(pid)

    def read(self, name):
        """Source → record without times, as often as it is there."""
        lines = (self.work / f"{name}.jsonl").read_text().splitlines()
        records = [json.loads(line) for line in lines]
        for record in records:
            record.get("cost", {}).pop("seconds", None)
        with (self.work / f"{name}.csv").open(newline="") as file:
            rows = list(csv.DictReader(file))
        assert [row["source"] for row in rows] == [record["source"] for record in records]
        return records

    def kill_until_done(self, name, rng, most=1000):
        """Kill again and again until an attempt ends; how many kills that were."""
        for kills in range(most):
            # The later ones have less to do: some end, before their kill or without one.
            moment = rng.uniform(0.0, 1.2 * self.seconds) if rng.random() < 0.8 else None
            code = self.begin(name, moment)
            if code >= 0:
                assert code == 1, (self.work / f"{name}.said").read_text()
                return kills
        raise AssertionError("never done")

    def check(self, name):
        """Sources that are not in the output once, records that differ, photos answered twice."""
        found = self.read(name)
        sources = [record["source"] for record in found]
        wrong = [path for path in self.paths if sources.count(path) != 1]
        wrong += [source for source in sources if source not in self.paths]
        differs = [one["source"] for one, other in zip(found, self.whole, strict=True)
                   if one != other]  # fmt: skip
        log = (self.work / f"{name}.log").read_text().splitlines()
        # What failed is tried again, and what was being written when the kill came.
        again = sum(log.count(path) - 1 for path in self.paths if "broken" not in path)
        left = journal_path(self.work / f"{name}.jsonl").exists()
        return {"wrong": len(wrong), "different": len(differs), "again": again, "left": left}


needs_fork = pytest.mark.skipif(not hasattr(os, "fork"), reason="processes are forked")


@needs_fork
def test_a_killed_diagnosis_of_a_folder_goes_on(run, photos, tmp_path):
    folder = FolderDiagnosis(run, photos, tmp_path)
    for turn in range(2):
        assert folder.begin(f"killed{turn}", folder.seconds / 2) == -signal.SIGKILL
        assert folder.begin(f"killed{turn}", None) == 1
        found = folder.check(f"killed{turn}")
        assert (found["wrong"], found["different"], found["left"]) == (0, 0, False)
        assert found["again"] <= 1


@needs_fork
@pytest.mark.faults
def test_fifty_kills_of_a_folder_diagnosis(run, photos, tmp_path, record):
    folder, rng = FolderDiagnosis(run, photos, tmp_path), np.random.default_rng(4)
    kills = chains = 0
    total = {"wrong": 0, "different": 0, "again": 0, "left": 0}
    while kills < 50:
        kills += folder.kill_until_done(f"chain{chains}", rng)
        for name, value in folder.check(f"chain{chains}").items():
            total[name] += value
        chains += 1
    record("kills of a folder diagnosis", kills=kills, chains=chains, photos=len(folder.paths),
           **total)  # fmt: skip
    assert (total["wrong"], total["different"], total["left"]) == (0, 0, 0)
    assert total["again"] <= kills


@needs_fork
@pytest.mark.faults
def test_without_the_list_of_answers_work_is_done_twice(run, photos, tmp_path, record, monkeypatch):
    folder = FolderDiagnosis(run, photos, tmp_path)
    monkeypatch.setattr(Journal, "answered", lambda _: set())
    again = 0
    for turn in range(3):
        folder.begin(f"killed{turn}", 0.8 * folder.seconds)
        folder.begin(f"killed{turn}", None)
        again += folder.check(f"killed{turn}")["again"]
    record(
        "kills of a folder diagnosis (list ignored)", without="the list of what was answered",
        noticed=f"{again} photos are diagnosed again after 3 kills",
    )  # fmt: skip
    assert again > 3


def cut_journals(tmp_path):
    """A journal cut after every byte; how many cuts, and those after which it does not go on."""
    target, names = tmp_path / "out.jsonl", [f"{index}.jpg" for index in range(4)]
    shutil.rmtree(tmp_path, ignore_errors=True)
    tmp_path.mkdir()
    whole = open_journal(target, "a model", resume=False)
    for name in names:
        whole.append({"source": name, "words": "Blätter\n"})
    content = whole.path.read_bytes()
    bad = []
    for size in range(len(content) + 1):
        whole.path.write_bytes(content[:size])
        try:
            journal = open_journal(target, "a model", resume=True)
            for name in names:
                if name not in journal.answered():
                    journal.append({"source": name})
            again = open_journal(target, "a model", resume=True)
            good = list(again.records) == names and sorted(again.answered()) == names
        except (InputError, ValueError):
            good = False
        if not good:
            bad.append(size)
    return len(content) + 1, bad


def test_a_journal_cut_at_any_byte_goes_on(tmp_path):
    cuts, bad = cut_journals(tmp_path / "cut")
    assert cuts > 200
    assert bad == []


def test_without_the_care_for_cut_lines_it_does_not(tmp_path, monkeypatch, record):
    def read_all(path):
        return [json.loads(line) for line in path.read_bytes().split(b"\n") if line.strip()]

    def read(path):
        try:
            return read_all(path)
        except ValueError as error:
            raise InputError(str(error)) from error

    monkeypatch.setattr(journals, "_read_lines", read)
    monkeypatch.setattr(journals, "_remove_stillborn", lambda _: None)
    cuts, bad = cut_journals(tmp_path / "cut")
    record(
        "a journal cut short", cuts=cuts, without="the care for lines that are cut",
        noticed=f"after {len(bad)} of {cuts} cuts the diagnosis does not go on",
    )  # fmt: skip
    assert bad
