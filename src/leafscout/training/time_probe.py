"""A few steps of the real networks on real photos: how long training takes on this machine."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import numpy as np
import torch
from torch import nn

from leafscout.glance.view import take_glance
from leafscout.networks import (
    TorchNetworks,
    bfloat16_helps,
    build_expert,
    build_scout,
    choose_device,
    keep_freed_memory,
    set_threads,
    to_batch,
)
from leafscout.photos.decode import decode_photo
from leafscout.photos.fingerprint import fingerprint
from leafscout.photos.label_table import LabelTable
from leafscout.photos.tiles import cut_tiles, lay_tiles
from leafscout.training.expert_stage import ExpertStage
from leafscout.training.plan_facts import DataFacts
from leafscout.training.plan_times import ProbedTimes
from leafscout.training.progress import TrainingProgress, peak_memory_mib
from leafscout.training.recipes import Recipe
from leafscout.training.scout_stage import ScoutStage
from leafscout.training.warm_start import warm_start
from leafscout.types import FloatArray, Photo

PHOTOS = 3
"""Photos of the probe; the first only warms up, unless it alone takes ``LONG_S``."""

LONG_S = 2.0

FIXED_S = 1.0
"""What hardly depends on the photos: reading labels, fitting calibrations, saving the model."""

_Item = TypeVar("_Item")


def find_gpu() -> str:
    """Name of the GPU that PyTorch would train on; empty without one."""
    return torch.cuda.get_device_name(0) if torch.cuda.is_available() else ""


def probe_times(
    recipe: Recipe,
    table: LabelTable,
    data: DataFacts,
    *,
    cores: int,
    threads: int | None = None,
    progress: TrainingProgress | None = None,
    clock: Callable[[], float] = time.perf_counter,
) -> ProbedTimes:
    """Measure a few steps of every stage on photos of median size.

    The networks start from scratch, so nothing is downloaded; the time is the same.

    Args:
        recipe: sizes and networks.
        table: the photos.
        data: their sizes.
        cores: that decode photos while the networks run.
        threads: CPU threads of PyTorch; None for all cores.
        progress: where to show the warm start of the probe.
        clock: seconds from some moment on; another one measures other than wall time.

    Returns:
        Seconds for a photo of mean size.
    """
    started_s = clock()
    set_threads(threads)
    keep_freed_memory()
    torch.manual_seed(0)
    part = table.subset(_choose_photos(data))
    probe = _Probe(recipe, part, progress or TrainingProgress())
    watch = _Stopwatch(clock)
    measure = watch.measure
    built_s = clock() - started_s
    photos = [decode_photo(path) for path in part.paths]
    decode_s = measure(decode_photo, part.paths)
    # Photos differ in size: those measured stand for all by their number of tiles.
    measured = np.mean([len(lay_tiles(photo.size_px_hw, recipe.tile_px)) for photo in photos])
    scale = data.tiles_per_photo(recipe.tile_px) / float(measured)
    # Decoding runs in threads beside the networks, and takes its share of the cores.
    beside_s = decode_s / cores
    looked_s = measure(probe.look, photos)
    learned_s = measure(probe.learn, list(enumerate(photos)))
    scouted_s = measure(probe.learn_scout, list(enumerate(photos)))
    ruled_s = measure(probe.forward, photos)
    glanced_s = measure(probe.glance, photos)
    printed_s = measure(fingerprint, part.paths) / cores
    began_s = clock()
    if recipe.pretrained:
        probe.warm_up()
    warmed_s = (clock() - began_s) / len(photos)
    return ProbedTimes(
        start_s=built_s + watch.once_s + FIXED_S,
        fingerprint_s=printed_s,
        warm_start_s=warmed_s * scale if recipe.pretrained else 0.0,
        expert_learn_s=max(learned_s + beside_s, decode_s / 2) * scale,
        expert_look_s=max(looked_s + beside_s, decode_s / 2) * scale,
        scout_learn_s=max(scouted_s + beside_s, decode_s / 2),
        scout_look_s=glanced_s,
        glance_s=decode_s / min(2, cores),
        rules_s=(ruled_s + beside_s) * scale,
        memory_bytes=int(peak_memory_mib() * 2**20),
        probe_s=clock() - started_s,
        photos=len(photos),
    )


class _Probe:
    """Both stages on a few photos, and one step of each part of training."""

    def __init__(self, recipe: Recipe, part: LabelTable, progress: TrainingProgress) -> None:
        device = choose_device()
        half = bfloat16_helps(device)
        labels = len(part.labels)
        expert = build_expert(
            recipe.expert,
            labels,
            sharpness=recipe.place_sharpness,
            shrink=recipe.expert_shrink,
            place_stride=recipe.place_stride,
        ).to(device)
        scout = build_scout(recipe.scout, labels, stride=recipe.scout_stride).to(device)
        self.device, self.half, self.recipe, self.progress = device, half, recipe, progress
        self.expert = ExpertStage(expert, recipe, part, part, 0, device, half)
        self._evidence: list[FloatArray] = [np.zeros((0, labels), np.float32)] * len(part)
        self.scout = ScoutStage(
            scout, recipe, part, part, self._evidence, self._evidence, 0, device, half
        )
        self.networks = TorchNetworks(scout, expert, device)
        self._optimizers = {
            stage.name: torch.optim.AdamW(stage.parameter_groups())
            for stage in (self.expert, self.scout)
        }

    @torch.no_grad()
    def look(self, photo: Photo) -> None:
        with torch.autocast(self.device.type, dtype=torch.bfloat16, enabled=self.half):
            self.expert.look(photo)
        self._finish()

    def learn(self, item: tuple[int, Photo]) -> None:
        self._step(self.expert, *item)

    def learn_scout(self, item: tuple[int, Photo]) -> None:
        index, photo = item
        tiles = len(lay_tiles(photo.size_px_hw, self.recipe.tile_px))
        self._evidence[index] = np.zeros((tiles, len(self.scout.train.labels)), np.float32)
        self._step(self.scout, index, photo)

    @torch.no_grad()
    def glance(self, photo: Photo) -> None:
        pixels = take_glance(photo, self.recipe.glance_px).pixels
        with torch.autocast(self.device.type, dtype=torch.bfloat16, enabled=self.half):
            self.scout.network(to_batch(pixels[None], self.device))
        self._finish()

    def forward(self, photo: Photo) -> None:
        self.scout.network.eval()
        self.expert.network.eval()
        self.networks.run_scout(take_glance(photo, self.recipe.glance_px).pixels)
        tiles = lay_tiles(photo.size_px_hw, self.recipe.tile_px)
        self.networks.run_expert(cut_tiles(photo.pixels, tiles, range(len(tiles))))

    def warm_up(self) -> None:
        warm_start(self.expert, self.progress)

    def _step(self, stage: ExpertStage | ScoutStage, index: int, photo: Photo) -> None:
        stage.prepare()
        optimizer = self._optimizers[stage.name]
        optimizer.zero_grad(set_to_none=True)
        with torch.autocast(
            self.device.type, dtype=torch.bfloat16, enabled=self.half, cache_enabled=False
        ):
            loss = stage.loss(index, photo, 0)
        loss.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(stage.network.parameters(), stage.settings.clip_norm)
        if index % stage.settings.photos_per_step == 0:
            optimizer.step()
        self._finish()

    def _finish(self) -> None:
        if self.device.type == "cuda":
            torch.cuda.synchronize()


def _choose_photos(data: DataFacts) -> list[int]:
    """Photos whose number of pixels is nearest to the median."""
    areas = np.array([height * width for height, width in data.sizes_px_hw], dtype=np.float64)
    order = np.argsort(np.abs(areas - np.median(areas)), kind="stable")
    return [data.indices[place] for place in order[:PHOTOS]]


class _Stopwatch:
    """Mean seconds for an item, and what the first items took beyond that.

    The first step of a process loads and compiles what later ones find ready; training pays that
    once as well.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self.once_s = 0.0
        self._clock = clock

    def measure(self, work: Callable[[_Item], Any], items: Sequence[_Item]) -> float:
        seconds = []
        for item in items:
            began_s = self._clock()
            work(item)
            seconds.append(self._clock() - began_s)
            # Where one photo takes long, what comes once hardly matters.
            if len(seconds) == 1 and seconds[0] > LONG_S and self.once_s > 0:
                return seconds[0]
        if len(seconds) == 1:
            return seconds[0]
        mean_s = float(np.mean(seconds[1:]))
        self.once_s += max(0.0, seconds[0] - mean_s)
        return mean_s
