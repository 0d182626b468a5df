"""How long each step of a diagnosis takes, and in which runtime."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, cast

import numpy as np

from leafscout.errors import InputError
from leafscout.gated_model import GatedModel
from leafscout.inference.answer import build_diagnosis
from leafscout.inference.load import open_core
from leafscout.inference.runtimes import StoredModel, find_model, is_installed, list_exports
from leafscout.model import Core, GlanceAndFocus, GlanceEvidence, Networks, TileEvidence
from leafscout.photos.decode import open_photo
from leafscout.photos.tiles import cut_tiles
from leafscout.recogniser_model import RecogniserModel
from leafscout.types import Pixels

STAGES = ("open", "glance", "scout", "choose", "decode", "cut tiles", "expert", "decide")
"""In the order of the work: the glance is decoded small, the whole photo only if tiles are read."""

ONE_NETWORK_STAGES = ("open", "view", "network", "decide")
"""The same where one network looks once: the view is the photo decoded and made small."""

PRECISE_MS = 3


@dataclass(frozen=True)
class Spread:
    """Times of one thing over many photos, in milliseconds.

    Attributes:
        median_ms: half of the photos take longer.
        low_ms: a tenth take less.
        high_ms: a tenth take more.
        photos: how many times were taken.
    """

    median_ms: float
    low_ms: float
    high_ms: float
    photos: int

    @classmethod
    def of(cls, times_s: Sequence[float]) -> Spread:
        """The spread of times in seconds; at least one."""
        low, median, high = (1e3 * float(np.quantile(times_s, share)) for share in (0.1, 0.5, 0.9))
        return cls(median, low, high, len(times_s))

    def to_dict(self) -> dict[str, float]:
        """JSON-safe values."""
        return {
            name: round(getattr(self, name), PRECISE_MS)
            for name in ("median_ms", "low_ms", "high_ms", "photos")
        }


@dataclass(frozen=True)
class BenchResult:
    """One model in one runtime.

    Attributes:
        name: runtime and precision.
        load_s: seconds to check, open and load it.
        stages: wall time of each of ``STAGES``, or of ``ONE_NETWORK_STAGES``, that took place, per
            photo.
        groups: wall time of whole photos: ``all``, those ``tiles read`` of which the expert read
            some, and those with ``early exit``.
        processor: processor time of whole photos, all threads together.
        tiles_read: mean number of tiles read a photo.
    """

    name: str
    load_s: float
    stages: dict[str, Spread]
    groups: dict[str, Spread]
    processor: Spread
    tiles_read: float

    def to_dict(self) -> dict[str, Any]:
        """JSON-safe values."""
        return {
            "name": self.name,
            "load_s": round(self.load_s, PRECISE_MS),
            "stages": {name: spread.to_dict() for name, spread in self.stages.items()},
            "whole_photo": {name: spread.to_dict() for name, spread in self.groups.items()},
            "processor": self.processor.to_dict(),
            "tiles_read_mean": self.tiles_read,
        }


@dataclass(frozen=True)
class Stopwatch:
    """How long each step of one photo took.

    Attributes:
        spent_s: stage → seconds.
    """

    spent_s: dict[str, float] = field(default_factory=dict)

    @contextmanager
    def time(self, stage: str) -> Iterator[None]:
        """Add the time spent inside to a stage."""
        started_s = time.perf_counter()
        yield
        self.spent_s[stage] = self.spent_s.get(stage, 0.0) + time.perf_counter() - started_s


@dataclass(frozen=True)
class WatchedNetworks:
    """Scout and expert, which note how long they ran.

    Attributes:
        networks: that do the work.
        watch: where it is noted.
    """

    networks: Networks
    watch: Stopwatch

    def run_scout(self, glance: Pixels) -> GlanceEvidence:
        """(height, width, 3) pixels of a glance → evidence."""
        with self.watch.time("scout"):
            return self.networks.run_scout(glance)

    def run_expert(self, tiles: Pixels) -> TileEvidence:
        """(tiles, tile_px, tile_px, 3) pixels → evidence."""
        with self.watch.time("expert"):
            return self.networks.run_expert(tiles)


@dataclass(frozen=True)
class WatchedNetwork:
    """The one network of a model, which notes how long it ran.

    Attributes:
        network: that does the work.
        watch: where it is noted.
    """

    network: Any
    watch: Stopwatch

    def run(self, *args: Any, **options: Any) -> Any:
        """What the network answers."""
        with self.watch.time("network"):
            return self.network.run(*args, **options)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.network, name)


def find_models(folder: Path, runtime: str | None = None) -> list[StoredModel]:
    """Every model of a folder that can run here: PyTorch first, then exported ones.

    Args:
        folder: a run folder or a model folder.
        runtime: only models of this runtime.

    Raises:
        InputError: when there is none.
    """
    first = find_model(folder, runtime)
    found = [first]
    if (folder / "plan.json").is_file():
        found += [
            model
            for model in list_exports(folder)
            if model.folder != first.folder
            and runtime in (None, model.runtime)
            and is_installed(model.runtime)
        ]
    return found


def bench_model(
    model: StoredModel,
    photos: Sequence[Path],
    *,
    repeats: int = 3,
    threads: int | None = None,
    show: Callable[[int, int], None] | None = None,
) -> BenchResult:
    """Time a model on photos, after a first one that does not count.

    Args:
        model: from ``find_models``.
        photos: paths; at least one.
        repeats: passes over the photos.
        threads: CPU threads of the runtime; None takes every core that this process may use.
        show: told the photos done and all.

    Raises:
        InputError: no photos, or no repeats.
        PhotoError: when a photo cannot be used.
    """
    if not photos or repeats < 1:
        raise InputError(f"Expected photos and repeats, got {len(photos)} and {repeats}.")
    started_s = time.perf_counter()
    core = open_core(model, threads)
    load_s = time.perf_counter() - started_s
    time_photo(core, photos[0])
    laps = []
    for done in range(repeats * len(photos)):
        laps.append(time_photo(core, photos[done % len(photos)]))
        if show is not None:
            show(done + 1, repeats * len(photos))
    return _summarise(f"{model.runtime} {model.precision}", load_s, laps)


@dataclass(frozen=True)
class Lap:
    """One photo, once."""

    spent_s: dict[str, float]
    wall_s: float
    processor_s: float
    tiles_read: int


def time_photo(core: Core, path: Path) -> Lap:
    """Diagnose a photo as ``Model.diagnose`` does, with a watch on each step."""
    if isinstance(core, GlanceAndFocus):
        return _time_two_networks(core, path)
    if isinstance(core, GatedModel | RecogniserModel):
        return _time_one_network(core, path)
    raise TypeError(f"Expected a model of a known family, but got {type(core).__name__}.")


def _time_one_network(core: GatedModel | RecogniserModel, path: Path) -> Lap:
    watch = Stopwatch()
    # Anything that runs as its network does fits, but types cannot say so of both families at once.
    model: Core = replace(core, network=cast("Any", WatchedNetwork(core.network, watch)))
    processor_s, started_s = time.process_time(), time.perf_counter()
    with watch.time("open"):
        photo = open_photo(path)
    with watch.time("view"):
        evidence, tiles = model.forward(photo)
    watch.spent_s["view"] -= watch.spent_s["network"]
    with watch.time("decide"):
        build_diagnosis(model, photo, evidence, tiles, started_s)
    return Lap(
        watch.spent_s,
        time.perf_counter() - started_s,
        time.process_time() - processor_s,
        int(evidence.read.sum()),
    )


def _time_two_networks(core: GlanceAndFocus, path: Path) -> Lap:
    watch = Stopwatch()
    model = GlanceAndFocus(WatchedNetworks(core.networks, watch), core.rules)
    processor_s, started_s = time.process_time(), time.perf_counter()
    with watch.time("open"):
        photo = open_photo(path)
    with watch.time("glance"):
        glance = model.take_glance(photo)
    with watch.time("choose"):
        scouted = model.scout(glance)
    watch.spent_s["choose"] -= watch.spent_s["scout"]
    chosen, found = np.flatnonzero(scouted.read), None
    if len(chosen):
        with watch.time("decode"):
            pixels = photo.pixels
        with watch.time("cut tiles"):
            tiles = cut_tiles(pixels, scouted.tiles, chosen)
        found = model.networks.run_expert(tiles)
    with watch.time("decide"):
        build_diagnosis(model, photo, model.conclude(scouted, found), scouted.tiles, started_s)
    return Lap(
        watch.spent_s,
        time.perf_counter() - started_s,
        time.process_time() - processor_s,
        len(chosen),
    )


def _summarise(name: str, load_s: float, laps: Sequence[Lap]) -> BenchResult:
    stages = {
        stage: [lap.spent_s[stage] for lap in laps if stage in lap.spent_s]
        for stage in dict.fromkeys((*STAGES[:-1], *ONE_NETWORK_STAGES))
    }
    groups = {
        "all": [lap.wall_s for lap in laps],
        "tiles read": [lap.wall_s for lap in laps if lap.tiles_read],
        "early exit": [lap.wall_s for lap in laps if not lap.tiles_read],
    }
    return BenchResult(
        name=name,
        load_s=load_s,
        stages={stage: Spread.of(times) for stage, times in stages.items() if times},
        groups={group: Spread.of(times) for group, times in groups.items() if times},
        processor=Spread.of([lap.processor_s for lap in laps]),
        tiles_read=float(np.mean([lap.tiles_read for lap in laps])),
    )
