"""Small models as the tests of other rooms make them."""

from tests.evaluations.conftest import blank_loaded, blank_reward  # noqa: F401
from tests.models.conftest import copied, load, make, small  # noqa: F401
from tests.training.online.conftest import training  # noqa: F401
