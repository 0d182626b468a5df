"""What is made of what, what each part hears back, and what holds for it."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from drawing.canvas import Canvas, Point
from drawing.names import Named, name_of
from drawing.pictograms import draw_photo, draw_tile
from leafscout.diagnosis.calibrate import Calibration
from leafscout.diagnosis.fuse import fill_unread, fuse_evidence
from leafscout.diagnosis.pooling import POOL_SHARPNESS, pool_log_sum_exp
from leafscout.diagnosis.pooling_torch import pool_bags
from leafscout.evaluation.promise import photos_needed
from leafscout.focus.expert import Expert
from leafscout.losses.tile_labels import background_class_loss

EXAMPLE = (-3.0, -2.2, 2.0, -2.6, 0.8, -3.4, -1.4, -2.9)
"""Evidence of eight tiles: one that shows a lesion, one that may."""


def shares(logits: tuple[float, ...], sharpness: float) -> NDArray[np.float64]:
    """The softmax shares of tiles in a log-sum-exp; equal at sharpness 0, its mean."""
    raised = np.exp(sharpness * (np.array(logits) - max(logits)))
    share: NDArray[np.float64] = raised / raised.sum()
    return share


def soft_maximum(logits: tuple[float, ...], sharpness: float) -> float:
    """The length-normalised log-sum-exp; the mean at sharpness 0."""
    if sharpness == 0:
        return float(np.mean(logits))
    return float(np.log(np.mean(np.exp(sharpness * np.array(logits)))) / sharpness)


def draw_structure() -> Canvas:
    """The mathematics: what is made of what, and what each part hears back."""
    canvas = Canvas(
        1080, 716, "One soft maximum over another",
        "Evidence of places becomes that of a tile, of tiles that of the photo, by log-sum-exp; "
        "then it is fused and calibrated. Backwards, a place hears the photo's error times the "
        "share of its tile times its own share of the tile.",
    )  # fmt: skip
    canvas.words((28, 40), "What is made of what, and what each part hears back", "title")
    columns: tuple[tuple[str, str, str, str, Named, str], ...] = (
        ("places", "z_{ij}", "w · h_{ij} + b", "(σ(Z) − y) π_{i} ρ_{ij}", Expert, "focus"),
        ("a tile", "z_{i}", "s^{−1} ln mean_{j} e^{s zᵢⱼ}", "(σ(Z) − y) π_{i}", Expert, "focus"),
        ("the photo", "Z", "r^{−1} ln mean_{i} e^{r zᵢ}", "σ(Z) − y", pool_log_sum_exp, "focus"),
        ("with the glance", "F", "(1 − w) Z + w G", "fitted, not learnt", fuse_evidence, "decide"),
        ("the answer", "p", "σ(a F + b)", "fitted, not learnt", Calibration, "decide"),
    )
    canvas.words((28, 254), "forward", "head")
    canvas.words((28, 318), "backward", "head", colour="back")
    left, step, width = 118, 192, 170
    for index, (title, symbol, forward, backward, thing, colour) in enumerate(columns):
        x = left + step * index
        canvas.rect((x, 66), (width, 142), colour, f"{colour}-edge")
        canvas.words((x + width / 2, 88), title, "head", colour=f"{colour}-edge", anchor="middle")
        canvas.words((x + width / 2, 198), symbol, "math-big", anchor="middle")
        canvas.words((x + width / 2, 254), forward, "math", anchor="middle")
        canvas.words((x + width / 2, 278), name_of(thing), "name", colour=f"{colour}-edge",
                     anchor="middle")  # fmt: skip
        learnt = backward.startswith(("σ", "("))
        canvas.words((x + width / 2, 318), backward, "math" if learnt else "body",
                     colour="back" if learnt else "soft", anchor="middle")  # fmt: skip
        if index:
            canvas.arrow([(x - step + width, 137), (x, 137)])
        if index in (1, 2):
            canvas.arrow([(x + 22, 334), (x - step + width - 22, 334)], "back", stroke=2.6)
    draw_pictograms(canvas, left, step, width)
    draw_sharpness(canvas, (28, 364))
    draw_laws(canvas, (560, 364))
    return canvas


def draw_pictograms(canvas: Canvas, left: float, step: float, width: float) -> None:
    """Places, tiles, photo, fusion and answer, small."""
    middle = [left + step * index + width / 2 for index in range(5)]
    draw_tile(canvas, (middle[0] - 37, 98), 74, places=True)
    for index, logit in enumerate(EXAMPLE):
        height = 10 + 10 * (logit - min(EXAMPLE))
        canvas.rect((middle[1] - 50 + 13 * index, 172 - height), (9, height), "focus-edge", None,
                    radius=2)  # fmt: skip
    draw_photo(canvas, (middle[2] - 27, 98), (54, 72))
    for x, colour, letter in ((-26.0, "focus-edge", "Z"), (26.0, "glance-edge", "G")):
        canvas.ellipse((middle[3] + x, 118), (17, 17), colour)
        canvas.words((middle[3] + x, 123), letter, "math", colour="plain", anchor="middle")
        canvas.arrow([(middle[3] + x * 0.8, 138), (middle[3] + x * 0.15, 168)])
    canvas.rect((middle[4] - 55, 126), (110, 14), "hair", None, radius=4)
    canvas.rect((middle[4] - 55, 126), (92, 14), "decide-edge", None, radius=4)
    canvas.curve(f"M{middle[4] + 5:g} 118V148", "ink", stroke=1.6)
    canvas.words((middle[4] + 5, 163), "p ≥ t", "math-small", anchor="middle")


def draw_sharpness(canvas: Canvas, corner: Point) -> None:
    """Shares of the same tiles at several sharpnesses: from the mean to the maximum."""
    x, y = corner
    canvas.rect(corner, (512, 324), "plain", "hair", radius=10)
    canvas.words((x + 18, y + 28), "Sharpness leads from the mean to the maximum", "head")
    canvas.paragraph((x + 18, y + 48), "Shares of the photo's error that eight tiles get: "
                     "the gradient of the log-sum-exp.", 480)  # fmt: skip
    zero = y + 262
    for column, sharpness in enumerate((0.0, 0.5, POOL_SHARPNESS, 8.0)):
        foot = x + 22 + 122 * column
        for index, share in enumerate(shares(EXAMPLE, sharpness)):
            at = foot + 12.6 * index
            canvas.rect((at, zero - 165), (10, 165), "hair", None, radius=2, opacity=0.5)
            canvas.rect((at, zero - 165 * share), (10, 165 * share), "back", None, radius=2)
        middle = foot + 50
        canvas.words((middle, zero + 21), f"r = {sharpness:g}", "math", anchor="middle")
        pooled = soft_maximum(EXAMPLE, sharpness)
        said = f"Z = {pooled:.2f}".replace("-", "−")
        canvas.words((middle, zero + 41), said, "math-small", colour="soft", anchor="middle")
    canvas.words((x + 22 + 50, zero - 174), "the mean", "body", colour="soft", anchor="middle")
    canvas.words((x + 22 + 244 + 50, zero - 174), "as deployed", "body", colour="soft",
                 anchor="middle")  # fmt: skip
    canvas.words((x + 22 + 366 + 50, zero - 174), "nearly the maximum", "body", colour="soft",
                 anchor="middle")  # fmt: skip


def draw_laws(canvas: Canvas, corner: Point) -> None:
    """What holds, whatever the networks say."""
    x, y = corner
    canvas.rect(corner, (500, 324), "plain", "hair", radius=10)
    canvas.words((x + 18, y + 28), "What holds whatever the networks say", "head")
    laws: tuple[tuple[str, str, Named], ...] = (
        ("Σ_{i} π_{i} = 1,   π_{i} = e^{r zᵢ} / Σ_{k} e^{r zₖ}",
         "an error is shared out, never grown", pool_bags),
        ("max z − r^{−1} ln n  ≤  Z  ≤  max z",
         "one loud tile is enough, at a price of ln n", pool_log_sum_exp),
        ("− ln ( e^{s} / (e^{s} + e^{s}) ) = ln 2",
         "what a class for healthy leaves, at any scale s", background_class_loss),
        ("|Z_{filled} − Z_{read}|  ≤  share · max |error|",
         "what skipping can do: the share is that of the unread tiles", fill_unread),
        ("(1 − α)^{n} ≤ δ",
         "what n photos without a loss allow to promise", photos_needed),
    )  # fmt: skip
    for index, (formula, meaning, thing) in enumerate(laws):
        level = y + 62 + 54 * index
        canvas.words((x + 24, level), formula, "math")
        canvas.words((x + 24, level + 19), meaning, "body", colour="soft")
        canvas.words((x + 480, level), name_of(thing), "name", colour="decide-edge", anchor="end")
