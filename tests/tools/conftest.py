"""A watch for functions that must be quick, as the tests of rewards have it."""

from tests.rewards.conftest import quick  # noqa: F401
