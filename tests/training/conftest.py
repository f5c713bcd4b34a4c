"""On-policy training as its own tests do it."""

from tests.training.online.conftest import training  # noqa: F401
