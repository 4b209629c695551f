"""Recipes: each file is one thing that a user would run or copy, from data to a served model."""
