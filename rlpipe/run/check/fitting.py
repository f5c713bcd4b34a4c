"""Do the choices fit together: dataset, method, reward, tool, evaluation, model and rows?"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Protocol

from rlpipe.config import plugins
from rlpipe.core.errors import PluginError, Problem
from rlpipe.datasets.forms import Form, form_name, route, ways_from
from rlpipe.engines.base import SeparateEngine
from rlpipe.run.check.rewards import prompt_columns
from rlpipe.run.check.subject import Subject, classes


def usable(subject: Subject) -> Iterator[Problem]:
    """Every chosen plugin is there and could be imported."""
    yield from subject.resolved.unusable()


def form(subject: Subject) -> Iterator[Problem]:
    """The dataset's examples can become what the method takes."""
    method, dataset = subject.method, subject.dataset
    if method is None or dataset is None or not method.takes or route(dataset.form, method.takes) is not None:
        return
    method_name, dataset_name = subject.config.method.name, subject.config.dataset.name
    training = {name: cls for name, cls in classes("method").items() if getattr(cls, "takes", ())}
    fitting_methods = methods_for(dataset.form, training)
    fitting_datasets = datasets_for(method.takes, classes("dataset"))
    what = f"{dataset_name} holds {form_name(dataset.form)} examples, and {method_name} takes {_names(method.takes)}"
    fix = f"choose a method that fits this dataset ({_listed(fitting_methods)}) "
    fix += f"or a dataset that fits this method ({_listed(fitting_datasets)})"
    yield Problem(f"method={method_name} dataset={dataset_name}", what, fix)


def reward(subject: Subject) -> Iterator[Problem]:
    """A reward is given exactly where the objective uses one, or a required evaluation does."""
    method, config = subject.method, subject.config
    if method is None:
        return
    users = [name for name, cls in classes("method").items() if cls.takes_reward]  # type: ignore[attr-defined]
    if config.reward and not method.takes_reward and not _served(subject, "takes_reward"):
        fix = f"drop reward=…, or choose a method that learns from one ({_listed(users)})"
        yield Problem("reward", f"{config.method.name} learns from no reward and would ignore it", fix)
    if method.takes_reward and not config.reward:
        known = _listed(list(plugins.table()["reward"]))
        yield Problem("reward", f"{config.method.name} needs to know what completions earn", f"give reward=… ({known})")


def tool(subject: Subject) -> Iterator[Problem]:
    """A tool is given only where completions may call one: in training, or in a required evaluation."""
    method, config = subject.method, subject.config
    if method is not None and config.tool and not method.takes_tool and not _served(subject, "takes_tool"):
        users = [name for name, cls in classes("method").items() if cls.takes_tool]  # type: ignore[attr-defined]
        fix = f"drop tool=…, or choose a method whose completions call tools ({_listed(users)})"
        yield Problem("tool", f"{config.method.name} trains on completions that call none", fix)


def engine(subject: Subject) -> Iterator[Problem]:
    """The engine can be had, and something in the run draws by it."""
    engine, method, name = subject.engine, subject.method, subject.config.engine.name
    if engine is None or method is None:
        return
    yield from engine.problems(subject.config)
    if not isinstance(engine, SeparateEngine) or method.draws:
        return
    if method.takes_reward:
        what = f"{subject.config.method.name} draws by means of its own, and would ignore it"
        users = [known for known, cls in classes("method").items() if cls.draws]  # type: ignore[attr-defined]
        yield Problem(f"engine={name}", what, f"drop engine=…, or choose a method that draws by it ({_listed(users)})")
    elif not any(one.draws for one in subject.evaluations.values()):
        what = "nothing in this run draws completions, so it is never started"
        yield Problem(f"engine={name}", what, "drop engine=…", fatal=False)


def evaluation(subject: Subject) -> Iterator[Problem]:
    """Evaluations' settings make sense, and a required one can look at this dataset and this kind of model."""
    method, dataset = subject.method, subject.dataset
    if method is None or dataset is None:
        return
    for name, one in subject.evaluations.items():
        where, drop = f"evaluation.{name}", f"set evaluation.{name}.required=false to leave it out, or choose another"
        for problem in one.problems():
            yield problem.below(where)
        if not one.config.required:
            continue
        if method.makes == "data":
            what = f"{subject.config.method.name} makes data, and nothing that could be measured"
            yield Problem(where, what, "set evaluation=none, and measure the policy in a run of its own (method=none)")
            continue
        if one.takes and route(dataset.form, one.takes) is None:
            forms = f"{form_name(dataset.form)} examples, and it looks at {_names(one.takes)}"
            yield Problem(where, f"{subject.config.dataset.name} holds {forms}", drop)
            continue
        if method.head not in one.heads:
            yield Problem(where, f"{subject.config.method.name} makes a model with a {method.head.value} head", drop)
        try:
            unfit = one.unfit(subject.config, prompt_columns(dataset) if one.takes else None)
        except PluginError as error:
            unfit = error.at(where)
        if unfit is not None:
            named = f"name a reward that does: evaluation.{name}.reward=…" if one.takes_reward else ""
            yield Problem(where, unfit.what, "; or ".join(filter(None, (unfit.fix or named, drop))))


def rows(subject: Subject) -> Iterator[Problem]:
    """A real model never meets made-up rows by accident, nor a toy real ones without a word."""
    model, dataset = subject.config.model, subject.config.dataset
    if not subject.reads_data or (subject.dataset is not None and subject.dataset.made):
        return
    if model.dataset_source == "hub" and dataset.source == "sample":
        if "dataset.source=sample" not in subject.overrides:
            fix = "set dataset.source=hub (or a folder); on purpose: say dataset.source=sample on the command line"
            yield Problem("dataset.source", "a real model would be trained on made-up sample rows", fix)
    elif model.dataset_source == "sample" and dataset.source != "sample":
        what = f"a toy model, made for sample rows, meets those of {dataset.source}"
        yield Problem("dataset.source", what, "its numbers mean little; choose a real model", fatal=False)


def method_settings(subject: Subject) -> Iterator[Problem]:
    """What the method says about its settings."""
    method = subject.method
    if method is not None:
        yield from method.problems(subject.config)


def _served(subject: Subject, what: str) -> bool:
    """Return whether a required evaluation uses the run's rewards (`takes_reward`) or tools (`takes_tool`)."""
    return any(one.config.required and getattr(one, what) for one in subject.evaluations.values())


def _names(forms: tuple[Form, ...]) -> str:
    return " or ".join(form_name(one) for one in forms)


def _listed(names: list[str]) -> str:
    return ", ".join(names) or "there is none"


class Takes(Protocol):
    """A method or an evaluation: anything that says which forms it takes."""

    takes: tuple[Form, ...]


def way(native: Form, takes: tuple[Form, ...]) -> str | None:
    """Return the forms from `native` to the one that is taken, as `choice → preference`; None where none is reached."""
    found = route(native, takes)
    if found is None:
        return None
    return " → ".join(form_name(form) for form in (native, *ways_from(native)[found[0]]))


def serving(datasets: Mapping[str, type], methods: Mapping[str, type[Takes]]) -> dict[str, dict[str, str]]:
    """Return `{dataset: {method: way}}` with only the pairs that fit.

    `datasets` and `methods` map names to plugin classes. A dataset class without a `form` of its own
    (its config decides) fits every method: its ways read `as configured`.
    """
    table: dict[str, dict[str, str]] = {}
    for dataset, cls in datasets.items():
        native: Form | None = getattr(cls, "form", None)
        ways = {
            name: "as configured" if native is None else way(native, method.takes) for name, method in methods.items()
        }
        table[dataset] = {name: found for name, found in ways.items() if found is not None}
    return table


def methods_for(native: Form, methods: Mapping[str, type[Takes]]) -> list[str]:
    """Return the names of the methods (or evaluations) that examples of a form can reach."""
    return [name for name, method in methods.items() if route(native, method.takes) is not None]


def datasets_for(takes: tuple[Form, ...], datasets: Mapping[str, type]) -> list[str]:
    """Return the names of the datasets whose examples can reach one of these forms."""
    fitting = []
    for name, dataset in datasets.items():
        native: Form | None = getattr(dataset, "form", None)
        if native is None or route(native, takes) is not None:
            fitting.append(name)
    return fitting
