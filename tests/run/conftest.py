"""Small models as the tests of evaluations make them, and a chat server as those of feedback have it."""

from tests.evaluations.conftest import blank_loaded, blank_reward  # noqa: F401
from tests.training.feedback.conftest import judge, small  # noqa: F401
