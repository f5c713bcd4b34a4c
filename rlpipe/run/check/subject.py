"""What a rule looks at: a resolved config, and where it was asked for."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import cached_property, partial
from typing import TypeVar

from rlpipe.config import plugins
from rlpipe.config.resolved import resolve
from rlpipe.config.schema import RunConfig
from rlpipe.core.errors import PluginError, Problem, RlpipeError
from rlpipe.datasets.base import Dataset
from rlpipe.engines.base import Engine
from rlpipe.environments.base import Environment
from rlpipe.evaluations.base import Evaluation
from rlpipe.hub.facts import Facts
from rlpipe.methods.base import Method
from rlpipe.models.base import Model
from rlpipe.rewards.base import Reward


class Subject:
    """A config under examination. What cannot be had is None: one rule says why, the others pass it over."""

    def __init__(
        self,
        config: RunConfig,
        overrides: Sequence[str] = (),
        here: bool = True,
        named: Sequence[str] | None = None,
    ):
        self.config, self.resolved = config, resolve(config)
        self.overrides = tuple(overrides)
        """The command line's, and those that name this run where another needs it."""
        self.named = self.overrides if named is None else tuple(named)
        """Those that this very run is composed from."""
        self.here = here
        """Whether the run will be on this machine, so that its devices, memory and disk count."""

    @cached_property
    def method(self) -> Method | None:
        """The method, or None where its plugin cannot be used."""
        return _usable(lambda: self.resolved.method)

    @cached_property
    def model(self) -> Model | None:
        """The model's plugin, or None where it cannot be used."""
        return _usable(lambda: self.resolved.model)

    @cached_property
    def dataset(self) -> Dataset | None:
        """The dataset, or None where its plugin cannot be used."""
        return _usable(lambda: self.resolved.dataset)

    @cached_property
    def engine(self) -> Engine | None:
        """The engine, or None where its plugin cannot be used."""
        return _usable(lambda: self.resolved.engine)

    @cached_property
    def environment(self) -> Environment | None:
        """The environment, or None without one, or where its plugin cannot be used."""
        return _usable(lambda: self.resolved.environment)

    @cached_property
    def rewards(self) -> dict[str, Reward]:
        """The rewards by name, without those whose plugin cannot be used."""
        return _all_usable(self.resolved.reward, self.config.reward)

    @cached_property
    def evaluations(self) -> dict[str, Evaluation]:
        """The evaluations by name, without those whose plugin cannot be used."""
        return _all_usable(self.resolved.evaluation, self.config.evaluation)

    @cached_property
    def facts(self) -> Facts | None:
        """What is known of the model's shape, also through the runs before that make its weights."""
        from rlpipe.stages.lineage import origin

        with contextlib.suppress(RlpipeError):  # another rule says why
            first = origin(self.config)
            return None if first is None else resolve(first).facts
        return None

    @property
    def parameters(self) -> int | None:
        """Number of weights, where it is known before loading."""
        return self.config.model.parameters or (self.facts.parameters if self.facts else None)

    @property
    def reads_data(self) -> bool:
        """Whether the dataset's rows are looked at, as far as is known."""
        return _usable(lambda: self.resolved.reads_data) is not False

    @property
    def reads_train(self) -> bool:
        """Whether rows to train on, or to make others of, are needed, as far as is known."""
        return self.method is None or bool(self.method.takes)

    @property
    def trains(self) -> bool:
        """Whether the method trains a model, as far as is known."""
        return _usable(lambda: self.resolved.trains) is not False


T = TypeVar("T")


def _usable(get: Callable[[], T]) -> T | None:
    with contextlib.suppress(PluginError):
        return get()
    return None


def _all_usable(get: Callable[[str], T], names: Iterable[str]) -> dict[str, T]:
    found = {name: _usable(partial(get, name)) for name in names}
    return {name: one for name, one in found.items() if one is not None}


Rule = Callable[[Subject], Iterator[Problem]]
"""A small pure function: yields a Problem for each thing that is wrong."""


def classes(kind: str) -> dict[str, type]:
    """Return the usable plugins of a kind by name."""
    return {name: plugin.cls for name, plugin in plugins.table()[kind].items() if plugin.cls is not None}
