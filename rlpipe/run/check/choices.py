"""Do the choices of a command line make one experiment? Nothing twice, nothing idle, something to find out."""

from __future__ import annotations

from collections.abc import Collection, Iterator

from rlpipe.config.overrides import key_of, split
from rlpipe.config.plugins import SEVERAL
from rlpipe.core.errors import PluginError, Problem, guess
from rlpipe.datasets.forms import route
from rlpipe.evaluations.base import Evaluation
from rlpipe.run.check.rewards import prompt_columns
from rlpipe.run.check.subject import Subject
from rlpipe.trackers.base import Tracker

WHEN = ("before", "after", "change")


def twice(subject: Subject) -> Iterator[Problem]:
    """No group and no field is given twice with different values."""
    given: dict[str, list[str]] = {}
    for override in subject.named:
        if "=" in override and not override.startswith("~"):
            given.setdefault(key_of(override), []).append(override.partition("=")[2].strip())
    for key, values in given.items():
        if len(set(values)) > 1:
            yield Problem(key, f"is given twice: {' and '.join(values)}", "keep the one that is meant")


def lists(subject: Subject) -> Iterator[Problem]:
    """A list of options names each once, and `none` alone; `after` takes one option."""
    for override in subject.named:
        key, _, value = override.partition("=")
        if key.lstrip("+") not in (*SEVERAL, "after") or not value.strip().startswith("["):
            continue
        names = split(value.strip()[1:-1])
        if key == "after" and len(names) > 1 and not any("=" in name for name in names):
            what = f"names {len(names)} options, of which the last alone would count"
            yield Problem(override, what, f"choose one: after={names[-1]}, or write the run out: after=[method=sft,…]")
        repeated = sorted({name for name in names if names.count(name) > 1})
        if repeated:
            yield Problem(override, f"names {', '.join(repeated)} twice", "name each once")
        if "none" in names and len(names) > 1:
            yield Problem(override, "names `none` among others", f"{key}=none alone, or drop it from the list")


def run_before(subject: Subject) -> Iterator[Problem]:
    """What names a run is a list of overrides, and a model has one origin."""
    config = subject.config
    for override in config.after:
        if "=" not in override:
            fix = f"after={override} takes the option of this name; a list holds overrides: after=[method={override}]"
            yield Problem("after", f"'{override}' is no override", fix)
    if any(key_of(override) == "model" for override in config.after):
        for key in sorted({key_of(override) for override in subject.named} & {"model.stage", "model.source"}):
            what = "the run before (`after`) names a model of its own, so that this one would be ignored"
            yield Problem(key, what, f"drop it, or write it into the list: after=[…,{key}=…]")


def purpose(subject: Subject) -> Iterator[Problem]:
    """Something is trained, made or measured."""
    method = subject.method
    if method is not None and method.makes is None and not subject.config.evaluation:
        what = f"{subject.config.method.name} trains nothing, and there is no evaluation"
        yield Problem("evaluation", what, "name what to measure: evaluation=default, or a method that trains")


def idle(subject: Subject) -> Iterator[Problem]:
    """A method that trains nothing is given no settings of training."""
    method = subject.method
    if method is None or method.makes is not None:
        return
    for key in sorted({key_of(override) for override in subject.named}):
        if key.startswith("method.") and not key.startswith("method.extra"):
            what = f"has no effect: {subject.config.method.name} trains nothing"
            yield Problem(key, what, "drop it, or choose a method that trains", fatal=False)


def tracker(subject: Subject) -> Iterator[Problem]:
    """The tracker can start."""
    try:
        chosen: Tracker = subject.resolved.make_tracker()
    except PluginError:
        return  # `fitting.usable` says why
    for problem in chosen.problems():
        yield problem.below("tracker")


def objective(subject: Subject) -> Iterator[Problem]:
    """An objective is a number that an evaluation of this run will give."""
    name, method, dataset = subject.config.objective, subject.method, subject.dataset
    if name is None or method is None or dataset is None or method.makes == "data":
        return
    known = [one for one in subject.evaluations if measures(subject, subject.evaluations[one])]
    when, _, rest = name.partition("/")
    evaluation, _, number = rest.partition("/")
    example = f"{'after' if subject.trains else 'before'}/{known[0]}/…" if known else "give an evaluation"
    if when not in WHEN or not number:
        fix = f"write before, after or change, an evaluation and its number: {example}"
        yield Problem("objective", f"'{name}' names no number of a run", fix)
    elif when != "before" and not subject.trains:
        what = f"{subject.config.method.name} trains nothing, so there is no '{when}'"
        yield Problem("objective", what, f"objective=before/{rest}")
    elif evaluation not in known:
        yield Problem("objective", f"no evaluation '{evaluation}' will be measured", guess(evaluation, known))
    else:
        numbers: Collection[str] | None = subject.evaluations[evaluation].numbers(subject.config)
        if when == "change":
            numbers = ("score", "low", "high")
        if numbers is not None and number not in numbers:
            what = f"evaluation {evaluation} gives no '{when}/…/{number}'"
            yield Problem("objective", what, guess(number, numbers))


def measures(subject: Subject, evaluation: Evaluation) -> bool:
    """Whether an evaluation will be measured in this run, as far as is known."""
    dataset, method = subject.dataset, subject.method
    if dataset is None or method is None or method.head not in evaluation.heads:
        return False
    if evaluation.takes and route(dataset.form, evaluation.takes) is None:
        return False
    try:
        return evaluation.unfit(subject.config, prompt_columns(dataset) if evaluation.takes else None) is None
    except PluginError:
        return False
