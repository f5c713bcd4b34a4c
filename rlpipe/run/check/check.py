"""All that can be found wrong with a config before anything is started: pure, at once, and without torch.

A rule is one small function of `rlpipe/run/check/` that yields Problems; `RULES` is the order in which
they are reported. Runs that this run needs first (`after`, a `stage` anywhere) are checked the same
way.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence

from rlpipe.config.overrides import key_of
from rlpipe.config.schema import RunConfig
from rlpipe.core.errors import ConfigError, Problem, RlpipeError
from rlpipe.run.check import (
    capacity,
    choices,
    environments,
    extra,
    fitting,
    models,
    places,
    ranges,
    rewards,
    rows,
    sharding,
    stages,
    watching,
)
from rlpipe.run.check.stages import Chain
from rlpipe.run.check.subject import Rule, Subject

RULES: tuple[Rule, ...] = (
    fitting.usable,
    choices.twice,
    choices.lists,
    choices.run_before,
    choices.purpose,
    choices.idle,
    ranges.schedule,
    ranges.unused,
    fitting.form,
    fitting.reward,
    rewards.settings,
    rewards.columns,
    rewards.answers,
    rewards.curriculum,
    fitting.tool,
    environments.settings,
    environments.players,
    environments.rewards,
    environments.columns,
    environments.budgets,
    fitting.engine,
    fitting.evaluation,
    choices.objective,
    choices.tracker,
    fitting.rows,
    watching.watching,
    fitting.method_settings,
    extra.extra,
    stages.rows,
    stages.store,
    places.data,
    rows.rows,
    rows.limits,
    models.settings,
    models.policy,
    models.frozen,
    models.reference,
    models.template,
    models.attention,
    capacity.adapters,
    capacity.context,
    capacity.freezing,
    capacity.batches,
    capacity.quantization,
    capacity.device,
    sharding.sharding,
    capacity.threads,
    capacity.memory,
    capacity.drawing,
    places.run_dir,
    places.disk,
)


def check(config: RunConfig, overrides: Sequence[str] = ()) -> list[Problem]:
    """Return what is worth a warning. Raises ConfigError with everything that must be fixed first."""
    found = problems(config, overrides)
    fatal = [problem for problem in found if problem.fatal]
    if fatal:
        raise ConfigError(fatal)
    return found


Known = dict[tuple[object, ...], tuple[Subject, list[Problem]]]
"""What was found of runs that others need, by all that it depends on; a Subject keeps its run, and so its id."""


def problems(
    config: RunConfig, overrides: Sequence[str] = (), here: bool = True, known: Known | None = None
) -> list[Problem]:
    """Return every problem of a config and of the runs that it needs, in the order of the rules.

    `overrides` are the command line's: some combinations are allowed only when they stand there. A run that is
    not to be `here`, but on a cluster's node, is not measured against this machine: it is when it starts there.
    The arms of a sweep share what is `known` of the runs that they need.
    """
    return _all(Subject(config, overrides, here), (), {} if known is None else known)


def _all(subject: Subject, chain: Chain, known: Known) -> list[Problem]:
    found = [problem for rule in RULES for problem in rule(subject)]
    # What a plugin says itself of a number tells more than its range; a warning does not stand for an error.
    named = {(problem.where, fatal) for problem in found for fatal in {False, problem.fatal}}
    found = [problem for problem in ranges.ranges(subject) if (problem.where, problem.fatal) not in named] + found
    # What a run inherits from the one that asks for it is named once.
    before = _before(subject, chain, known)
    return [*found, *(_prefixed(key, problem) for key, problem in before if problem not in found)]


def _before(subject: Subject, chain: Chain, known: Known) -> Iterator[tuple[str, Problem]]:
    """Check the runs that this run needs; yield their problems with the key that asks for each."""
    from rlpipe.stages.lineage import parent_config, parent_overrides

    config = subject.config
    for path, named in parent_overrides(config).items():
        try:
            run = parent_config(config, path)
        except ConfigError as error:
            yield from ((path, problem) for problem in error.problems)
            continue
        except RlpipeError as error:
            yield path, error.at("config")
            continue
        link = (path, tuple(named), run)
        circle = stages.circle(chain, link)
        if circle is not None:
            yield path, circle
            continue
        yield from ((path, problem) for problem in stages.fits(config, path, run))
        yield from ((path, problem) for problem in _needed(subject, (*chain, link), known))


def _needed(asking: Subject, chain: Chain, known: Known) -> list[Problem]:
    """Return the problems of the run at the end of a chain."""
    _, named, run = chain[-1]
    overrides = (*named, *(one for one in asking.overrides if key_of(one) == "dataset.source"))
    key = (*((path, way, id(one)) for path, way, one in chain), overrides, asking.here)
    if key not in known:
        subject = Subject(run, overrides, asking.here, named)
        known[key] = (subject, _all(subject, chain, known))
    return known[key][1]


def _prefixed(key: str, problem: Problem) -> Problem:
    return dataclasses.replace(problem, where=f"{key}: {problem.where}")
