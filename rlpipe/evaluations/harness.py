"""lm-evaluation-harness through its Python API: loading tasks, and measuring a model that is in memory already.

Importing this module imports the harness, and with it torch.
"""

from __future__ import annotations

import io
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from importlib.metadata import version
from pathlib import Path
from typing import Any

from lm_eval import simple_evaluate
from lm_eval.api.group import Group
from lm_eval.api.metrics import mean, mean_stderr
from lm_eval.api.task import Task
from lm_eval.models.huggingface import HFLM
from lm_eval.tasks import TaskManager

from rlpipe.core.errors import DataError, guess
from rlpipe.evaluations.task_names import unknown
from rlpipe.hub.files import cache_only, reach
from rlpipe.models.base import Loaded

PLAIN = "none"
"""The harness's name for answers that no filter has changed."""


class Tasks:
    """The tasks behind some names, groups and tags, with their data; `folders` hold tasks that are not the harness's.

    Raises DataError.
    """

    def __init__(self, names: Sequence[str], folders: Sequence[Path]):
        # The harness takes many seconds to read its own thousands of tasks.
        alone = not unknown(names, folders)[0]
        places: list[str | Path] = [str(folder) for folder in reversed(folders)]  # later ones win
        unreachable = reach()
        with cache_only(unreachable is not None), _silent():
            self.manager = TaskManager(include_path=places, include_defaults=not alone)
            try:
                built = _built(names, self.manager, unreachable)
            except UnknownTask:
                if not alone:
                    raise
                self.manager = TaskManager(include_path=places)
                built = _built(names, self.manager, unreachable)
        self.tasks: dict[str, Task] = built["tasks"]
        self.groups: dict[str, Group] = built["groups"]
        unsafe = [name for name, task in self.tasks.items() if getattr(task, "UNSAFE_CODE", False)]
        if unsafe:
            raise DataError(
                "evaluation",
                f"{', '.join(unsafe)} runs code that the model writes, which rlpipe never does",
                "leave it out",
            )

    def documents(self, limit: int | None) -> dict[str, int]:
        """Return how many documents of each task are measured."""
        sizes = {name: len(task.eval_docs) for name, task in self.tasks.items()}
        return {name: size if limit is None else min(size, limit) for name, size in sizes.items()}

    def versions(self) -> dict[str, Any]:
        """Return what numbers depend on beside the model and the settings: the versions of harness and tasks."""
        return {"lm_eval": version("lm_eval"), **{name: task.VERSION for name, task in self.tasks.items()}}

    def summed(self, values: Mapping[str, Mapping[str, Sequence[Any]]]) -> dict[str, dict[str, float]]:
        """Return every task's and group's metrics from the values of its documents, by the harness's own functions.

        `values` holds, by task and by `metric,filter`, one value a document. A mean has its standard error beside.
        """
        found: dict[str, dict[str, Any]] = {}
        for name, metrics in values.items():
            how = self.tasks[name].aggregation()
            found[name] = {"name": name, "alias": name, "sample_len": max(map(len, metrics.values()), default=0)}
            for key, items in metrics.items():
                metric, _, filtered = key.partition(",")
                aggregate = how.get(metric, mean)
                found[name][key] = aggregate(items)
                if aggregate is mean and len(items) > 1:
                    found[name][f"{metric}_stderr,{filtered}"] = mean_stderr(items)
        for group in sorted(self.groups.values(), key=lambda one: len(one.get_all_groups())):
            if group.has_aggregation:
                found[group.name] = dict(group.aggregate(found))
        return {name: {_called(key): value for key, value in one.items() if "," in key} for name, one in found.items()}


class UnknownTask(DataError):
    """A name that the harness does not know, or one inside a group."""


def _built(names: Sequence[str], manager: Any, unreachable: str | None) -> dict[str, dict[str, Any]]:
    built: dict[str, dict[str, Any]] = {"tasks": {}, "groups": {}}
    for name in names:
        found = _load(manager, name, unreachable)
        built = {kind: built[kind] | found.get(kind, {}) for kind in built}
    return built


def _load(manager: Any, name: str, unreachable: str | None) -> dict[str, Any]:
    try:
        return dict(manager.load([name]))
    except KeyError as error:
        hint = _near(name, manager.all_tasks)
        raise UnknownTask("evaluation", f"the harness cannot build task '{name}' ({error})", hint) from error
    except Exception as error:  # tasks load data in every way there is, by functions of their own too
        message = " ".join(str(error).split())[:300]
        why = f" (the hub cannot be reached: {unreachable})" if unreachable else ""
        raise DataError(
            "evaluation",
            f"the data of task '{name}' cannot be had{why}: {type(error).__name__}: {message}",
            "connect to the network once, or give a task that reads local files (include_path)",
        ) from error


def _near(name: str, known: Sequence[str]) -> str:
    """Return a hint without the ten thousand names that the harness has."""
    hint = guess(name, known).partition("known: ")[0]
    return f"{hint}list them with `lm-eval ls tasks`"


def _called(key: str) -> str:
    """Return a metric's name: `acc`, or `exact_match@strict-match` where a filter changes the answer first."""
    metric, _, filtered = key.partition(",")
    return metric if filtered == PLAIN else f"{metric}@{filtered}"


def measure(
    loaded: Loaded,
    tasks: Tasks,
    limit: int | None,
    num_fewshot: int | None,
    batch_size: int,
    apply_chat_template: bool,
) -> dict[str, list[dict[str, Any]]]:
    """Return the harness's own log of every document, by task. Raises DataError for what the harness cannot do."""
    model = HFLM(
        pretrained=loaded.model,
        tokenizer=loaded.tokenizer,
        batch_size=batch_size,
        mixed_precision_dtype="bfloat16" if loaded.autocast else None,
    )
    try:
        with _silent():
            results = simple_evaluate(
                model,
                tasks=[*tasks.tasks.values()],
                task_manager=tasks.manager,
                num_fewshot=num_fewshot,
                limit=limit,
                batch_size=batch_size,
                apply_chat_template=apply_chat_template,
                bootstrap_iters=0,
                log_samples=True,
            )
    except (ValueError, AssertionError) as error:  # it asserts that every answer fits into the model's context
        context = getattr(loaded.model.config.get_text_config(), "max_position_embeddings", None)
        why = str(error) or f"an answer is longer than the {context} tokens that the model takes"
        raise DataError(
            "evaluation",
            f"the harness cannot measure {', '.join(tasks.tasks)}: {why}",
            "leave the task out, or take a model with a longer context",
        ) from error
    assert results is not None
    return dict(results["samples"])


@contextmanager
def _silent() -> Iterator[None]:
    """Keep the harness's bars off anything that is no terminal; its log lines go where all libraries' go."""
    if sys.stderr.isatty():
        yield
        return
    with redirect_stdout(io.StringIO()), redirect_stderr(io.StringIO()):
        yield
