"""Overrides of small runs, and `compose` for tests of what comes after it: Hydra composes the same options once.

That composing itself is right is proved in tests/config.
"""

from __future__ import annotations

import copy
import functools
import re

from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import DictConfig

from rlpipe.config.compose import compose_untyped, typed
from rlpipe.config.explain import composing
from rlpipe.config.options import ORDER
from rlpipe.config.overrides import as_options, key_of
from rlpipe.config.schema import RunConfig


def compose(*overrides: str) -> RunConfig:
    values = [one for one in overrides if re.match(r"[\w.]+=", one) and one.partition("=")[0] not in ORDER]
    config = copy.deepcopy(_options(tuple(one for one in overrides if one not in values)))
    with composing(overrides):
        ConfigLoaderImpl._apply_overrides_to_config(
            OverridesParser.create().parse_overrides(as_options(values)), config
        )
    return typed(config)


def once(*overrides: str) -> list[str]:
    """Return overrides with each key where it is given first, as it is given last: a run takes none twice."""
    return list({key_of(one) if "=" in one else one: one for one in overrides}.values())


@functools.cache
def _options(overrides: tuple[str, ...]) -> DictConfig:
    return compose_untyped(overrides)
