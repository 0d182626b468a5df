"""Where gradients run in training, and where they must not."""

from __future__ import annotations

import re

from drawing.canvas import Canvas, Point
from drawing.names import Named, name_of
from leafscout.diagnosis.calibrate import fit_calibration
from leafscout.diagnosis.pooling_torch import pool_bags
from leafscout.evaluation.thresholds import bagged_f1_thresholds
from leafscout.focus.expert import Expert
from leafscout.glance.scout import Scout, pool_places_torch
from leafscout.glance.view import take_glance
from leafscout.losses.bag import bag_loss, exact_negative_loss
from leafscout.losses.evidence import evidence_loss
from leafscout.training.evidence_pass import gather_evidence
from leafscout.training.fit_rules import fit_choice, fit_glance_weights
from leafscout.training.scout_targets import evidence_targets
from leafscout.training.tile_selection import rank_for_learning
from leafscout.training.warm_start import warm_start

NODE_HEIGHT = 52.0


def draw_node(
    canvas: Canvas,
    corner: Point,
    width: float,
    title: str,
    caption: str,
    colour: str = "plain",
    *,
    still: bool = False,
    height: float = NODE_HEIGHT,
) -> None:
    """A step in the flow of gradients; ``still`` where nothing is learnt."""
    edge = "line" if colour == "plain" else f"{colour}-edge"
    canvas.rect(corner, (width, height), colour, edge, dashed=still)
    middle, y = corner[0] + width / 2, corner[1] + height / 2
    code = re.fullmatch(r"[A-Za-z0-9_.]+", title) is not None
    canvas.words((middle, y - 4), title, "name" if code else "head",
                 colour="ink" if colour == "plain" else edge, anchor="middle")  # fmt: skip
    canvas.words((middle, y + 14), caption, "body", colour="ink", anchor="middle")


def link(canvas: Canvas, start: float, end: float, y: float, *, back: bool = True) -> None:
    """A forward arrow from left to right, and the gradient's way back below it."""
    if not back:
        canvas.arrow([(start, y), (end, y)])
        return
    canvas.arrow([(start, y - 9), (end, y - 9)])
    canvas.arrow([(end, y + 9), (start, y + 9)], "back", stroke=2.6)


def draw_lane(canvas: Canvas, top: float, height: float, title: str, said: str) -> None:
    """The ground of a stage, with its name and what it is about."""
    canvas.rect((20, top), (1040, height), "plain", "hair", radius=10)
    canvas.words((38, top + 25), title, "head")
    canvas.words((38 + 8.3 * len(title) + 12, top + 25), said, "body", colour="soft")


def draw_gradients() -> Canvas:
    """Where gradients run, and where they must not."""
    canvas = Canvas(
        1080, 872, "Where gradients run, and where they must not",
        "Four stages. In the warm start gradients reach the new layers and not the backbone. In "
        "stage 1 they reach the tiles learnt from and not those that were only scored. In stage 2 "
        "they reach the scout and not the expert. The rules are fitted without any.",
    )  # fmt: skip
    canvas.words((28, 40), "Where gradients run, and where they must not", "title")
    canvas.arrow([(620, 34), (660, 34)])
    canvas.words((668, 38), "forward", "body", colour="ink")
    canvas.arrow([(760, 34), (720, 34)], "back", stroke=2.6)
    canvas.words((768, 38), "gradient", "body", colour="ink")
    canvas.wall(838, 26, 44)
    canvas.words((850, 38), "no gradient", "body", colour="ink")
    canvas.rect((934, 26), (26, 17), "none", "line", radius=4, dashed=True)
    canvas.words((967, 38), "stays as it is", "body", colour="ink")
    draw_warm_start(canvas, 60)
    draw_expert_stage(canvas, 190)
    draw_scout_stage(canvas, 476)
    draw_rules(canvas, 736)
    return canvas


def draw_warm_start(canvas: Canvas, top: float) -> None:
    """Only the new layers learn."""
    draw_lane(canvas, top, 118, name_of(warm_start), "only the new layers learn")
    y = top + 46
    draw_node(canvas, (38, y), 130, "every tile", "full resolution")
    draw_node(canvas, (236, y), 150, "backbone", "pretrained, run once", "focus", still=True)
    draw_node(canvas, (456, y), 150, "head, attention", "the new layers", "focus")
    draw_node(canvas, (668, y), 140, name_of(pool_bags), "tiles → photo")
    draw_node(canvas, (872, y), 170, name_of(bag_loss), "against photo labels", "decide")
    link(canvas, 168, 236, y + 26, back=False)
    canvas.arrow([(386, y + 17), (456, y + 17)])
    canvas.arrow([(456, y + 35), (430, y + 35)], "back", stroke=2.6)
    canvas.wall(421, y + 4, y + 48)
    link(canvas, 606, 668, y + 26)
    link(canvas, 808, 872, y + 26)


def draw_expert_stage(canvas: Canvas, top: float) -> None:
    """The bag holds all tiles, and gradients reach those chosen to learn from."""
    draw_lane(canvas, top, 274, "Stage 1: the expert",
              "one photo a bag; every tile counts in it, the chosen ones learn")  # fmt: skip
    first, second, third = top + 52, top + 134, top + 208
    draw_node(canvas, (38, first), 130, "every tile", "of one photo")
    draw_node(canvas, (236, first), 150, name_of(Expert), "scores, no gradients", "focus",
              still=True)  # fmt: skip
    draw_node(canvas, (456, first), 150, name_of(rank_for_learning), "best and random")
    draw_node(canvas, (456, second), 150, name_of(Expert), "reads them again", "focus")
    draw_node(canvas, (668, second), 140, name_of(pool_bags), "of all tiles")
    draw_node(canvas, (872, second), 170, name_of(bag_loss), "error σ(Z) − y", "decide")
    draw_node(canvas, (872, third), 170, name_of(exact_negative_loss), "absent: σ(z) each",
              "decide")  # fmt: skip
    link(canvas, 168, 236, first + 26, back=False)
    link(canvas, 386, 456, first + 26, back=False)
    canvas.arrow([(531, first + 52), (531, second)])
    canvas.arrow([(103, first + 52), (103, second + 26), (456, second + 26)])
    canvas.words((118, second + 18), "only these are kept for the way back", "body", colour="soft")
    canvas.words((118, second + 42), "so memory does not grow with the photo", "body",
                 colour="soft")  # fmt: skip
    # The other tiles count, as constants.
    canvas.arrow([(311, first), (311, first - 14), (738, first - 14), (738, second)], dashed=True)
    canvas.curve(f"M724 {second - 26:g}H752M724 {second - 21:g}H752", "ink", stroke=2)
    canvas.words((760, first + 14), "evidence of the other tiles:", "body", colour="ink")
    canvas.words((760, first + 29), "constants in the bag", "body", colour="ink")
    link(canvas, 606, 668, second + 26)
    link(canvas, 808, 872, second + 26)
    canvas.arrow([(516, second + 52), (516, third + 17), (872, third + 17)])
    canvas.arrow([(872, third + 35), (546, third + 35), (546, second + 52)], "back", stroke=2.6)
    canvas.words((640, second + 78), "share", "body", colour="back", anchor="middle")
    canvas.words((640, second + 65), "error ×", "body", colour="back", anchor="middle")


def draw_scout_stage(canvas: Canvas, top: float) -> None:
    """The expert's evidence is a target, and the scout alone learns."""
    draw_lane(canvas, top, 248, "Stage 2: the scout",
              "the expert's evidence on every tile is a target made of numbers")  # fmt: skip
    first, second, third = top + 42, top + 112, top + 182
    draw_node(canvas, (38, first), 130, "every tile", "full resolution")
    draw_node(canvas, (236, first), 150, name_of(Expert), "as stage 1 left it", "focus", still=True)
    draw_node(canvas, (456, first), 150, name_of(gather_evidence), "stored as numbers")
    draw_node(canvas, (668, first), 140, name_of(evidence_targets), "absent labels: 0")
    draw_node(canvas, (38, second), 130, name_of(take_glance), "the whole photo")
    draw_node(canvas, (236, second), 150, name_of(Scout), "maps of places", "glance")
    draw_node(canvas, (668, second), 140, name_of(pool_places_torch), "places → tiles")
    draw_node(canvas, (872, first), 170, name_of(evidence_loss), "p − target, weighted",
              "decide", height=second + 52 - first)  # fmt: skip
    draw_node(canvas, (872, third), 170, name_of(bag_loss), "of the glance itself", "decide")
    link(canvas, 168, 236, first + 26, back=False)
    link(canvas, 386, 456, first + 26, back=False)
    link(canvas, 606, 668, first + 26, back=False)
    canvas.wall(421, first + 4, first + 48)
    link(canvas, 808, 872, first + 26, back=False)
    link(canvas, 168, 236, second + 26, back=False)
    link(canvas, 386, 668, second + 26)
    link(canvas, 808, 872, second + 26)
    canvas.arrow([(296, second + 52), (296, third + 17), (872, third + 17)])
    canvas.arrow([(872, third + 35), (326, third + 35), (326, second + 52)], "back", stroke=2.6)


def draw_rules(canvas: Canvas, top: float) -> None:
    """What lies between the networks is fitted, not learnt."""
    draw_lane(canvas, top, 118, "The rules",
              "fitted on validation photos along the deployed path, without gradients")  # fmt: skip
    y = top + 46
    steps: tuple[tuple[Named, str], ...] = (
        (fit_choice, "an order statistic"),
        (fit_glance_weights, "an equal say, once calibrated"),
        (fit_calibration, "Newton's method"),
        (bagged_f1_thresholds, "resampled best F1"),
    )
    draw_node(canvas, (38, y), 130, "both networks", "as they are", still=True)
    x, start = 204.0, 168.0
    for thing, caption in steps:
        width = 186.0
        draw_node(canvas, (x, y), width, name_of(thing), caption, "decide")
        link(canvas, start, x, y + 26, back=False)
        start, x = x + width, x + width + 31.5
    canvas.wall(182, y + 4, y + 48)
