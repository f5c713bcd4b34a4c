"""Where a job stands, from what it wrote itself and what the launcher sees."""

from __future__ import annotations

import json
import shutil
import time
from pathlib import Path

import pytest

from rlpipe.cli.sweep import resume
from rlpipe.core.files import hashes, last_row
from rlpipe.launchers.base import JobStatus, Phase
from rlpipe.records.record import Record, Status
from rlpipe.records.sweep import Ended, Outcome, write_outcome
from rlpipe.sweep.states import State, headline, standings
from rlpipe.sweep.table import changes, summary

GONE, QUEUED, RUNNING = JobStatus(Phase.gone), JobStatus(Phase.queued, reason="Priority"), JobStatus(Phase.running)
NEVER = JobStatus(Phase.queued, reason="PartitionTimeLimit", hopeless=True)
KILLED = JobStatus(Phase.gone, reason="OUT_OF_MEMORY")


@pytest.mark.parametrize(
    ("ended", "seen", "state", "detail"),
    [
        (None, None, State.unsubmitted, ""),
        (None, QUEUED, State.queued, "Priority"),
        (None, NEVER, State.queued, "PartitionTimeLimit"),
        (None, RUNNING, State.running, ""),
        (None, KILLED, State.failed, "OUT_OF_MEMORY"),
        (None, GONE, State.failed, "it is gone and left no word"),
        (Ended.running, RUNNING, State.running, ""),
        (Ended.running, QUEUED, State.queued, "Priority"),
        (Ended.running, KILLED, State.failed, "OUT_OF_MEMORY"),
        (Ended.running, None, State.stopped, "its process is gone"),
        (Ended.ok, GONE, State.done, ""),
        (Ended.ok, None, State.done, ""),
        (Ended.failed, RUNNING, State.failed, "boom"),
        (Ended.stopped, GONE, State.stopped, "stopped and saved"),
        (Ended.stopped, QUEUED, State.queued, "Priority"),
        (Ended.cancelled, None, State.cancelled, "by hand"),
        (Ended.pruned, GONE, State.pruned, "place 7 of 9"),
        (Ended.pruned, None, State.pruned, "place 7 of 9"),
    ],
)
def test_states(sweep, ended, seen, state, detail):
    job = sweep.arms[0]
    if ended is not None:
        said = {Ended.failed: "boom", Ended.cancelled: "by hand", Ended.pruned: "place 7 of 9"}.get(ended)
        write_outcome(sweep.job_folder(job), Outcome(ended, error=said))
    found = standings(sweep, {job.key: seen} if seen else {})[1]
    assert (found.state, found.detail, found.hopeless) == (state, detail, seen is NEVER)


@pytest.mark.parametrize("ended", [Ended.failed, Ended.cancelled, Ended.ok])
def test_what_was_submitted_again_is_queued_whatever_came_of_it_before(sweep, ended):
    job = sweep.arms[0]
    write_outcome(sweep.job_folder(job), Outcome(ended, time=time.time() - 60))
    sweep.submitted("told", [job.key])
    assert standings(sweep, {job.key: QUEUED})[1].state is State.queued
    write_outcome(sweep.job_folder(job), Outcome(ended, time=time.time() + 1))
    assert standings(sweep, {job.key: GONE})[1].state in (State.failed, State.cancelled, State.done)


def test_progress_is_the_last_row_even_while_it_is_written(sweep):
    job = sweep.arms[1]
    folder = Path(job.run_dir)
    folder.mkdir()
    rows = "".join(json.dumps({"step": step, "loss": 1 / step, "note": "x" * 300}) + "\n" for step in range(1, 600))
    (folder / "metrics.jsonl").write_text(rows + '{"step": 600, "lo')
    assert last_row(folder / "metrics.jsonl")["step"] == 599
    found = standings(sweep, {job.key: RUNNING})[2]
    assert (found.step, found.metric) == (599, ("loss", 1 / 599))
    sweep.data["objective"] = "step"
    assert standings(sweep, {job.key: RUNNING})[2].metric == ("step", 599)


def test_what_is_done_has_made_all_its_steps_logged_or_not(sweep):
    job = sweep.arms[1]
    folder = Path(job.run_dir)
    folder.mkdir()
    (folder / "metrics.jsonl").write_text('{"step": 5, "loss": 0.5}\n')
    (folder / "result.json").write_text(json.dumps({"status": "ok", "cost": {"steps": 9}}))
    assert standings(sweep, {job.key: RUNNING})[2].step == 5
    write_outcome(sweep.job_folder(job), Outcome(Ended.ok))
    assert standings(sweep, {})[2].step == 9


def test_no_rows_are_no_progress(tmp_path):
    assert last_row(tmp_path / "absent") is None
    (tmp_path / "torn").write_text('{"step": 1')
    assert last_row(tmp_path / "torn") is None


def test_the_headline_is_the_objective_or_an_accuracy():
    metrics = {"before/a/accuracy": 0.1, "after/a/length": 7.0, "after/a/accuracy": 0.5, "after/b/win_rate": None}
    assert headline(metrics, None) == ("after/a/accuracy", 0.5)
    assert headline(metrics, "after/a/length") == ("after/a/length", 7.0)
    assert headline({"before/a/length": 7.0, "before/a/accuracy": 0.5}, None) == ("before/a/accuracy", 0.5)
    assert headline({}, None) is None


def test_only_changes_are_told(sweep):
    first = standings(sweep, {"0": QUEUED, "1": RUNNING})
    told = changes({}, first)
    assert told == ["arm 0  seed=0  queued  Priority", "arm 1  seed=1  running"]
    known = {one.job.key: one for one in first}
    assert changes(known, standings(sweep, {"0": NEVER, "1": RUNNING})) == [
        "arm 0  seed=0  queued  hopeless: PartitionTimeLimit"
    ]
    assert changes(known, first) == []


def test_the_summary_counts_arms_and_stages_apart(sweep):
    assert summary(standings(sweep, {"0": RUNNING})) == "1 not submitted (stages); 3 not submitted, 1 running (arms)"


def finished(job) -> Path:
    """Leave what an arm leaves that has trained a model."""
    record = Record.open(job.run_dir, {"method": {"name": "dpo"}, "seed": 0, "until": "evaluate"})
    (record.run_dir / "model").mkdir()
    (record.run_dir / "model" / "model.safetensors").write_bytes(b"weights")
    record.note_model(hashes(record.run_dir / "model"))
    record.write_evaluation("accuracy", "after", [{"id": "test/0", "score": 1}])
    record.finish(Status.ok, "evaluate", metrics={"after/accuracy/score": 1.0})
    return record.run_dir


LOSSES = {
    "nothing": (lambda folder: None, None),
    "its folder": (shutil.rmtree, "its folder is gone"),
    "its result": (lambda folder: (folder / "result.json").unlink(), "its result.json is gone"),
    "its model": (lambda folder: shutil.rmtree(folder / "model"), "model/model.safetensors is gone"),
    "its rows": (lambda folder: shutil.rmtree(folder / "evaluations"), "accuracy.after.jsonl is gone"),
    "its manifests": (lambda folder: [path.unlink() for path in folder.glob("manifest*")], "its manifest.json is gone"),
    "a whole result": (
        lambda folder: (folder / "result.json").write_text("[]"),
        "damaged (it is a list",
    ),
}


@pytest.mark.parametrize("name", LOSSES)
def test_what_is_done_and_gone_is_run_again(sweep, launcher, capsys, name):
    lose, words = LOSSES[name]
    sweep.data["task"] = "rlpipe.cli.run:run_composed"
    job = sweep.arms[0]
    folder = finished(job)
    for one in sweep.jobs:
        write_outcome(sweep.job_folder(one), Outcome(Ended.ok if one in (sweep.jobs[0], job) else Ended.cancelled))
    lose(folder)
    one = standings(sweep, {})[1]
    assert one.state is (State.done if words is None else State.gone)
    assert words is None or words in one.detail
    assert resume(sweep, launcher, ["0"], wait=False) == 0
    assert ("0" in launcher.seen) == (words is not None)
    assert ("nothing to run again" in capsys.readouterr().err) == (words is None)


def test_a_damaged_outcome_is_said_with_what_to_do_and_hides_no_other_job(sweep, launcher):
    write_outcome(sweep.job_folder(sweep.arms[0]), Outcome(Ended.ok))
    file = sweep.job_folder(sweep.arms[0]) / "outcome.json"
    for content in ("", "[]", "{}", '{"ended": "soon"}', '{"ended": "ok", "time": "now"}', "\0" * 40):
        file.write_text(content)
        found = standings(sweep, {})
        assert len(found) == 5
        assert found[1].state is State.failed
        assert "outcome.json: damaged" in found[1].detail
        assert "→ delete it: the job counts as one that has not run" in found[1].detail
    file.unlink()
    assert standings(sweep, {})[1].state is State.unsubmitted
