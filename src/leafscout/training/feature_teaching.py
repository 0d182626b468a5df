"""A recogniser that learns the features of another one, which may be the weaker of the two.

EVA-CLIP is grown like this: a network that has learnt already tells a larger one what to see at
places that are hidden from it (Sun et al. 2024, "EVA-CLIP-18B", section 3). Here both also see the
photos' labels, and hiding is an option.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional as F

from leafscout.errors import InputError
from leafscout.losses.distillation import PROJECTION, attach_projection, feature_loss
from leafscout.recognisers.whole_photo import Recogniser, without_transformer
from leafscout.training.recogniser_recipe import RECOGNISER_FAMILY
from leafscout.training.run_folder import read_plan
from leafscout.training.teacher import RecogniserLogits, Teacher, load_teacher


@dataclass(frozen=True, eq=False)
class FeatureTutor:
    """A finished recogniser, which stays as it is.

    Attributes:
        network: the teacher.
        weight: of its features beside the labels, above 0.
        hidden_share: share of places that the student does not see, 0..1; where it is above 0, they
            alone are asked for.
    """

    network: Recogniser
    weight: float
    hidden_share: float

    def attach(self, student: Recogniser, seed: int) -> None:
        """Give the student a linear map from its features to the teacher's."""
        attach_projection(student, student.encoder.channels, self.network.encoder.channels, seed)

    def hide(self, framed: Tensor, stride: int) -> tuple[Tensor, Tensor | None]:
        """Put the photo's mean colour over some places, others at each call.

        Args:
            framed: (photos, 3, side, side) pixels as the encoder is given them.
            stride: side of a place in pixels.

        Returns:
            The same shape, and (photos, rows, columns) true where hidden; None where nothing is.
        """
        if self.hidden_share == 0.0:
            return framed, None
        rows, columns = (-(-side // stride) for side in framed.shape[-2:])
        hidden = (torch.rand(len(framed), rows, columns) < self.hidden_share).to(framed.device)
        over = hidden.repeat_interleave(stride, dim=1).repeat_interleave(stride, dim=2)
        over = over[:, None, : framed.shape[-2], : framed.shape[-1]]
        return torch.where(over, framed.mean(dim=(2, 3), keepdim=True), framed), hidden

    def loss(
        self, student: Recogniser, feature_map: Tensor, framed: Tensor, hidden: Tensor | None
    ) -> Tensor:
        """``weight`` times 1 − cosine of the features, place by place.

        Args:
            student: with the map of ``attach``.
            feature_map: (photos, channels, rows, columns) its encoder's last map.
            framed: the pixels before anything was hidden.
            hidden: of ``hide``.

        Returns:
            Scalar.
        """
        side = self.network.shape.photo_px
        with torch.no_grad():
            seen = F.interpolate(framed, size=(side, side), mode="bilinear", antialias=True)
            wanted = without_transformer(self.network)(seen).feature_map
        places = feature_map.shape[-2:]
        if wanted.shape[-2:] != places:
            wanted = F.interpolate(wanted.float(), size=places, mode="bilinear", antialias=True)
        if hidden is not None and hidden.shape[-2:] != places:
            hidden = F.interpolate(hidden[:, None].float(), size=places)[:, 0] > 0
        projected = student.get_submodule(PROJECTION)(feature_map)
        return self.weight * feature_loss(projected, wanted, hidden)


def load_feature_teacher(run: Path | None, device: torch.device) -> Teacher | None:
    """The recogniser of a finished run, as a teacher of features.

    Args:
        run: its run folder; None for none.
        device: where it is to run.

    Raises:
        InputError: when there is no such run, or it holds no recogniser.
    """
    if run is None:
        return None
    if read_plan(run).get("recipe", {}).get("family") != RECOGNISER_FAMILY:
        raise InputError(
            f"{run} holds no recogniser of whole photos, and a recogniser learns features "
            "from another recogniser. Give the run of one as --teacher, or leave it out."
        )
    return load_teacher(run, "photo", device)


def hire_feature_tutor(
    teacher: Teacher | None, weight: float, hidden_share: float
) -> FeatureTutor | None:
    """The tutor that a recogniser's recipe asks for.

    Args:
        teacher: of ``load_feature_teacher``; None for none.
        weight: see ``FeatureTutor``.
        hidden_share: see ``FeatureTutor``.

    Raises:
        InputError: when no weight is left for the teacher's features.
        TypeError: when it is no recogniser.
    """
    if teacher is None:
        return None
    if not isinstance(teacher.photo_network, RecogniserLogits):
        raise TypeError("Expected a teacher of load_feature_teacher.")
    if weight == 0.0:
        raise InputError(
            "feature_weight is 0, so a teacher would teach nothing. Set it above 0, or leave "
            "--teacher out."
        )
    return FeatureTutor(teacher.photo_network.network, weight, hidden_share)
