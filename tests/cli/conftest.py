"""Sweeps and stores as the tests of their rooms make them."""

from tests.stages.conftest import build, composed, config, other, stage  # noqa: F401
from tests.sweep.conftest import launcher, sweep  # noqa: F401
