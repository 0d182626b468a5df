"""Arrays in, numbers out: metrics, intervals, thresholds, curves, localisation."""
