"""The sweepers behind `-m`: a grid whose arms are rehearsed together, and what goes beyond it."""

from __future__ import annotations

import random
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.core.plugins import Plugins
from hydra.core.utils import JobReturn, JobStatus
from hydra.plugins.sweeper import Sweeper
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig

from rlpipe.core.errors import ConfigError, Problem, SweepFailed
from rlpipe.records.sweep import setting_of


class GridSweeper(Sweeper):
    """Hydra's own grid, but for three things.

    Arms are checked by the launcher, all of them and all that is wrong with each, instead of composed until the
    first one fails. A failed arm does not stop later batches. The failures are raised together, at the end.
    """

    def __init__(self, max_batch_size: int | None = None, params: Mapping[str, str] | None = None):
        self.max_batch_size = max_batch_size
        self.params = dict(params or {})

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        """Make the launcher."""
        self.loader = hydra_context.config_loader
        self.launcher = Plugins.instance().instantiate_launcher(hydra_context, task_function, config)

    def overrides(self, arguments: Sequence[str]) -> list[Override]:
        """Return what is swept over, parsed."""
        params = [f"{key}={value}" for key, value in self.params.items()]
        return OverridesParser.create(config_loader=self.loader).parse_overrides(study(params, arguments))

    def sweep(self, arguments: list[str]) -> list[Sequence[JobReturn]]:
        """Launch every combination. Raises SweepFailed when arms have failed."""
        overrides = self.overrides(arguments)
        assert self.launcher is not None
        returns: list[Sequence[JobReturn]] = []
        arms = self.arranged(arm for batch in BasicSweeper.split_arguments(overrides, None) for arm in batch)
        size = self.max_batch_size or len(arms)
        for first in range(0, len(arms), size):
            returns.append(self.launcher.launch(arms[first : first + size], initial_job_idx=first))
        failed = [one for batch in returns for one in batch if one.status is JobStatus.FAILED]
        if failed:
            raise SweepFailed("", f"{len(failed)} of {sum(map(len, returns))} arms failed", "")
        return returns

    def arranged(self, arms: Iterable[Sequence[str]]) -> list[Sequence[str]]:
        """Return the arms in the order in which they start, and are numbered."""
        return list(arms)


class AshaSweeper(GridSweeper):
    """A grid whose arms judge themselves at rungs, which the sweep's folder keeps (`rlpipe.sweep.asha`)."""

    def __init__(self, rungs: Sequence[int] | None = None, reduction: int = 3, **grid: Any):
        """Leave the rungs to the sweep's config, which holds them too."""
        super().__init__(**grid)

    def arranged(self, arms: Iterable[Sequence[str]]) -> list[Sequence[str]]:
        """Return the arms in a random order, which is the same each time, with the seeds of a setting side by side.

        Whoever comes first to a rung goes on: in the grid's order those would be neighbours, all good or all bad.
        """
        settings: dict[str, list[Sequence[str]]] = {}
        for arm in arms:
            settings.setdefault(setting_of(arm), []).append(arm)
        order = list(settings)
        random.Random(0).shuffle(order)
        return [arm for setting in order for arm in settings[setting]]


class TpeSweeper(GridSweeper):
    """A search that draws settings where earlier ones were good (`rlpipe.sweep.search`)."""

    def __init__(self, params: Mapping[str, str] | None = None, **search: Any):
        """Leave the search's own fields to the sweep's config, which holds them too."""
        super().__init__(params=params)

    def sweep(self, arguments: list[str]) -> list[Sequence[JobReturn]]:
        """Search, or run fresh seeds of the setting that won. Raises what `search` raises."""
        from rlpipe.sweep.extend import extending
        from rlpipe.sweep.hydra_launcher import HydraLauncher
        from rlpipe.sweep.search import search

        extension = extending.get()
        if extension is not None and extension.confirms:
            self.params = {}
            return super().sweep(arguments)
        if not isinstance(self.launcher, HydraLauncher):
            what = "a search needs a launcher that it can ask how its arms stand"
            raise ConfigError([Problem("hydra/launcher", what, "hydra/launcher=local, slurm, ray or sagemaker")])
        search(self.launcher.launching, self.overrides(arguments))
        return []


def study(params: Sequence[str], arguments: Sequence[str]) -> list[str]:
    """Return what is swept: a study's `params`, with the command line's own values where it gives some.

    `experiment=STUDY` on the command line is what brought in params that name the arms' experiments: it has done its
    work, and the arms take its place.
    """
    arms = [param for param in params if _key(param) == "experiment"]
    chosen = [one for one in arguments if not (arms and _key(one) == "experiment")]
    given = {_key(one) for one in chosen}
    return [*(param for param in params if _key(param) not in given), *chosen]


def _key(override: str) -> str:
    return override.partition("=")[0].lstrip("+~")
