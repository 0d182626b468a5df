"""Damaged, cut and built photos: no process dies, nothing is slow or large, every refusal is said.

The long part (``make test-faults``) does the same with 10,000 damaged photos and real gigabytes.
Each protection is also taken away, to see that the test notices.
"""

import json
import subprocess
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from photo_files import big_exif, chunk, draw_photo, encode, make_sources
from small_model import save_small_model
from typer.testing import CliRunner

from leafscout.cli import app
from leafscout.errors import InputError, PhotoError
from leafscout.inference.load import load
from leafscout.photos import isolated
from leafscout.photos.decode import decode_photo, open_photo, read_photo_size
from leafscout.photos.limits import MAX_MEGAPIXELS, DecodeLimits, read_limits

WORKER = Path(__file__).with_name("decode_worker.py")
CODES = {"missing", "unreadable", "truncated", "too_large", "too_small", "unsupported"}
REFUSED = CODES - {"missing"}
MOST_MB, MOST_S = 1024, 10
BOMB_MB, BOMB_S = 50, 0.2
SOURCES = make_sources()


def run_worker(*arguments):
    """What the worker said of each photo; the last one lacks an outcome when the process died."""
    done = subprocess.run(
        [sys.executable, str(WORKER), *map(str, arguments)],
        capture_output=True, text=True, check=False, timeout=3000,
    )  # fmt: skip
    rows = [json.loads(line) for line in done.stdout.splitlines()]
    finished = [row for row in rows if "outcome" in row]
    begun = [row["name"] for row in rows if "begun" in row]
    died = begun[-1] if len(begun) > len(finished) else None
    if done.returncode != 0 and died is None:
        pytest.fail(f"the worker itself failed: {done.stderr[-2000:]}")
    return finished, died


def damage(first, last, *more):
    """Decode mutated photos; a dead process is counted, and the next one goes on behind it."""
    rows, deaths = [], []
    while first < last:
        found, died = run_worker("mutations", first, last, *more)
        rows += found
        if died is None:
            break
        deaths.append(died)
        first = int(died.split()[0]) + 1 if died[0].isdigit() else last
    return rows, deaths


def judge_damage(rows, deaths):
    """What is wrong: nothing should be."""
    return [
        *(f"died of {name}" for name in deaths),
        *(f"{row['name']}: {row['trouble']}" for row in rows if row["trouble"]),
        *(f"{row['name']}: no code {row['outcome']}" for row in rows
          if row["outcome"] not in {"read", *REFUSED, "trouble"}),
        *(f"{row['name']}: {row['cpu_s']:.1f} s" for row in rows if row["cpu_s"] > MOST_S),
        *(f"{row['name']}: {row['peak_mb']:.0f} MB" for row in rows if row["peak_mb"] > MOST_MB),
    ]  # fmt: skip


def judge_bombs(rows, died):
    """What is wrong with how bombs were met: nothing should be."""
    return [
        *([f"died of {died}"] if died else []),
        *(f"{row['name']}: {row['outcome']} {row['trouble']}" for row in rows
          if row["outcome"] not in {"too_large", "unreadable"}),
        # Processor time: what else the machine does is no fault of the decoder.
        *(f"{row['name']}: {row['cpu_s']:.2f} s" for row in rows if row["cpu_s"] > BOMB_S),
        *(f"{row['name']}: {row['growth_mb']:.0f} MB" for row in rows
          if row["growth_mb"] > BOMB_MB),
    ]  # fmt: skip


def sum_up(rows):
    """The figures of a run."""
    return {
        "files": len(rows),
        "outcomes": dict(Counter(row["outcome"] for row in rows).most_common()),
        "most_cpu_s": max(row["cpu_s"] for row in rows),
        "most_wall_s": max(row["wall_s"] for row in rows),
        "most_growth_mb": max(row["growth_mb"] for row in rows),
        "peak_mb": max(row["peak_mb"] for row in rows),
    }


def test_damaged_photos_are_read_or_refused_with_a_code():
    rows, deaths = damage(0, 150)
    assert len(rows) == 150
    assert judge_damage(rows, deaths) == []
    assert {"read", "truncated", "unreadable"} <= {row["outcome"] for row in rows}


def test_a_broken_palette_is_refused():
    (row,), _ = damage(5505, 5506)  # Pillow notices it only while it turns indices into colours
    assert (row["outcome"], row["trouble"]) == ("unreadable", "")


def test_without_sentences_the_damage_is_noticed():
    rows, deaths = damage(0, 40, "--without", "sentences")
    assert any("ValueError" in words for words in judge_damage(rows, deaths))


@pytest.mark.faults
def test_ten_thousand_damaged_photos(corpus, record):
    more = ["--corpus", corpus] if corpus else []
    without, _ = damage(0, 100, "--without", "sentences")
    noticed = judge_damage(without, [])
    rows, deaths = [], []
    for first in range(0, 10_000, 500):  # written down as it goes: it takes minutes
        found, died = damage(first, first + 500, *more)
        rows, deaths = [*rows, *found], [*deaths, *died]
        troubles = judge_damage(rows, deaths)
        record(
            "damaged photos", **sum_up(rows), deaths=len(deaths), wrong=len(troubles),
            without="each decoder's own errors let through",
            noticed=f"{len(noticed)} of {len(without)} files end in another error than ours",
        )  # fmt: skip
    assert len(rows) + len(deaths) >= 10_000
    assert troubles == []
    assert noticed


def test_bombs_are_refused_at_once():
    rows, died = run_worker("bombs", "--unfolded", 32 << 20)
    assert len(rows) == 20
    assert judge_bombs(rows, died) == []
    rows, died = run_worker("more-bombs")
    assert judge_bombs(rows, died) == []


def test_without_a_look_at_texts_bombs_are_noticed():
    (with_it, _), (without, _) = (
        run_worker("bombs", "--unfolded", 1 << 20, *more)
        for more in ((), ("--without", "unfolding"))
    )
    before, after = (
        next(row["cpu_s"] for row in rows if "1000 zTXt" in row["name"])
        for rows in (with_it, without)
    )
    # How long a gigabyte of text takes depends on the machine; that it is looked at does not.
    assert after > 2 * before


@pytest.mark.faults
def test_bombs_of_gigabytes(record):
    rows, died = run_worker("bombs")
    troubles = judge_bombs(rows, died)
    noticed = {}
    for protection, what in (("size", "bombs"), ("unfolding", "bombs"), ("work", "more-bombs")):
        found = run_worker(what, "--unfolded", 1 << 20, "--without", protection)
        noticed[protection] = judge_bombs(*found)
    record(
        "bombs", **sum_up(rows), wrong=len(troubles),
        without="checks of size, of unfolded texts and profiles, of the work to do",
        noticed="; ".join(
            f"without {name}, {len(found)} broken limits, such as {(found or ['none'])[0]}"
            for name, found in noticed.items()
        ),
    )  # fmt: skip
    assert len(rows) == 20
    assert troubles == []
    assert all(noticed.values())


def cut_everywhere(offsets):
    """(file, offset) → what was said of the photo cut there, if not that it is cut short."""
    wrong, count = {}, 0
    for name, data in SOURCES.items():
        places = np.unique(np.linspace(1, len(data) - 1, offsets).astype(int))
        for place in places.tolist():
            count += 1
            try:
                photo = open_photo(data[:place])
                _ = photo.pixels
                wrong[name, place] = "was read"
            except PhotoError as error:
                if error.code != "truncated":
                    wrong[name, place] = f"{error.code}: {error}"
    return wrong, count


def test_a_photo_cut_anywhere_is_called_truncated():
    wrong, count = cut_everywhere(70)
    assert count >= 16 * 69
    assert wrong == {}


def test_without_a_look_at_the_end_cut_photos_are_noticed(monkeypatch):
    from decode_worker import remove

    from leafscout.photos import decode

    monkeypatch.setattr(decode, "read_header", decode.read_header)
    remove("completeness")
    wrong, _ = cut_everywhere(6)
    assert wrong


@pytest.mark.faults
def test_photos_cut_at_a_thousand_offsets(record, monkeypatch):
    wrong, count = cut_everywhere(1000)
    from decode_worker import remove

    from leafscout.photos import decode

    monkeypatch.setattr(decode, "read_header", decode.read_header)
    remove("completeness")
    without, tried = cut_everywhere(20)
    read = sum(words == "was read" for words in without.values())
    record(
        "photos cut short", files=len(SOURCES), cuts=count, wrong=len(wrong),
        without="the look at the file's end",
        noticed=f"of {tried} cuts {len(without)} are not called truncated, and {read} are read "
        "as if whole",
    )  # fmt: skip
    assert wrong == {}
    assert without


# Through a loaded model ---------------------------------------------------------------------------


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """A model from its folder; its networks never learnt anything."""
    return load(save_small_model(tmp_path_factory.mktemp("model")), threads=1)


def diagnose_cuts(model, offsets, names=tuple(SOURCES)):
    """What was said of photos cut short, if not that; and how many were tried."""
    wrong, count = {}, 0
    for name in names:
        data = SOURCES[name]
        places = np.unique(np.linspace(1, len(data) - 1, offsets).astype(int))
        for place in places.tolist():
            count += 1
            try:
                wrong[name, place] = f"diagnosed: {model.diagnose(data[:place])!r}"
            except PhotoError as error:
                if error.code != "truncated":
                    wrong[name, place] = f"{error.code}: {error}"
    return wrong, count


def test_a_photo_cut_short_is_never_diagnosed(model, tmp_path):
    for name in SOURCES:
        model.diagnose(SOURCES[name])
    wrong, count = diagnose_cuts(model, 8)
    assert count >= 16 * 7
    assert wrong == {}
    paths = [tmp_path / name for name in SOURCES]
    for path in paths:
        path.write_bytes(SOURCES[path.name][: len(SOURCES[path.name]) * 2 // 3])
    said = list(model.diagnose_many(paths))
    assert [one.source for one in said] == [str(path) for path in paths]
    assert all("is cut short" in one.error for one in said)


def test_without_a_look_at_the_end_half_photos_are_diagnosed(model, monkeypatch):
    from decode_worker import remove

    from leafscout.photos import decode

    monkeypatch.setattr(decode, "read_header", decode.read_header)
    remove("completeness")
    wrong, _ = diagnose_cuts(model, 16, ["rgb.png", "palette.png"])
    assert any(words.startswith("diagnosed") for words in wrong.values())


@pytest.mark.faults
def test_photos_cut_at_a_thousand_offsets_are_never_diagnosed(model, record, monkeypatch):
    wrong, count = diagnose_cuts(model, 70)
    from decode_worker import remove

    from leafscout.photos import decode

    monkeypatch.setattr(decode, "read_header", decode.read_header)
    remove("completeness")
    without, tried = diagnose_cuts(model, 20)
    answered = sum(words.startswith("diagnosed") for words in without.values())
    record(
        "photos cut short, diagnosed", files=len(SOURCES), cuts=count, wrong=len(wrong),
        without="the look at the file's end",
        noticed=f"{answered} of {tried} cut photos are diagnosed",
    )  # fmt: skip
    assert count >= 1000
    assert wrong == {}
    assert answered


# Isolation ---------------------------------------------------------------------------------------

EAT_MEMORY = (
    "from leafscout.photos.decode_child import *; limit_resources(2**29, 5)\n"
    "try: bytearray(2**31)\nexcept MemoryError: sys.exit(TOO_LARGE)"
)
CRASHES = {
    "a crash": ("import os, signal; os.kill(os.getpid(), signal.SIGSEGV)", "unreadable"),
    "too much memory": (EAT_MEMORY, "too_large"),
    "no end": (
        "from leafscout.photos.decode_child import *; limit_resources(2**30, 1)\nwhile True: pass",
        "too_large",
    ),
}


@pytest.mark.skipif(sys.platform == "win32", reason="no such limits there")
@pytest.mark.parametrize("what", CRASHES)
def test_what_happens_in_the_decoder_stays_there(what, monkeypatch):
    does, code = CRASHES[what]
    start = f"import sys; sys.path[:] = sys.argv[4:]\n{does}"
    monkeypatch.setattr(isolated, "_START", start)
    for name in ("lzw.tif", "lossy.webp", "cmyk.jpg"):
        with pytest.raises(PhotoError, match=r"crash|too large") as caught:
            decode_photo(SOURCES[name], name=name)
        assert caught.value.code == code
        if what != "a crash":
            break


def test_limits_are_set_on_the_command_line(tmp_path, monkeypatch):
    monkeypatch.setenv(MAX_MEGAPIXELS, "")  # what the command sets is taken back afterwards
    for number in range(4):
        label = tmp_path / "data" / ("rust", "healthy")[number % 2]
        label.mkdir(parents=True, exist_ok=True)
        draw_photo(number).save(label / f"{number}.jpg")
    (tmp_path / "data" / "rust" / "0.jpg").unlink()
    draw_photo(0).save(tmp_path / "data" / "rust" / "0.png")

    def check(*options):
        arguments = ["check", str(tmp_path / "data"), "--workers", "1", *map(str, options)]
        done = CliRunner().invoke(app, arguments)
        return " ".join(done.output.split())

    assert "too large" not in check()
    pixels = 96 * 96 / 1e6
    assert "too large" not in check("--max-megapixels", 2 * pixels)
    said = check("--max-megapixels", 1.9 * pixels)  # files other than JPEG may have half as many
    assert "0.png is too large" in said
    assert "1.jpg is too large" not in said
    assert "1.jpg is too large" in check("--max-megapixels", 0.9 * pixels)
    for wrong in ("0", "nan", "5000"):
        assert "Expected --max-megapixels to be a number above 0" in check(
            "--max-megapixels", wrong
        )
    monkeypatch.setenv(MAX_MEGAPIXELS, "many")
    with pytest.raises(InputError, match=f"Expected {MAX_MEGAPIXELS} to be a number"):
        open_photo(SOURCES["baseline.jpg"])
    monkeypatch.setenv(MAX_MEGAPIXELS, "400")
    limits = read_limits()
    assert (limits.jpeg_px, limits.other_px) == (400_000_000, 200_000_000)
    assert limits.memory_bytes == 2 << 30


def test_limits_can_be_set():
    photo = encode(draw_photo(0), "TIFF", compression="tiff_lzw")
    for limits, words in (
        (DecodeLimits(file_bytes=1000), "expected a file of at most 0 MiB"),
        (DecodeLimits(memory_bytes=10_000), "would take 0 MiB of memory"),
        (DecodeLimits(other_px=9000), "at most 0.009 megapixels"),
    ):
        with pytest.raises(PhotoError, match=words) as caught:
            open_photo(photo, limits=limits)
        assert caught.value.code == "too_large"
    assert open_photo(photo).size_px_hw == (96, 96)
    assert DecodeLimits().jpeg_px == 200_000_000


# EXIF --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("orientation", range(1, 9))
def test_ten_megabytes_of_exif_turn_the_photo_all_the_same(orientation):
    upright = draw_photo(3).crop((0, 0, 96, 72))
    block = big_exif(orientation, 10 << 20)
    png = encode(upright, "PNG")
    webp = encode(upright, "WebP", lossless=True, exif=block)
    for data in (png[:33] + chunk(b"eXIf", block) + png[33:], webp):
        wanted = (96, 72) if orientation >= 5 else (72, 96)
        assert read_photo_size(data) == wanted
        assert decode_photo(data).size_px_hw == wanted


def test_exif_that_names_the_same_bytes_ten_thousand_times_costs_nothing():
    # A reader that fetches every value would hold 10,000 times 5 MB.
    entries = b"".join(
        (0x8000 + n).to_bytes(2, "little") + b"\x07\x00" + (5 << 20).to_bytes(4, "little")
        + (0).to_bytes(4, "little") for n in range(10_000)
    )  # fmt: skip
    first = (0x0112).to_bytes(2, "little") + b"\x03\x00\x01\x00\x00\x00\x06\x00\x00\x00"
    block = b"II*\x00\x08\x00\x00\x00" + (10_001).to_bytes(2, "little") + first + entries
    png = encode(draw_photo(3).crop((0, 0, 96, 72)), "PNG")
    data = png[:33] + chunk(b"eXIf", block + bytes(5 << 20)) + png[33:]
    assert decode_photo(data).size_px_hw == (96, 72)
