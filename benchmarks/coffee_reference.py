"""Coffee leaves, references: frozen features at half resolution with a small head on each place.

    python benchmarks/coffee_reference.py

Mean pooling, the photo's label copied to every place, top-8 and log-sum-exp pooling on the last
feature map, and log-sum-exp on the last map and a finer one, out of fold over the folds of
``coffee.py``. Each method gets the learning rate and the epochs that serve it best on a validation
quarter of the first fold's training photos. Features are computed once; masks score only.
"""

from __future__ import annotations

import json
import math
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from coffee import FOLD_COUNT, HERE, read_folds
from leafscout.evaluation.bootstrap import bootstrap
from leafscout.evaluation.comparison import macro_average_precision
from leafscout.evaluation.localisation import play_pointing_game
from leafscout.evaluation.scores import plain_weights
from leafscout.glance.view import take_glance
from leafscout.inference.evaluate import POINTING_TOLERANCE_PX
from leafscout.inference.lesion_truth import read_mask
from leafscout.losses.bag import positive_weights
from leafscout.networks import to_batch
from leafscout.nn.backbones import build_backbone
from leafscout.nn.feature_maps import add_maps
from leafscout.photos.labels import LabelTable, read_labels
from leafscout.photos.loader import load_photos
from origin import find_data, read_commit

LONG_SIDE_PX = 1024
STRIDE, FINE_STRIDE = 32, 16
SETTINGS = [(rate, epochs) for rate in (1e-3, 3e-3) for epochs in (10, 30)]
"""Learning rates and epochs that every method may choose from."""

RESULT = HERE / "results" / "coffee_reference.json"

PHOTO_WIDTH_PX = 2048
Loss = Callable[[Tensor, Tensor, Tensor], Tensor]
PointPx = tuple[float, float]


def bag_loss_of(pool: Callable[[Tensor], Tensor]) -> Loss:
    """Binary cross-entropy of pooled (photos, labels, places) logits."""

    def loss(places: Tensor, truth: Tensor, weight: Tensor) -> Tensor:
        return F.binary_cross_entropy_with_logits(pool(places), truth, pos_weight=weight)

    return loss


def copied_label_loss(places: Tensor, truth: Tensor, weight: Tensor) -> Tensor:
    """Binary cross-entropy of every place with the photo's labels."""
    copied = truth[:, :, None].expand_as(places)
    return F.binary_cross_entropy_with_logits(places, copied, pos_weight=weight[:, None])


def top_8(places: Tensor) -> Tensor:
    """Mean of the eight strongest places."""
    return places.topk(8, dim=2).values.mean(2)


def log_sum_exp(places: Tensor) -> Tensor:
    """Length-normalised log-sum-exp of all places, sharpness 1."""
    return torch.logsumexp(places, dim=2) - math.log(places.shape[2])


def average(places: Tensor) -> Tensor:
    """Mean of all places."""
    return places.mean(2)


class Method(NamedTuple):
    """A loss, how a photo is answered for, and whether the finer map is used."""

    loss: Loss
    pool: Callable[[Tensor], Tensor]
    fine: bool = False


METHODS = {
    "mean pooling": Method(bag_loss_of(average), average),
    "photo label copied to every place": Method(copied_label_loss, top_8),
    "top-8 pooling": Method(bag_loss_of(top_8), top_8),
    "log-sum-exp pooling": Method(bag_loss_of(log_sum_exp), log_sum_exp),
    "log-sum-exp pooling, a finer map added": Method(
        bag_loss_of(log_sum_exp), log_sum_exp, fine=True
    ),
}


class Head(nn.Module):
    """A linear classifier on every place; with the finer map, one on each map, added."""

    def __init__(self, features: Features, labels: int, *, fine: bool) -> None:
        super().__init__()
        self.coarse = nn.Conv2d(features.coarse.shape[1], labels, 1)
        self.fine = nn.Conv2d(features.fine.shape[1], labels, 1, bias=False) if fine else None
        for layer in (self.coarse, self.fine):
            if layer is not None:
                nn.init.normal_(layer.weight, std=0.3 / math.sqrt(layer.in_channels))
        nn.init.constant_(self.coarse.bias, -2.0)

    def forward(self, features: Features) -> Tensor:
        """Features of a few photos → (photos, labels, rows, columns) logits."""
        out = self.coarse(features.coarse.float())
        if self.fine is None:
            return out
        fine = self.fine(features.fine.float())
        return add_maps(fine, out)


class Features(NamedTuple):
    """(photos, channels, rows, columns) of both maps, half precision."""

    coarse: Tensor
    fine: Tensor

    def of(self, chosen: Tensor) -> Features:
        """Those of some photos."""
        return Features(self.coarse[chosen], self.fine[chosen])


@torch.no_grad()
def frozen_features(table: LabelTable, weights: Path) -> Features:
    """Both feature maps of every photo."""
    device = torch.device("cpu")
    backbone = build_backbone(
        "mobilenetv2_100", stride=STRIDE, fine_stride=FINE_STRIDE, weights=weights
    ).eval()
    coarse, fine = [], []
    for index, photo in load_photos(table.paths, range(len(table.paths))):
        pixels = take_glance(photo, LONG_SIDE_PX).pixels
        with torch.autocast("cpu", dtype=torch.bfloat16):
            last, finer = backbone.forward_fine(to_batch(pixels[None], device))
        coarse.append(last[0].half())
        fine.append(finer[0].half())
        if index % 50 == 0:
            print(f"features: {index} of {len(table.paths)}", flush=True)
    return Features(torch.stack(coarse), torch.stack(fine))


def fit_head(
    method: Method, features: Features, truth: np.ndarray, rate: float, epochs: int, seed: int
) -> Head:
    """A head trained on photos that are all given."""
    torch.manual_seed(seed)
    head = Head(features, truth.shape[1], fine=method.fine)
    optimizer = torch.optim.AdamW(head.parameters(), lr=rate, weight_decay=0.01)
    steps = epochs * -(-len(truth) // 8)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    labels, weight = torch.from_numpy(truth).float(), positive_weights(truth)
    for epoch in range(epochs):
        order = np.random.default_rng([seed, epoch]).permutation(len(truth))
        for start in range(0, len(order), 8):
            chosen = torch.from_numpy(order[start : start + 8])
            places = head(features.of(chosen)).flatten(2)
            loss = method.loss(places, labels[chosen], weight)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
    return head.eval()


@torch.no_grad()
def answer(method: Method, head: Head, features: Features) -> tuple[np.ndarray, list[PointPx]]:
    """(photos, labels) probabilities, and the strongest place of the likeliest label."""
    probs, points = [], []
    for index in range(len(features.coarse)):
        maps = head(features.of(torch.tensor([index])))
        prob = torch.sigmoid(method.pool(maps.flatten(2)))[0].numpy()
        best = maps[0, int(prob.argmax())]
        row, column = divmod(int(best.argmax()), best.shape[1])
        side_px = PHOTO_WIDTH_PX / best.shape[1]
        probs.append(prob)
        points.append(((column + 0.5) * side_px, (row + 0.5) * side_px))
    return np.stack(probs), points


def choose_setting(method: Method, features: Features, truth: np.ndarray) -> tuple[float, int]:
    """The setting with the best macro-AP on a quarter of the photos, fitted on the rest."""
    order = np.random.default_rng(0).permutation(len(truth))
    cut = len(order) // 4
    inner, outer = torch.from_numpy(order[cut:]), torch.from_numpy(order[:cut])
    scores = {}
    for rate, epochs in SETTINGS:
        head = fit_head(method, features.of(inner), truth[order[cut:]], rate, epochs, seed=0)
        probs = answer(method, head, features.of(outer))[0]
        scores[rate, epochs] = macro_average_precision(
            truth[order[:cut]], probs, plain_weights(cut)
        )[0]
    return max(scores, key=scores.__getitem__)


def main() -> None:
    """Measure all methods in all folds."""
    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", "1")))
    data = find_data("coffee")
    table = read_labels(data / "labels.csv")
    fold_of = read_folds()
    folds = np.array([fold_of[Path(name).name][1] for name in table.names])
    features = frozen_features(table, data.parent / "weights" / "mobilenetv2_100.safetensors")
    masks = {path.stem: path for path in (data / "masks").glob("*.png")}
    out = {}
    for name, method in METHODS.items():
        started = time.time()
        first = torch.from_numpy(np.flatnonzero(folds != 0))
        rate, epochs = choose_setting(method, features.of(first), table.truth[folds != 0])
        probs = np.zeros(table.truth.shape)
        points: list[PointPx | None] = [None] * len(table.paths)
        for fold in range(FOLD_COUNT):
            train, test = np.flatnonzero(folds != fold), np.flatnonzero(folds == fold)
            head = fit_head(
                method, features.of(torch.from_numpy(train)), table.truth[train], rate, epochs, 0
            )
            probs[test], found = answer(method, head, features.of(torch.from_numpy(test)))
            for index, point in zip(test, found, strict=True):
                points[index] = point
        ap = bootstrap(macro_average_precision, table.truth, probs, resamples=1000, seed=0)
        diseased = np.flatnonzero(table.truth.any(axis=1))
        game = play_pointing_game(
            [points[index] for index in diseased],
            [read_mask(masks[table.paths[index].stem]) for index in diseased],
            tolerance_px=POINTING_TOLERANCE_PX,
        )
        out[name] = {
            "macro_ap": ap.to_dict(),
            "pointing": game.share,
            "photos": game.photos,
            "learning_rate": rate,
            "epochs": epochs,
        }
        print(name, out[name], f"{time.time() - started:.0f} s", flush=True)
    RESULT.parent.mkdir(exist_ok=True)
    result = {
        "command": "python benchmarks/coffee_reference.py",
        "commit": read_commit(),
        "date": time.strftime("%Y-%m-%d"),
        "seed": 0,
        "long_side_px": LONG_SIDE_PX,
        "methods": out,
    }
    RESULT.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
