"""What was answered is never lost, never mixed with another model's answers, never half a line."""

import json
from pathlib import Path

import pytest

from leafscout.errors import InputError
from leafscout.reports.journal import journal_path, open_journal


def record(source: str, **values: object) -> dict[str, object]:
    return {"format": 1, "source": source, **values}


def test_each_answer_is_on_disk_at_once_and_gone_on_with(tmp_path: Path) -> None:
    target = tmp_path / "answers.csv"
    journal = open_journal(target, "model a", resume=False)
    assert journal.path == journal_path(target)
    for source in ("1.jpg", "zwei ü.jpg", "3\n\u2028.jpg"):
        journal.append(record(source, healthy_prob=0.5))
        lines = journal.path.read_text(encoding="utf-8").rstrip("\n").split("\n")
        assert json.loads(lines[-1])["source"] == source
    again = open_journal(target, "model a", resume=True)
    assert again.records == journal.records
    assert again.answered() == {"1.jpg", "zwei ü.jpg", "3\n\u2028.jpg"}
    assert not target.exists(), "what is unfinished does not look finished"
    again.close()
    assert not journal_path(target).exists()


def test_failures_are_tried_again_and_their_new_answer_counts(tmp_path: Path) -> None:
    journal = open_journal(tmp_path / "a.jsonl", "m", resume=False)
    journal.append(record("1.jpg", error="There is no photo 1.jpg."))
    again = open_journal(tmp_path / "a.jsonl", "m", resume=True)
    assert again.answered() == set()
    again.append(record("1.jpg", healthy_prob=0.1))
    last = open_journal(tmp_path / "a.jsonl", "m", resume=True)
    assert last.answered() == {"1.jpg"}
    assert last.records["1.jpg"] == record("1.jpg", healthy_prob=0.1)


def test_a_line_cut_short_is_dropped_and_the_next_one_is_whole(tmp_path: Path) -> None:
    target = tmp_path / "a.csv"
    journal = open_journal(target, "m", resume=False)
    for source in ("1.jpg", "2.jpg"):
        journal.append(record(source))
    whole = journal.path.read_bytes()
    for lost in (1, 5, 20):
        journal.path.write_bytes(whole[:-lost])
        again = open_journal(target, "m", resume=True)
        assert list(again.records) == ["1.jpg"]
        again.append(record("3.jpg"))
        assert list(open_journal(target, "m", resume=True).records) == ["1.jpg", "3.jpg"]


def test_answers_are_neither_overwritten_nor_mixed(tmp_path: Path) -> None:
    target = tmp_path / "a.csv"
    open_journal(target, "model a", resume=True).append(record("1.jpg"))
    with pytest.raises(InputError, match=r"a\.csv\.part holds the answers of a run.*--resume"):
        open_journal(target, "model a", resume=False)
    with pytest.raises(InputError, match=r"answers of another model"):
        open_journal(target, "model b", resume=True)
    assert list(open_journal(target, "model a", resume=True).records) == ["1.jpg"]


@pytest.mark.parametrize("content", ["[", "[1]\n", '{"source": "1.jpg"}\n', "no JSON\n", "\xff\n"])
def test_what_is_no_journal_is_refused(tmp_path: Path, content: str) -> None:
    target = tmp_path / "a.csv"
    journal_path(target).write_bytes(content.encode("latin-1"))
    with pytest.raises(InputError, match=r"a\.csv\.part .*Delete it to begin again"):
        open_journal(target, "m", resume=True)


@pytest.mark.parametrize("size", [0, 1, 14, 40])
def test_a_journal_that_was_hardly_begun_is_begun_again(tmp_path: Path, size: int) -> None:
    target = tmp_path / "a.csv"
    open_journal(target, "m" * 64, resume=False)
    whole = journal_path(target).read_bytes()
    journal_path(target).write_bytes(whole[:size])
    assert open_journal(target, "m" * 64, resume=size > 9).records == {}
    assert journal_path(target).read_bytes() == whole


def test_a_folder_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"Cannot write .*a\.csv\.part"):
        open_journal(tmp_path / "gone" / "a.csv", "m", resume=False)
