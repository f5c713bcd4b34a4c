"""Every built-in reward meets what rlpipe asks of a plugin."""

from __future__ import annotations

import pytest

from rlpipe.config import plugins
from rlpipe.config.kinds import RewardConfig
from rlpipe.testing import check_config, check_light

NAMES = sorted(plugins.BUILT_IN["reward"])


def test_modules_import_nothing_heavy():
    modules = [target.split(":")[0] for target in plugins.BUILT_IN["reward"].values()]
    check_light([*modules, "rlpipe.rewards.combine", "rlpipe.run.check.rewards", "rlpipe.stages.store"])


@pytest.mark.parametrize("name", NAMES)
def test_configs_are_documented_and_say_what_they_change(name):
    cls = plugins.load("reward", name)
    check_config(cls, RewardConfig)
