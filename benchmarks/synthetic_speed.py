"""Seconds of one core to render a 12-megapixel synthetic photo, and to write it.

    python benchmarks/synthetic_speed.py [photos]

Prints one JSON line: median, fastest and slowest, CPU seconds and wall seconds.
"""

import json
import statistics
import sys
import time

import simplejpeg

from leafscout.photos.synthetic import FieldSettings, photo_seed, render_photo


def main() -> None:
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 12
    settings = FieldSettings()
    render_photo(settings, photo_seed(0, 0))
    cpu, wall = [], []
    for index in range(count):
        started_cpu, started = time.process_time(), time.perf_counter()
        photo = render_photo(settings, photo_seed(1, index))
        simplejpeg.encode_jpeg(photo.pixels, 92, "RGB")
        cpu.append(time.process_time() - started_cpu)
        wall.append(time.perf_counter() - started)
    report = {
        "what": "render and encode one synthetic photo",
        "size_px_hw": settings.size_px_hw,
        "photos": count,
        "cpu_s": {"median": statistics.median(cpu), "min": min(cpu), "max": max(cpu)},
        "wall_s": {"median": statistics.median(wall), "min": min(wall), "max": max(wall)},
    }
    print(json.dumps(report))


if __name__ == "__main__":
    main()
