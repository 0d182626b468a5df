"""How exported models compared with their runs: what the manifests of real exports say.

    leafscout export RUN …            for each format
    python benchmarks/export_parity.py RUN…

Writes results/export_parity.json.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from typing import Any

from leafscout.manifest import read_manifest
from timing import write_result

HERE = Path(__file__).parent


def describe_export(folder: Path, fp32_bytes: int) -> dict[str, Any]:
    """One exported model."""
    export = read_manifest(folder).export
    if export is None:
        raise SystemExit(f"{folder} is not an export.")
    size = graph_bytes(folder)
    return {
        "runtime": export.runtime,
        "precision": export.precision,
        "calibration_photos": export.calibration_photos,
        "calibration_tiles": export.calibration_tiles,
        "fp32_layers": {name: len(layers) for name, layers in export.fp32_layers.items()},
        "megabytes": size / 1e6,
        "bytes_frac": size / fp32_bytes,
        **export.parity.model_dump(mode="json"),
    }


def graph_bytes(folder: Path) -> int:
    """Bytes of an exported model without its manifest."""
    return sum(path.stat().st_size for path in folder.iterdir() if path.suffix != ".json")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("runs", nargs="+", type=Path)
    given = parser.parse_args()
    rows = [
        {"run": str(run), **describe_export(manifest.parent, graph_bytes(run / "model"))}
        for run in given.runs
        for manifest in sorted((run / "exports").glob("*/manifest.json"))
    ]
    write_result(
        HERE / "results" / "export_parity.json", {"date": time.strftime("%Y-%m-%d"), "rows": rows}
    )


if __name__ == "__main__":
    main()
