"""Conformance checks for plugins: what rlpipe asks of a method or a dataset, as a package's own tests run it.

    from rlpipe.testing import check_dataset, check_method

    def test_my_dataset():
        check_dataset(MyDataset)

    def test_my_method(tmp_path):
        check_method(MyMethod, tmp_path)      # trains two steps of a small random model: seconds, no network

Each raises AssertionError with what is wrong and where. rlpipe's own plugins pass the same checks.
"""

from __future__ import annotations

import copy
import dataclasses
import inspect
import itertools
import json
import os
import subprocess
import sys
import typing
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from rlpipe.config import plugins
from rlpipe.config.fields import declarations
from rlpipe.config.kinds import DatasetConfig, Head, MethodConfig
from rlpipe.config.settings import statement
from rlpipe.datasets.base import Dataset
from rlpipe.datasets.forms import Example, form_name, route
from rlpipe.methods.base import Method

__all__ = ["HEAVY", "check_config", "check_dataset", "check_light", "check_method", "explains_itself", "unstated"]

HEAVY = ("torch", "transformers", "trl", "datasets", "peft", "accelerate")
"""Packages that composing and checking must not import."""

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
    from rlpipe.config.compose import compose
    from rlpipe.run.run import run

    fields = {field.name for field in dataclasses.fields(cls.Config)}
    own = [
        f"method={_name_of(cls)}",
        "model=blank",
        f"dataset={_fitting(cls)}",
        "dataset.sample_size=64",
        *(["method.max_steps=2", "method.batch_size=4"] if cls.makes != "data" else []),
        "method.max_length=256",
        *(["method.micro_batch_size=2"] if "micro_batch_size" in fields else []),
        *(["method.group_size=2"] if "group_size" in fields else []),
        *(["method.sampling.max_tokens=8"] if "sampling" in fields else []),
        *("evaluation=none", "log.every=1", "log.progress=false", "hardware.device=cpu"),
        *(["reward=length"] if cls.takes_reward else []),
        f"run_dir='{folder / 'run'}'",
    ]
    asked = [*own, *overrides]
    run(compose(*asked), asked)
    result: dict[str, Any] = json.loads((folder / "run" / "result.json").read_text(encoding="utf-8"))
    assert result["status"] == "ok", f"{cls.__name__}: the run ended as {result['status']}: {result.get('error')}"
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


def _name_of(cls: type[Method]) -> str:
    names = [name for name, plugin in plugins.table()["method"].items() if plugin.cls is cls]
    assert names, (
        f"{cls.__name__} is not registered: name it in the entry-point group rlpipe.method, and install the package"
    )
    return names[0]


def _fitting(cls: type[Method]) -> str:
    for name, plugin in plugins.table()["dataset"].items():
        form = getattr(plugin.cls, "form", None)
        with_samples = plugin.cls is not None and plugin.cls.sample is not Dataset.sample
        if with_samples and form is not None and (not cls.takes or route(form, cls.takes) is not None):
            return name
    raise AssertionError(
        f"{cls.__name__}.takes: no dataset with sample rows gives any of these forms; name one in `overrides`"
    )


def check_config(cls: type, base: type) -> None:
    """Check that a plugin says what it is, and that its `Config` is a dataclass over `base` with documented fields."""
    config = getattr(cls, "Config", None)
    assert inspect.isclass(config), f"{cls.__name__}.Config is no class"
    assert dataclasses.is_dataclass(config), f"{cls.__name__}.Config is no dataclass"
    assert issubclass(config, base), f"{cls.__name__}.Config does not inherit from {base.__name__}"
    assert config is base or "__dataclass_fields__" in vars(config), f"{config.__name__} lacks its own @dataclass"
    for field in dataclasses.fields(config):
        told = declarations(config)[field.name].doc or explains_itself(field)
        assert told, f"{config.__name__}.{field.name} has no documentation: put a string under the field"
        unsaid = unstated(config, field.name)
        assert not unsaid, f"{config.__name__}.{field.name}: {unsaid}"
    assert (cls.__doc__ or "").strip(), f"{cls.__name__} has no docstring; its first line is what --help shows"


def unstated(config: type, name: str) -> str | None:
    """Return what a config class leaves unsaid of a field, and how to say it; None where nothing is."""
    said, hint = statement(config, name), typing.get_type_hints(config)[name]
    if said.changes is None:
        return "say what it changes: @changing(Changes.result) on the class, or setting(…, Changes.nothing)"
    numeric = any(kind in (int, float) for kind in (hint, *typing.get_args(hint)))
    if numeric and said.range is None:
        return "say which numbers it may hold: setting(…, at_least=…), or finite=True"
    return None


def explains_itself(field: dataclasses.Field) -> bool:
    """Whether a field's type documents it: an enumeration with a docstring, or a dataclass with fields of its own."""
    kind = type(field.default) if field.default is not dataclasses.MISSING else field.default_factory
    return bool(dataclasses.is_dataclass(kind) or (hasattr(kind, "__members__") and getattr(kind, "__doc__", None)))


def check_light(modules: Iterable[str]) -> None:
    """Check, in a fresh interpreter, that importing modules imports none of the heavy packages."""
    program = (
        "import importlib, json, sys\n"
        "found = {}\n"
        "for module in json.loads(sys.argv[1]):\n"
        "    importlib.import_module(module)\n"
        "    for heavy in json.loads(sys.argv[2]):\n"
        "        if heavy in sys.modules: found.setdefault(heavy, module)\n"
        "print(json.dumps(found))"
    )
    command = [sys.executable, "-c", program, json.dumps(list(modules)), json.dumps(HEAVY)]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    assert done.returncode == 0, f"importing {', '.join(modules)} fails:\n{done.stderr.strip()}"
    found = json.loads(done.stdout.splitlines()[-1])
    told = ", ".join(f"{module} imports {heavy}" for heavy, module in found.items())
    assert not found, f"{told}: move the import into the function that needs it"
