"""Files and folders: the data is there, the output folder is free, the disk is big enough."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

from rlpipe.config.kinds import Precision
from rlpipe.config.relevance import differing
from rlpipe.core.errors import Problem, RecordError
from rlpipe.datasets.load import data_problems
from rlpipe.models.lora import parameter_count
from rlpipe.records.ownership import refuse_foreign, refuse_other_run
from rlpipe.run.check.subject import Subject


def data(subject: Subject) -> Iterator[Problem]:
    """The dataset's settings make sense; a local file is there, with the columns that are needed."""
    if subject.dataset is not None and subject.reads_data:
        yield from data_problems(subject.dataset, subject.reads_train)


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
        return 12 * parameter_count(model.lora, subject.facts.linear_modules)
    if subject.parameters is None:
        return None
    return subject.parameters * 3 * (2 if model.precision is Precision.pure_bfloat16 else 4)


def standing(folder: Path) -> Path:
    """Return the folder, or the nearest one above it that is there."""
    while not folder.exists():
        folder = folder.parent
    return folder
