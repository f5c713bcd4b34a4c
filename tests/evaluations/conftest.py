"""Small models with made-up weights, one for each kind of head."""

from __future__ import annotations

import pytest

from rlpipe.config.kinds import Head
from rlpipe.models.base import Loaded
from rlpipe.models.blank import Blank


@pytest.fixture(scope="session")
def blank_loaded(tmp_path_factory: pytest.TempPathFactory) -> Loaded:
    folder = tmp_path_factory.mktemp("blank") / "start"
    return Blank(Blank.Config(name="blank")).load(None, Head.causal_lm, 0, "cpu", folder)


@pytest.fixture(scope="session")
def blank_reward(tmp_path_factory: pytest.TempPathFactory) -> Loaded:
    folder = tmp_path_factory.mktemp("blank") / "reward"
    return Blank(Blank.Config(name="blank")).load(None, Head.reward, 0, "cpu", folder)
