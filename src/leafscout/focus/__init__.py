"""Look closely: tiles at full resolution and the expert network."""
