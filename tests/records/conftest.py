"""Sweeps as their own tests make them."""

from tests.sweep.conftest import sweep  # noqa: F401
