"""LeafScout on megapixel digits: glance, peaks of the scout, tiles around them, expert, answers."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from leafscout.glance.choose import ChoiceRule, choose_tiles, fit_threshold
from leafscout.losses.evidence import evidence_loss
from megapixel_learning import (
    RATE,
    Outcome,
    Sizes,
    Trainer,
    answer_from_tiles,
    count_steps,
    draw_batches,
    loss_of,
)
from megapixel_looking import (
    JITTER_PX,
    CanvasSet,
    Peaks,
    cut_around,
    find_peaks,
    jitter,
    join_bag,
    snap_to_grid,
)
from megapixel_networks import EvidencePooling, GlanceScout, TileReader

MAX_TILES = 8
WIDE_PEAKS = 24
KEEP_RECALL = 0.9
"""Of the validation canvases, the share that keeps every digit the expert sees."""

SCOUT_BEST_PLACES = 8
EVIDENCE_WEIGHT = 2.0


@dataclass
class Scouting:
    """LeafScout's two networks and what they have found so far on the training canvases."""

    scout: GlanceScout
    expert: TileReader
    train: CanvasSet
    rng: np.random.Generator
    sizes: Sizes

    def __post_init__(self) -> None:
        # One schedule for the expert, although the scout learns in between.
        self.trainer = Trainer(
            self.expert, count_steps(len(self.train.canvases), self.sizes.epochs)
        )

    @torch.no_grad()
    def look(self, data: CanvasSet, count: int) -> list[Peaks]:
        """The best peaks of every canvas."""
        self.scout.eval()
        found = [
            find_peaks(self.scout(torch.from_numpy(one[None]))[0], data.side_px, count)
            for one in data.glances
        ]
        return [snap_to_grid(one, data.side_px) for one in found] if self.sizes.on_grid else found

    def learn_presence(self, epochs: int) -> None:
        """The scout by itself: canvases with digits have places unlike anything in pure noise."""
        train, count = self.train, len(self.train.canvases)
        trainer = Trainer(self.scout, count_steps(count, epochs))
        for _ in range(epochs):
            for rows in draw_batches(count, self.rng):
                self.scout.train()
                maps = self.scout(self._turned(rows)).flatten(1)
                full = train.targets(rows)[0][:, 0] >= 0
                trainer.step(_presence_loss(maps, full))

    def _turned(self, rows: np.ndarray) -> Tensor:
        glances = self.train.glances[rows]
        turned = np.rot90(glances, self.rng.integers(4), axes=(1, 2))
        return torch.from_numpy(np.ascontiguousarray(turned))

    def learn_digits(self, epochs: int, peaks: Sequence[Peaks]) -> None:
        """The expert: tiles around the scout's peaks against what is known of the canvas."""
        train, count = self.train, len(self.train.canvases)
        wide = [
            cut_around(train, row, one.corners_px[:MAX_TILES], JITTER_PX)
            for row, one in enumerate(peaks)
        ]
        for _ in range(epochs):
            for rows in draw_batches(count, self.rng):
                parts = []
                for row in rows:
                    tiles, shift = jitter(wide[row], self.rng)
                    parts.append((tiles, peaks[row].corners_px[:MAX_TILES] + shift))
                bag = join_bag(parts)
                self.expert.train()
                logits = self.expert(bag.tiles, bag.middles_px, train.side_px, bag.mask)
                self.trainer.step(loss_of(logits, *train.targets(rows)))

    @torch.no_grad()
    def judge(self, data: CanvasSet, peaks: Sequence[Peaks]) -> list[NDArray[np.float32]]:
        """Per canvas, the expert's evidence at the peaks: probability of its likeliest digit."""
        self.expert.eval()
        heads = self.expert.heads
        if not isinstance(heads, EvidencePooling):
            raise TypeError("The scout learns from evidence of tiles; use the evidence pooling.")
        return [
            heads.score_tiles(
                self.expert.encoder(torch.from_numpy(cut_around(data, row, one.corners_px)))
            )
            .sigmoid()
            .numpy()
            for row, one in enumerate(peaks)
        ]

    def learn_evidence(self, epochs: int, peaks: Sequence[Peaks]) -> None:
        """The scout again: it predicts the expert's evidence where that was read, else nothing."""
        train, count = self.train, len(self.train.canvases)
        evidence = self.judge(train, peaks)
        trainer = Trainer(self.scout, count_steps(count, epochs), rate=RATE / 3)
        for _ in range(epochs):
            for rows in draw_batches(count, self.rng):
                self.scout.train()
                maps = self.scout(torch.from_numpy(train.glances[rows]))
                losses = [
                    _evidence_loss(one, peaks[row].cells, torch.from_numpy(evidence[row]))
                    for one, row in zip(maps, rows, strict=True)
                ]
                trainer.step(torch.stack(losses).mean())


def _presence_loss(maps: Tensor, full: Tensor) -> Tensor:
    best = maps.topk(SCOUT_BEST_PLACES, dim=1).values
    total = maps.new_zeros(())
    if full.any():
        total = total + F.softplus(-best[full].mean(dim=1)).mean()
    if (~full).any():
        total = total + F.softplus(best[~full]).mean() + F.softplus(maps[~full]).mean()
    return total


def _evidence_loss(score_map: Tensor, cells: np.ndarray, target: Tensor) -> Tensor:
    """Read places: the expert's evidence. Elsewhere nothing; next to a read place, less surely.

    Without a say on the neighbours of a read place the peaks drift away from the digits.
    """
    read = torch.zeros(score_map.numel())
    read[torch.from_numpy(cells)] = 1.0
    near = F.max_pool2d(read.view(1, 1, *score_map.shape), 3, stride=1, padding=1).flatten()
    flat = score_map.flatten()
    known = evidence_loss(flat[torch.from_numpy(cells)], target, EVIDENCE_WEIGHT)
    beside = (near > 0) & (read == 0)
    return known + F.softplus(flat[near == 0]).mean() + 0.25 * F.softplus(flat[beside]).mean()


def learn_leafscout(
    train: CanvasSet, validation: CanvasSet, seed: int, sizes: Sizes
) -> Callable[[CanvasSet], Outcome]:
    """Glance, peaks of the scout, tiles around them, expert, evidence pooled by position.

    The scout learns where canvases with digits differ from pure noise; the expert learns on its
    best peaks. Where ``sizes`` say so, the scout then learns the expert's evidence at more peaks
    and the expert goes on with the new ones. The threshold comes from the validation canvases.
    """
    torch.manual_seed(seed)
    both = Scouting(
        GlanceScout(),
        TileReader("evidence", centred=not sizes.on_grid),
        train,
        np.random.default_rng([seed, 4]),
        sizes,
    )
    both.learn_presence(sizes.scout_epochs[0])
    if sizes.scout_epochs[1]:
        both.learn_digits(sizes.first_epochs, both.look(train, MAX_TILES))
        both.learn_evidence(sizes.scout_epochs[1], both.look(train, WIDE_PEAKS))
    both.learn_digits(sizes.epochs - sizes.first_epochs, both.look(train, MAX_TILES))
    peaks = both.look(validation, WIDE_PEAKS)
    evidence = both.judge(validation, peaks)
    threshold = fit_threshold(
        [to_probs(one.scores) for one in peaks],
        [np.flatnonzero(one >= 0.5).tolist() for one in evidence],
        KEEP_RECALL,
    )
    rule = ChoiceRule(threshold_prob=threshold, max_tiles=MAX_TILES)

    def answer(data: CanvasSet) -> Outcome:
        return answer_from_tiles(both.expert, data, _open_peaks(both, data, rule))

    return answer


def _open_peaks(
    both: Scouting, data: CanvasSet, rule: ChoiceRule
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    for row, one in enumerate(both.look(data, WIDE_PEAKS)):
        read = choose_tiles(to_probs(one.scores), np.zeros(0, dtype=np.float32), rule)
        corners = one.corners_px[read]
        yield cut_around(data, row, corners), corners


def to_probs(scores: NDArray[np.float32]) -> NDArray[np.float32]:
    return (1.0 / (1.0 + np.exp(-scores))).astype(np.float32)
