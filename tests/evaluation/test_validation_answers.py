"""What a model says of its validation photos, kept as a file: it comes back, or says why not."""

import json
from pathlib import Path

import numpy as np
import pytest

from leafscout.errors import InputError
from leafscout.evaluation.validation_answers import (
    ValidationAnswers,
    read_validation_answers,
)

ANSWERS = ValidationAnswers(
    version=1, model="a", labels=("rust", "scab"), truth=((1, 0), (0, 0)), probs={}
)


def test_it_comes_back_to_the_last_bit(tmp_path: Path) -> None:
    probs = np.random.default_rng(0).random((2, 2))
    answers = ANSWERS.with_probs("none", probs).with_probs("flips", probs / 3)
    (tmp_path / "a.json").write_bytes(answers.to_json())
    back = read_validation_answers(tmp_path / "a.json")
    assert back == answers
    assert back is not None
    assert np.array_equal(back.probs_array("none"), probs)
    assert back.truth_array().tolist() == [[True, False], [False, False]]
    assert read_validation_answers(tmp_path / "none.json") is None


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"version": 2}, "version 2"),
        ({"version": True}, "version True"),
        ({"truth": [[1, 0]], "probs": {"none": [[0.5, 0.5], [0.1, 0.2]]}}, "one row a photo"),
        ({"probs": {"none": [[0.5], [0.5]]}}, "one value a label"),
        ({"probs": {"none": [[0.5, 1.5], [0, 0]]}}, "from 0 to 1"),
        ({"more": 1}, "Extra inputs"),
    ],
)
def test_a_damaged_file_is_refused(tmp_path: Path, change: dict[str, object], words: str) -> None:
    path = tmp_path / "a.json"
    path.write_text(json.dumps({**ANSWERS.model_dump(mode="json"), **change}))
    with pytest.raises(InputError, match=words):
        read_validation_answers(path)


@pytest.mark.parametrize("text", ["", "[", "[]", "3", "\x00", '{"version": 1'])
def test_what_is_no_such_file_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "a.json").write_text(text)
    with pytest.raises(InputError, match=r"a\.json"):
        read_validation_answers(tmp_path / "a.json")
