"""How a photo becomes a diagnosis."""

from __future__ import annotations

from drawing.canvas import Canvas, Point
from drawing.names import Named, name_of, sentence_of
from drawing.pictograms import LESIONS, chosen_places, draw_photo, draw_scores, draw_tile
from leafscout.diagnosis.calibrate import Calibration
from leafscout.diagnosis.fuse import fill_unread, fuse_evidence
from leafscout.diagnosis.pooling import pool_tiles
from leafscout.focus.expert import Expert
from leafscout.glance.choose import choose_tiles
from leafscout.glance.places import pool_places
from leafscout.glance.scout import Scout
from leafscout.glance.view import take_glance
from leafscout.photos.tiles import cut_tiles


def step_box(
    canvas: Canvas,
    corner: Point,
    size: Point,
    colour: str,
    things: tuple[Named, ...],
    *,
    top: float,
) -> None:
    """A box with room for a picture above, and below it names with their sentences."""
    canvas.rect(corner, size, colour, f"{colour}-edge")
    x, y = corner[0] + 12, corner[1] + top
    for thing in things:
        canvas.words((x, y), name_of(thing), "name", colour=f"{colour}-edge")
        y = canvas.paragraph((x, y + 16), sentence_of(thing), size[0] - 22, colour="ink") + 6


def draw_mechanism() -> Canvas:
    """How a photo becomes a diagnosis."""
    canvas = Canvas(
        1080, 760, "Glance, then focus",
        "A photo is made small; a scout scores every place of it; tiles that reach a threshold are "
        "cut from the photo in full resolution and read by an expert; their evidence, the scout's "
        "guess for unread tiles and the evidence of the glance become one diagnosis.",
    )  # fmt: skip
    canvas.words((28, 40), "Glance at everything, focus on a little", "title")
    size, row_1, row_2, columns = (190, 232), 92, 392, (256, 470, 684)
    draw_photo(canvas, (28, 162), (180, 240))
    canvas.words((118, 150), "photo, full resolution", "head", anchor="middle")
    for row, column in chosen_places():
        canvas.rect((28 + column * 30, 162 + row * 30), (30, 30), "none", "focus-edge",
                    radius=2, stroke=2)  # fmt: skip

    canvas.words((256, 81), "glance: cheap, on every photo", "head", colour="glance-edge")
    looks: tuple[tuple[Named, ...], ...] = (
        (take_glance,),
        (Scout,),
        (pool_places, choose_tiles),
    )
    for x, things in zip(columns, looks, strict=True):
        step_box(canvas, (x, row_1), size, "glance", things, top=124)
    draw_photo(canvas, (256 + 60, row_1 + 13), (70, 92))
    draw_scores(canvas, (470 + 61, row_1 + 13), 11.5, "glance-edge", marks=False)
    draw_scores(canvas, (684 + 61, row_1 + 13), 11.5, "glance-edge", marks=True)

    canvas.words((306, 381), "focus: strong, on a few tiles", "head", colour="focus-edge")
    step_box(canvas, (256, row_2), size, "focus", (cut_tiles,), top=140)
    for index in range(3):
        draw_tile(canvas, (300 + 20 * index, row_2 + 18 + 10 * index), 70, places=False)
    step_box(canvas, (470, row_2), size, "focus", (Expert,), top=140)
    draw_tile(canvas, (470 + 50, row_2 + 18), 90, places=True)
    step_box(canvas, (684, row_2), size, "focus", (fill_unread, pool_tiles), top=28)
    draw_bag(canvas, (702, row_2 + 208))
    step_box(canvas, (898, row_2), (162, 232), "decide", (fuse_evidence, Calibration), top=28)
    draw_ways(canvas, row_1, row_2)
    draw_answer(canvas, (684, 660))
    return canvas


def draw_ways(canvas: Canvas, row_1: int, row_2: int) -> None:
    """The arrows of the mechanism."""
    up, down = row_1 + 116, row_2 + 116
    canvas.arrow([(208, up), (256, up)])
    canvas.arrow([(446, up), (470, up)])
    canvas.arrow([(660, up), (684, up)])
    canvas.arrow([(118, 402), (118, down), (256, down)])
    canvas.arrow([(446, down), (470, down)], "focus-edge")
    canvas.arrow([(660, down), (684, down)], "focus-edge")
    canvas.arrow([(874, down), (898, down)], "focus-edge")
    canvas.arrow([(740, 324), (740, 352), (286, 352), (286, row_2)], "focus-edge")
    canvas.words((726, 345), "tiles at or above the threshold; none: the expert never runs",
                 "body", colour="ink", anchor="end")  # fmt: skip
    canvas.arrow([(838, 324), (838, row_2)], "glance-edge", dashed=True)
    canvas.words((846, 352), "guess for tiles", "body", colour="ink")
    canvas.words((846, 367), "not read", "body", colour="ink")
    canvas.arrow([(565, row_1), (565, 62), (979, 62), (979, row_2)], "glance-edge", dashed=True)
    canvas.words((965, 55), "evidence of the glance itself", "body", colour="ink", anchor="end")
    canvas.arrow([(979, row_2 + 232), (979, 660)], "decide-edge")


def draw_bag(canvas: Canvas, foot: Point) -> None:
    """The evidence of all tiles of a photo: a few read, the others guessed."""
    heights = (7, 10, 6, 34, 8, 9, 40, 6, 12, 26, 8, 7, 10)
    for index, height in enumerate(heights):
        read = height > 20
        canvas.rect(
            (foot[0] + 12 * index, foot[1] - height), (8.5, height),
            "focus-edge" if read else "none", None if read else "glance-edge",
            radius=1.5, stroke=1,
        )  # fmt: skip
    canvas.words((foot[0] + 77, foot[1] + 14), "read and guessed: one bag", "body",
                 colour="soft", anchor="middle")  # fmt: skip


def draw_answer(canvas: Canvas, corner: Point) -> None:
    """The diagnosis: a bar for each label, and what is healthy."""
    x, y = corner
    canvas.rect(corner, (376, 84), "plain", "decide-edge")
    draw_photo(canvas, (x + 14, y + 10), (48, 64))
    for left, top, radius in LESIONS:
        at = x + 14 + left * 48 - 5, y + 10 + top * 64 - 5
        canvas.rect(at, (10 + 40 * radius - 1, 10), "none", "back", radius=2, stroke=1.4)
    for index, (label, prob, threshold) in enumerate(
        (("rust", 0.93, 0.42), ("blight", 0.11, 0.36), ("miner", 0.06, 0.5))
    ):
        level = y + 24 + 22 * index
        canvas.words((x + 82, level), label, "body")
        canvas.rect((x + 130, level - 9), (110, 10), "hair", None, radius=3)
        canvas.rect((x + 130, level - 9), (110 * prob, 10), "decide-edge", None, radius=3)
        mark = x + 130 + 110 * threshold
        canvas.curve(f"M{mark:g} {level - 12:g}V{level + 4:g}", "ink", stroke=1.4)
    canvas.words((x + 254, y + 28), "diagnosis", "head", colour="decide-edge")
    canvas.words((x + 254, y + 46), "labels, places, cost", "body", colour="ink")
    canvas.words((x + 254, y + 62), "healthy: no label", "body", colour="ink")
    canvas.words((x + 254, y + 76), "reaches its mark", "body", colour="ink")
