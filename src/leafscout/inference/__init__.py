"""From a trained run to diagnoses: one photo, many photos, evaluation."""
