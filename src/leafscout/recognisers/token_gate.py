"""The gate: which tokens go on to the later layers, decided by the early ones."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from leafscout.recognisers.gate_kinds import GATE_KINDS

OPEN_LOGIT = 2.0
"""A new gate is open: what the photo's label needs is learnt before anything is dropped."""


class TokenGate(nn.Module):
    """A small perceptron that gives each token one absolute logit.

    Nothing is normalised over a photo, so that "keep none" and "keep all" can both be said.

    Args:
        width: of a token.
        hidden: of the perceptron.
    """

    def __init__(self, width: int, hidden: int = 32) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.LayerNorm(width), nn.Linear(width, hidden), nn.GELU(), nn.Linear(hidden, 1)
        )
        last = self.layers[-1]
        nn.init.normal_(last.weight, std=0.01)  # type: ignore[arg-type]
        nn.init.constant_(last.bias, OPEN_LOGIT)  # type: ignore[arg-type]

    def forward(self, tokens: Tensor) -> Tensor:
        """(batch, tokens, width) → (batch, tokens) logits; kept from 0 on."""
        logits: Tensor = self.layers(tokens)[..., 0].float()
        return logits


def draw_gates(logits: Tensor, kind: str, *, noisy: bool) -> Tensor:
    """Decide, with the gradient of the probability (straight-through, Bengio et al. 2013).

    With ``gumbel``, logistic noise is added first: the decision is then a sample of the Bernoulli
    distribution of the gate (Maddison et al. 2017; Jang et al. 2017, for two classes).

    Args:
        logits: (batch, tokens).
        kind: a key of ``GATE_KINDS``.
        noisy: whether noise may be drawn; in a diagnosis, never.

    Returns:
        (batch, tokens) exactly 0 or 1; the gradient is that of the sigmoid.

    Raises:
        ValueError: when there is no such kind.
    """
    if kind not in GATE_KINDS:
        raise ValueError(f"There is no gate of kind {kind!r}. Expected one of {list(GATE_KINDS)}.")
    if kind == "open":
        return torch.ones_like(logits)
    if noisy and kind == "gumbel":
        uniform = torch.rand_like(logits).clamp(1e-6, 1.0 - 1e-6)
        logits = logits + torch.logit(uniform)
    soft = torch.sigmoid(logits)
    return (logits >= 0).to(soft.dtype) + (soft - soft.detach())


def token_magnitudes(tokens: Tensor) -> Tensor:
    """The L2 norm of each token: a gate that is not learnt, kept as a baseline.

    "Where a feature is weak there is nothing to see": high activation stands for content.

    Args:
        tokens: (batch, tokens, width).

    Returns:
        (batch, tokens) from 0.
    """
    norms: Tensor = torch.linalg.vector_norm(tokens.float(), dim=2)
    return norms
