"""Figures as PNG bytes. Drawing never computes: values come in, pictures go out.

Colours are those of Okabe and Ito, which colour-blind people tell apart; where there are more
labels than colours, the weakest ones are coloured and the others are grey.
"""

from __future__ import annotations

import io
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from leafscout.errors import InputError

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.colors import LinearSegmentedColormap
    from matplotlib.figure import Figure
    from matplotlib.lines import Line2D

PALETTE = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#7A5C3E")
INK = "#25332C"
FAINT = "#8C9992"
GRID = "#E4E9E6"
LEAF = "#2F7D4F"
_DOTS_PER_INCH = 144
TEXT_PT = 11

MOST_DRAWN = 40
"""Rows or columns of names in a figure: with more, nobody reads them, and drawing takes minutes."""


@dataclass(frozen=True, eq=False)
class Curve:
    """One line of a panel; undefined (NaN) places stay empty.

    Attributes:
        name: what the legend calls it; curves of one name share colour and legend entry.
        x: (points,).
        y: (points,).
        stepped: drawn as steps, as average precision counts.
        dots: with a dot at each point.
        dashed: with a broken line.
    """

    name: str
    x: Sequence[float]
    y: Sequence[float]
    stepped: bool = False
    dots: bool = False
    dashed: bool = False


@dataclass(frozen=True)
class Panel:
    """Curves in one pair of axes.

    Attributes:
        title: one short line.
        x_label: what the horizontal axis shows.
        y_label: what the vertical axis shows.
        curves: drawn in this order.
        unit_square: both axes run from 0 to 1.
        diagonal: with a thin line of equality.
        marks: (x, text) vertical lines with a word beside, such as where a stage begins.
    """

    title: str
    x_label: str
    y_label: str
    curves: tuple[Curve, ...]
    unit_square: bool = True
    diagonal: bool = False
    marks: tuple[tuple[float, str], ...] = ()


@dataclass(frozen=True)
class Bar:
    """A horizontal bar, with an interval where ``low`` and ``high`` are defined.

    Attributes:
        name: written beside it.
        value: its length; NaN leaves it empty.
        low: lower end of the interval.
        high: upper end of the interval.
        text: written at its end; empty writes the value.
    """

    name: str
    value: float
    low: float = math.nan
    high: float = math.nan
    text: str = ""


def draw_panels(panels: Sequence[Panel]) -> bytes:
    """Draw panels side by side under one legend.

    Returns:
        A PNG; colours go by name, the same in every panel.
    """
    figure = new_figure(4.6 * len(panels), 4.9)
    names = list(dict.fromkeys(curve.name for panel in panels for curve in panel.curves))
    shown = names[: len(PALETTE)]
    colours = dict(zip(shown, PALETTE, strict=False))
    handles: dict[str, Line2D] = {}
    for place, panel in enumerate(panels, start=1):
        axes = figure.add_subplot(1, len(panels), place)
        dress_axes(axes, panel.title, panel.x_label, panel.y_label)
        if panel.unit_square:
            axes.set(xlim=(-0.015, 1.015), ylim=(-0.015, 1.03))
        if panel.diagonal:
            axes.plot([0, 1], [0, 1], color=FAINT, linewidth=1, linestyle=(0, (2, 3)))
        for curve in reversed(panel.curves):
            (line,) = axes.plot(
                curve.x,
                curve.y,
                color=colours.get(curve.name, "#C9D1CC"),
                linewidth=2.2 if curve.name in colours else 1.0,
                drawstyle="steps-pre" if curve.stepped else "default",
                linestyle=(0, (4, 2)) if curve.dashed else "-",
                marker="o" if curve.dots else "",
                markersize=5,
            )
            handles.setdefault(curve.name, line)
        for x, text in panel.marks:
            axes.axvline(x, color=FAINT, linewidth=1)
            axes.annotate(
                plain_text(text),
                (x, 0.0),
                (4, 5),
                xycoords=("data", "axes fraction"),
                textcoords="offset points",
                va="bottom",
                color=FAINT,
                fontsize=TEXT_PT - 1,
            )
    words = [plain_text(name, 48) for name in shown]
    if len(names) > len(shown):
        words[-1] += f"  (and {len(names) - len(shown)} more in grey)"
    fits = max(1, int(48 * len(panels) / (6 + max(map(len, words), default=0))))
    legend = figure.legend(
        [handles[name] for name in shown],
        words,
        loc="outside lower center",
        ncols=min(len(shown), fits) or 1,
        frameon=False,
        fontsize=TEXT_PT,
    )
    for entry in legend.get_texts():
        entry.set_color(INK)
    return encode_png(figure)


def draw_bars(groups: Sequence[tuple[str, Sequence[Bar]]], *, limit: float | None = None) -> bytes:
    """Draw groups of horizontal bars side by side, names on the left.

    Args:
        groups: (title, bars) with the same names in the same order in each group.
        limit: where the axes end; None takes the longest bar.

    Returns:
        A PNG.
    """
    title_end = _count_left_out(max(len(bars) for _, bars in groups))
    groups = [(title + title_end, bars[:MOST_DRAWN]) for title, bars in groups]
    rows = max(len(bars) for _, bars in groups)
    figure = new_figure(2.0 + 4.2 * len(groups), 1.0 + 0.46 * rows)
    for place, (title, bars) in enumerate(groups):
        axes = figure.add_subplot(1, len(groups), place + 1)
        dress_axes(axes, title, "", "")
        axes.grid(visible=False)
        axes.spines["bottom"].set_visible(False)
        axes.tick_params(axis="x", labelbottom=False)
        finite = [x for bar in bars for x in (bar.value, bar.high) if math.isfinite(x)]
        end = limit or max([*finite, 1e-9])
        axes.set_xlim(0, end * 1.3)
        axes.set_ylim(rows - 0.4, -0.6)
        axes.set_yticks(
            range(len(bars)), [plain_text(bar.name) for bar in bars] if place == 0 else []
        )
        for row, bar in enumerate(bars):
            _draw_bar(axes, row, bar, end, PALETTE[place % len(PALETTE)])
    return encode_png(figure)


def draw_matrix(
    title: str,
    rows: Sequence[str],
    columns: Sequence[str],
    values: NDArray[np.float64],
    *,
    axes_names: tuple[str, str] = ("answer", "truth"),
) -> bytes:
    """Draw a matrix of counts; the colour shows each cell's share of its row.

    Args:
        title: one short line.
        rows: their names, the truth.
        columns: their names, the answer.
        values: (rows, columns) counts.
        axes_names: what columns and rows are.

    Returns:
        A PNG.
    """
    title += _count_left_out(max(len(rows), len(columns)))
    rows, columns = rows[:MOST_DRAWN], columns[:MOST_DRAWN]
    values = values[: len(rows), : len(columns)]
    figure = new_figure(2.6 + 0.72 * len(columns), 2.2 + 0.55 * len(rows))
    axes = figure.add_subplot()
    dress_axes(axes, title, *axes_names)
    _fill_matrix(axes, values)
    axes.set_xticks(
        range(len(columns)), [plain_text(name) for name in columns], rotation=35, ha="right"
    )
    axes.set_yticks(range(len(rows)), [plain_text(name) for name in rows])
    return encode_png(figure)


def draw_heat_table(
    title: str, rows: Sequence[str], columns: Sequence[str], values: NDArray[np.float64]
) -> bytes:
    """Draw a table of figures between 0 and 1, coloured by their height on one scale.

    Args:
        title: one short line.
        rows: their names.
        columns: their names.
        values: (rows, columns) 0..1; NaN stays empty.

    Returns:
        A PNG.
    """
    title += _count_left_out(len(rows))
    rows, values = rows[:MOST_DRAWN], values[:MOST_DRAWN]
    figure = new_figure(3.2 + 0.8 * len(columns), 1.6 + 0.42 * len(rows))
    axes = figure.add_subplot()
    dress_axes(axes, title, "", "")
    axes.grid(visible=False)
    axes.imshow(np.ma.masked_invalid(values), cmap=_greens(), vmin=0, vmax=1.15, aspect="auto")
    for side in axes.spines.values():
        side.set_visible(False)
    for row, column in np.ndindex(*values.shape):
        value = values[row, column]
        if not math.isnan(value):
            colour = "white" if value > 0.4 else INK
            axes.text(
                column, row, f"{value:.2f}", ha="center", va="center", color=colour,
                fontsize=TEXT_PT,
            )  # fmt: skip
    axes.set_xticks(range(len(columns)), list(columns))
    axes.set_yticks(range(len(rows)), [plain_text(name) for name in rows])
    return encode_png(figure)


def draw_binary_matrices(tables: Sequence[tuple[str, NDArray[np.float64]]]) -> bytes:
    """Draw one 2×2 table for each label, in rows of four.

    Args:
        tables: (label, counts (2, 2)) with rows truth and columns answer, present first.

    Returns:
        A PNG.
    """
    tables = tables[:MOST_DRAWN]
    columns = min(4, len(tables))
    rows = math.ceil(len(tables) / columns)
    figure = new_figure(2.7 * columns, 2.75 * rows)
    for place, (label, values) in enumerate(tables, start=1):
        axes = figure.add_subplot(rows, columns, place)
        dress_axes(axes, label, "", "")
        _fill_matrix(axes, values)
        axes.set_xticks([0, 1], ["found", "not found"])
        axes.set_yticks([0, 1], ["has it", "has not"], rotation=90, va="center")
    return encode_png(figure)


def _greens() -> LinearSegmentedColormap:
    from matplotlib.colors import LinearSegmentedColormap

    return LinearSegmentedColormap.from_list("leaf", ["#F5F8F6", LEAF, "#123D26"])


def _count_left_out(names: int) -> str:
    """The end of a title where not all names are drawn; tables hold them all."""
    return "" if names <= MOST_DRAWN else f" (the first {MOST_DRAWN} of {names})"


def _fill_matrix(axes: Axes, values: NDArray[np.float64]) -> None:
    totals = values.sum(axis=1, keepdims=True)
    shares = np.divide(values, totals, out=np.zeros_like(values), where=totals > 0)
    axes.grid(visible=False)
    axes.imshow(shares, cmap=_greens(), vmin=0, vmax=1.15, aspect="auto")
    for side in axes.spines.values():
        side.set_visible(False)
    for row, column in np.ndindex(*values.shape):
        if values[row, column]:
            axes.text(
                column,
                row,
                f"{values[row, column]:.3g}"
                if values[row, column] < 1000
                else f"{values[row, column]:.0f}",
                ha="center",
                va="center",
                color="white" if shares[row, column] > 0.4 else INK,
                fontsize=TEXT_PT + 1,
            )


def _draw_bar(axes: Axes, row: int, bar: Bar, end: float, colour: str) -> None:
    if not math.isfinite(bar.value):
        axes.text(0, row, " –", va="center", color=FAINT, fontsize=TEXT_PT)
        return
    axes.barh(row, bar.value, height=0.56, color=colour, alpha=0.85)
    reach = bar.value
    if math.isfinite(bar.low) and math.isfinite(bar.high):
        axes.plot([bar.low, bar.high], [row, row], color=INK, linewidth=1.6)
        reach = max(reach, bar.high)
    axes.text(
        reach + end * 0.02,
        row,
        plain_text(bar.text) or f"{bar.value:.2f}",
        va="center",
        color=INK,
        fontsize=TEXT_PT,
    )


def new_figure(width: float, height: float) -> Figure:
    """An empty figure of this size in inches, without a window.

    Raises:
        InputError: when matplotlib is not installed.
    """
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError as error:
        raise InputError(
            "Expected matplotlib for drawing figures, but it is not installed. "
            "Install it with: pip install 'leafscout[train]'."
        ) from error
    figure = Figure(figsize=(width, height), facecolor="white")
    figure.set_layout_engine("constrained", w_pad=0.14, h_pad=0.14)
    FigureCanvasAgg(figure)
    return figure


def dress_axes(axes: Axes, title: str, x_label: str, y_label: str) -> None:
    """Give axes the titles and the look that all figures share."""
    axes.set_title(
        plain_text(title), loc="left", color=INK, fontsize=TEXT_PT + 2, fontweight="bold"
    )
    axes.set_xlabel(plain_text(x_label), color=INK, fontsize=TEXT_PT)
    axes.set_ylabel(plain_text(y_label), color=INK, fontsize=TEXT_PT)
    axes.tick_params(colors=INK, labelsize=TEXT_PT, length=0)
    axes.grid(color=GRID, linewidth=1)
    axes.set_axisbelow(True)
    for side in ("top", "right", "left"):
        axes.spines[side].set_visible(False)
    axes.spines["bottom"].set_color(FAINT)


def plain_text(text: str, longest: int = 30) -> str:
    """Text that is drawn as it is: no formulas, no names that legends skip, not too long."""
    short = text if len(text) <= longest else text[: longest - 1] + "…"
    # Legends leave out names with an underscore in front; a thin space in front keeps them.
    return ("\u2009" if short.startswith("_") else "") + short.replace("$", r"\$")


def encode_png(figure: Figure) -> bytes:
    """The figure as a PNG without metadata."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=_DOTS_PER_INCH, metadata={"Software": None})
    return buffer.getvalue()
