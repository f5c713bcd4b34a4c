"""Small models as the tests of evaluations make them."""

from tests.evaluations.conftest import blank_loaded, blank_reward  # noqa: F401
