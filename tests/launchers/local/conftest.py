"""Sweeps as their own tests make them."""

from tests.sweep.conftest import make_sweep, nothing_known  # noqa: F401
