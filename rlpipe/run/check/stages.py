"""Do the runs that a run needs make what it needs of them, and do they come to an end?"""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

from rlpipe.config.kinds import Head
from rlpipe.config.resolved import resolve
from rlpipe.config.schema import RunConfig
from rlpipe.core.errors import PluginError, Problem
from rlpipe.core.paths import store_dir
from rlpipe.datasets.base import Dataset
from rlpipe.run.check.places import standing
from rlpipe.run.check.subject import Subject, classes

Link = tuple[str, tuple[str, ...], RunConfig]
"""The key that names a run, its overrides, and the config that comes of them."""
Chain = tuple[Link, ...]
"""From the run that is checked to the one that is looked at."""


def circle(chain: Chain, link: Link) -> Problem | None:
    """Return the problem of a run that needs itself, over others or at once."""
    configs = [config for _, _, config in chain]
    if link[2] not in configs:
        return None
    steps = [*chain[configs.index(link[2]) :], link]
    listed = " → ".join(f"{path}=[{','.join(overrides)}]" for path, overrides, _ in steps)
    return Problem("a circle", f"{listed} leads back to where it began", "end it with after=none")


def fits(config: RunConfig, path: str, run: RunConfig) -> Iterator[Problem]:
    """The run that a key names makes what the key stands for: rows, or a model that ends as it must."""
    makes = "data" if path == "dataset.stage" else "model"
    try:
        maker, head = resolve(run).method, _head(config, path) if makes == "model" else None
    except PluginError:
        return  # another rule says why
    if maker.makes != makes:
        what = f"makes {_words(maker.makes)}, and {_words(makes)} is needed"
    elif head is not None and maker.head is not head and not _grows(path, maker.head, head):
        what = f"makes a model with a {maker.head.value} head, and one with a {head.value} head is needed"
    else:
        return
    right = [name for name, cls in classes("method").items() if _makes(cls, makes, head)]
    yield Problem(f"method={run.method.name}", what, f"name a run with one of: {', '.join(right)}")


def store(subject: Subject) -> Iterator[Problem]:
    """The store of stages is there or can be made, where the run needs any."""
    from rlpipe.stages.lineage import parent_overrides

    if not parent_overrides(subject.config):
        return
    folder = store_dir(subject.config.store)
    where = standing(folder)
    if not where.is_dir():
        yield Problem("store", f"{where} is a file", "set store=DIR or $RLPIPE_STORE")
    elif not os.access(where, os.W_OK | os.X_OK) and where != folder:
        yield Problem(
            "store", f"{folder} cannot be made, for {where} cannot be written", "set store=DIR or $RLPIPE_STORE"
        )
    elif not os.access(where, os.W_OK | os.X_OK):
        what = f"{folder} is for reading only: stages that are not there yet cannot be built"
        yield Problem("store", what, "rlpipe stages explain … says which they are", fatal=False)


def rows(subject: Subject) -> Iterator[Problem]:
    """A dataset that puts its rows together itself takes none from a run."""
    dataset, named = subject.dataset, subject.config.dataset.stage
    if dataset is not None and named and type(dataset).make_rows is not Dataset.make_rows:
        what = f"{subject.config.dataset.name} puts its rows together itself"
        yield Problem("dataset.stage", what, "set dataset.stage=[], or choose the dataset whose columns the run makes")


def _makes(method: Any, makes: str, head: Head | None) -> bool:
    return bool(method.makes == makes and head in (None, method.head))


def _head(config: RunConfig, path: str) -> Head | None:
    """Return what the model that a key stands for must end in; None where either will do."""
    kind, name, *_ = path.split(".") if "." in path else (path, "")
    resolved = resolve(config)
    if kind in ("reward", "evaluation"):
        user = resolved.reward(name) if kind == "reward" else resolved.evaluation(name)
        return getattr(user, "model_head", None)
    return None if config.method.name == "none" else resolved.method.head


def _grows(path: str, made: Head, wanted: Head) -> bool:
    """Whether training starts from a model by giving it a new head: a reward model from a language model."""
    return path in ("after", "model.stage") and made is Head.causal_lm and wanted is Head.reward


def _words(makes: str | None) -> str:
    return {"model": "a model", "data": "rows"}.get(makes or "", "nothing")
