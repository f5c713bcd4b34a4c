"""Measuring a model on held-out examples, one row each."""
