"""Models' folders as the tests of models make them."""

from tests.models.conftest import copied, load, make, qwen, small, stories  # noqa: F401
