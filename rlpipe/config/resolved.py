"""The plugins that a config names, looked up and made here and nowhere else.

A run has one `Resolved`: checks, building, evaluations, estimates and fingerprints ask it. It makes a plugin when it is
first wanted, so that one that cannot be used is an error only for who wants it.

Two kinds of objects come out of it. What only answers questions is made once and shared: `method`, `dataset`, `model`,
`engine`, `environment`, `reward(name)`, `evaluation(name)`. What is started holds something afterwards (a model,
a process, a connection, the rows so far), and each use has its own: `make_rewards()`, `make_evaluation(name)`,
`make_tools()`, `environments()`, `make_engine()`, `make_tracker()`.
Never start a shared one: another user would meet its state, and a model would be kept that was to be let go.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from functools import cached_property
from typing import Any
from weakref import WeakValueDictionary

from rlpipe.config import plugins
from rlpipe.config.schema import RunConfig
from rlpipe.core.errors import ModelError, PluginError, Problem
from rlpipe.hub.facts import Facts


class Resolved:
    """A run's config with its plugins, and what can be known of the run before anything heavy.

    Get it by `resolve`. Objects are `Any` here: what they are is defined on floors above, and who asks says it
    (`method: Method = resolved.method`). Whatever needs a plugin raises PluginError where that cannot be used.
    """

    def __init__(self, config: RunConfig):
        self.config = config
        self.parents: dict[str, RunConfig] = {}
        """The runs that it needs, by the dotted key that names each, once they were composed (`stages.lineage`)."""
        self._shared: dict[tuple[str, str], Any] = {}

    @cached_property
    def method(self) -> Any:
        """The run's `Method`."""
        return plugins.make("method", self.config.method)

    @cached_property
    def dataset(self) -> Any:
        """The run's `Dataset`."""
        return plugins.make("dataset", self.config.dataset)

    @cached_property
    def engine(self) -> Any:
        """The run's `Engine`, to ask what it is."""
        return self.make_engine()

    @cached_property
    def model(self) -> Any:
        """The run's `Model`: the plugin, which loads or makes the weights, and not these."""
        return plugins.make("model", self.config.model)

    def reward(self, name: str) -> Any:
        """Return the run's `Reward` of this name, to ask what it is. Raises KeyError for none."""
        return self._ask("reward", name)

    def evaluation(self, name: str) -> Any:
        """Return the run's `Evaluation` of this name, to ask what it is. Raises KeyError for none."""
        return self._ask("evaluation", name)

    def make_reward(self, name: str) -> Any:
        """Return a new `Reward`: the run's of this name, else the plugin of this name with its default settings."""
        node = self.config.reward.get(name)
        return default("reward", name) if node is None else plugins.make("reward", node)

    def make_rewards(self) -> dict[str, Any]:
        """Return new `Reward` objects, by their names in the config."""
        return {name: self.make_reward(name) for name in self.config.reward}

    def make_evaluation(self, name: str) -> Any:
        """Return a new `Evaluation` of this name. Raises KeyError for none."""
        return plugins.make("evaluation", self.config.evaluation[name])

    def make_tools(self) -> list[Any]:
        """Return new `Tool` objects."""
        return [plugins.make("tool", node) for node in self.config.tool.values()]

    @cached_property
    def environment(self) -> Any:
        """The run's `Environment`, to ask what it is; None without one."""
        return None if self.environments is None else self.environments()

    @property
    def environments(self) -> Callable[[], Any] | None:
        """What makes an `Environment` for each episode; None without one."""
        node = self.config.environment
        return None if node is None else lambda: plugins.make("environment", node)

    def make_engine(self) -> Any:
        """Return a new `Engine`."""
        return plugins.make("engine", self.config.engine)

    def make_tracker(self) -> Any:
        """Return a new `Tracker`."""
        return plugins.make("tracker", self.config.tracker)

    @cached_property
    def facts(self) -> Facts | None:
        """What the model's plugin knows before loading, or None where another run makes the weights."""
        if self.config.model.stage:
            return None
        with contextlib.suppress(ModelError, PluginError):
            found: Facts | None = self.model.facts()
            return found
        return None

    @property
    def parameters(self) -> int | None:
        """Number of weights, where it is known before loading."""
        return self.config.model.parameters or (self.facts.parameters if self.facts else None)

    @property
    def reads_data(self) -> bool:
        """Whether the dataset's rows are looked at: not where nothing is trained, and evaluations bring their own."""
        return bool(self.method.takes) or any(self.evaluation(name).takes for name in self.config.evaluation)

    @property
    def trains(self) -> bool:
        """Whether the method trains a model."""
        return bool(self.method.makes == "model")

    def unusable(self) -> Iterator[Problem]:
        """Yield a Problem, at its key, for each chosen plugin that is unknown or could not be imported."""
        nodes = {kind: getattr(self.config, kind) for kind in ("model", "dataset", "method", "engine", "tracker")}
        if self.config.environment is not None:
            nodes["environment"] = self.config.environment
        for kind in plugins.SEVERAL:
            nodes |= {f"{kind}.{name}": node for name, node in getattr(self.config, kind).items()}
        for where, node in nodes.items():
            try:
                plugins.load(where.partition(".")[0], node.name)
            except PluginError as error:
                yield error.at(where)

    def _ask(self, kind: str, name: str) -> Any:
        if (kind, name) not in self._shared:
            self._shared[kind, name] = plugins.make(kind, getattr(self.config, kind)[name])
        return self._shared[kind, name]


_living: WeakValueDictionary[int, Resolved] = WeakValueDictionary()
"""By `id` of the config, which a living one keeps alive, so that no other config can have the same."""


def resolve(config: RunConfig) -> Resolved:
    """Return the one `Resolved` of a config object: that which somebody holds already, else a new one.

    A run holds its own from beginning to end. Nothing changes a config once it is composed: to try another setting,
    make another config (`dataclasses.replace`).
    """
    found = _living.get(id(config))
    if found is None:
        found = _living[id(config)] = Resolved(config)
    return found


def plugin_class(kind: str, name: str) -> Any:
    """Return the class of a plugin that no run's config object names: a record does, or a plugin, or a sweep.

    Raises PluginError for a name that is unknown or could not be imported.
    """
    return plugins.load(kind, name)


def default(kind: str, name: str, **settings: Any) -> Any:
    """Return a new plugin object with its default settings but for those given. Raises PluginError."""
    cls = plugin_class(kind, name)
    return cls(cls.Config(name=name, **settings))
