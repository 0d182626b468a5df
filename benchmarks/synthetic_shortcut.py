"""Can colour alone tell a diseased synthetic photo from a healthy one? It must not.

    python benchmarks/synthetic_shortcut.py [photos] [--stand-in-frac F] [--demo]

Every photo is described by colour histograms of its tiles (4×4×4 colours; per colour the mean and
the maximum over the tiles, and the mean of the three fullest tiles). Logistic regression and a
forest, cross-validated, try to tell healthy from diseased and each disease from the rest. Photos
are 750×1000 px, a quarter of the side, lesions of 16 to 80 px at contrast 50% to 100%: the easiest
case for colour. Prints one JSON line of areas under the ROC curve; 0.5 is chance. ``--demo`` takes
the demo's own settings, where colour is meant to help.
"""

import argparse
import json

import numpy as np
from sklearn.ensemble import ExtraTreesClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import StratifiedKFold, cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from leafscout.photos.synthetic import DEMO_FIELD, FieldSettings, photo_seed, render_photo
from leafscout.photos.tiles import cut_tiles, lay_tiles

TILE_PX = 96


def describe_colours(pixels: np.ndarray) -> np.ndarray:
    tiles = cut_tiles(pixels, lay_tiles(pixels.shape[:2], TILE_PX))
    codes = tiles >> 6
    codes = codes[..., 0] * 16 + codes[..., 1] * 4 + codes[..., 2]
    counts = np.stack([np.bincount(tile.ravel(), minlength=64) for tile in codes]) / TILE_PX**2
    top = np.sort(counts, axis=0)[-3:]
    return np.sqrt(np.concatenate([counts.mean(axis=0), top[-1], top.mean(axis=0)]))


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("photos", type=int, nargs="?", default=400)
    parser.add_argument("--stand-in-frac", type=float, default=1.0)
    parser.add_argument("--seed", type=int, default=11)
    parser.add_argument("--demo", action="store_true")
    options = parser.parse_args()
    settings = (
        DEMO_FIELD
        if options.demo
        else FieldSettings(
            size_px_hw=(750, 1000),
            lesion_sizes_px=(16, 24, 40, 80),
            contrast_range=(0.5, 1.0),
            no_leaf_frac=0.0,
            stand_in_frac=options.stand_in_frac,
        )
    )
    features, labels = [], []
    for index in range(options.photos):
        photo = render_photo(settings, photo_seed(options.seed, index))
        features.append(describe_colours(photo.pixels))
        labels.append([bool(photo.labels), *(name in photo.labels for name in settings.diseases)])
    rows, truth = np.stack(features), np.array(labels)
    models = {
        "logistic": make_pipeline(StandardScaler(), LogisticRegression(C=0.05, max_iter=2000)),
        "forest": ExtraTreesClassifier(300, min_samples_leaf=3, random_state=0, n_jobs=1),
    }
    folds = StratifiedKFold(5, shuffle=True, random_state=0)
    report: dict[str, object] = {"photos": options.photos, "stand_in_frac": settings.stand_in_frac}
    for name, model in models.items():
        for column, target in enumerate(("diseased", *settings.diseases)):
            wanted = truth[:, column]
            score = cross_val_predict(model, rows, wanted, cv=folds, method="predict_proba")[:, 1]
            report[f"{name}/{target}"] = round(float(roc_auc_score(wanted, score)), 3)
    print(json.dumps(report))


if __name__ == "__main__":
    main()
