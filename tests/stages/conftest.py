"""A store whose stages are made in no time: a build that writes what a run would leave."""

from __future__ import annotations

import copy
import dataclasses
from pathlib import Path

import pytest

from rlpipe.config.compose import to_plain
from rlpipe.core.files import hashes
from rlpipe.records.record import Record, Status
from rlpipe.stages.fingerprint import Stage, describe
from rlpipe.stages.store import plan
from tests.composed import compose


class Builder:
    """Builds stages without training, and counts how often."""

    def __init__(self):
        self.built: list[str] = []
        self.during = lambda stage: None
        """What happens in the middle of a build."""

    def __call__(self, config, stage: Stage, lease=None) -> None:
        record = Record.open(config.run_dir, to_plain(config), lease=lease, same_run=lambda old, new: [])
        if record.finished:
            return
        self.built.append(stage.name)
        parents = {parent.name: parent.fingerprint for parent in plan(config)}
        record.update(fingerprint=stage.fingerprint, fingerprint_inputs=stage.inputs, parents=parents)
        record.log_metrics(1, {"loss": 1.0})
        try:
            self.during(stage)
        except Exception as error:
            if record.may_write():
                record.finish(Status.failed, "train", error=error)
            raise
        stage.product.mkdir(exist_ok=True)
        (stage.product / "weights").write_text(stage.fingerprint)
        record.update(**{{"model": "model", "data": "data_files"}[stage.makes]: hashes(stage.product)})
        record.finish(Status.ok, "evaluate")


@pytest.fixture
def build() -> Builder:
    return Builder()


@pytest.fixture(scope="session")
def composed():
    """A run on few rows, which needs nothing itself."""
    return compose("model=blank", "method=sft", "dataset=smoltalk", "dataset.sample_size=40")


@pytest.fixture
def config(composed, tmp_path: Path):
    """The same with a store of the test's own."""
    return dataclasses.replace(copy.deepcopy(composed), store=str(tmp_path / "store"))


@pytest.fixture
def stage(config) -> Stage:
    return describe(config)


@pytest.fixture
def other(config) -> Stage:
    """A stage like `stage`, with another seed."""
    return describe(dataclasses.replace(config, seed=1))
