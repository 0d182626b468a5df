"""Recipes, stages and the loop that trains them."""
