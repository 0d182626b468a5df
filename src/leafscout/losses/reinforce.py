"""REINFORCE: the scout as an agent that draws tiles and is rewarded when the answer is right.

Williams (1992): the gradient of the expected reward is the mean of ``(reward − baseline) ·
∇ log P(draw)``, whatever the reward is made of and however hard the choice. The baseline does not
change that mean as long as it does not depend on the draw; it only makes the gradient less noisy.
Tiles are drawn without replacement in proportion to ``exp(score)`` (Plackett 1975, Luce 1959).
"""

from __future__ import annotations

import torch
from torch import Tensor


def draw_tiles(scores: Tensor, count: int, draws: int, generator: torch.Generator) -> Tensor:
    """Draw tiles without replacement, the higher scores more often.

    The order of ``score + Gumbel noise`` is such a draw (Yellott 1977; Kool et al. 2019).

    Args:
        scores: (tiles,) logits; no gradient flows through the draw.
        count: tiles a draw, at most as many as there are.
        draws: independent draws.
        generator: randomness, on the CPU.

    Returns:
        (draws, count) indices in the order in which they were drawn.
    """
    noise = torch.rand(draws, len(scores), generator=generator, dtype=torch.float64)
    gumbel = -torch.log(-torch.log(noise.clamp(1e-12, 1.0 - 1e-12)))
    noisy = scores.detach().cpu().double()[None] + gumbel
    return noisy.topk(min(count, len(scores)), dim=1).indices.to(scores.device)


def log_prob_of_draws(scores: Tensor, drawn: Tensor) -> Tensor:
    """Log probability of draws without replacement.

    Args:
        scores: (tiles,) logits.
        drawn: (draws, count) indices in order, without repeats.

    Returns:
        (draws,) ``Σ_k [s_k − log Σ_{j not drawn before k} exp(s_j)]``; differentiable.
    """
    left = scores[None].expand(len(drawn), -1)
    total = scores.new_zeros(len(drawn))
    for step in range(drawn.shape[1]):
        one = drawn[:, step : step + 1]
        total = total + left.gather(1, one)[:, 0] - torch.logsumexp(left, dim=1)
        left = left.scatter(1, one, float("-inf"))
    return total


def leave_one_out_baselines(rewards: Tensor) -> Tensor:
    """For each draw, the mean reward of the others: independent of it, so the gradient stays true.

    Args:
        rewards: (draws,), two or more.

    Returns:
        (draws,) baselines (Kool et al. 2019, "buy 4 REINFORCE samples, get a baseline for free").
    """
    if len(rewards) < 2:
        return torch.zeros_like(rewards)
    baselines: Tensor = (rewards.sum() - rewards) / (len(rewards) - 1)
    return baselines


def reinforce_loss(log_probs: Tensor, rewards: Tensor, baselines: Tensor) -> Tensor:
    """A loss whose gradient is minus the REINFORCE estimate of the expected reward's.

    Args:
        log_probs: (draws,) of the draws, with gradient.
        rewards: (draws,) higher is better.
        baselines: (draws,) what was expected; zeros for none.

    Returns:
        Scalar mean over the draws; its value means nothing, its gradient does.
    """
    loss: Tensor = -((rewards - baselines).detach() * log_probs).mean()
    return loss
