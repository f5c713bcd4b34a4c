"""Rehearsing a sweep: every arm is composed, resolved and checked in the driver, before anything is started.

What comes out is what runs: the resolved configs, and the compositions of the runs that they need.
"""

from __future__ import annotations

import gc
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException
from hydra.types import HydraContext, TaskFunction
from omegaconf import Container, DictConfig, OmegaConf, flag_override, open_dict
from omegaconf.errors import OmegaConfBaseException

from rlpipe.config.compose import typed
from rlpipe.config.explain import composing, key_of
from rlpipe.config.overrides import as_options, as_typed
from rlpipe.config.resolved import resolve
from rlpipe.config.schema import Until
from rlpipe.core.errors import ConfigError, Problem, RlpipeError
from rlpipe.core.paths import store_dir
from rlpipe.run.check import check
from rlpipe.sweep import asha, criterion
from rlpipe.sweep.arms import Arm, grouped, same_runs, shared_folders
from rlpipe.sweep.composition import Composer

if TYPE_CHECKING:
    from rlpipe.stages.fingerprint import Stage


@dataclass(frozen=True)
class App:
    """What Hydra hands to a launcher: how to compose, what to run, and the config of the sweep itself."""

    context: HydraContext
    task: TaskFunction
    config: DictConfig
    study: tuple[str, ...] | None = None
    """The command line that the sweep began with, where it is being extended."""
    store: str | None = None
    """The store that its stages lie in, where it is being extended."""

    @property
    def given(self) -> set[str]:
        """The overrides of the command line that all arms have, as sweepers write them."""
        task = self.config.hydra.overrides.task
        lines = as_options(self.study) if self.study is not None else OmegaConf.to_container(task)
        parsed = OverridesParser.create().parse_overrides(list(lines))  # type: ignore[arg-type]
        fixed = [one for one in parsed if not one.is_sweep_override()]
        written = [f"{one.get_key_element()}={one.get_value_element_as_str()}" for one in fixed]
        return set(as_typed([*written, *(str(one.input_line) for one in fixed)]))

    @property
    def is_ours(self) -> bool:
        """Whether the task is a run of rlpipe, rather than some other application's function."""
        return getattr(self.task, "__module__", None) == "rlpipe.cli.run"


@dataclass
class Rehearsal:
    """All arms of a batch, and what is worth saying about them."""

    arms: list[Arm]
    notes: list[Problem]

    @property
    def only_checks(self) -> bool:
        """Whether every arm is a dry run (`until=check`)."""
        return all(arm.run is not None and arm.run.until is Until.check for arm in self.arms)

    @property
    def stages(self) -> list[Stage]:
        """Every stage that some arm needs, once, those that others need first."""
        return list({stage.name: stage for arm in self.arms for stage in arm.stages}.values())


@contextmanager
def _few_collections() -> Iterator[None]:
    """Look for garbage seldom: all arms' configs stay, and to walk over them again and again is a tenth of the time."""
    usual = gc.get_threshold()
    gc.set_threshold(50_000, 20, 100)
    try:
        yield
    finally:
        gc.set_threshold(*usual)


@_few_collections()
def rehearse(
    app: App, batch: Sequence[Sequence[str]], first: int, composer: Composer, here: bool = True, repeats: bool = False
) -> Rehearsal:
    """Compose and check the arms of a batch, numbered from `first`. Raises ConfigError with everything that is wrong.

    A problem that several arms have is said once, with their numbers. `here` says whether the arms will run on
    this machine, `repeats` whether two of them may be the same run.
    """
    arms: list[Arm] = []
    found: list[tuple[int, Problem]] = []
    known: dict[tuple[str, str], list[Problem]] = {}
    stages: dict[str, list[Stage]] = {}
    before = HydraConfig.instance().cfg
    try:
        for number, overrides in enumerate(batch, first):
            try:
                arms.append(_compose(app, number, overrides, composer))
            except (HydraException, OmegaConfBaseException, ValueError, TypeError) as error:
                found += [(number, problem) for problem in _explained(error, overrides, known)]
            except ConfigError as error:
                found += [(number, problem) for problem in error.problems]
    finally:
        HydraConfig.instance().cfg = before
    needed: check.Known = {}
    found += [(arm.number, problem) for arm in arms for problem in _checked(arm, here, stages, needed)]
    found += asha.problems(app.config.hydra.sweeper, arms)
    notes = grouped([(number, one) for number, one in found if not one.fatal], len(batch))
    fatal = grouped([(number, one) for number, one in found if one.fatal], len(batch))
    fatal += shared_folders(arms)
    sweeper = app.config.hydra.sweeper
    together = [*asha.problems_together(sweeper, arms), *criterion.problems_together(sweeper, arms)]
    fatal += [problem for problem in together if problem.fatal]
    notes += [problem for problem in together if not problem.fatal]
    same = same_runs(arms)
    fatal, notes = (fatal, [*notes, *same]) if repeats else ([*fatal, *same], notes)
    if fatal:
        raise ConfigError(fatal)
    _name_fields(app, arms)
    return Rehearsal(arms, notes)


def _compose(app: App, number: int, overrides: Sequence[str], composer: Composer) -> Arm:
    config = composer.compose(overrides)
    typed_overrides = tuple(as_typed(overrides))
    with flag_override(config, ["struct", "readonly"], False), open_dict(config.hydra):
        config.hydra.job.id = str(number)
        config.hydra.job.num = number
        config.hydra.overrides.task = list(typed_overrides)
        folder = Path(config.hydra.sweep.dir, config.hydra.sweep.subdir).absolute()
        config.hydra.runtime.output_dir = str(folder)
        # `${hydra:…}` looks here; nothing changes it, so no copy is needed
        HydraConfig.instance().cfg = config  # type: ignore[assignment]
        _resolve(config)
        hydra_config = config.pop("hydra")
    if app.is_ours and not any(key_of(override) == "store" for override in overrides):
        config.store = app.store or str(store_dir(config.get("store")))  # whichever shell goes on with the sweep later
    run = typed(config) if app.is_ours else None
    if run is not None and run.run_dir is not None:
        folder = Path(run.run_dir).absolute()
    resolved = resolve(run) if run is not None else None
    return Arm(number, typed_overrides, config, hydra_config, folder, run, resolved=resolved)


def _resolve(config: DictConfig) -> None:
    """Replace every interpolation of the task's part by its value (`${now:}`, `${oc.env:}`), once for all attempts."""
    for key in [str(key) for key in config if key != "hydra"]:
        if OmegaConf.is_interpolation(config, key):
            config[key] = config[key]
        node = config._get_node(key)
        if isinstance(node, Container) and not node._is_none() and not node._is_missing():
            OmegaConf.resolve(node)


def _explained(
    error: Exception, overrides: Sequence[str], known: dict[tuple[str, str], list[Problem]]
) -> list[Problem]:
    """Return the problems behind a composition error; looking for what was meant takes time, so once for each text."""
    key = (str(error), str(error.__cause__))
    if key not in known:
        try:
            with composing(as_typed(overrides)):
                raise error
        except ConfigError as checked:
            known[key] = checked.problems
    return known[key]


def _checked(arm: Arm, here: bool, stages: dict[str, list[Stage]], needed: check.Known) -> Iterable[Problem]:
    """Yield what is wrong with an arm's config, and find the stages that it needs where nothing is."""
    from rlpipe.stages.lineage import handed_down
    from rlpipe.stages.store import plan

    if arm.run is None:
        return
    found = check.problems(arm.run, arm.overrides, here, needed)
    yield from found
    if any(problem.fatal for problem in found):
        return
    # The many arms that differ in their method's settings need the same stages.
    needs = repr(handed_down(arm.run))
    try:
        if needs not in stages:
            stages[needs] = plan(arm.run)
        arm.stages = stages[needs]
    except RlpipeError as error:
        yield error.at("stages")


def _name_fields(app: App, arms: Sequence[Arm]) -> None:
    """Fill in what the sweep varies: the overrides that are not the command line's own, as it stands."""
    given = app.given
    for arm in arms:
        pairs = (override.partition("=") for override in arm.overrides if override not in given)
        arm.fields = {key.lstrip("+"): value for key, _, value in pairs}
    if len(arms) > 1 and app.study is None:  # a study's fixed values, which its sweeper gives to every arm
        constant = [key for key in arms[0].fields if all(arm.fields.get(key) == arms[0].fields[key] for arm in arms)]
        for arm in arms:
            arm.fields = {key: value for key, value in arm.fields.items() if key not in constant}
