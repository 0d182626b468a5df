"""A small model that has learnt nothing: what it says is arbitrary, but it is always the same."""

from pathlib import Path

import torch

from leafscout.diagnosis.calibrate import Calibration
from leafscout.glance.choose import ChoiceRule
from leafscout.model import Rules
from leafscout.networks import build_expert, build_scout
from leafscout.training.fit_rules import FittedRules
from leafscout.training.run_folder import save_model

RULES = Rules(
    labels=("mildew", "rust"), tile_px=64, glance_px=64, pooling="max",
    choice=ChoiceRule(threshold_prob=0.0, max_tiles=2), glance_weights=(0.25, 0.25),
    calibration=Calibration((3.0, 2.0), (0.5, 0.25)), thresholds=(0.4, 0.5), expert_macs=1000,
    scout_macs_per_px=2.0,
)  # fmt: skip


def save_small_model(run: Path) -> Path:
    """Write it as training would; gives the model folder."""
    torch.manual_seed(3)
    return save_model(
        run, build_expert("tiny_narrow", 2), build_scout("tiny_narrow", 2),
        FittedRules(RULES, (True, True), {}), version="0", data_fingerprint="0",
    )  # fmt: skip
