"""What is wrong with watching a run while it trains."""

from __future__ import annotations

from collections.abc import Iterator

from rlpipe.core.errors import Problem, guess
from rlpipe.datasets.forms import route
from rlpipe.run.check.subject import Subject

_DECIDING = {"patience": None, "restore_best": False}


def watching(subject: Subject) -> Iterator[Problem]:
    """Watching is asked for where something trains, of evaluations that the run has, and settings have an effect."""
    config, watch = subject.config, subject.config.watch
    if watch.every is None:
        without_effect = [name for name, default in _DECIDING.items() if getattr(watch, name) != default]
        for name in without_effect:
            what = "has no effect where nothing is watched"
            yield Problem(f"watch.{name}", what, f"set watch.every=STEPS too, or leave watch.{name} out")
        return
    if not subject.trains:
        yield Problem("watch.every", f"{config.method.name} trains nothing", "leave watch out")
        return
    if config.method.max_steps is not None and watch.every > config.method.max_steps:
        what = f"{watch.every} steps are more than the run has ({config.method.max_steps})"
        yield Problem("watch.every", what, "lower it: only the start and the end are watched", fatal=False)
    yield from _evaluations(subject)
    yield from _metric(subject)


def _evaluations(subject: Subject) -> Iterator[Problem]:
    dataset, known = subject.dataset, subject.config.evaluation
    for name in subject.config.watch.evaluations or ():
        if name not in known:
            yield Problem("watch.evaluations", f"the run has no evaluation '{name}'", guess(name, known))
            continue
        one = subject.evaluations.get(name)
        if one is None:
            continue
        if not one.takes:
            what = f"evaluation {name} brings its own examples, which are those of the final measurement"
            yield Problem("watch.evaluations", what, "name others, or null for all that draw no completions")
        elif dataset is not None and route(dataset.form, one.takes) is None:
            what = f"evaluation {name} cannot look at the rows of {subject.config.dataset.name}"
            yield Problem("watch.evaluations", what, "name others, or null for all that draw no completions")


def _metric(subject: Subject) -> Iterator[Problem]:
    metric, known = subject.config.watch.metric, subject.config.evaluation
    if metric is None or metric in ("loss", "reward"):
        return
    name = metric.partition("/")[0]
    if name not in known:
        what = f"'{metric}' is the number of no evaluation of the run"
        fix = f"give loss, reward or <evaluation>/<number>; {guess(name, known)}"
        yield Problem("watch.metric", what, fix)
    elif subject.config.watch.evaluations is not None and name not in subject.config.watch.evaluations:
        fix = f"add {name} to watch.evaluations, or name another"
        yield Problem("watch.metric", f"evaluation {name} is not among those that are watched", fix)
