"""All that can be found wrong with a config before anything is started: pure, at once, and without torch.

A rule is one small function of `rlpipe/checks/` that yields Problems; `RULES` is the order in which
they are reported. Runs that this run needs first (`after`, `model.stage`) are checked the same way.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Sequence
from functools import partial

from rlpipe.checks import capacity, fitting, places, ranges, rewards
from rlpipe.checks.subject import Rule, Subject, from_error
from rlpipe.errors import ConfigError, Problem, RlpipeError
from rlpipe.schema import RunConfig

RULES: tuple[Rule, ...] = (
    fitting.usable,
    ranges.ranges,
    ranges.schedule,
    fitting.form,
    fitting.reward,
    rewards.settings,
    rewards.columns,
    rewards.curriculum,
    fitting.tool,
    fitting.evaluation,
    fitting.rows,
    fitting.own,
    places.data,
    places.weights,
    places.template,
    capacity.adapters,
    capacity.context,
    capacity.batches,
    capacity.quantization,
    capacity.device,
    capacity.memory,
    places.run_dir,
    places.disk,
)

DEEPEST = 8
"""How many runs may stand before a run; more are taken for a circle."""


def check(config: RunConfig, overrides: Sequence[str] = ()) -> list[Problem]:
    """Return what is worth a warning. Raises ConfigError with everything that must be mended first."""
    found = problems(config, overrides)
    fatal = [problem for problem in found if problem.fatal]
    if fatal:
        raise ConfigError(fatal)
    return found


def problems(config: RunConfig, overrides: Sequence[str] = ()) -> list[Problem]:
    """Return every problem of a config and of the runs that it needs, in the order of the rules.

    `overrides` are the command line's: some combinations are allowed only when they stand there.
    """
    return list(_all(config, tuple(overrides), DEEPEST))


def _all(config: RunConfig, overrides: Sequence[str], depth: int) -> Iterator[Problem]:
    subject = Subject(config, overrides)
    found = [problem for rule in RULES for problem in rule(subject)]
    yield from found
    # What a run inherits from the one that asks for it is named once.
    yield from (_prefixed(key, problem) for key, problem in _upstream(config, overrides, depth) if problem not in found)


def _upstream(config: RunConfig, overrides: Sequence[str], depth: int) -> Iterator[tuple[str, Problem]]:
    """Check the runs that make this run's models; yield their problems with the key that asks for each."""
    from rlpipe.stages.lineage import maker, stages_beside, upstream

    before, key = (config.after, "after") if config.after else (config.model.stage, "model.stage")
    if before:
        found = _parent(lambda: upstream(config), (*before, *overrides), depth)
        yield from ((key, problem) for problem in found)
    for path, named in stages_beside(config).items():
        found = _parent(partial(maker, config, named), (*named, *overrides), depth)
        yield from ((path, problem) for problem in found)


def _parent(compose: Callable[[], RunConfig | None], overrides: Sequence[str], depth: int) -> Iterator[Problem]:
    if depth == 0:
        yield Problem("config", f"more than {DEEPEST} runs stand one before another", "end the circle: after=none")
        return
    try:
        parent = compose()
    except ConfigError as error:
        yield from error.problems
        return
    except RlpipeError as error:
        yield from_error(error, "config")
        return
    assert parent is not None
    yield from _all(parent, overrides, depth - 1)


def _prefixed(key: str, problem: Problem) -> Problem:
    return dataclasses.replace(problem, where=f"{key}: {problem.where}")
