"""Recognisers of whole photos in one network."""
