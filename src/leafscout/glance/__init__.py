"""Where to look: the scout network on the small view, and the choice of tiles."""
