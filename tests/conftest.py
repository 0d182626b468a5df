"""Fixtures shared by all tests."""

import os
from collections.abc import Generator
from pathlib import Path
from typing import Any

import pytest


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The folder of real photos and weights that LEAFSCOUT_DATA names; skips where it is unset."""
    value = os.environ.get("LEAFSCOUT_DATA", "")
    if not value:
        pytest.skip("LEAFSCOUT_DATA is not set: no real photos here")
    folder = Path(value)
    if not folder.is_dir():
        pytest.fail(f"LEAFSCOUT_DATA names {folder}, which is not a folder")
    return folder


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[Any]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Where the real photos must be present, a test that skips for want of them has failed."""
    report = yield
    needs_data = item.get_closest_marker("real_photos") or "real_data" in getattr(
        item, "fixturenames", ()
    )
    skipped = report.skipped and not hasattr(report, "wasxfail")
    if os.environ.get("LEAFSCOUT_REQUIRE_DATA") == "1" and needs_data and skipped:
        report.outcome = "failed"
        report.longrepr = f"LEAFSCOUT_REQUIRE_DATA=1, but {item.nodeid} skipped: {call.excinfo}"
    return report
