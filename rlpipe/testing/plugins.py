"""What is asked of datasets, methods, rewards, tools and evaluations."""

from __future__ import annotations

import copy
import dataclasses
import itertools
import json
import math
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from rlpipe.config import plugins
from rlpipe.config.kinds import DatasetConfig, EvaluationConfig, Head, MethodConfig, RewardConfig, ToolConfig
from rlpipe.config.overrides import key_of
from rlpipe.core.errors import PluginError
from rlpipe.datasets.base import Dataset
from rlpipe.datasets.forms import Example, form_name, route
from rlpipe.evaluations.base import Evaluation
from rlpipe.methods.base import Method
from rlpipe.methods.sft import SFT
from rlpipe.rewards.base import Reward, RewardContext
from rlpipe.rewards.combine import case_rollout, prove, validated
from rlpipe.testing.config import check_config, check_light, name_of
from rlpipe.tools.base import Tool
from rlpipe.tools.run import Call, Runner

ROWS = 64
"""How many sample rows of each split are looked at."""


def check_dataset(cls: type[Dataset], **settings: Any) -> None:
    """Check a dataset class: light module, documented config, and sample rows where it makes some.

    Sample rows must be the same at every call, hold the declared columns, become usable examples of the
    declared form, and never stand in both splits. `settings` are fields of its Config that it needs.
    """
    assert issubclass(cls, Dataset), f"{cls.__name__} is no subclass of rlpipe.datasets.base.Dataset"
    check_light([cls.__module__])
    check_config(cls, DatasetConfig)
    dataset = cls(cls.Config(**{"name": "checked", "source": "sample", **settings}))
    form = getattr(dataset, "form", None)
    known = isinstance(form, type) and issubclass(form, Example)
    assert known, f"{cls.__name__}.form is no form of rlpipe.datasets.forms"
    columns = getattr(dataset, "columns", None)
    assert isinstance(columns, tuple), f"{cls.__name__}.columns is no tuple of column names"
    if cls.sample is Dataset.sample:
        return
    keys = {split: set(_sample_keys(dataset, split)) for split in ("train", "test")}
    both = keys["train"] & keys["test"]
    assert not both, f"{cls.__name__}.sample: {len(both)} rows stand in both splits, for example {next(iter(both))!r}"


def _sample_keys(dataset: Dataset, split: str) -> Iterable[str]:
    """Look at the sample rows of a split; yield each example's key."""
    where = f"{type(dataset).__name__}.sample({split!r})"
    rows = list(itertools.islice(dataset.sample(split, ROWS, 0), ROWS + 1))
    assert len(rows) == ROWS, f"{where} gives {len(rows)} rows where {ROWS} are asked for"
    again = list(dataset.sample(split, ROWS, 0))
    assert rows == again, f"{where} gives other rows at the second call: seed it with its argument alone"
    for number, row in enumerate(rows):
        missing = [column for column in dataset.columns if column not in row]
        assert not missing, f"{where}, row {number}: lacks the columns {missing}"
        before = copy.deepcopy(row)
        example = dataset.example(row, f"{split}/{number}")
        assert row == before, f"{where}, row {number}: `example` changes the row that it is given"
        form = dataset.form
        assert isinstance(example, form), (
            f"{where}, row {number}: gives {form_name(type(example))}, not {form_name(form)}"
        )
        assert example.id == f"{split}/{number}", (
            f"{where}, row {number}: `example` does not keep the id that it is given"
        )
        yield dataset.key(example)


def check_method(cls: type[Method], folder: Path, *overrides: str) -> dict[str, Any]:
    """Check a method class: light module, documented config, and a run on a small random model, of two steps.

    The class must be registered (by its entry point). The run goes through everything that a user's run
    goes through, in `folder`, on the first dataset with sample rows that the method can train on, unless
    `overrides` say otherwise. A method that makes data must leave rows. Returns the run's
    `result.json`.
    """
    assert issubclass(cls, Method), f"{cls.__name__} is no subclass of rlpipe.methods.base.Method"
    check_light([cls.__module__])
    check_config(cls, MethodConfig)
    takes = getattr(cls, "takes", None)
    assert isinstance(takes, tuple), f"{cls.__name__}.takes is no tuple of forms"
    assert all(issubclass(form, Example) for form in takes), f"{cls.__name__}.takes holds something that is no form"
    assert isinstance(cls.head, Head), f"{cls.__name__}.head is no rlpipe.models.base.Head"
    return _two_steps(cls, folder, overrides)


def _two_steps(cls: type[Method], folder: Path, overrides: Iterable[str]) -> dict[str, Any]:
    fields = {field.name for field in dataclasses.fields(cls.Config)}
    base = [
        f"method={name_of(cls, 'method')}",
        "model=blank",
        f"dataset={_fitting(cls)}",
        "dataset.sample_size=64",
        *(["method.max_steps=2", "method.batch_size=4"] if cls.makes != "data" else []),
        "method.max_length=256",
        *(["method.micro_batch_size=2"] if "micro_batch_size" in fields else []),
        *(["method.group_size=2"] if "group_size" in fields else []),
        *(["method.sampling.max_tokens=8"] if "sampling" in fields else []),
        *(["evaluation=none"] if cls.makes is not None else ["evaluation=default", "dataset.test_limit=2"]),
        *("log.every=1", "log.progress=false", "hardware.device=cpu"),
        *(["reward=length"] if cls.takes_reward else []),
        f"run_dir='{folder / 'run'}'",
    ]
    result = _finished(cls, folder, _with(base, overrides))
    if cls.makes == "data":
        rows = (folder / "run" / "data" / "train.jsonl").read_text(encoding="utf-8").splitlines()
        assert rows, f"{cls.__name__}: the run left no rows in data/train.jsonl"
        return result
    if not cls.takes:
        return result
    logged = [json.loads(line) for line in (folder / "run" / "metrics.jsonl").read_text(encoding="utf-8").splitlines()]
    losses = [row["loss"] for row in logged if "loss" in row]
    assert len(losses) == 2, f"{cls.__name__}: {len(losses)} losses were logged in two steps"
    assert all(loss == loss and abs(loss) < float("inf") for loss in losses), f"{cls.__name__}: losses are {losses}"
    return result


def _with(base: Sequence[str], overrides: Iterable[str]) -> list[str]:
    """Return the overrides of a check, of which those that are given come first: none is to be named twice."""
    given = list(overrides)
    named = {key_of(one) for one in given}
    return [*(one for one in base if key_of(one) not in named), *given]


def _finished(cls: type, folder: Path, overrides: Sequence[str]) -> dict[str, Any]:
    """Run in `folder` and return the result, which must be ok. Raises AssertionError for a plugin at fault."""
    from rlpipe.config.compose import compose
    from rlpipe.run.run import run

    try:
        run(compose(*overrides), overrides)
    except PluginError as error:
        raise AssertionError(f"{cls.__name__}: {error}") from error
    result: dict[str, Any] = json.loads((folder / "run" / "result.json").read_text(encoding="utf-8"))
    assert result["status"] == "ok", f"{cls.__name__}: the run ended as {result['status']}: {result.get('error')}"
    return result


def _serving(takes: tuple[type[Example], ...]) -> Iterable[str]:
    """Yield the datasets with sample rows whose examples can reach one of these forms."""
    for name, plugin in plugins.table()["dataset"].items():
        form = getattr(plugin.cls, "form", None)
        with_samples = plugin.cls is not None and plugin.cls.sample is not Dataset.sample
        if with_samples and form is not None and (not takes or route(form, takes) is not None):
            yield name


def _fitting(cls: type[Method]) -> str:
    for name in _serving(cls.takes):
        return name
    raise AssertionError(
        f"{cls.__name__}.takes: no dataset with sample rows gives any of these forms; name one in `overrides`"
    )


def check_reward(cls: type[Reward], context: RewardContext | None = None, **settings: Any) -> None:
    """Check a reward class: light module, documented config, cases that score as stated, and finite scores.

    A case must get the same score alone, among others, and again. `settings` are fields of its Config. A reward
    that loads something in `start` is scored only where a `context` to start it with is given; any other must
    have `cases`, which stand in for rollouts.
    """
    assert issubclass(cls, Reward), f"{cls.__name__} is no subclass of rlpipe.Reward"
    check_light([cls.__module__])
    check_config(cls, RewardConfig)
    _check_names(cls, "columns")
    reward = cls(cls.Config(**{"name": "checked", **settings}))
    _check_settings(reward)
    if context is not None:
        reward.start(context)
    elif cls.start is not Reward.start:
        return
    cases = list(reward.cases())
    assert cases, f"{cls.__name__}.cases is empty: state some completions with the scores that they must get"
    for case in cases:
        missing = sorted(set(reward.columns) - set(case.columns))
        assert not missing, f"{cls.__name__}: its case {case.text!r:.60} lacks the columns {missing} that it reads"
    try:
        prove(cls.__name__, reward)
        rollouts = list(map(case_rollout, cases))
        before = copy.deepcopy(rollouts)
        together = validated(cls.__name__, reward.score(rollouts), rollouts)
        alone = [validated(cls.__name__, reward.score([one]), [one])[0] for one in rollouts]
    except PluginError as error:
        raise AssertionError(str(error)) from error
    assert rollouts == before, f"{cls.__name__}.score changes the rollouts that it is given"
    for case, one, other in zip(cases, together, alone, strict=True):
        assert one == other, (
            f"{cls.__name__}: {case.text!r:.60} scores {one.value} among others and {other.value} alone"
        )


def check_tool(cls: type[Tool], arguments: dict[str, Any], **settings: Any) -> None:
    """Check a tool class: light module, documented config, a schema that chat templates take, and real calls.

    `arguments` are those of a call that must succeed, `settings` fields of its Config. Calls without arguments and
    with unknown ones are made too: they may fail, but must end in time and give text.
    """
    assert issubclass(cls, Tool), f"{cls.__name__} is no subclass of rlpipe.Tool"
    check_light([cls.__module__])
    check_config(cls, ToolConfig)
    tool = cls(cls.Config(**{"name": "checked", **settings}))
    _check_schema(cls.__name__, tool.schema, arguments)
    assert re.fullmatch(r"\w+", tool.tag), f"{cls.__name__}.tag is {tool.tag!r}, which is no word"
    for place in tool.by_hand("2 + 3 = 5"):
        assert 0 <= place.start <= place.end, f"{cls.__name__}.by_hand gives a place that ends before it starts"
    runner = Runner([tool])
    try:
        result = runner.run(Call(tool.name, copy.deepcopy(arguments)), 0)
        for wrong in ({}, {"surely_unknown": [None]}, dict.fromkeys(arguments)):
            hostile = runner.run(Call(tool.name, wrong), 0)
            in_time = "the call took more than" not in hostile.text
            assert in_time, f"{cls.__name__}.call({wrong}) does not end within {tool.config.timeout:g} s"
    except PluginError as error:
        raise AssertionError(f"{cls.__name__}: {error}") from error
    assert not result.failed, f"{cls.__name__}.call({arguments}) fails: {result.text}"


def _check_schema(name: str, schema: Any, arguments: dict[str, Any]) -> None:
    """Check that a tool's schema is that of a function which takes `arguments`."""
    function = schema.get("function") if isinstance(schema, dict) else None
    assert isinstance(function, dict), f"{name}.schema lacks 'function', in which name and parameters stand"
    assert schema.get("type") == "function", f"{name}.schema: 'type' is {schema.get('type')!r}, not 'function'"
    called = str(function.get("name"))
    assert re.fullmatch(r"[A-Za-z_]\w*", called), f"{name}.schema: {called!r} is no name of a function"
    assert function.get("description"), f"{name}.schema has no description, which is what the model reads"
    parameters = function.get("parameters", {})
    known = parameters.get("properties", {})
    assert known, f"{name}.schema has no parameters; a call in plain text fills the first"
    unknown = sorted({*arguments, *parameters.get("required", ())} - set(known))
    assert not unknown, f"{name}.schema has no parameters {unknown}"
    json.dumps(schema)


def check_evaluation(cls: type[Evaluation], folder: Path, *overrides: str) -> dict[str, Any]:
    """Check an evaluation class: light module, documented config, and measurements of a small random model.

    The class must be registered (by its entry point). A run in `folder` measures a few examples: before and after two
    steps of SFT where a dataset with sample rows serves both, else of the model as it is; `overrides` change it.
    Rows must have ids and finite scores, summaries finite numbers. Returns the run's `result.json`.
    """
    assert issubclass(cls, Evaluation), f"{cls.__name__} is no subclass of rlpipe.Evaluation"
    check_light([cls.__module__])
    check_config(cls, EvaluationConfig)
    takes = getattr(cls, "takes", None)
    assert isinstance(takes, tuple), f"{cls.__name__}.takes is no tuple of forms"
    assert all(issubclass(form, Example) for form in takes), f"{cls.__name__}.takes holds something that is no form"
    name = name_of(cls, "evaluation")
    dataset, trains = _measured(cls)
    small = ("method.max_steps=2", "method.batch_size=4", "method.micro_batch_size=2", "method.max_length=256")
    base = [
        *(f"evaluation={name}", f"evaluation.{name}.limit=4", "model=blank", f"dataset={dataset}"),
        *(("method=sft", *small) if trains else ("method=none",)),
        *("dataset.sample_size=64", "log.progress=false", "hardware.device=cpu", f"run_dir='{folder / 'run'}'"),
    ]
    result = _finished(cls, folder, _with(base, overrides))
    _check_rows(cls.__name__, folder / "run" / "evaluations", name)
    for key, value in result["metrics"].items():
        if key.split("/")[1:2] == [name]:
            assert _finite(value), f"{cls.__name__}.summary: {key} is {value!r}, which is no finite number"
    return result


def _measured(cls: type[Evaluation]) -> tuple[str, bool]:
    """Return a dataset with sample rows for an evaluation, and whether SFT can be trained on it too."""
    trains = Head.causal_lm in cls.heads
    both = [name for name in _serving(cls.takes) if trains and name in set(_serving(SFT.takes))]
    found = both or list(_serving(cls.takes))
    assert found, f"{cls.__name__}.takes: no dataset with sample rows gives any of these forms; name one in `overrides`"
    return found[0], bool(both)


def _check_rows(name: str, folder: Path, evaluation: str) -> None:
    files = sorted(folder.glob(f"{evaluation}.*.jsonl"))
    assert files, f"{name}: the run left no rows"
    for file in files:
        rows = [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]
        assert rows, f"{name}.rows: {file.name} has none"
        ids = [row.get("id") for row in rows]
        assert all(ids), f"{name}.rows: a row of {file.name} has no id"
        assert len(set(ids)) == len(ids), f"{name}.rows: ids of {file.name} stand twice"
        for row in rows:
            scored = "score" not in row or _finite(row["score"])
            assert scored, f"{name}.rows, {row['id']}: the score is {row['score']!r}, which is no finite number"


def _finite(value: Any) -> bool:
    return isinstance(value, int | float) and math.isfinite(value)


def _check_names(cls: Any, *attributes: str) -> None:
    """Check class attributes that are tuples of names."""
    for attribute in attributes:
        names = getattr(cls, attribute)
        fits = isinstance(names, tuple) and all(isinstance(name, str) for name in names)
        assert fits, f"{cls.__name__}.{attribute} is no tuple of names"


def _check_settings(plugin: Any) -> None:
    fatal = [str(problem) for problem in plugin.problems() if problem.fatal]
    assert not fatal, f"{type(plugin).__name__}.problems refuses the settings that are checked: {fatal}"
