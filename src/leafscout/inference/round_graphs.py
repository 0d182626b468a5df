"""Round exported graphs to int8, and keep in fp32 what must stay so for the same decisions."""

from __future__ import annotations

import math
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from leafscout.errors import InputError
from leafscout.export.parity import Limits, Parity
from leafscout.export.quantise import RoundableGraph, measure_ranges
from leafscout.export.sensitivity import rank_layers
from leafscout.model import GlanceEvidence, TileEvidence
from leafscout.types import Pixels

KEPT_FRACS = (
    {"scout": 0.0, "expert": 0.0},
    {"scout": 0.05, "expert": 0.05},
    {"scout": 0.1, "expert": 0.1},
    {"scout": 0.2, "expert": 0.2},
    {"scout": 1.0, "expert": 0.0},
    {"scout": 1.0, "expert": 0.2},
    {"scout": 1.0, "expert": 0.5},
)
"""Shares of the layers that stay in fp32, tried in this order. The scout runs once a photo, the
expert once a tile, and what the scout says decides which tiles are read: it is kept whole before
much of the expert is."""

KEPT_ALONE = tuple({"recogniser": frac} for frac in (0.0, 0.05, 0.1, 0.2, 0.5))
"""The same for one network."""

WORTHWHILE_FRAC = 0.6
"""Share of fp32's bytes above which int8 has hardly paid."""

RANKING_INPUTS = 6
"""Errors of layers differ by factors of ten: a few inputs put them in order."""

OUTPUTS = {
    "scout": GlanceEvidence._fields,
    "expert": tuple(name for name in TileEvidence._fields if name != "attention_logits"),
    "recogniser": ("logits",),
}
"""Network → the outputs whose change counts; only one pooling reads the attention, and no
probability hangs on a recogniser's places."""


@dataclass(frozen=True)
class Rounded:
    """What came of rounding.

    Attributes:
        parity: how the model compared.
        fp32_layers: network → layers that stay in fp32, beside the last ones.
        layers: network → how many could be rounded.
        attempts: how many of ``KEPT_FRACS`` or ``KEPT_ALONE`` were tried.
    """

    parity: Parity
    fp32_layers: dict[str, tuple[str, ...]]
    layers: dict[str, int]
    attempts: int

    def sentence(self) -> str | None:
        """What was kept, in words; None when nothing was."""
        kept = [
            f"the {network}"
            if len(names) == self.layers[network]
            else f"{len(names)} of {self.layers[network]} layers of the {network}"
            for network, names in self.fp32_layers.items()
            if names
        ]
        if not kept:
            return None
        return f"Kept in fp32, as rounding it changed too many decisions: {' and '.join(kept)}."


def round_until_alike(
    sources: dict[str, Path],
    targets: dict[str, Path],
    inputs: Mapping[str, Sequence[Pixels]],
    judge: Callable[[], Parity],
    limits: Limits,
    *,
    threads: int | None = None,
    say: Callable[[str], None] = lambda _: None,
) -> Rounded:
    """Write int8 graphs; while they differ by more than is allowed, round fewer layers.

    The layers that rounding harms most are kept first; they are found on the calibration photos.

    Args:
        sources: network → its fp32 graph; of ``scout`` and ``expert``, or of ``recogniser``.
        targets: network → where its int8 graph goes.
        inputs: network → what its ranges are measured on.
        judge: compares the graphs that are at the targets.
        limits: how much they may differ.
        threads: CPU threads.
        say: told each step.

    Raises:
        InputError: when even the last attempt differs too much, or a graph cannot be rounded.
    """
    graphs = {name: measure_ranges(source, inputs[name]) for name, source in sources.items()}
    attempts = KEPT_FRACS if "scout" in sources else KEPT_ALONE
    layers = {name: len(graph.layers) for name, graph in graphs.items()}
    ranked: dict[str, tuple[str, ...]] = {}
    problem = ""
    for attempt, fracs in enumerate(attempts, start=1):
        if any(fracs.values()) and not ranked:
            say("Too many decisions changed: looking for the layers that rounding harms most.")
            ranked = _rank(graphs, inputs, threads)
        kept = {
            name: ranked[name][: math.ceil(frac * layers[name])] if frac else ()
            for name, frac in fracs.items()
        }
        for name, graph in graphs.items():
            if len(kept[name]) == layers[name]:
                shutil.copyfile(sources[name], targets[name])
            else:
                graph.write(targets[name], keep=kept[name])
        parity = judge()
        found = parity.find_problem(limits)
        if found is None:
            return Rounded(parity, kept, layers, attempt)
        problem = problem or found
    most = {name: frac for name, frac in attempts[-1].items() if frac < 1.0}
    kept_words = " and ".join(f"up to {frac:.0%} of the {name}'s" for name, frac in most.items())
    whole = "the scout and " if "scout" in sources else ""
    raise InputError(f"{problem} Keeping {whole}{kept_words} layers in fp32 did not help either.")


def describe_size(own_bytes: int, fp32_bytes: int) -> str:
    """How large int8 graphs are, and what to do where most of them stayed in fp32."""
    share = own_bytes / fp32_bytes
    said = f"The graphs take {own_bytes / 1e6:.1f} MB, {share:.0%} of fp32's."
    if share <= WORTHWHILE_FRAC:
        return said
    return (
        f"{said} Little is left of int8's gain: compare on more photos with --photos, on which "
        "one more may change, or allow more changes with --max-changed."
    )


def _rank(
    graphs: dict[str, RoundableGraph],
    inputs: Mapping[str, Sequence[Pixels]],
    threads: int | None,
) -> dict[str, tuple[str, ...]]:
    ranked = {}
    for name, graph in graphs.items():
        step = max(1, len(inputs[name]) // RANKING_INPUTS)
        harms = rank_layers(
            graph,
            inputs[name][::step][:RANKING_INPUTS],
            outputs=OUTPUTS[name],
            threads=threads,
        )
        ranked[name] = tuple(one.layer for one in harms)
    return ranked
