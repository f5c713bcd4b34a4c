"""What a rule looks at: the config, and what can be found out about it without anything heavy."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from functools import cached_property
from typing import Any

from rlpipe.config import plugins
from rlpipe.config.schema import RunConfig
from rlpipe.core.errors import ModelError, PluginError, Problem
from rlpipe.datasets.base import Dataset
from rlpipe.evaluations.base import Evaluation
from rlpipe.hub.facts import Facts, local_facts
from rlpipe.methods.base import Method


class Subject:
    """A config under examination. What cannot be had is None: one rule says why, the others pass it over."""

    def __init__(self, config: RunConfig, overrides: Sequence[str] = (), here: bool = True):
        self.config = config
        self.overrides = tuple(overrides)
        self.here = here
        """Whether the run will be on this machine, so that its devices, memory and disk count."""

    @cached_property
    def method(self) -> Method | None:
        """The method, or None where its plugin cannot be used."""
        return self._made("method", self.config.method)

    @cached_property
    def dataset(self) -> Dataset | None:
        """The dataset, or None where its plugin cannot be used."""
        return self._made("dataset", self.config.dataset)

    @cached_property
    def facts(self) -> Facts | None:
        """What the model's local folder says, or None where there is no (readable) folder."""
        if self.config.model.stage or self.config.model.source is None:
            return None
        with contextlib.suppress(ModelError):
            return local_facts(self.config.model.source)
        return None

    @property
    def parameters(self) -> int | None:
        """Number of weights, where it is known before loading."""
        return self.config.model.parameters or (self.facts.parameters if self.facts else None)

    @cached_property
    def evaluations(self) -> dict[str, Evaluation]:
        """The evaluations by name, without those whose plugin cannot be used."""
        made = {name: self._made("evaluation", node) for name, node in self.config.evaluation.items()}
        return {name: one for name, one in made.items() if one is not None}

    @property
    def reads_data(self) -> bool:
        """Whether the dataset's rows are looked at: not where nothing is trained, and evaluations bring their own."""
        return self.method is None or any((self.method.takes, *(one.takes for one in self.evaluations.values())))

    @property
    def trains(self) -> bool:
        """Whether the method trains anything."""
        return self.method is None or self.method.makes == "model"

    def _made(self, kind: str, node: Any) -> Any:
        with contextlib.suppress(PluginError):
            return plugins.make(kind, node)
        return None


Rule = Callable[[Subject], Iterator[Problem]]
"""A small pure function: yields a Problem for each thing that is wrong."""


def classes(kind: str) -> dict[str, type]:
    """Return the usable plugins of a kind by name."""
    return {name: plugin.cls for name, plugin in plugins.table()[kind].items() if plugin.cls is not None}
