"""Files and folders: the data and the weights are there, the output folder is free, the disk is big enough."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

from rlpipe.config.kinds import Precision
from rlpipe.config.relevance import differing
from rlpipe.core.errors import ModelError, Problem, RecordError
from rlpipe.datasets.load import data_problems
from rlpipe.hub.facts import local_facts
from rlpipe.models.lora import parameter_count
from rlpipe.records.ownership import refuse_foreign, refuse_other_run
from rlpipe.run.check.subject import Subject


def data(subject: Subject) -> Iterator[Problem]:
    """The dataset's settings make sense; a local file is there, with the columns that are needed."""
    if subject.dataset is not None and subject.reads_data:
        yield from data_problems(subject.dataset)


def weights(subject: Subject) -> Iterator[Problem]:
    """The model has a source, and a local one is whole."""
    model = subject.config.model
    if model.stage or model.name != "pretrained" or subject.config.after:
        return
    if model.source is None:
        yield Problem("model.source", "is not given", "give a hub id or a folder: model.source=organisation/name")
    elif not Path(model.source).expanduser().is_dir():
        if looks_like_a_path(model.source):
            yield Problem(
                "model.source", f"there is no folder {model.source}", "give a folder that is there, or a hub id"
            )
    else:
        try:
            local_facts(model.source)
        except ModelError as error:
            yield error.at("model.source")


def looks_like_a_path(source: str) -> bool:
    """Whether a name means a local folder rather than a hub id (`name` or `organisation/name`)."""
    first, *rest = source.split("/")
    return (
        source.startswith((".", "/", "~")) or len(rest) > 1 or "\\" in source or (bool(rest) and Path(first).is_dir())
    )


def template(subject: Subject) -> Iterator[Problem]:
    """A chat template that is a file is there."""
    name = subject.config.model.chat_template
    if name is not None and name != "chatml" and not Path(name).expanduser().is_file():
        yield Problem("model.chat_template", f"there is no file {name}", "give a Jinja file, `chatml`, or null")


def run_dir(subject: Subject) -> Iterator[Problem]:
    """The output folder can be written, and holds nothing but an earlier attempt of this very run."""
    from rlpipe.config.compose import to_plain
    from rlpipe.records import manifest
    from rlpipe.records.provenance import plain

    if subject.config.run_dir is None:
        return
    folder = Path(subject.config.run_dir).expanduser().absolute()
    nearest = standing(folder)
    if not nearest.is_dir():
        yield Problem("run_dir", f"{nearest} is a file", "name a folder")
    elif not os.access(nearest, os.W_OK | os.X_OK):
        yield Problem("run_dir", f"{nearest} cannot be written", "name a folder that can be")
    elif folder.is_dir():
        try:
            there = manifest.read(folder)
            if there is None:
                refuse_foreign(folder)
            else:
                refuse_other_run(folder, there["config"], plain(to_plain(subject.config)), differing)
        except RecordError as error:
            yield error.at("run_dir")


def disk(subject: Subject) -> Iterator[Problem]:
    """The checkpoints that are kept at once fit on the disk."""
    needed = checkpoint_bytes(subject)
    if needed is None or not subject.trains or not subject.here:
        return
    keep = subject.config.checkpoint.keep
    nearest = standing(Path(subject.config.run_dir or "runs").expanduser().absolute())
    free = shutil.disk_usage(nearest).free
    if needed * (keep + 1) > free:
        what = (
            f"{keep + 1} checkpoints of about {needed / 1e9:.1f} GB do not fit into the {free / 1e9:.1f} GB free there"
        )
        fix = "free space, name another run_dir, lower checkpoint.keep, or train adapters (model.lora.rank=16)"
        yield Problem("run_dir", f"{nearest}: {what}", fix)


def checkpoint_bytes(subject: Subject) -> int | None:
    """Estimate a checkpoint: the trained weights and AdamW's two moments for each; None where the size is unknown."""
    model = subject.config.model
    if model.lora.rank > 0:
        if subject.facts is None:
            return None
        return 12 * parameter_count(model.lora.rank, model.lora.target_modules, subject.facts.linear_modules)
    if subject.parameters is None:
        return None
    return subject.parameters * 3 * (2 if model.precision is Precision.pure_bfloat16 else 4)


def standing(folder: Path) -> Path:
    """Return the folder, or the nearest one above it that is there."""
    while not folder.exists():
        folder = folder.parent
    return folder
