"""Losses of a student that learns from a teacher: soft labels, features, and where it looks.

They know nothing about photos or tiles: rows may be photos, tiles, places or tokens, and a map may
be two-dimensional or a row of tokens, so every family of models can use them.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from leafscout.losses.exclusive import with_healthy

PROJECTION = "distil_projection"
"""Name of the ``FeatureProjection`` in a student while it learns; no model keeps it."""

FEATURE_LOSSES = ("cosine", "mse")
"""How far the student's features are from the teacher's: by angle, or by squared difference."""


def soften(logits: Tensor, temperature: float, *, exclusive: bool = False) -> Tensor:
    """Soft labels: probabilities at a temperature (Hinton et al. 2015, eq. 1).

    Args:
        logits: (..., labels).
        temperature: above 0; 1 leaves the probabilities as they are, more makes them more even.
        exclusive: a softmax over healthy, with logit 0, and the labels; else a sigmoid each.

    Returns:
        (..., labels) 0..1; (..., 1 + labels) with healthy first where exclusive.
    """
    scaled = logits / temperature
    if exclusive:
        return F.softmax(_add_healthy(scaled), dim=-1)
    return torch.sigmoid(scaled)


def soft_label_entropy(logits: Tensor, temperature: float, *, exclusive: bool = False) -> Tensor:
    """How much soft labels leave open, in nats; it rises with the temperature.

    Args:
        logits: (..., labels).
        temperature: above 0.
        exclusive: see ``soften``.

    Returns:
        Scalar: the mean entropy of a label, or of the softmax where exclusive.
    """
    scaled = logits / temperature
    if exclusive:
        log_probs = F.log_softmax(_add_healthy(scaled), dim=-1)
        return -(log_probs.exp() * log_probs).sum(dim=-1).mean()
    prob = torch.sigmoid(scaled)
    return (-prob * F.logsigmoid(scaled) - (1 - prob) * F.logsigmoid(-scaled)).mean()


def soft_label_loss(
    student_logits: Tensor, teacher_logits: Tensor, temperature: float, *, exclusive: bool = False
) -> Tensor:
    """T² · KL(teacher ‖ student) of the soft labels (Hinton et al. 2015, section 2).

    Labels are independent diseases, so each has a Kullback–Leibler divergence of two outcomes.
    T² keeps the gradient as large as that of the hard labels whatever the temperature.

    Args:
        student_logits: (..., labels).
        teacher_logits: (..., labels); no gradient reaches it.
        temperature: above 0, the same for both.
        exclusive: one divergence over healthy and the labels.

    Returns:
        Scalar mean over rows, and over labels where these are independent; 0 where both agree.
    """
    student, teacher = student_logits / temperature, teacher_logits.detach() / temperature
    if exclusive:
        student_log = F.log_softmax(_add_healthy(student), dim=-1)
        teacher_log = F.log_softmax(_add_healthy(teacher), dim=-1)
        divergence = (teacher_log.exp() * (teacher_log - student_log)).sum(dim=-1)
    else:
        present = torch.sigmoid(teacher) * (F.logsigmoid(teacher) - F.logsigmoid(student))
        absent = torch.sigmoid(-teacher) * (F.logsigmoid(-teacher) - F.logsigmoid(-student))
        divergence = present + absent
    return temperature**2 * divergence.mean()


def blend_losses(hard: Tensor, soft: Tensor, soft_weight: float) -> Tensor:
    """``α · soft + (1 − α) · hard``; with α = 0 exactly the loss of the labels.

    Args:
        hard: loss against the photos' labels.
        soft: loss against the teacher, T² included.
        soft_weight: α, 0..1.
    """
    if soft_weight == 0.0:
        return hard
    return soft_weight * soft + (1.0 - soft_weight) * hard


class FeatureProjection(nn.Module):
    """From the student's features to the teacher's: a linear map of each place.

    Args:
        student_channels: width of the student's features.
        teacher_channels: width of the teacher's.
    """

    def __init__(self, student_channels: int, teacher_channels: int) -> None:
        super().__init__()
        self.linear = nn.Linear(student_channels, teacher_channels, bias=False)
        nn.init.normal_(self.linear.weight, std=1.0 / math.sqrt(student_channels))

    def forward(self, features: Tensor) -> Tensor:
        """(batch, student channels, *places) → (batch, teacher channels, *places)."""
        projected: Tensor = self.linear(features.movedim(1, -1))
        return projected.movedim(-1, 1)


def attach_projection(
    student: nn.Module, student_channels: int, teacher_channels: int, seed: int
) -> None:
    """Give a student a ``FeatureProjection`` of its own seed, which learns with it.

    Args:
        student: gets the module ``PROJECTION``.
        student_channels: width of its features.
        teacher_channels: width of the teacher's.
        seed: of the projection's weights; no other random numbers change.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        projection = FeatureProjection(student_channels, teacher_channels)
    student.add_module(PROJECTION, projection.to(next(student.parameters()).device))


def detach_projection(student: nn.Module) -> None:
    """Take away what ``attach_projection`` gave, if it gave anything."""
    if hasattr(student, PROJECTION):
        delattr(student, PROJECTION)


def feature_loss(
    student: Tensor, teacher: Tensor, kept: Tensor | None = None, *, kind: str = "cosine"
) -> Tensor:
    """How far the student's features are from the teacher's, at the places it keeps alone.

    What a student has dropped it never computes, so nothing can be asked of it there.

    Args:
        student: (batch, channels, *places), already as wide as the teacher's.
        teacher: (batch, channels, *places); no gradient reaches it.
        kept: (batch, *places) bool; None keeps every place.
        kind: one of ``FEATURE_LOSSES``.

    Returns:
        Scalar mean over the kept places: 1 − cosine, 0..2, or the mean squared difference of
        features of length 1 per channel; 0 where nothing is kept.

    Raises:
        ValueError: unknown kind.
    """
    if kind not in FEATURE_LOSSES:
        raise ValueError(f"Expected a feature loss of {FEATURE_LOSSES}, but got {kind!r}.")
    student, teacher = student.float(), teacher.detach().float()
    if kind == "cosine":
        away = 1.0 - F.cosine_similarity(student, teacher, dim=1)
    else:
        # The teacher's scale is arbitrary: its features are taken with a mean square of 1.
        scale = teacher.square().mean().clamp(min=1e-12).sqrt()
        away = ((student - teacher) / scale).square().mean(dim=1)
    if kept is None:
        return away.mean()
    return (away * kept).sum() / kept.sum().clamp(min=1)


def attention_map(features: Tensor) -> Tensor:
    """Where a network looks: the sum of squared activations (Zagoruyko & Komodakis 2017, F²_sum).

    Args:
        features: (batch, channels, *places).

    Returns:
        (batch, places) of length 1 each.
    """
    return F.normalize(features.float().square().sum(dim=1).flatten(1), dim=1)


def attention_transfer_loss(student: Tensor, teacher: Tensor) -> Tensor:
    """Squared distance between where student and teacher look (Zagoruyko & Komodakis 2017, eq. 2).

    Args:
        student: (batch, channels, *places).
        teacher: (batch, any channels, *places), as many places; no gradient reaches it.

    Returns:
        Scalar mean over the batch, 0..2.
    """
    away = attention_map(student) - attention_map(teacher.detach())
    return away.square().sum(dim=1).mean()


def _add_healthy(logits: Tensor) -> Tensor:
    flat = with_healthy(logits.reshape(-1, logits.shape[-1]))
    return flat.reshape(*logits.shape[:-1], -1)
