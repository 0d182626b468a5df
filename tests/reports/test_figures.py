"""Figures: what stays readable, whatever is drawn."""

import io
from collections.abc import Callable

import numpy as np
import pytest
from PIL import Image

from leafscout.reports.figures import MOST_DRAWN, Bar, draw_bars, draw_heat_table, draw_matrix

NAMES = [f"label {number}" for number in range(3 * MOST_DRAWN)]
Draw = Callable[[list[str]], bytes]


def matrix(names: list[str]) -> bytes:
    return draw_matrix("Together", names, names, np.eye(len(names)))


def heat_table(names: list[str]) -> bytes:
    return draw_heat_table("Figures", names, ["F1"], np.full((len(names), 1), 0.5))


def bars(names: list[str]) -> bytes:
    return draw_bars([("F1", [Bar(name, 0.5) for name in names])])


@pytest.mark.parametrize("draw", [matrix, heat_table, bars])
def test_hundreds_of_names_are_cut_to_what_can_be_read(draw: Draw) -> None:
    few, all_of_them = (
        Image.open(io.BytesIO(draw(names))) for names in (NAMES[:MOST_DRAWN], NAMES)
    )
    assert abs(few.height - all_of_them.height) < 0.05 * few.height
