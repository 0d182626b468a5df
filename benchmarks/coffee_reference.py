"""Coffee leaves, references: frozen features at half resolution with a small head on each place.

    python benchmarks/coffee_reference.py

Mean pooling, the photo's label copied to every place, and top-8 pooling, out of fold over the
folds of ``coffee.py``. Features are computed once; the heads train in seconds. Masks score only.
"""

from __future__ import annotations

import json
import os
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from coffee import FOLD_COUNT, HERE, data_folder, read_folds
from leafscout.evaluation.bootstrap import bootstrap
from leafscout.evaluation.comparison import macro_average_precision
from leafscout.evaluation.localisation import play_pointing_game
from leafscout.glance.view import take_glance
from leafscout.inference.evaluate import POINTING_TOLERANCE_PX
from leafscout.inference.lesion_truth import read_mask
from leafscout.losses.bag import positive_weights
from leafscout.networks import to_batch
from leafscout.nn.backbones import build_backbone
from leafscout.photos.labels import LabelTable, read_labels
from leafscout.photos.loader import load_photos

LONG_SIDE_PX = 1024
STRIDE = 32
EPOCHS = 15
RESULT = HERE / "results" / "coffee_reference.json"

Loss = Callable[[Tensor, Tensor, Tensor], Tensor]


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


METHODS: dict[str, tuple[Loss, Callable[[Tensor], Tensor]]] = {
    "mean pooling": (bag_loss_of(lambda z: z.mean(2)), lambda z: z.mean(2)),
    "photo label copied to every place": (copied_label_loss, top_8),
    "top-8 pooling": (bag_loss_of(top_8), top_8),
}


@torch.no_grad()
def frozen_features(table: LabelTable, weights: Path) -> Tensor:
    """(photos, channels, places) features in half precision."""
    device = torch.device("cpu")
    backbone = build_backbone("mobilenetv2_100", stride=STRIDE, weights=weights).eval()
    out = []
    for index, photo in load_photos(table.paths, range(len(table.paths))):
        pixels = take_glance(photo, LONG_SIDE_PX).pixels
        with torch.autocast("cpu", dtype=torch.bfloat16):
            out.append(backbone(to_batch(pixels[None], device))[0].half())
        if index % 50 == 0:
            print(f"features: {index} of {len(table.paths)}", flush=True)
    return torch.stack(out)


def fit_head(features: Tensor, truth: np.ndarray, loss_of: Loss, seed: int) -> nn.Conv1d:
    """A linear head on every place."""
    torch.manual_seed(seed)
    head = nn.Conv1d(features.shape[1], truth.shape[1], 1)
    nn.init.normal_(head.weight, std=0.01)
    optimizer = torch.optim.AdamW(head.parameters(), lr=1e-2, weight_decay=0.01)
    steps = EPOCHS * -(-len(features) // 8)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    labels, weight = torch.from_numpy(truth).float(), positive_weights(truth)
    for epoch in range(EPOCHS):
        order = np.random.default_rng([seed, epoch]).permutation(len(features))
        for start in range(0, len(order), 8):
            chosen = torch.from_numpy(order[start : start + 8])
            loss = loss_of(head(features[chosen].float()), labels[chosen], weight)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
    return head


def main() -> None:
    """Measure all methods in all folds."""
    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", "1")))
    data = data_folder()
    table = read_labels(data / "labels.csv")
    fold_of = read_folds()
    folds = np.array([fold_of[Path(name).name][1] for name in table.names])
    features = frozen_features(table, data.parent / "weights" / "mobilenetv2_100.safetensors")
    _, channels, rows, columns = features.shape
    features = features.flatten(2)
    masks = {path.stem: path for path in (data / "masks").glob("*.png")}
    out = {}
    for name, (loss_of, pool) in METHODS.items():
        started = time.time()
        probs = np.zeros(table.truth.shape)
        points: list[tuple[float, float] | None] = [None] * len(table.paths)
        for fold in range(FOLD_COUNT):
            train = torch.from_numpy(np.flatnonzero(folds != fold))
            head = fit_head(features[train], table.truth[folds != fold], loss_of, seed=0)
            for index in np.flatnonzero(folds == fold):
                with torch.no_grad():
                    places = head(features[index : index + 1].float())
                probs[index] = torch.sigmoid(pool(places))[0].numpy()
                best = int(places[0].amax(0).argmax())
                scale = 2048 / columns
                points[index] = (
                    (best % columns + 0.5) * scale,
                    (best // columns + 0.5) * 1024 / rows,
                )
        ap = bootstrap(macro_average_precision, table.truth, probs, resamples=1000, seed=0)
        diseased = np.flatnonzero(table.truth.any(axis=1))
        game = play_pointing_game(
            [points[index] for index in diseased],
            [read_mask(masks[table.paths[index].stem]) for index in diseased],
            tolerance_px=POINTING_TOLERANCE_PX,
        )
        out[name] = {"macro_ap": ap.to_dict(), "pointing": game.share, "photos": game.photos}
        print(name, out[name], f"{time.time() - started:.0f} s", flush=True)
    commit = subprocess.run(
        ["git", "rev-parse", "HEAD"], capture_output=True, text=True, cwd=HERE, check=False
    ).stdout.strip()
    RESULT.parent.mkdir(exist_ok=True)
    result = {
        "command": "python benchmarks/coffee_reference.py",
        "commit": commit,
        "date": time.strftime("%Y-%m-%d"),
        "seed": 0,
        "channels": channels,
        "long_side_px": LONG_SIDE_PX,
        "methods": out,
    }
    RESULT.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
