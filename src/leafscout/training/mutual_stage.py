"""Two experts that learn at the same time, each from the labels and from the other."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from torch import Tensor, nn

from leafscout.focus.expert import Expert
from leafscout.training.expert_stage import ExpertStage
from leafscout.training.loop import Validation
from leafscout.training.recipes import StageSettings
from leafscout.types import Photo


class MutualStage:
    """Deep mutual learning (Zhang et al. 2018) as one stage of ``leafscout.training.loop``.

    Each expert chooses the tiles that it learns from, and is told what the other one says of them.
    The losses are added up; no gradient of one expert's loss reaches the other. The epoch with the
    best mean of both scores is kept.

    Args:
        first: an expert whose tutor is the second one's network.
        second: the other way round; with the same photos.
    """

    name = "expert"

    def __init__(self, first: ExpertStage, second: ExpertStage) -> None:
        self.peers = (first, second)
        self.network = nn.ModuleList([first.network, second.network])
        self.settings: StageSettings = first.settings
        self.paths: list[Path] = first.paths

    def prepare(self) -> None:
        """Training mode for both."""
        for peer in self.peers:
            peer.prepare()

    def parameter_groups(self) -> list[dict[str, Any]]:
        """The groups of both; those of the new layers last."""
        groups = [peer.parameter_groups() for peer in self.peers]
        return [both[0] for both in groups] + [both[1] for both in groups]

    def halve(self) -> str | None:
        """Both learn from half the tiles and read half as many at a time."""
        words = [peer.halve() for peer in self.peers]
        return words[0]

    def loss(self, index: int, photo: Photo, epoch: int) -> Tensor:
        """The sum of both losses of one photo."""
        return self.peers[0].loss(index, photo, epoch) + self.peers[1].loss(index, photo, epoch)

    def validate(self) -> Validation:
        """The mean of both on the validation photos."""
        found = [peer.validate() for peer in self.peers]
        return Validation(*(sum(pair) / 2 for pair in zip(*map(_values, found), strict=True)))

    def finish(self) -> Expert:
        """The expert that is better on the validation photos; the first one where they are equal.

        Its weights are also copied into the first expert.
        """
        experts = [peer.finish() for peer in self.peers]
        scores = [_values(peer.validate()) for peer in self.peers]
        better = int((scores[1][0], -scores[1][1]) > (scores[0][0], -scores[0][1]))
        if better:
            experts[0].load_state_dict(experts[1].state_dict())
        experts[0].eval()
        return experts[0]


def _values(found: Validation) -> tuple[float, float, float]:
    return found.score, found.loss, found.macro_ap
