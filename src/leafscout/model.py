"""The two-stage model: glance, then focus. ``forward`` is the whole method on one screen.

Nothing here knows torch: scout and expert are functions from pixels to arrays, which any runtime
can supply.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import NamedTuple, Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray

from leafscout.diagnosis.calibrate import Calibration, sigmoid
from leafscout.diagnosis.fuse import fill_unread, fuse_evidence
from leafscout.diagnosis.pooling import ATTENTION_POOLINGS, pool_tiles
from leafscout.focus.tile_reader import read_tiles
from leafscout.glance.choose import ChoiceRule, choose_tiles
from leafscout.glance.closer import count_closer_px, look_closer
from leafscout.glance.familiarity import Familiarity
from leafscout.glance.mirrored import mirror_glance, turn_back
from leafscout.glance.places import pool_places
from leafscout.glance.view import glance_size_px_hw, take_glance
from leafscout.photos.tiles import lay_tiles
from leafscout.types import Evidence, FloatArray, Glance, Photo, Pixels, Tiles

ReadTiles: TypeAlias = Callable[[Photo, Tiles, NDArray[np.intp]], Pixels]
"""A photo, its grid and which tiles → (tiles, tile_px, tile_px, 3) pixels."""


class GlanceEvidence(NamedTuple):
    """The scout's answer for one glance; logits.

    Attributes:
        score_map: (rows, columns) "something is wrong here".
        label_maps: (labels, rows, columns) guess at the expert's evidence.
        glance_logits: (labels,) photo-level evidence.
    """

    score_map: FloatArray
    label_maps: FloatArray
    glance_logits: FloatArray


class TileEvidence(NamedTuple):
    """The expert's answer for a batch of tiles; logits.

    Attributes:
        tile_logits: (tiles, labels).
        attention_logits: (tiles, labels).
        place_logits: (tiles, labels, rows, columns).
    """

    tile_logits: FloatArray
    attention_logits: FloatArray
    place_logits: FloatArray


class Scouted(NamedTuple):
    """What the glance says about one photo.

    Attributes:
        tiles: the grid.
        scout_logits: (tiles,) "something is wrong here".
        scout_label_logits: (tiles, labels) guess at the expert's evidence.
        glance_logits: (labels,) photo-level evidence.
        read: (tiles,) True for the tiles that the expert is to read; none is an early exit.
        scout_spread: (tiles,) standard deviation of ``scout_logits`` over mirrored glances; None
            where there was one glance.
        strangeness: how unlike the training photos the glance is; above 1 counts as unlike.
    """

    tiles: Tiles
    scout_logits: FloatArray
    scout_label_logits: FloatArray
    glance_logits: FloatArray
    read: NDArray[np.bool_]
    scout_spread: FloatArray | None = None
    strangeness: float = 0.0


class Networks(Protocol):
    """A runtime that can run scout and expert."""

    def run_scout(self, glance: Pixels) -> GlanceEvidence:
        """(height, width, 3) pixels of a glance → evidence."""
        ...

    def run_expert(self, tiles: Pixels) -> TileEvidence:
        """(tiles, tile_px, tile_px, 3) pixels → evidence; at least one tile."""
        ...


@dataclass(frozen=True)
class Rules:
    """Everything between and after the networks.

    Attributes:
        labels: names of the diseases.
        tile_px: side of a tile.
        glance_px: long side of the glance.
        pooling: a key of ``leafscout.diagnosis.pooling.POOLINGS``.
        choice: which tiles are read.
        glance_weights: of the glance in the fused evidence, 0..1, one a label.
        calibration: fused logits → probabilities.
        thresholds: one a label.
        expert_macs: multiply-adds of the expert for one tile.
        scout_macs_per_px: multiply-adds of the scout for one pixel of the glance.
        place_offset_px: how far right of and below an even grid the expert sees its places.
        familiarity: what the training photos look like; None where it is not known.
    """

    labels: tuple[str, ...]
    tile_px: int
    glance_px: int
    pooling: str
    choice: ChoiceRule
    glance_weights: tuple[float, ...]
    calibration: Calibration
    thresholds: tuple[float, ...]
    expert_macs: int
    scout_macs_per_px: float
    place_offset_px: float = 0.0
    familiarity: Familiarity | None = None

    def measure_strangeness(self, view: Pixels) -> float:
        """How unlike the training photos a small view is, from 0; above 1 counts as unlike."""
        return 0.0 if self.familiarity is None else self.familiarity.measure(view)

    def calibrate(self, logits: FloatArray, strangeness: float) -> FloatArray:
        """(labels,) logits → probabilities, drawn to the prior where the photo is strange."""
        probs = self.calibration.apply(logits)
        if self.familiarity is None:
            return probs
        return self.familiarity.draw_to_prior(
            probs, strangeness, exclusive=self.calibration.exclusive
        )


def choose_read(seen: Scouted | Evidence, rule: ChoiceRule) -> NDArray[np.bool_]:
    """(tiles,) which tiles a choice reads, given what the glances said."""
    return choose_tiles(
        sigmoid(seen.scout_logits).astype(np.float32),
        sigmoid(seen.glance_logits).astype(np.float32),
        rule,
        seen.scout_spread,
    )


class Core(Protocol):
    """What a trained model can do with one photo, whatever it is made of."""

    @property
    def rules(self) -> Rules:
        """Everything between and after the networks."""
        ...

    def forward(
        self, photo: Photo, *, read_all: bool = False, read: ReadTiles = ...
    ) -> tuple[Evidence, Tiles]:
        """A photo → evidence, and the grid that it refers to."""
        ...

    def label_probs(self, evidence: Evidence) -> FloatArray:
        """(labels,) calibrated probabilities."""
        ...

    def count_macs(self, photo_size_px_hw: tuple[int, int], tiles_read: int) -> int:
        """Multiply-adds for a photo of this size of which so many tiles are read."""
        ...

    def count_macs_all_tiles(self, photo_size_px_hw: tuple[int, int]) -> int:
        """Multiply-adds of looking closely everywhere."""
        ...


@dataclass(frozen=True)
class GlanceAndFocus:
    """A trained model: two networks and the rules between them."""

    networks: Networks
    rules: Rules

    def forward(
        self, photo: Photo, *, read_all: bool = False, read: ReadTiles = read_tiles
    ) -> tuple[Evidence, Tiles]:
        """Look at one photo.

        Args:
            photo: the photo.
            read_all: let the expert read every tile; the reference that skipping is judged by.
            read: how tiles are read from the photo; changes memory, never what is read.

        Returns:
            The evidence, and the grid of tiles that it refers to.
        """
        scouted = self.scout(self.take_glance(photo), read_all=read_all)
        found = None
        if scouted.read.any():
            chosen = np.flatnonzero(scouted.read)
            found = self.networks.run_expert(read(photo, scouted.tiles, chosen))
        return self.conclude(scouted, found), scouted.tiles

    def take_glance(self, photo: Photo) -> Glance:
        """The small view of a photo, and the closer one where the choice wants it."""
        return take_glance(photo, self.rules.glance_px, self.rules.choice.closer_glance_px)

    def scout(self, glance: Glance, *, read_all: bool = False) -> Scouted:
        """Glance: where is something wrong, and which tiles are worth a closer look?

        Args:
            glance: of a photo, made by ``self.take_glance``.
            read_all: choose every tile.

        Raises:
            ValueError: when the choice wants a closer glance and there is none.
        """
        tiles = lay_tiles(glance.photo_size_px_hw, self.rules.tile_px)
        maps, glance_logits = self._look(glance)
        exponent = self.rules.choice.border_exponent
        # One row a view: (views, tiles, 1 + labels).
        logits = np.stack([pool_places(one, tiles, exponent) for one in maps])
        mean = logits.mean(axis=0)
        scouted = Scouted(
            tiles=tiles,
            scout_logits=mean[:, 0],
            scout_label_logits=mean[:, 1:],
            glance_logits=glance_logits,
            read=np.ones(len(tiles), dtype=np.bool_),
            scout_spread=logits[:, :, 0].std(axis=0) if len(logits) > 1 else None,
            strangeness=self.rules.measure_strangeness(glance.pixels),
        )
        return (
            scouted if read_all else scouted._replace(read=choose_read(scouted, self.rules.choice))
        )

    def _look(self, glance: Glance) -> tuple[FloatArray, FloatArray]:
        """(views, 1 + labels, rows, columns) maps, and (labels,) evidence of the whole glance."""
        choice = self.rules.choice
        maps, glance_logits = self._look_mirrored(glance.pixels)
        if not choice.closer_glance_px:
            return maps, glance_logits
        if glance.closer is None:
            raise ValueError("Expected a glance with a closer one: take it with the model.")
        closer = look_closer(
            maps, glance.closer, choice.closer_regions, lambda part: self._look_mirrored(part)[0]
        )
        return closer, glance_logits

    def _look_mirrored(self, pixels: Pixels) -> tuple[FloatArray, FloatArray]:
        views = mirror_glance(pixels, self.rules.choice.mirrored_glances)
        seen = [self.networks.run_scout(view) for view in views]
        maps = [np.concatenate([one.score_map[None], one.label_maps]) for one in seen]
        glance_logits: FloatArray = np.mean([one.glance_logits for one in seen], axis=0)
        return np.stack(turn_back(maps)), glance_logits.astype(np.float32)

    def conclude(self, scouted: Scouted, found: TileEvidence | None) -> Evidence:
        """Focus: what is it? All evidence of a photo together.

        Args:
            scouted: what the glance said.
            found: the expert's answer for the tiles to read, in their order; None when there are
                none: the expert never ran.
        """
        labels, read = len(self.rules.labels), scouted.read
        tile_logits = np.full((len(read), labels), np.nan, dtype=np.float32)
        attention_logits = np.zeros_like(tile_logits)
        place_logits = np.zeros((0, labels, 1, 1), dtype=np.float32)
        if found is not None:
            tile_logits[read] = found.tile_logits
            attention_logits[read] = found.attention_logits
            place_logits = found.place_logits
        evidence = Evidence(
            scout_logits=scouted.scout_logits,
            scout_label_logits=scouted.scout_label_logits,
            glance_logits=scouted.glance_logits,
            read=read,
            tile_logits=tile_logits,
            attention_logits=attention_logits,
            focus_logits=np.zeros(labels, dtype=np.float32),
            place_logits=place_logits,
            scout_spread=scouted.scout_spread,
            strangeness=scouted.strangeness,
        )
        return replace(evidence, focus_logits=self.pool(evidence, read))

    def pool(self, evidence: Evidence, read: NDArray[np.bool_]) -> FloatArray:
        """Pool the evidence of all tiles, as if only some of those read had been read.

        Args:
            evidence: of one photo.
            read: (tiles,) which tiles count as read; the others enter with the scout's guess.

        Returns:
            (labels,) logits.
        """
        pooling, attention = self.rules.pooling, evidence.attention_logits
        everything = np.ones_like(read)
        filled = fill_unread(
            evidence.tile_logits, evidence.scout_logits, evidence.scout_label_logits, read
        )
        if pooling not in ATTENTION_POOLINGS:
            return pool_tiles(pooling, filled, attention, everything)
        # The scout gives no attention: only what was read is weighed against each other.
        if read.any():
            return pool_tiles(pooling, filled, attention, read)
        return pool_tiles("max", filled, attention, everything)

    def label_probs(self, evidence: Evidence) -> FloatArray:
        """(labels,) calibrated probabilities of the fused evidence."""
        fused = fuse_evidence(
            evidence.focus_logits, evidence.glance_logits, self.rules.glance_weights
        )
        return self.rules.calibrate(fused, evidence.strangeness)

    def count_macs(self, photo_size_px_hw: tuple[int, int], tiles_read: int) -> int:
        """Multiply-adds of scout and expert for a photo of this size and so many tiles read."""
        rules, choice = self.rules, self.rules.choice
        height, width = glance_size_px_hw(photo_size_px_hw, rules.glance_px)
        pixels = height * width
        if choice.closer_glance_px:
            closer = glance_size_px_hw(photo_size_px_hw, choice.closer_glance_px)
            pixels += count_closer_px(closer, choice.closer_regions)
        pixels *= 1 + choice.mirrored_glances
        return round(rules.scout_macs_per_px * pixels + rules.expert_macs * tiles_read)

    def count_macs_all_tiles(self, photo_size_px_hw: tuple[int, int]) -> int:
        """Multiply-adds of the expert on every tile of a photo of this size."""
        return self.rules.expert_macs * len(lay_tiles(photo_size_px_hw, self.rules.tile_px))
