"""Network parts: backbones and operations on masked bags."""
