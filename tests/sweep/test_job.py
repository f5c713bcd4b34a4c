from __future__ import annotations

import json
import os
import pickle
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable

import pytest
from hydra.core.utils import JobReturn, JobStatus

from rlpipe.core.errors import LaunchError, Pruned, Stopped
from rlpipe.records import attempts, rungs
from rlpipe.records.sweep import Ended, Sweep, cancelled, lost
from rlpipe.sweep import job as jobs
from rlpipe.sweep.job import execute, freeze, returned

Make = Callable[..., Sweep]


class TwoArguments(Exception):
    """An error that pickle cannot make again."""

    def __init__(self, one: str, two: str):
        super().__init__(f"{one} and {two}")


def run(sweep: Sweep, work: Callable[[], JobReturn | None]):
    job = sweep.jobs[0]
    freeze(sweep, job, work)
    outcome = execute(sweep.job_folder(job))
    assert sweep.outcome(job) == outcome
    return outcome


def failing(error: Callable[[], Exception]) -> Callable[[], JobReturn]:
    """Work that ends as Hydra's `run_job` does when the task raises."""

    def work() -> JobReturn:
        try:
            raise error()
        except Exception as raised:
            return JobReturn(status=JobStatus.FAILED, _return_value=raised)

    return work


def test_a_job_that_is_done_says_so_and_returns_its_value(make_sweep: Make) -> None:
    sweep = make_sweep()
    outcome = run(sweep, lambda: JobReturn(status=JobStatus.COMPLETED, _return_value=0.5))
    assert (outcome.ended, outcome.exit_code, outcome.attempt) == (Ended.ok, 0, 1)
    assert returned(sweep, sweep.jobs[0]).return_value == 0.5
    assert execute(sweep.job_folder(sweep.jobs[0])).attempt == 2


def test_it_is_running_while_it_runs_and_starts_where_the_sweep_did(make_sweep: Make, tmp_path, monkeypatch) -> None:
    sweep = make_sweep()
    monkeypatch.chdir("/")
    path = str(tmp_path / "seen")

    def look() -> None:
        with open("sweep/.launch/0/outcome.json") as outcome, open(path, "w") as file:
            json.dump([os.getcwd(), json.load(outcome)["ended"]], file)

    run(sweep, look)
    assert json.loads((tmp_path / "seen").read_text()) == [str(tmp_path), "running"]


def test_a_task_that_raises_keeps_its_whole_traceback(make_sweep: Make, capfd) -> None:
    sweep = make_sweep()
    outcome = run(sweep, failing(lambda: ValueError("no such colour")))
    assert (outcome.ended, outcome.exit_code) == (Ended.failed, 1)
    assert outcome.error == "ValueError: no such colour"
    assert "in work" in outcome.traceback
    assert outcome.traceback in capfd.readouterr().err
    with pytest.raises(ValueError, match="no such colour"):
        _ = returned(sweep, sweep.jobs[0]).return_value


@pytest.mark.parametrize(
    ("error", "ended", "exit_code"),
    [
        (SystemExit(3), Ended.failed, 3),
        (SystemExit(0), Ended.ok, 0),
        (SystemExit(75), Ended.stopped, 75),
        (Stopped("", "saved at step 7", ""), Ended.stopped, 75),
        (KeyboardInterrupt(), Ended.stopped, 75),
        (MemoryError(), Ended.failed, 1),
    ],
)
def test_how_work_ends_decides_the_outcome(make_sweep: Make, error, ended, exit_code) -> None:
    def work() -> None:
        raise error

    outcome = run(make_sweep(), work)
    assert (outcome.ended, outcome.exit_code) == (ended, exit_code)


@pytest.mark.parametrize(("error", "ended", "code"), [(Stopped, Ended.stopped, 75), (Pruned, Ended.pruned, 0)])
def test_why_a_run_stopped_or_was_pruned_is_kept(make_sweep: Make, error, ended, code) -> None:
    def work() -> None:
        raise SystemExit(code) from error("", "saved at step 7", "")

    outcome = run(make_sweep(), work)
    assert (outcome.error, outcome.ended, outcome.exit_code) == ("saved at step 7", ended, code)


@pytest.mark.parametrize(("confirms", "extended"), [(False, False), (False, True), (True, False)])
def test_an_arm_knows_its_rungs_and_a_confirming_one_has_none(make_sweep: Make, tmp_path, confirms, extended) -> None:
    sweep = make_sweep(2)
    sweep.data["asha"] = {"rungs": [4, 8], "reduction": 2}
    sweep.data["jobs"][0] |= {"overrides": ["x=0", "seed=3", "a=1"], "confirms": confirms}
    sweep.add([])
    if extended:
        sweep.extend(sweep.jobs[0])
    file = tmp_path / "seen.pkl"

    def look() -> None:
        file.write_bytes(pickle.dumps(rungs.current.get()))

    run(sweep, look)
    seen = pickle.loads(file.read_bytes())
    expected = rungs.Rungs(sweep.folder / ".launch" / "rungs", "0", "a=1 x=0", 2, (4, 8), extended)
    assert seen == (None if confirms else expected)
    assert rungs.current.get() is None


def test_work_that_cannot_be_written_down_is_said_before_it_is_needed(make_sweep: Make) -> None:
    sweep = make_sweep()
    lock = threading.Lock()
    with pytest.raises(LaunchError, match=r"arm 0: its work cannot be written down .*lock"):
        freeze(sweep, sweep.jobs[0], lambda: lock.acquire() and None)


def test_a_value_that_cannot_be_pickled_is_replaced_and_said(make_sweep: Make, capfd) -> None:
    sweep = make_sweep()
    outcome = run(sweep, lambda: JobReturn(status=JobStatus.COMPLETED, _return_value=threading.Lock()))
    assert outcome.ended is Ended.ok
    assert "lock cannot be pickled" in capfd.readouterr().err
    assert "not picklable" in returned(sweep, sweep.jobs[0]).return_value


def test_an_error_that_cannot_be_made_again_keeps_its_words(make_sweep: Make) -> None:
    sweep = make_sweep()
    assert "one and two" in run(sweep, failing(lambda: TwoArguments("one", "two"))).error
    with pytest.raises(LaunchError, match="TwoArguments: one and two"):
        _ = returned(sweep, sweep.jobs[0]).return_value


def test_a_return_of_an_earlier_attempt_is_not_taken_for_this_ones(make_sweep: Make) -> None:
    sweep = make_sweep()
    run(sweep, lambda: JobReturn(status=JobStatus.COMPLETED, _return_value=1))

    def work() -> None:
        raise SystemExit(75)

    run(sweep, work)
    assert returned(sweep, sweep.jobs[0]) is None


def test_only_rank_0_writes(make_sweep: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    sweep = make_sweep()
    freeze(sweep, sweep.jobs[0], lambda: JobReturn(status=JobStatus.COMPLETED, _return_value=1))
    monkeypatch.setenv("RANK", "1")
    outcome = execute(sweep.job_folder(sweep.jobs[0]))
    assert outcome.ended is Ended.ok
    assert sweep.outcome(sweep.jobs[0]) is None
    assert returned(sweep, sweep.jobs[0]) is None


def test_other_code_than_at_the_rehearsal_is_said_in_log_and_record(make_sweep: Make, tmp_path, capfd) -> None:
    sweep = make_sweep()
    path = str(tmp_path / "remarks")

    def work() -> None:
        with open(path, "w") as file:
            json.dump(attempts.remarks.get(), file)

    run(sweep, work)
    assert json.loads((tmp_path / "remarks").read_text()) == []
    sweep.data["code"]["rlpipe_commit"] = "a" * 40
    sweep._write()
    run(sweep, work)
    [said] = json.loads((tmp_path / "remarks").read_text())
    assert "aaaaaaaaaaaa then" in said
    assert said in capfd.readouterr().err


def test_secrets_do_not_stand_in_outcomes(make_sweep: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("JUDGE_API_KEY", "sk-123456789")
    outcome = run(make_sweep(), failing(lambda: ValueError("key sk-123456789 is refused")))
    assert "sk-123456789" not in outcome.error + outcome.traceback


def test_a_cancelled_arm_says_why_in_its_outcome_and_its_record(make_sweep: Make) -> None:
    sweep = make_sweep()
    [arm] = sweep.jobs
    sweep.frozen_config(arm).parent.mkdir()
    sweep.frozen_config(arm).write_text("seed: 0\n")
    cancelled(sweep, arm, "its stage failed")
    assert (sweep.outcome(arm).ended, sweep.outcome(arm).error) == (Ended.cancelled, "its stage failed")
    result = json.loads((sweep.folder / "0" / "result.json").read_text())
    assert (result["status"], result["error"]["message"]) == ("cancelled", "its stage failed")


def test_a_lost_job_keeps_what_its_attempt_wrote(make_sweep: Make) -> None:
    sweep = make_sweep()
    run(sweep, lambda: None)
    lost(sweep, sweep.jobs[0], "killed by SIGKILL", -9)
    outcome = sweep.outcome(sweep.jobs[0])
    assert (outcome.ended, outcome.error, outcome.attempt) == (Ended.failed, "killed by SIGKILL", 1)


@pytest.mark.slow
def test_a_job_with_nothing_to_save_stops_at_once_whatever_it_is_at(make_sweep: Make) -> None:
    def work() -> None:
        try:
            time.sleep(60)
        except Exception as error:  # as OmegaConf does
            raise ValueError("in other words") from error

    sweep = make_sweep()
    [arm] = sweep.jobs
    freeze(sweep, arm, work)  # type: ignore[arg-type]
    process = subprocess.Popen([sys.executable, "-m", "rlpipe.sweep.job", str(sweep.job_folder(arm))])
    while not (outcome := sweep.outcome(arm)) or time.time() - outcome.time < 2:
        time.sleep(0.1)
    process.send_signal(signal.SIGTERM)
    assert process.wait(30) == jobs.STOPPED
    assert sweep.outcome(arm).ended is Ended.stopped
    assert sweep.outcome(arm).error == "SIGTERM came before there was anything to save"
