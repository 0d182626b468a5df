"""How tiles are chosen once a scout is trained: uncertain ones, off the grid, on closer glances.

    python benchmarks/scout_choice.py uncertain     faint lesions: mirrored glances that disagree
    python benchmarks/scout_choice.py peaks         tiles off the grid, for lesions that it cuts
    python benchmarks/scout_choice.py closer        large photos: one glance, or a closer second

The scouts are those that ``ablation_scout.py`` trained, three seeds; no weight is changed here.
Each command writes its own file into ``results``. Boxes of lesions score, and are used for nothing
else.
"""

from __future__ import annotations

import argparse
import os
import platform
import time
from pathlib import Path
from typing import Any

import numpy as np

import ablation_field as field
import ablation_scout as ablation
from origin import read_commit
from result_file import write_json

RESULTS = Path(__file__).parent / "results"
TILES_READ = (2, 4, 8)
EXPONENT: float = ablation.BASE["border_exponent"]
"""How the scouts were taught to pool places."""


def glance_cost() -> float:
    """Multiply-adds of a glance of the recipe ``full``, in tiles of its expert."""
    from leafscout.networks import build_expert, build_scout, count_macs
    from leafscout.training.recipes import choose_recipe

    recipe = choose_recipe("full")
    scout = build_scout(recipe.scout, 2, stride=recipe.scout_stride)
    expert = build_expert(recipe.expert, 2, place_stride=recipe.place_stride)
    glance = count_macs(scout, round(0.75 * recipe.glance_px), recipe.glance_px)
    return glance / count_macs(expert, recipe.tile_px, recipe.tile_px)


def read_scout(row: str, seed: int) -> Any:
    from leafscout.networks import build_scout
    from leafscout.training.checkpoint import load_tensors

    scout = build_scout("tiny", 2)
    scout.load_state_dict(load_tensors(ablation.WORK / "scouts" / f"{row}_{seed}.safetensors")[0])
    return scout.eval()


def look(scout: Any, pixels: np.ndarray) -> np.ndarray:
    """(rows, columns) of the scout's score; logits."""
    import torch

    from leafscout.networks import to_batch

    with torch.no_grad():
        return scout(to_batch(pixels[None], torch.device("cpu"))).score_map[0].numpy()


def read_photos(name: str) -> list[tuple[Any, np.ndarray]]:
    """Photos of a set with the boxes of their lesions."""
    from leafscout.photos.decode import decode_photo

    boxes = ablation.read_boxes(name)
    empty = np.zeros((0, 4), dtype=np.int64)
    folder = ablation.folder_of(name) / "photos"
    return [(decode_photo(p), boxes.get(p.name, empty)) for p in sorted(folder.iterdir())]


def describe(command: str) -> dict[str, Any]:
    return {
        "command": f"python benchmarks/scout_choice.py {command}",
        "commit": os.environ.get("ABLATION_COMMIT") or read_commit(),
        "date": time.strftime("%Y-%m-%d"),
        "seeds": list(ablation.SEEDS),
        "machine": f"{platform.machine()}, {platform.system()}, 1 thread",
    }


# --- uncertain -----------------------------------------------------------------------------------


def see_views(scout: Any, photos: Any) -> tuple[np.ndarray, list[np.ndarray]]:
    """(photos, views, tiles) logits, and per photo which tiles show a lesion."""
    from leafscout.evaluation.localisation import find_lesion_tiles
    from leafscout.glance.mirrored import mirror_glance, turn_back
    from leafscout.glance.places import pool_places
    from leafscout.glance.view import take_glance
    from leafscout.photos.tiles import lay_tiles

    rows, lesion = [], []
    for photo, boxes in photos:
        tiles = lay_tiles(photo.size_px_hw, field.TILE_PX)
        views = mirror_glance(take_glance(photo, field.GLANCE_PX).pixels, 3)
        maps = turn_back([look(scout, np.ascontiguousarray(view))[None] for view in views])
        rows.append([pool_places(one, tiles, EXPONENT)[:, 0] for one in maps])
        lesion.append(find_lesion_tiles(tiles.boxes_px_xyxy, boxes))
    return np.array(rows), lesion


def order_for(views: np.ndarray, method: str, weight: float) -> np.ndarray:
    """(photos, tiles) what tiles are ranked by; higher is read first."""
    count = 1 if method == "one_glance" else int(method[-1])
    mean, spread = views[:, :count].mean(axis=1), views[:, :count].std(axis=1)
    if method.startswith("loudest"):
        return views[:, :count].max(axis=1)
    return mean + weight * spread if method.startswith("optimistic") else mean


def read_tiles_of(views: np.ndarray, method: str, weight: float, mean_tiles: float) -> np.ndarray:
    """(photos, tiles) tiles read, ``mean_tiles`` a photo on average."""
    wanted = round(mean_tiles * len(views))
    if not method.startswith("uncertain"):
        order = order_for(views, method, weight)
        return order >= np.sort(order, axis=None)[-wanted]
    # Of all that is read, the share ``weight`` goes to the most spread below the threshold.
    mean, spread = views.mean(axis=1), views.std(axis=1)
    sure = max(1, round((1 - weight) * wanted))
    read = mean >= np.sort(mean, axis=None)[-sure]
    rest = np.where(read, -np.inf, spread)
    return read | (rest >= np.sort(rest, axis=None)[-(wanted - sure)]) if wanted > sure else read


def kept(read: np.ndarray, lesion: list[np.ndarray]) -> float:
    """Share of lesion tiles that are read."""
    marked = np.array(lesion)
    return float(read[marked].mean())


METHODS: dict[str, tuple[float, ...]] = {
    "one_glance": (0.0,),
    "mean_of_2": (0.0,),
    "mean_of_4": (0.0,),
    "loudest_of_4": (0.0,),
    "optimistic_2": (0.5, 1.0, 2.0),
    "optimistic_4": (0.5, 1.0, 2.0),
    "uncertain_4": (0.1, 0.25, 0.5),
}
"""Method → weights of the spread, of which other faint photos than the test's choose one."""


COMMITTEE = {
    "mean_of_3_scouts": (0.0,),
    "optimistic_3_scouts": (0.5, 1.0, 2.0),
    "uncertain_3_scouts": (0.1, 0.25, 0.5),
}


def measure_committee(cost: float) -> list[dict[str, Any]]:
    """The same with three scouts of different seeds for views: do they disagree on lesions?"""
    seen = {}
    for name in ("faint_val", "faint_test"):
        photos = read_photos(name)
        parts = [see_views(read_scout("base", seed), photos) for seed in ablation.SEEDS]
        seen[name] = np.stack([views[:, 0] for views, _ in parts], axis=1), parts[0][1]
    rows = []
    for method, weights in COMMITTEE.items():
        kind = method.split("_")[0] + "_3"
        for tiles in TILES_READ:
            scored = [kept(read_tiles_of(seen["faint_val"][0], kind, w, tiles),
                           seen["faint_val"][1]) for w in weights]  # fmt: skip
            best = weights[int(np.argmax(scored))]
            views, lesion = seen["faint_test"]
            paid = max(0.25, tiles - 2 * cost)
            rows.append(
                {
                    "seed": None,
                    "method": method,
                    "tiles_read": tiles,
                    "weight": best,
                    "kept": round(kept(read_tiles_of(views, kind, best, tiles), lesion), 4),
                    "kept_equal_macs": round(
                        kept(read_tiles_of(views, kind, best, paid), lesion), 4
                    ),
                }
            )
    return rows


def measure_uncertain() -> dict[str, Any]:
    """Faint lesions kept at equal mean tiles read, and at equal mean multiply-adds."""
    rows, cost = [], glance_cost()
    for seed in ablation.SEEDS:
        scout = read_scout("base", seed)
        val, val_lesion = see_views(scout, read_photos("faint_val"))
        test, test_lesion = see_views(scout, read_photos("faint_test"))
        for method, weights in METHODS.items():
            views = 1 if method == "one_glance" else int(method[-1])
            for tiles in TILES_READ:
                best = max(
                    weights,
                    key=lambda w, m=method, t=tiles: kept(read_tiles_of(val, m, w, t), val_lesion),
                )
                paid = max(0.25, tiles - cost * (views - 1))
                rows.append(
                    {
                        "seed": seed,
                        "method": method,
                        "tiles_read": tiles,
                        "weight": best,
                        "kept": round(
                            kept(read_tiles_of(test, method, best, tiles), test_lesion), 4
                        ),
                        "kept_equal_macs": round(
                            kept(read_tiles_of(test, method, best, paid), test_lesion), 4
                        ),
                    }
                )
    rows += measure_committee(cost)
    return {**describe("uncertain"), "glance_cost_in_tiles": round(cost, 4), "rows": rows}


# --- peaks ---------------------------------------------------------------------------------------


def whole_share(boxes: np.ndarray, tiles: np.ndarray) -> np.ndarray:
    """(lesions,) the largest share of each lesion that lies in a single tile."""
    corner = np.maximum(boxes[:, None, :2], tiles[None, :, :2])
    end = np.minimum(boxes[:, None, 2:], tiles[None, :, 2:])
    shared = np.maximum(end - corner, 0).prod(axis=2)
    area = (boxes[:, 2:] - boxes[:, :2]).prod(axis=1)
    return (shared / area[:, None]).max(axis=1) if len(tiles) else np.zeros(len(boxes))


def measure_peaks() -> dict[str, Any]:
    """Lesions that lie whole in a tile read: tiles of the grid against placed ones."""
    from leafscout.glance.peaks import place_tiles
    from leafscout.glance.places import pool_places
    from leafscout.glance.view import take_glance
    from leafscout.photos.tiles import lay_tiles

    rows = []
    for seed in ablation.SEEDS:
        scout = read_scout("base", seed)
        for size in (16, 24, 40):
            found: dict[tuple[str, int], list[np.ndarray]] = {}
            cut = []
            for photo, boxes in read_photos(f"size_{size}"):
                grid = lay_tiles(photo.size_px_hw, field.TILE_PX)
                cut.append(whole_share(boxes, grid.boxes_px_xyxy) < WHOLE)
                scores = look(scout, take_glance(photo, field.GLANCE_PX).pixels)
                order = np.argsort(-pool_places(scores[None], grid, EXPONENT)[:, 0], kind="stable")
                for count in TILES_READ:
                    placed = place_tiles(
                        scores, photo.size_px_hw, field.TILE_PX, max_tiles=count
                    ).boxes_px_xyxy
                    for name, tiles in (
                        ("grid", grid.boxes_px_xyxy[order[:count]]),
                        ("placed", placed),
                    ):
                        found.setdefault((name, count), []).append(whole_share(boxes, tiles))
            severed = np.concatenate(cut)
            for (name, count), shares in found.items():
                whole = np.concatenate(shares) >= WHOLE
                rows.append(
                    {
                        "seed": seed,
                        "size_px": size,
                        "placement": name,
                        "tiles_read": count,
                        "lesions": len(whole),
                        "cut_by_grid": int(severed.sum()),
                        "whole": round(float(whole.mean()), 4),
                        "whole_of_cut": round(float(whole[severed].mean()), 4),
                    }
                )
    answers = [one for seed in ablation.SEEDS for one in measure_answers(seed)]
    return {**describe("peaks"), "whole_means": WHOLE, "rows": rows, "answers": answers}


WHOLE = 0.9


def measure_answers(seed: int) -> list[dict[str, Any]]:
    """What the expert makes of the field's test photos from a few tiles, on and off the grid."""
    import torch

    from leafscout.glance.peaks import place_tiles
    from leafscout.glance.places import pool_places
    from leafscout.glance.view import take_glance
    from leafscout.networks import to_batch
    from leafscout.photos.loader import load_photos
    from leafscout.photos.tiles import lay_tiles
    from leafscout.training.checkpoint import load_checkpoint

    scout, expert = read_scout("base", seed), ablation.build_fresh(ablation.make_recipe(), 2, seed)
    folder = ablation.WORK / f"expert_{seed}" / "expert"
    load_checkpoint(folder / "best.safetensors", expert, None)
    expert.eval()
    test = ablation.read_split("test")
    bags: dict[tuple[str, int], list[np.ndarray]] = {}
    for _, photo in load_photos(test.paths, range(len(test.paths))):
        grid = lay_tiles(photo.size_px_hw, field.TILE_PX)
        scores = look(scout, take_glance(photo, field.GLANCE_PX).pixels)
        order = np.argsort(-pool_places(scores[None], grid, EXPONENT)[:, 0], kind="stable")
        most = max(TILES_READ)
        placed = place_tiles(scores, photo.size_px_hw, field.TILE_PX, max_tiles=most)
        for name, boxes in (
            ("grid", grid.boxes_px_xyxy[order[:most]]),
            ("placed", placed.boxes_px_xyxy),
        ):
            cut = np.stack([photo.pixels[t:b, le:r] for le, t, r, b in boxes])
            with torch.no_grad():
                logits = expert(to_batch(cut, torch.device("cpu"))).tile_logits.numpy()
            for count in TILES_READ:
                bags.setdefault((name, count), []).append(logits[:count].max(axis=0))
    return [
        {
            "seed": seed,
            "placement": name,
            "tiles_read": count,
            "macro_auc": round(field.macro_auc(test.truth, np.stack(rows)), 4),
        }
        for (name, count), rows in bags.items()
    ]


# --- closer --------------------------------------------------------------------------------------

SIDES = (1, 2, 4, 6)
COARSE_FRAC = 0.4
REGIONS = 6
CANVASES = 24
HITS_AT = (5, 20)


def lay_canvas(side: int, photos: Any, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """``side``×``side`` photos laid side by side, one of them diseased; pixels and its boxes."""
    ill = [pair for pair in photos if len(pair[1])]
    healthy = [pair for pair in photos if not len(pair[1])]
    height, width = photos[0][0].size_px_hw
    at, boxes = int(rng.integers(side * side)), np.zeros((0, 4), dtype=np.int64)
    rows = []
    for row in range(side):
        parts = []
        for column in range(side):
            chosen = ill if row * side + column == at else healthy
            photo, marked = chosen[int(rng.integers(len(chosen)))]
            parts.append(photo.pixels)
            if len(marked):
                boxes = marked + np.array([column * width, row * height] * 2)
        rows.append(np.concatenate(parts, axis=1))
    return np.concatenate(rows), boxes


def look_at_canvas(scout: Any, canvas: np.ndarray, side: int) -> dict[str, tuple[Any, int]]:
    """Way of glancing → (1, rows, columns) scores, and pixels that the scout saw for them."""
    from leafscout.glance.closer import count_closer_px, look_closer
    from leafscout.glance.view import take_glance
    from leafscout.types import Photo

    fine_px = field.GLANCE_PX * side
    glance = take_glance(Photo(canvas, "<canvas>"), round(COARSE_FRAC * fine_px), fine_px)
    if glance.closer is None:
        raise SystemExit("There is no closer glance.")
    coarse = look(scout, glance.pixels)[None]
    second = look_closer(
        coarse[None],
        glance.closer,
        REGIONS,
        lambda part: look(scout, np.ascontiguousarray(part))[None, None],
    )[0]
    size_px_hw = (glance.closer.shape[0], glance.closer.shape[1])
    small = glance.pixels.shape[0] * glance.pixels.shape[1]
    return {
        "coarse_only": (coarse, small),
        "one_glance": (look(scout, glance.closer)[None], size_px_hw[0] * size_px_hw[1]),
        "closer_second": (second, small + count_closer_px(size_px_hw, REGIONS)),
    }


def measure_closer() -> dict[str, Any]:
    """Recall and the scout's cost against the photo's area, one glance and two."""
    from leafscout.evaluation.localisation import count_hits_at_k, find_lesion_tiles
    from leafscout.glance.places import pool_places
    from leafscout.networks import count_macs
    from leafscout.photos.tiles import lay_tiles

    names = {Path(name).name for name in ablation.read_split("test").names}
    photos = [pair for pair in read_photos("field") if Path(pair[0].source).name in names]
    rows = []
    for seed in ablation.SEEDS:
        scout = read_scout("many_scales", seed)
        per_px = count_macs(scout, 512, 512) / 512**2
        for side in SIDES:
            hits: dict[tuple[str, int], list[float]] = {}
            rng, seen_px, megapixels = np.random.default_rng([7, side]), {}, 0.0
            for _ in range(CANVASES):
                canvas, boxes = lay_canvas(side, photos, rng)
                megapixels = canvas.shape[0] * canvas.shape[1] / 1e6
                tiles = lay_tiles((canvas.shape[0], canvas.shape[1]), field.TILE_PX)
                lesion = find_lesion_tiles(tiles.boxes_px_xyxy, boxes)
                for name, (maps, pixels) in look_at_canvas(scout, canvas, side).items():
                    score = pool_places(maps, tiles, EXPONENT)[:, 0]
                    for count in HITS_AT:
                        found = count_hits_at_k(score, lesion, count)
                        hits.setdefault((name, count), []).append(found)
                    seen_px[name] = pixels
            rows += [
                {
                    "seed": seed,
                    "glances": name,
                    "megapixels": round(megapixels, 2),
                    "tiles_read": count,
                    "hits": round(float(np.mean(values)), 4),
                    "scout_mmacs": round(per_px * seen_px[name] / 1e6, 2),
                }
                for (name, count), values in hits.items()
            ]
    settings = {"coarse_frac": COARSE_FRAC, "regions": REGIONS, "canvases": CANVASES}
    return {**describe("closer"), **settings, "rows": rows}


def main() -> None:
    import torch

    torch.set_num_threads(1)
    measures = {
        "uncertain": measure_uncertain,
        "peaks": measure_peaks,
        "closer": measure_closer,
    }
    parser = argparse.ArgumentParser()
    parser.add_argument("command", choices=sorted(measures))
    command = parser.parse_args().command
    result = measures[command]()
    write_json(RESULTS / f"scout_{command}.json", result)


if __name__ == "__main__":
    main()
