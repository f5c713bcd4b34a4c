"""A search (`hydra/sweeper=tpe`): what is checked and said before it draws anything, and how it goes on later."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import fields, replace
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, Any

from hydra.core.override_parser.types import Override
from omegaconf import DictConfig, OmegaConf

from rlpipe.config.compose import to_plain
from rlpipe.config.launchers import RungsConfig, TpeConfig
from rlpipe.config.overrides import key_of
from rlpipe.config.ranges import out_of_range
from rlpipe.core.errors import Problem
from rlpipe.core.terminal import say
from rlpipe.launchers.base import Launcher
from rlpipe.records import driving
from rlpipe.records.sweep import Sweep
from rlpipe.sweep import asha
from rlpipe.sweep.criterion import CHOICE, Criterion, criterion_of
from rlpipe.sweep.driver import Driver
from rlpipe.sweep.extend import Extension, again
from rlpipe.sweep.plan import Plan, bound
from rlpipe.sweep.space import Choice, Dimension, Space, read, typed
from rlpipe.sweep.states import resumable
from rlpipe.sweep.watch import look, report

if TYPE_CHECKING:
    from rlpipe.sweep.launching import Launching

TRIALS = "hydra.sweeper.trials"
OPTUNA = 5
"""The oldest version of Optuna that will do."""
INSTALL = "pip install 'rlpipe[optuna]'"


def search(launching: Launching, overrides: Sequence[Override]) -> None:
    """Search until all trials are told, or go on with a search.

    Raises ConfigError with all that is wrong with space, settings, place, and both ends of every interval, before
    anything is started; RecordError while another process drives the same search, and SweepFailed where no setting
    came to a value.
    """
    space, faults = read(overrides)
    config = _config(launching.app.config.hydra.sweeper)
    sweep, launcher = launching.begin()
    room = _room(launcher, space)
    faults += _problems(config, room)
    corners = [space.arms(corner)[0] for corner in space.corners()]
    rehearsal = launching.rehearsed(launcher, corners, 0, faults)
    runs = [arm.run for arm in rehearsal.arms if arm.run is not None]
    criterion = criterion_of([to_plain(run) for run in runs], runs[0].objective)
    assert criterion is not None, "the rehearsal refuses a search without one"
    plan = launching.planned(launcher, rehearsal)
    config = replace(config, batch=config.batch or room)
    for line in _plan(config, space, criterion, plan):
        say(line)
    if rehearsal.only_checks:
        say("all checks passed; nothing was started (until=check)")
        return
    launching.create(sweep)
    with driving.driving(sweep) as still_ours:
        if launching.extension is not None:
            _take_up(sweep, launcher, launching.extension)
        driver = Driver(launching, sweep, launcher, space, config, criterion)
        driver.drive(still_ours)
    report(sweep, look(sweep, launcher))
    driver.conclude()


def go_on(sweep: Sweep, trials: int | None, pruned: bool, command: Callable[[Sequence[str]], object]) -> None:
    """Go on with a search, from any process: run again what `resume` does, then ask and tell.

    `trials` is another number of settings, `pruned` lets pruned arms go on to their end. Raises what `search` raises.
    """
    number = [] if trials is None else [f"{TRIALS}={trials}"]
    again(Extension(sweep, searches=True, pruned=pruned, hydras=number), sweep.data["overrides"], command)


def _take_up(sweep: Sweep, launcher: Launcher, extension: Extension) -> None:
    """Hand over again what has not ended well, as whoever drove the search before has left it."""
    sweep.data = Sweep.load(sweep.folder).data
    driving.go_on(sweep)
    for override in extension.hydras:
        kept = [one for one in sweep.data["hydra_overrides"] if key_of(one) != key_of(override)]
        sweep.change(hydra_overrides=[*kept, override])
    now = look(sweep, launcher)
    if jobs := resumable(sweep, now, now, extension.pruned):
        launcher.submit(jobs)
        say(f"submitted again: {', '.join(job.key for job in jobs)}")


def _config(sweeper: DictConfig) -> TpeConfig:
    plain: Any = OmegaConf.to_container(sweeper, resolve=True)
    return TpeConfig(**{key: value for key, value in plain.items() if key != "_target_"})


def _room(launcher: Launcher, space: Space) -> int | None:
    """Return how many settings can be under way at once, each with all its seeds; None where nobody here knows."""
    return None if launcher.at_once is None else max(1, launcher.at_once // max(1, len(space.seeds)))


def _problems(config: TpeConfig, room: int | None) -> Iterator[Problem]:
    """Yield what is wrong with a search's settings in a place that has room for so many settings at once."""
    yield from _optuna()
    judged = {f"hydra.sweeper.{one.name}" for one in fields(RungsConfig)}
    yield from (one for one in out_of_range(config, "hydra.sweeper.") if not (config.prune and one.where in judged))
    if config.batch is None and room is None:
        what = "nothing says how many settings may be under way at once"
        yield Problem("hydra.sweeper.batch", what, "say it: hydra.sweeper.batch=8; or set hydra.launcher.throttle")
    elif config.batch is not None and room is not None and config.batch > room:
        what = f"the launcher has room for {room} settings at once, with all their seeds"
        fix = "lower it, or leave it out; or let more jobs run at once (hydra.launcher.jobs, hydra.launcher.throttle)"
        yield Problem(f"hydra.sweeper.batch={config.batch}", what, fix)
    usual = RungsConfig()
    for name in () if config.prune else ("rungs", "reduction"):
        if getattr(config, name) != getattr(usual, name):
            fix = f"add {asha.PRUNE}, or drop it"
            yield Problem(f"hydra.sweeper.{name}", "is where hopeless arms end, and none does", fix)


def _optuna() -> Iterator[Problem]:
    try:
        found = version("optuna")
    except PackageNotFoundError:
        yield Problem(CHOICE, "Optuna is not installed", INSTALL)
        return
    if int(found.partition(".")[0]) < OPTUNA:
        yield Problem(CHOICE, f"Optuna {found} is older than {OPTUNA}", f"{INSTALL} (uninstall hydra-optuna-sweeper)")


def _described(one: Dimension) -> str:
    """Return what a field is drawn from, and under which conditions."""
    if isinstance(one, Choice):
        drawn = ", ".join(typed(one.key, value) for value in one.values)
    else:
        low, high = one.ends
        parts = (f"{low} to {high}", "logarithmic" if one.log else "", f"by {one.step:g}" if one.step else "")
        drawn = ", ".join(part for part in parts if part)
    where = " and ".join(f"{each.key}={','.join(each.values)}" for each in one.conditions)
    return f"  {one.key}: {drawn}" + (f"  (where {where})" if where else "")


def _plan(config: TpeConfig, space: Space, criterion: Criterion, plan: Plan) -> list[str]:
    """Say what a search will do and take."""
    seeds = f", each with the seeds {', '.join(space.seeds)}" if space.seeds else ""
    better = "more" if criterion.more_is_better else "less"
    runs = config.trials * max(1, len(space.seeds))
    best = f"the best {criterion.name} ({better} is better)"
    return [
        f"search: {config.trials} settings{seeds}, {config.batch} at once, for {best}",
        *map(_described, space.dimensions),
        f"checked: {len(plan.rehearsal.arms)} settings in which every choice and both ends of every interval occur",
        *bound(plan, runs),
    ]
