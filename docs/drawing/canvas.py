"""A small canvas for the drawings of the documents: boxes, arrows, words and formulas as SVG.

Colours follow the reader's light or dark mode. The ground is part of the drawing, so that it is
readable on any page.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from html import escape

PALETTE = {
    "ground": ("#fbfcfd", "#11161d"),
    "ink": ("#1d2733", "#e8edf2"),
    "soft": ("#566270", "#a3afbc"),
    "line": ("#8a97a5", "#76838f"),
    "hair": ("#d9e0e7", "#2a343f"),
    "plain": ("#ffffff", "#19212a"),
    "glance": ("#e2f4f1", "#12332f"),
    "glance-edge": ("#1d8577", "#4cc4b3"),
    "focus": ("#fdf1df", "#38290f"),
    "focus-edge": ("#b56f0c", "#e8ae4c"),
    "decide": ("#eaebfc", "#22244a"),
    "decide-edge": ("#4f56c6", "#a2a7ff"),
    "back": ("#c0245a", "#ff7ea8"),
    "leaf": ("#7fb069", "#5d914c"),
    "vein": ("#5f9150", "#7db36b"),
    "lesion": ("#8d4a1d", "#d98a52"),
    "soil": ("#e9e2d6", "#2b2720"),
}
"""Name → colour in light and in dark mode."""

SANS = "system-ui, -apple-system, 'Segoe UI', Roboto, 'DejaVu Sans', sans-serif"
MONO = "ui-monospace, SFMono-Regular, Menlo, Consolas, 'DejaVu Sans Mono', monospace"
SERIF = "'STIX Two Text', Cambria, Georgia, 'DejaVu Serif', serif"

WORDS = {
    "title": (SANS, 18.0, 600),
    "head": (SANS, 13.0, 600),
    "body": (SANS, 11.5, 400),
    "name": (MONO, 12.0, 600),
    "math": (SERIF, 15.0, 400),
    "math-big": (SERIF, 19.0, 400),
    "math-small": (SERIF, 12.5, 400),
}
"""Class of text → its font, size in pixels and weight."""

LONE_LETTER = re.compile(r"(?<![A-Za-z])([A-Za-z])(?![A-Za-z])")

Point = tuple[float, float]


@dataclass
class Canvas:
    """A drawing that grows by what is put on it.

    Attributes:
        width: in pixels of the drawing.
        height: the same.
        title: what it is, for readers who cannot see it.
        description: what it shows, for them.
    """

    width: int
    height: int
    title: str
    description: str
    parts: list[str] = field(default_factory=list)

    def rect(
        self,
        corner: Point,
        size: Point,
        fill: str = "plain",
        edge: str | None = "line",
        *,
        radius: float = 8,
        stroke: float = 1.2,
        opacity: float = 1.0,
        dashed: bool = False,
    ) -> None:
        """A rectangle with round corners; ``fill`` and ``edge`` name colours, ``none`` is none."""
        line = f' stroke="var(--{edge})" stroke-width="{stroke:g}"' if edge else ""
        dash = ' stroke-dasharray="5 4"' if dashed else ""
        shade = f' opacity="{opacity:.3g}"' if opacity < 1 else ""
        inside = "none" if fill == "none" else f"var(--{fill})"
        self.parts.append(
            f'<rect x="{corner[0]:g}" y="{corner[1]:g}" width="{size[0]:g}" height="{size[1]:g}"'
            f' rx="{radius:g}" fill="{inside}"{line}{dash}{shade}/>'
        )

    def ellipse(self, centre: Point, radii: Point, fill: str, *, turn: float = 0) -> None:
        """A filled ellipse, turned by so many degrees."""
        x, y = centre
        self.parts.append(
            f'<ellipse cx="{x:g}" cy="{y:g}" rx="{radii[0]:g}" ry="{radii[1]:g}"'
            f' fill="var(--{fill})" transform="rotate({turn:g} {x:g} {y:g})"/>'
        )

    def curve(self, path: str, edge: str, *, fill: str | None = None, stroke: float = 1.2) -> None:
        """Any SVG path."""
        inside = f"var(--{fill})" if fill else "none"
        self.parts.append(
            f'<path d="{path}" fill="{inside}" stroke="var(--{edge})" stroke-width="{stroke:g}"/>'
        )

    def arrow(
        self,
        points: Sequence[Point],
        edge: str = "line",
        *,
        stroke: float = 1.6,
        dashed: bool = False,
        bend: float = 8,
    ) -> None:
        """An arrow along points, its corners rounded."""
        dash = ' stroke-dasharray="5 4"' if dashed else ""
        self.parts.append(
            f'<path d="{_round_corners(points, bend)}" fill="none" stroke="var(--{edge})"'
            f' stroke-width="{stroke:g}"{dash} marker-end="url(#tip-{edge})"/>'
        )

    def wall(self, x: float, top: float, bottom: float) -> None:
        """What no gradient passes."""
        for shift in (-2.5, 2.5):
            self.parts.append(
                f'<path d="M{x + shift:g} {top:g}V{bottom:g}" stroke="var(--ink)"'
                f' stroke-width="2"/>'
            )

    def words(
        self,
        at: Point,
        text: str,
        kind: str = "body",
        *,
        colour: str = "ink",
        anchor: str = "start",
    ) -> None:
        """One line; in formulas ``_{…}`` and ``^{…}`` lower and raise, single letters slant."""
        inner = set_formula(text, kind) if kind.startswith("math") else escape(text, quote=False)
        self.parts.append(
            f'<text class="{kind}" x="{at[0]:g}" y="{at[1]:g}" fill="var(--{colour})"'
            f' text-anchor="{anchor}">{inner}</text>'
        )

    def paragraph(
        self,
        at: Point,
        text: str,
        width: float,
        *,
        colour: str = "soft",
        anchor: str = "start",
        leading: float = 15,
    ) -> float:
        """Words broken into lines that fit a width; the y after the last line."""
        x, y = at
        for line in break_lines(text, int(width / 6.35)):
            self.words((x, y), line, "body", colour=colour, anchor=anchor)
            y += leading
        return y

    def render(self, mode: str = "both") -> str:
        """The SVG file; ``light`` or ``dark`` fixes the colours, ``both`` follows the reader's.

        Viewers that know no media queries show the light colours.
        """
        fonts = [
            f".{name}{{font-family:{family};font-size:{size:g}px;font-weight:{weight}}}"
            for name, (family, size, weight) in WORDS.items()
        ]
        dark = [
            f'[{what}="{light}"]{{{what}:{other}}}'
            for light, other in PALETTE.values()
            for what in ("fill", "stroke")
        ]
        follows = f"@media (prefers-color-scheme: dark){{{''.join(dark)}}}"
        body = "\n".join(self.parts)
        tips = "".join(
            f'<marker id="tip-{name}" viewBox="0 0 10 10" refX="8.5" refY="5" markerWidth="9"'
            f' markerHeight="9" markerUnits="userSpaceOnUse" orient="auto-start-reverse">'
            f'<path d="M0 0.8L9.5 5L0 9.2L2.2 5Z" fill="var(--{name})"/></marker>'
            for name in sorted(set(re.findall(r"url\(#tip-([\w-]+)\)", body)))
        )
        drawing = (
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {self.width} {self.height}"'
            f' width="{self.width}" height="{self.height}" role="img">\n'
            f"<title>{escape(self.title)}</title>\n<desc>{escape(self.description)}</desc>\n"
            f"<style>{' '.join(fonts)} {follows if mode == 'both' else ''}</style>\n"
            f"<defs>{tips}</defs>\n"
            f'<rect width="{self.width}" height="{self.height}" rx="12" fill="var(--ground)"/>\n'
            f"{body}\n</svg>\n"
        )
        index = int(mode == "dark")
        return re.sub(r"var\(--([\w-]+)\)", lambda found: PALETTE[found[1]][index], drawing)


def break_lines(text: str, letters: int) -> list[str]:
    """Words in lines of at most so many letters, where no word is longer."""
    lines = [""]
    for word in text.split():
        if lines[-1] and len(lines[-1]) + 1 + len(word) > letters:
            lines.append("")
        lines[-1] = f"{lines[-1]} {word}".strip()
    return lines


def set_formula(text: str, kind: str = "math") -> str:
    """A formula as tspans: ``_{…}`` lowered, ``^{…}`` raised, single Latin letters slanted."""
    size = WORDS[kind][1]
    out, level = [], 0.0
    for piece in re.findall(r"[_^]\{[^}]*\}|[^_^]+", text):
        script = piece[0] in "_^"
        wanted = 0.0 if not script else (0.25 if piece[0] == "_" else -0.38) * size
        inner = piece[2:-1] if script else piece
        for index, run in enumerate(LONE_LETTER.split(inner)):
            if not run:
                continue
            letters = index % 2 or (script and re.fullmatch("[a-z]{2}", run))
            slant = ' font-style="italic"' if letters else ""
            small = f' font-size="{0.76 * size:.3g}"' if script else ""
            move = f' dy="{wanted - level:.3g}"' if wanted != level else ""
            level = wanted
            out.append(f"<tspan{slant}{small}{move}>{escape(run, quote=False)}</tspan>")
    return "".join(out)


def _round_corners(points: Sequence[Point], bend: float) -> str:
    path = [f"M{points[0][0]:g} {points[0][1]:g}"]
    for before, corner, after in zip(points, points[1:], points[2:], strict=False):
        near, far = _toward(corner, before, bend), _toward(corner, after, bend)
        path.append(f"L{near[0]:g} {near[1]:g}Q{corner[0]:g} {corner[1]:g} {far[0]:g} {far[1]:g}")
    return " ".join([*path, f"L{points[-1][0]:g} {points[-1][1]:g}"])


def _toward(start: Point, end: Point, distance: float) -> Point:
    dx, dy = end[0] - start[0], end[1] - start[1]
    length = max((dx * dx + dy * dy) ** 0.5, 1e-9)
    step = min(distance, length / 2) / length
    return start[0] + dx * step, start[1] + dy * step
