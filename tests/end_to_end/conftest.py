"""A small painted field and one run trained on it, shared by all tests here and never changed."""

from pathlib import Path

import pytest
from painted_field import QUICK, paint_field, run, said


@pytest.fixture(scope="session")
def field(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return paint_field(tmp_path_factory.mktemp("fields") / "field")


@pytest.fixture(scope="session")
def trained(field: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("runs") / "run"
    result = run("train", field, "--out", out, *QUICK)
    assert result.exit_code == 0, said(result)
    return out
