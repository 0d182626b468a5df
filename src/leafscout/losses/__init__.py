"""Losses of the bag, of sparsity, and of the scout against the expert's evidence."""
