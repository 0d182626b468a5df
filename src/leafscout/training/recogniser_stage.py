"""The one stage of a recogniser: a batch of whole photos made small, against their labels."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional as F

from leafscout.evaluation.comparison import macro_average_precision, macro_f1
from leafscout.evaluation.scores import plain_weights
from leafscout.evaluation.thresholds import best_f1_thresholds
from leafscout.glance.view import take_square
from leafscout.losses.focal import balanced_loss, focal_loss
from leafscout.networks import to_batch
from leafscout.photos.labels import LabelTable
from leafscout.photos.loader import load_photos
from leafscout.recognisers.whole_photo import Recogniser
from leafscout.training.feature_teaching import FeatureTutor
from leafscout.training.loop import Validation
from leafscout.training.photo_augmentation import change_photos, draw_change
from leafscout.training.recipes import StageSettings
from leafscout.training.recogniser_recipe import RecogniserRecipe
from leafscout.training.schedules import PlateauRate, cosine_share
from leafscout.types import FloatArray, Photo

STAGE_NAME = "recogniser"

SHOWN_NAME = 6
"""Letters of a label in the progress line."""


def photo_figures(truth: NDArray[np.bool_], logits: FloatArray) -> dict[str, float]:
    """What an epoch's evidence is worth.

    Args:
        truth: (photos, labels).
        logits: (photos, labels).

    Returns:
        ``f1``: macro-F1 with the threshold of each label that is best on these very photos;
        ``map``: mean average precision; ``acc``: photos with all labels right at probability 0.5;
        ``label_acc``: labels right at 0.5. Labels without a positive are left out of the first two.
    """
    probs = 1.0 / (1.0 + np.exp(-logits.astype(np.float64)))
    decided = probs >= best_f1_thresholds(truth, probs).thresholds
    right = (probs >= 0.5) == truth
    weights = plain_weights(len(truth))
    found = {
        "f1": float(macro_f1(truth, decided, weights)[0]),
        "map": float(macro_average_precision(truth, probs, weights)[0]),
        "acc": float(right.all(axis=1).mean()),
        "label_acc": float(right.mean()),
    }
    return {name: value if np.isfinite(value) else 0.0 for name, value in found.items()}


@dataclass
class RecogniserStage:
    """The network with its photos; what ``leafscout.training.loop`` trains, batch by batch.

    The photos are made small once, into a temporary folder: decoding them anew in every epoch would
    cost more than a small network does.

    Attributes:
        repeats: label → how many times photos with it come in an epoch; training photos alone.
        tutor: whose features are learnt beside the labels, if anyone's.
    """

    network: Recogniser
    recipe: RecogniserRecipe
    train: LabelTable
    validation: LabelTable
    seed: int
    device: torch.device
    mixed_precision: bool
    name: str = STAGE_NAME
    repeats: Mapping[str, int] = field(default_factory=dict)
    tutor: FeatureTutor | None = None

    def __post_init__(self) -> None:
        if self.tutor is not None:
            self.tutor.attach(self.network, self.seed)
        self._folder = tempfile.TemporaryDirectory(prefix="leafscout-photos-")
        self.rows = repeat_photos(self.train, self.repeats)
        made = self._make_small(list(self.train.paths), "train")
        self.paths: list[Path] = [made[row] for row in self.rows]
        self._validation_paths = self._make_small(list(self.validation.paths), "val")
        self.settings: StageSettings = self.recipe.stage_settings()
        self.photos_at_once = self.recipe.batch
        share = self.train.truth[self.rows].mean(axis=0).clip(1e-3, 1 - 1e-3)
        # A label weighs as much on the photos with it as on all others together.
        self._alpha = torch.from_numpy(1.0 - share).float().to(self.device)
        self._seen: list[tuple[int, list[float]]] = []
        self._epoch = -1

    def prepare(self) -> None:
        """Training mode."""
        self.network.train()

    def parameter_groups(self) -> list[dict[str, Any]]:
        """Encoder and head alike, ArcFace's class centres among them; a transformer by itself."""
        frame = self.network.transformer
        apart = [] if frame is None else list(frame.parameters())
        known = {id(one) for one in apart}
        rest = [one for one in self.network.parameters() if id(one) not in known]
        slow = {"params": apart, "lr": self.recipe.transformer_rate * self.recipe.rate}
        return [*([slow] if apart else []), {"params": rest, "lr": self.recipe.rate}]

    def rate(self, share_done: float, history: Sequence[Mapping[str, Any]]) -> float:
        """The learning rate as a share of its peak."""
        if self.recipe.schedule == "cosine":
            return cosine_share(share_done, self.recipe.warmup)
        plateau = PlateauRate(1.0, patience=self.recipe.plateau_patience)
        for row in history:
            plateau.update(float(row["val_f1"]))
        return plateau.rate

    def loss(self, index: int, photo: Photo, epoch: int) -> Tensor:
        """The loss of one training photo."""
        return self.batch_loss([(index, photo)], epoch)

    def batch_loss(self, photos: Sequence[tuple[int, Photo]], epoch: int) -> Tensor:
        """The mean loss of some training photos, each changed in its own way."""
        if epoch != self._epoch:
            self._epoch, self._seen = epoch, []
        pixels = to_batch(np.stack([photo.pixels for _, photo in photos]), self.device)
        changes = [draw_change((self.seed, 3, epoch, index), self.recipe) for index, _ in photos]
        rows = [int(self.rows[index]) for index, _ in photos]
        truth = torch.from_numpy(self.train.truth[rows]).float().to(self.device)
        if len(photos) == 1:
            hold_statistics(self.network)
        framed, hidden = self.network.frame(change_photos(pixels, changes))[0], None
        shown = framed
        if self.tutor is not None:
            shown, hidden = self.tutor.hide(framed, self.network.encoder.stride)
        out = self.network.read(shown)
        self.prepare()
        loss = self.compare(self.network.learning_logits(out, truth), truth)
        if self.tutor is not None:
            loss = loss + self.tutor.loss(self.network, out.feature_map, framed, hidden)
        answers = out.logits.detach().float().cpu().tolist()
        self._seen += list(zip(rows, answers, strict=True))
        return loss

    def compare(self, logits: Tensor, truth: Tensor) -> Tensor:
        """The recipe's loss of (photos, labels) logits, in full precision."""
        logits, recipe = logits.float(), self.recipe
        if recipe.loss == "focal":
            return focal_loss(logits, truth, gamma=recipe.focal_gamma, alpha=recipe.focal_alpha)
        if recipe.loss == "balanced":
            return balanced_loss(logits, truth, self._alpha)
        return F.binary_cross_entropy_with_logits(logits, truth)

    def describe_batch(self) -> str:
        """Share of photos of the last batch that each label is right for."""
        last = self._seen[-self.photos_at_once :]
        truth = self.train.truth[[row for row, _ in last]]
        right = ((np.array([answer for _, answer in last]) >= 0.0) == truth).mean(axis=0)
        words = [f"right {right.mean():.2f}"]
        for label, share in zip(self.train.labels, right, strict=True):
            words.append(f"{label[:SHOWN_NAME]} {share:.2f}")
        return "  ".join(words)

    def notes(self) -> dict[str, Any]:
        """What was said of this epoch's photos so far; nothing once the epoch is over."""
        return {"epoch": self._epoch, "seen": [list(one) for one in self._seen]}

    def load_notes(self, notes: Mapping[str, Any]) -> None:
        """Go on with an epoch."""
        self._epoch = int(notes.get("epoch", -1))
        self._seen = [(row, answer) for row, answer in notes.get("seen", [])]

    def validate(self) -> Validation:
        """Judge the validation photos, without margin; and look back on the epoch's own."""
        logits = self.answer_validation()
        truth = self.validation.truth
        loss = float(self.compare(torch.from_numpy(logits), torch.from_numpy(truth).float()))
        judged = photo_figures(truth, logits)
        figures = {f"train_{name}": value for name, value in self._look_back().items()}
        figures |= {f"val_{name}": value for name, value in judged.items()}
        self._seen = []
        return Validation(judged["f1"], loss, judged["map"], figures)

    def _look_back(self) -> dict[str, float]:
        if not self._seen:
            return dict.fromkeys(("f1", "map", "acc", "label_acc"), float("nan"))
        truth = self.train.truth[[row for row, _ in self._seen]]
        return photo_figures(truth, np.array([one for _, one in self._seen], dtype=np.float32))

    @torch.no_grad()
    def answer_validation(self) -> FloatArray:
        """(photos, labels) evidence of the validation photos as they are."""
        self.network.eval()
        rows = []
        paths, batch = self._validation_paths, self.recipe.batch
        photos = [photo.pixels for _, photo in load_photos(paths, range(len(paths)))]
        with torch.autocast(self.device.type, dtype=torch.bfloat16, enabled=self.mixed_precision):
            for first in range(0, len(photos), batch):
                pixels = to_batch(np.stack(photos[first : first + batch]), self.device)
                rows.append(self.network(pixels).logits.float().cpu().numpy())
        return np.concatenate(rows)

    def _make_small(self, paths: list[Path], kind: str) -> list[Path]:
        out = []
        for index, photo in load_photos(paths, range(len(paths))):
            file = Path(self._folder.name) / f"{kind}-{index}.png"
            Image.fromarray(take_square(photo, self.recipe.photo_px)).save(file, compress_level=1)
            out.append(file)
        return out


def repeat_photos(table: LabelTable, repeats: Mapping[str, int]) -> NDArray[np.int64]:
    """Rows of a table, those with a label as often as is wanted; of several labels the most.

    Args:
        table: training photos; no others may be repeated.
        repeats: label → times.
    """
    times = np.ones(len(table.paths), dtype=np.int64)
    for label, count in repeats.items():
        has = table.truth[:, table.labels.index(label)]
        times = np.where(has, np.maximum(times, count), times)
    return np.repeat(np.arange(len(times)), times)


def hold_statistics(network: nn.Module) -> None:
    """Let layers that normalise over a batch use what they know: one photo has no spread."""
    for module in network.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            module.eval()
