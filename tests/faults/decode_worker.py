"""A process that decodes hostile photos and says how each went: a JSON line for each, flushed.

    python decode_worker.py mutations FIRST LAST [--corpus FOLDER]
    python decode_worker.py bombs
    python decode_worker.py more-bombs

``--without NAME`` removes a protection first, to see that the tests notice. If the process dies,
the last line tells which photo did it.
"""

import argparse
import contextlib
import json
import resource
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
from photo_files import GIGAPIXEL, build_bombs, build_more_bombs, make_sources, mutate

from leafscout.errors import PhotoError
from leafscout.focus.tile_reader import TileReader
from leafscout.glance.view import take_glance
from leafscout.photos import decode
from leafscout.photos.tiles import lay_tiles

ISOLATED_SHARE = 0.2
"""Of mutated files, those whose decoder runs in a process of its own: that costs 50 ms each."""


def list_mutations(first: int, last: int, corpus: Path | None) -> Iterator[tuple[str, bytes]]:
    """Mutated files, the same for the same number."""
    sources = make_sources()
    if corpus is not None:
        files = [path for path in sorted(corpus.rglob("*")) if path.is_file()]
        sources |= {str(path): path.read_bytes() for path in files}
        yield from ((f"as it is {path}", path.read_bytes()) for path in files if first == 0)
    isolated = [name for name in sources if name.endswith((".tif", ".webp")) or "cmyk" in name]
    others = [name for name in sources if name not in isolated]
    for number in range(first, last):
        rng = np.random.default_rng([number, 7])
        names = isolated if rng.random() < ISOLATED_SHARE else others
        name = names[int(rng.integers(len(names)))]
        yield f"{number} {name}", mutate(sources[name], rng)


def remove(protection: str) -> None:
    """Take a protection away."""
    read_header = decode.read_header
    if protection == "size":
        decode._check_size = lambda *_: None
        decode._check_work = lambda *_: None
    elif protection == "work":
        decode._check_work = lambda *_: None
    elif protection == "unfolding":
        decode.keep_pixels = lambda data: data
    elif protection == "completeness":

        def believe(data: bytes, kind: str) -> object:
            header = read_header(data, kind)
            return header and replace(header, whole=True)

        decode.read_header = believe
    elif protection == "sentences":  # errors of decoders come through as they are
        decode._damaged = lambda _, name: ValueError(f"{name} is damaged")
    elif protection:
        raise SystemExit(f"There is no protection called {protection!r}.")


def look(data: bytes, reader: TileReader) -> str:
    """What becomes of a photo on the way of a diagnosis: decoded small, then its tiles."""
    try:
        photo = decode.open_photo(data)
        take_glance(photo, 64)
        tiles = lay_tiles(photo.size_px_hw, 64)
        reader.read(photo, tiles, np.arange(min(4, len(tiles))))
    except PhotoError as error:
        return error.code
    return "read"


def main() -> None:
    """Decode everything asked for."""
    parser = argparse.ArgumentParser()
    parser.add_argument("what", choices=["mutations", "bombs", "more-bombs"])
    parser.add_argument("first", type=int, nargs="?", default=0)
    parser.add_argument("last", type=int, nargs="?", default=0)
    parser.add_argument("--unfolded", type=int, default=GIGAPIXEL)
    parser.add_argument("--corpus", type=Path)
    parser.add_argument("--without", default="")
    args = parser.parse_args()
    # The machine is shared: what gets out of hand ends here and not there.
    resource.setrlimit(resource.RLIMIT_AS, (6 << 30, 6 << 30))
    files = {
        "mutations": lambda: list_mutations(args.first, args.last, args.corpus),
        "bombs": lambda: build_bombs(args.unfolded),
        "more-bombs": build_more_bombs,
    }[args.what]()
    reader = TileReader()
    for source in make_sources().values():  # everything is loaded, and memory is warm
        look(source, reader)
    remove(args.without)
    for name, data in files:
        print(json.dumps({"name": name, "begun": True}), flush=True)
        before = usage()
        started_s = time.perf_counter()
        outcome, trouble = "trouble", ""
        try:
            outcome = look(data, reader)
        except Exception as error:  # noqa: BLE001 - that is what is looked for
            trouble = f"{type(error).__name__}: {error}"[:200]
        after = usage()
        print(
            json.dumps(
                {
                    "name": name,
                    "bytes": len(data),
                    "outcome": outcome,
                    "trouble": trouble,
                    "wall_s": time.perf_counter() - started_s,
                    "cpu_s": after["cpu_s"] - before["cpu_s"],
                    "growth_mb": after["peak_mb"] - before["peak_mb"],
                    "peak_mb": max(after["peak_mb"], after["child_peak_mb"]),
                }
            ),
            flush=True,
        )


def usage() -> dict[str, float]:
    """Processor time so far, children included, and the highest memory of both so far."""
    own = resource.getrusage(resource.RUSAGE_SELF)
    children = resource.getrusage(resource.RUSAGE_CHILDREN)
    unit = 2**20 if sys.platform == "darwin" else 2**10
    spent = (own.ru_utime, own.ru_stime, children.ru_utime, children.ru_stime)
    return {
        "cpu_s": sum(spent),
        "peak_mb": own_peak_mb(own.ru_maxrss / unit),
        "child_peak_mb": children.ru_maxrss / unit,
    }


def own_peak_mb(counted_mb):
    """Most memory of this program; on Linux the count starts with that of whoever started it."""
    status = Path("/proc/self/status")
    if not status.exists():
        return counted_mb
    return int(status.read_text().partition("VmHWM:")[2].split()[0]) / 1024


if __name__ == "__main__":
    with contextlib.suppress(BrokenPipeError):
        main()
