"""Metrics and samples are what a checkpoint vouches for, or it is said what is missing."""

from __future__ import annotations

import json
import os

import pytest

from rlpipe.records import checkpoints
from rlpipe.records.record import Record

CONFIG = {"method": {"name": "dpo"}, "seed": 0, "until": "evaluate"}


@pytest.fixture
def record(tmp_path):
    """A run that has logged steps 1 to 6, with a checkpoint of step 4, and was killed."""
    made = Record.open(tmp_path / "run", CONFIG)
    for step in range(1, 7):
        made.log_metrics(step, {"loss": 1 / step})
        made.log_samples(step, [{"text": f"at {step}"}])
        if step == 4:
            (made.checkpoints / "checkpoint-4").mkdir(parents=True)
            (made.checkpoints / "checkpoint-4" / "weights").write_text("w")
            checkpoints.seal(made.checkpoints / "checkpoint-4", history=made.saved_history())
    made.close()
    return made


def resumed(record):
    """Go on from the checkpoint; returns the record and what was said."""
    again = Record.open(record.run_dir, CONFIG)
    newest = checkpoints.newest_whole(again.checkpoints)
    return again, again.rewind(4, checkpoints.history_of(newest))


def lines(record):
    return (record.run_dir / "metrics.jsonl").read_bytes().splitlines(keepends=True)


def test_a_resume_cuts_back_to_what_the_checkpoint_vouches_for(record):
    before = lines(record)
    again, said = resumed(record)
    assert said == []
    assert lines(again) == before[:4]
    assert again.logged_until == 6


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (lambda rows: [*rows[:1], *rows[2:]], "1 missing"),
        (lambda rows: rows[:2], "2 missing"),
        (lambda rows: [], "4 missing"),
        (lambda rows: [*rows[:2], rows[1], *rows[2:]], "1 twice"),
        (lambda rows: [rows[0], b'{"step"\n', *rows[2:]], "1 missing, 1 damaged"),
        (lambda rows: [rows[0], b'{"step": "2"}\n', *rows[2:]], "1 missing, 1 damaged"),
        (lambda rows: [rows[0], b"[3]\n", *rows[2:]], "1 missing, 1 damaged"),
        (lambda rows: [rows[0], bytes(len(rows[1]) - 1) + b"\n", *rows[2:]], "1 missing, 1 damaged"),
    ],
)
def test_a_hole_a_row_twice_and_a_damaged_one_are_said_and_noted(record, damage, words):
    whole = lines(record)
    (record.run_dir / "metrics.jsonl").write_bytes(b"".join(damage(whole)))
    again, said = resumed(record)
    assert said == [f"metrics.jsonl: of the rows up to step 4 {words}"]
    assert said[0] in again.manifest["notes"]
    kept = lines(again)
    assert all(row in whole[:4] for row in kept)
    assert len(set(kept)) == len(kept)
    again.log_metrics(5, {"loss": 0.2})
    assert json.loads(lines(again)[-1])["step"] == 5


def test_rows_are_on_the_disk_before_the_checkpoint_counts(record, monkeypatch):
    """What a power loss takes is what was not forced to the disk."""
    forced: list[str] = []
    sync = os.fsync
    monkeypatch.setattr(
        os, "fsync", lambda file: (forced.append(os.path.basename(os.readlink(f"/proc/self/fd/{file}"))), sync(file))
    )
    again = Record.open(record.run_dir, CONFIG)
    folder = again.checkpoints / "checkpoint-6"
    folder.mkdir()
    forced.clear()
    checkpoints.seal(folder, history=again.saved_history())
    seal = next(place for place, name in enumerate(forced) if name.startswith(".whole.json"))
    assert {"metrics.jsonl", "samples.jsonl"} <= set(forced[:seal])


def test_a_checkpoint_of_before_says_nothing_of_the_history(record):
    (seal := record.checkpoints / "checkpoint-4" / checkpoints.SEAL).write_text(
        json.dumps({key: value for key, value in json.loads(seal.read_text()).items() if key != "history"})
    )
    again, said = resumed(record)
    assert said == []
    assert [json.loads(row)["step"] for row in lines(again)] == [1, 2, 3, 4]
