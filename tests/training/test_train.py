"""Going on from a checkpoint that another number of processes made."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest

from rlpipe.config.schema import RunConfig
from rlpipe.methods.dpo import DPO
from rlpipe.methods.kto import KTO
from rlpipe.records import checkpoints
from rlpipe.records.record import Record
from rlpipe.training import train as training


def record_with(folder: Path, processes: int) -> tuple[Record, Path]:
    """A run with a whole checkpoint of step 3 by so many processes."""
    record = Record.open(folder, {"seed": 1})
    checkpoint = record.checkpoints / "checkpoint-3"
    checkpoint.mkdir(parents=True)
    (checkpoint / "state").write_text("what was")
    checkpoints.seal(checkpoint, processes)
    return record, checkpoint


@pytest.mark.parametrize("method", [DPO, KTO])
def test_another_number_of_processes_is_noted_with_what_it_changes(tmp_path, method, capsys):
    record, checkpoint = record_with(tmp_path, processes=2)
    assert training.resume_point(record, method(method.Config())) == checkpoint
    [note] = record.manifest["notes"]
    assert note.startswith("1 in place of 2 processes go on from step 3: ")
    assert "sums are taken in another order" in note
    assert ("KL term" in note) == (method is KTO)
    assert note in capsys.readouterr().err
    assert record.manifest["attempts"][-1].items() >= {"resumed_from": 3, "resumed_processes": 2}.items()


def test_the_same_number_of_processes_is_nothing_to_note(tmp_path):
    record, checkpoint = record_with(tmp_path, processes=1)
    assert training.resume_point(record, DPO(DPO.Config())) == checkpoint
    assert record.manifest["notes"] == []


@pytest.mark.parametrize("processes", [1, 2])
def test_random_numbers_begin_anew_where_there_is_no_state_for_each_process(tmp_path, monkeypatch, processes):
    """By the seed and the step alone; where each process has its own state, that is taken up again."""
    import torch

    from rlpipe.training import callbacks

    record, checkpoint = record_with(tmp_path, processes)
    drawn: list[float] = []

    def train(trainer, checkpoint):
        trainer._load_rng_state(checkpoint)
        drawn.append(float(torch.rand(())))

    monkeypatch.setattr(callbacks, "train", train)
    for seed in (1, 1, 2):
        trainer = SimpleNamespace(
            args=SimpleNamespace(),
            state=SimpleNamespace(global_step=3, max_steps=3),
            callback_handler=SimpleNamespace(callbacks=[]),
            _load_rng_state=lambda _: torch.manual_seed(5),
        )
        training.train(trainer, checkpoint, RunConfig(seed=seed), record, {})
    assert drawn[0] == drawn[1]
    assert (drawn[0] == drawn[2]) == (processes == 1)
