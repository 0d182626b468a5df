"""Do the pictures of `leafscout explain` lie on lesions, and are they true to the network?

    leafscout demo --out FOLDER                           a run, and photos that know their lesions
    python benchmarks/explanations.py demo FOLDER         explain the demo's test photos
    python benchmarks/explanations.py pairs FOLDER        explain new photos with both diseases
    python benchmarks/explanations.py coffee RUN          explain unseen leaves of a fold's run
    python benchmarks/explanations.py report              join what was run so far

``coffee`` takes a run of ``coffee.py`` and photos that it did not see. Each cell writes its own
file into
``results/explanations/``; cells that are there are not run again. Masks and boxes are used for
scoring alone. Whatever was found or not, every label that a photo has is asked for; heat is that
of the tiles read, and a photo of which no tile was read counts as a miss.
"""

from __future__ import annotations

import argparse
import csv
import dataclasses
import json
import platform
import time
from collections import defaultdict
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from origin import find_data, read_commit

HERE = Path(__file__).parent
RESULTS = HERE / "results" / "explanations"
WORK = HERE.parent / "runs" / "explanations"
PAIRS_SEED = 20260301
PAIR_METHODS = ("cam", "grad-cam", "grad-cam++")
DEMO_METHODS = ("cam", "grad-cam", "grad-cam++", "saliency", "integrated-gradients")
COFFEE_METHODS = ("cam", "grad-cam", "grad-cam++", "saliency")
FAITHFUL_PHOTOS = 6


class Truth(NamedTuple):
    """What is known about one photo, for scoring.

    Attributes:
        path: the photo.
        lesions: label → (height, width) mask; under one name where masks do not tell labels apart.
        shadows: (height, width) mask of shadow spots; None where there is no such truth.
    """

    path: Path
    lesions: dict[str, NDArray[np.bool_]]
    shadows: NDArray[np.bool_] | None


def demo_truth(field: Path) -> Iterator[Truth]:
    """Test photos of the demo with their lesions, drawn as boxes, and their shadow spots."""
    with (field / "labels.csv").open(newline="") as file:
        names = [row["image"] for row in csv.DictReader(file)]
    boxes, shadows = (
        _read_boxes(field, "boxes.csv", "label"),
        _read_boxes(field, "distractors.csv", "kind"),
    )
    for name in names:
        path, key = field / name, Path(name).name
        with Image.open(path) as image:
            size = image.height, image.width
        found: dict[str, list[tuple[int, ...]]] = defaultdict(list)
        for label, box in boxes[key]:
            found[label].append(box)
        spots = [box for kind, box in shadows[key] if kind == "shadow_spot"]
        yield Truth(
            path,
            {label: _fill(size, some) for label, some in found.items()},
            _fill(size, spots) if spots else None,
        )


def coffee_truth(run: Path, most: int) -> Iterator[Truth]:
    """Photos that the run did not see, with lesions of all labels in one mask."""
    from leafscout.photos.labels import read_labels

    data = find_data("coffee")
    known = set(_column(run / "splits.csv", 0))
    table = read_labels(data / "labels.csv")
    rows = [
        (path, [label for label in table.labels if label in named])
        for path, named in zip(table.paths, _named(table), strict=True)
        if named and path.name not in known
    ]
    chosen = np.random.default_rng(0).permutation(len(rows))[:most]
    for index in sorted(chosen.tolist()):
        path, labels = rows[index]
        mask = np.array(Image.open(data / "masks" / f"{path.stem}.png").convert("RGB"))
        lesions = (mask[..., 0] > 128) & (mask[..., 1] < 128)
        yield Truth(path, dict.fromkeys(labels, lesions), None)


def _named(table: Any) -> list[set[str]]:
    names = np.array(table.labels)
    return [set(names[row].tolist()) for row in table.truth]


def _column(path: Path, index: int) -> list[str]:
    with path.open(newline="") as file:
        return [Path(row[index]).name for row in list(csv.reader(file))[1:]]


def _read_boxes(field: Path, name: str, key: str) -> dict[str, list[tuple[str, tuple[int, ...]]]]:
    found: dict[str, list[tuple[str, tuple[int, ...]]]] = defaultdict(list)
    with (field / "truth" / name).open(newline="") as file:
        for row in csv.DictReader(file):
            x, y, w, h = (int(row[k]) for k in ("x_px", "y_px", "width_px", "height_px"))
            found[Path(row["image"]).name].append((row[key], (x, y, x + w, y + h)))
    return found


def _fill(size: tuple[int, int], boxes: list[tuple[int, ...]]) -> NDArray[np.bool_]:
    mask = np.zeros(size, dtype=np.bool_)
    for left, top, right, bottom in boxes:
        mask[top:bottom, left:right] = True
    return mask


def full_size(over: Any, size: tuple[int, int]) -> NDArray[np.float32]:
    """Heat at the photo's own size, cell by cell."""
    rows, columns = over.heat.shape
    at_y = (np.arange(size[0]) * rows / over.covers_px_hw[0]).astype(int).clip(max=rows - 1)
    at_x = (np.arange(size[1]) * columns / over.covers_px_hw[1]).astype(int).clip(max=columns - 1)
    heat: NDArray[np.float32] = over.heat[np.ix_(at_y, at_x)]
    return heat


def score_method(model: Any, truths: list[Truth], method: str) -> dict[str, Any]:
    """One method on all photos."""
    from leafscout.evaluation.heat_maps import (
        HeatAgreement,
        compare_with_lesions,
        heat_share,
        mean_agreement,
    )
    from leafscout.evaluation.localisation import pointing_hit
    from leafscout.explanation.heat_pictures import hottest_px_xy
    from leafscout.inference.evaluate import POINTING_TOLERANCE_PX
    from leafscout.inference.explain_photo import Question, explain_photo

    agreements, curves, shadow, apart, hits = [], [], [], [], []
    started = time.process_time()
    for number, truth in enumerate(truths):
        question = Question(
            labels=tuple(truth.lesions), method=method, faithful=number < FAITHFUL_PHOTOS
        )
        found = explain_photo(model, truth.path, question)
        size = found.answer.photo.size_px_hw
        tiles = next((view for view in found.views if view.view == "tiles"), None)
        heats = {}
        for label, mask in truth.lesions.items():
            if tiles is None:
                share = float(mask.mean())
                nothing = float("nan")
                agreements.append(
                    HeatAgreement(nothing, share, nothing, iou=0.0, points_at_lesion=False)
                )
                hits.append(False)
                continue
            one = next(one for one in tiles.labels if one.label == label)
            heats[label] = full_size(one.over, size)
            point = hottest_px_xy(one.over)
            hits.append(point is not None and pointing_hit(point, mask, POINTING_TOLERANCE_PX))
            agreements.append(compare_with_lesions(heats[label], mask))
            if one.faithfulness is not None:
                curves.append((one.faithfulness.deletion_area, one.faithfulness.insertion_area))
            if truth.shadows is not None:
                shadow.append((heat_share(heats[label], truth.shadows), truth.shadows.mean()))
        if len(heats) == 2 and not np.array_equal(*truth.lesions.values()):
            apart += [
                heat_share(heats[own], truth.lesions[own])
                > heat_share(heats[own], truth.lesions[other])
                for own, other in (tuple(heats), tuple(heats)[::-1])
            ]
    seconds = time.process_time() - started
    areas = np.array(curves) if curves else np.full((1, 2), np.nan)
    shadows = np.array([pair for pair in shadow if not np.isnan(pair[0])])
    return {
        "method": method,
        **mean_agreement(agreements),
        "pointing": float(np.mean(hits)),
        "deletion_area": float(areas[:, 0].mean()),
        "insertion_area": float(areas[:, 1].mean()),
        "shadow_heat": float(shadows[:, 0].mean()) if len(shadows) else None,
        "shadow_area": float(shadows[:, 1].mean()) if len(shadows) else None,
        "labels_apart": float(np.mean(apart)) if apart else None,
        "label_pairs": len(apart),
        "cpu_s_per_photo": seconds / len(truths),
    }


def random_weights_correlation(model: Any, truths: list[Truth], method: str) -> float:
    """How alike the maps stay when the expert's weights are drawn anew: low is sane."""
    import torch

    from leafscout.inference.explain_photo import Question, explain_photo

    def maps() -> list[NDArray[np.float32]]:
        out = []
        for truth in truths:
            question = Question(labels=tuple(truth.lesions), method=method)
            views = explain_photo(model, truth.path, question).views
            out += [one.over.heat for view in views if view.view == "tiles" for one in view.labels]
        return out

    trained = maps()
    expert = model.core.networks.expert
    state = {key: value.clone() for key, value in expert.state_dict().items()}
    torch.manual_seed(0)
    with torch.no_grad():
        for parameter in expert.parameters():
            shuffled = parameter.flatten()[torch.randperm(parameter.numel())]
            parameter.copy_(shuffled.view_as(parameter))
    shuffled_maps = maps()
    expert.load_state_dict(state)
    found = [
        float(np.corrcoef(a.ravel(), b.ravel())[0, 1])
        for a, b in zip(trained, shuffled_maps, strict=True)
        if a.std() > 0 and b.std() > 0
    ]
    return float(np.mean(found)) if found else float("nan")


def write_cell(name: str, record: dict[str, Any], command: str, seed: int) -> None:
    from leafscout.evaluation.json_values import json_safe

    RESULTS.mkdir(parents=True, exist_ok=True)
    record |= {
        "seed": seed,
        "command": command,
        "commit": read_commit(),
        "date": datetime.now(UTC).date().isoformat(),
        "machine": f"{platform.machine()}, {platform.system()}, 1 thread",
    }
    (RESULTS / f"{name}.json").write_text(json.dumps(json_safe(record), indent=1) + "\n")


def run_demo(folder: Path, methods: tuple[str, ...], most: int) -> None:
    from leafscout.inference.load import load
    from leafscout.training.run_folder import read_plan

    if (RESULTS / "demo.json").exists():
        return
    model = load(folder / "run", threads=1)
    truths = [one for one in demo_truth(folder / "test") if one.lesions]
    # Photos with two diseases first: on them, maps of labels can be told apart.
    truths = sorted(truths, key=lambda one: -len(one.lesions))[:most]
    rows = [score_method(model, truths, method) for method in methods]
    for row in rows:
        if row["method"] in ("cam", "grad-cam"):
            row["shuffled_weights_correlation"] = random_weights_correlation(
                model, truths[:6], row["method"]
            )
    record = {"subject": "rendered field", "photos": len(truths), "rows": rows}
    seed = int(read_plan(folder / "run").get("seed", 0))
    write_cell("demo", record, "python benchmarks/explanations.py demo FOLDER", seed)


def run_pairs(folder: Path, methods: tuple[str, ...], most: int) -> None:
    """Photos like the demo's, but every one with both diseases and many things that are none."""
    from leafscout.inference.load import load
    from leafscout.photos.synthetic import FieldSettings, render_field

    if (RESULTS / "pairs.json").exists():
        return
    demo = json.loads((folder / "test" / "truth" / "settings.json").read_text())["settings"]
    known = {field.name for field in dataclasses.fields(FieldSettings)}
    settings = FieldSettings(
        **{
            key: tuple(value) if isinstance(value, list) else value
            for key, value in demo.items()
            if key in known
        }
    )
    settings = dataclasses.replace(
        settings, healthy_frac=0.0, two_disease_frac=1.0, distractors_per_photo=(6, 10)
    )
    field = WORK / "pairs"
    if not field.exists():
        field.parent.mkdir(parents=True, exist_ok=True)
        render_field(field, photos=most, settings=settings, seed=PAIRS_SEED, workers=1)
    model = load(folder / "run", threads=1)
    truths = [one for one in demo_truth(field) if len(one.lesions) == 2]
    rows = [score_method(model, truths, method) for method in methods]
    record = {"subject": "rendered field, two diseases", "photos": len(truths), "rows": rows}
    write_cell("pairs", record, "python benchmarks/explanations.py pairs FOLDER", PAIRS_SEED)


def run_coffee(run: Path, methods: tuple[str, ...], most: int) -> None:
    from leafscout.inference.load import load

    name = f"coffee_{run.name}"
    if (RESULTS / f"{name}.json").exists():
        return
    model = load(run, threads=1)
    truths = list(coffee_truth(run, most))
    rows = [score_method(model, truths, method) for method in methods]
    record = {"subject": "coffee leaves", "photos": len(truths), "rows": rows}
    write_cell(name, record, f"python benchmarks/explanations.py coffee RUN ({run.name})", 0)


def report() -> None:
    cells = [json.loads(path.read_text()) for path in sorted(RESULTS.glob("*.json"))]
    target = RESULTS.parent / "explanations.json"
    target.write_text(json.dumps({"cells": cells}, indent=1) + "\n")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", choices=("demo", "pairs", "coffee", "report"))
    parser.add_argument("run", nargs="?", type=Path)
    parser.add_argument("--photos", type=int, default=None)
    options = parser.parse_args()
    if options.what == "report":
        report()
    elif options.run is None:
        raise SystemExit("Name the folder of the demo, or the run folder of a fold.")
    elif options.what == "demo":
        run_demo(options.run, DEMO_METHODS, options.photos or 24)
    elif options.what == "pairs":
        run_pairs(options.run, PAIR_METHODS, options.photos or 30)
    else:
        run_coffee(options.run, COFFEE_METHODS, options.photos or 16)


if __name__ == "__main__":
    main()
