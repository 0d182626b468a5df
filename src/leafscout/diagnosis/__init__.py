"""Decide: pooling, fusion with the glance, calibration, thresholds."""
