"""The commands on a sweep, as a person meets them."""

from __future__ import annotations

import io
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from rlpipe.cli import sweep as commands
from rlpipe.core.errors import LaunchError
from rlpipe.launchers.base import JobStatus, Phase
from rlpipe.records.sweep import Ended, Outcome, write_outcome
from rlpipe.sweep import watch


def end(sweep, launcher, *keys: str, ended: Ended = Ended.ok, error: str | None = None) -> None:
    for job in sweep.jobs:
        if job.key in keys:
            write_outcome(sweep.job_folder(job), Outcome(ended, error=error))
            launcher.seen[job.key] = JobStatus(Phase.gone)


def test_resume_submits_what_is_missing_or_failed_with_its_stage(sweep, launcher):
    end(sweep, launcher, "0")
    end(sweep, launcher, "1", ended=Ended.failed, error="boom")
    launcher.seen["2"] = JobStatus(Phase.running)
    assert commands.resume(sweep, launcher, [], wait=False) == 0
    assert sweep.submissions[-1]["keys"] == ["sft-chat-0123456789ab", "1", "3"]
    assert commands.resume(sweep, launcher, [], wait=False) == 0
    assert len(sweep.submissions) == 1


def test_resume_leaves_pruned_arms_and_extends_them_where_it_is_told(sweep, launcher, capsys):
    end(sweep, launcher, sweep.jobs[0].key, "0", "1")
    end(sweep, launcher, "2", "3", ended=Ended.pruned, error="place 7 of 9")
    assert commands.follow(sweep, launcher) == 0
    assert commands.resume(sweep, launcher, [], wait=False) == 0
    assert sweep.submissions == []
    said = capsys.readouterr().err
    assert "2 done, 2 pruned" in said
    assert "place 7 of 9" in said
    assert "resume --pruned" in said
    assert commands.resume(sweep, launcher, ["2"], wait=False, pruned=True) == 0
    assert sweep.submissions[-1]["keys"] == ["2"]
    assert [(sweep.job_folder(job) / "extended").exists() for job in sweep.arms] == [False, False, True, False]


def test_resume_of_one_arm_brings_the_failed_stage_that_it_needs(sweep, launcher):
    stage = sweep.jobs[0].key
    end(sweep, launcher, stage, ended=Ended.failed, error="boom")
    end(sweep, launcher, "0", "1", "2", "3", ended=Ended.cancelled, error=f"stage {stage} failed")
    commands.resume(sweep, launcher, ["2"], wait=False)
    assert sweep.submissions[-1]["keys"] == [stage, "2"]


def test_cancel_ends_what_is_alive_only(sweep, launcher):
    end(sweep, launcher, "0")
    launcher.seen |= {"1": JobStatus(Phase.running), "2": JobStatus(Phase.queued)}
    assert commands.cancel(sweep, launcher, []) == 0
    outcomes = {job.key: sweep.outcome(job) for job in sweep.arms}
    assert outcomes["0"].ended is Ended.ok
    assert outcomes["1"].ended is outcomes["2"].ended is Ended.cancelled
    assert outcomes["3"] is None


def test_names_that_no_job_has_are_all_named(sweep, launcher):
    with pytest.raises(LaunchError, match=r"(?s)'7' is no job.*'nine' is no job"):
        commands.cancel(sweep, launcher, ["0", "7", "nine"])


def test_watching_ends_with_1_when_an_arm_failed_and_says_how_to_go_on(sweep, launcher, capsys):
    end(sweep, launcher, sweep.jobs[0].key, "0", "1", "2")
    end(sweep, launcher, "3", ended=Ended.failed, error="ValueError: boom\n    → try again")
    assert commands.follow(sweep, launcher) == 1
    said = capsys.readouterr().err
    assert "arm 3  seed=3  failed  ValueError: boom → try again" in said
    assert "resume" in said
    end(sweep, launcher, "3")
    assert commands.follow(sweep, launcher) == 0


def test_nobody_watches_for_ever_what_is_hopeless(sweep, launcher, capsys, monkeypatch):
    monkeypatch.setattr(watch, "HOPELESS", 0.05)
    end(sweep, launcher, sweep.jobs[0].key, "0", "1", "2")
    launcher.seen["3"] = JobStatus(Phase.queued, reason="PartitionTimeLimit", hopeless=True)
    assert commands.follow(sweep, launcher) == 1
    assert "hopeless: 3 wait for what will never come" in capsys.readouterr().err


def test_ctrl_c_leaves_the_jobs_and_says_how_to_come_back(sweep, launcher, capsys, monkeypatch):
    launcher.seen["0"] = JobStatus(Phase.running)

    def interrupted(seconds: float) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(watch.time, "sleep", interrupted)
    with pytest.raises(KeyboardInterrupt):
        commands.follow(sweep, launcher)
    said = capsys.readouterr().err
    assert "the jobs go on" in said
    assert f"rlpipe sweep {sweep.folder} watch" in said.replace("\n", "")
    assert launcher.seen["0"].phase is Phase.running


def test_logs_print_the_end_of_a_log(sweep, launcher, capsys):
    folder = sweep.job_folder(sweep.arms[1])
    folder.mkdir(parents=True)
    (folder / "log.txt").write_text("".join(f"line {n}\n" for n in range(100)))
    commands.logs(sweep, launcher, ["1"], lines=2, go_on=False)
    assert capsys.readouterr().out == "line 98\nline 99\n"
    with pytest.raises(LaunchError, match="follows one job"):
        commands.logs(sweep, launcher, [], lines=2, go_on=True)


def test_a_long_sweep_shows_what_matters_in_the_lines_there_are(sweep, launcher):
    from rich.console import Console

    from rlpipe.sweep.table import table

    end(sweep, launcher, "0", "1", "2")
    end(sweep, launcher, "3", ended=Ended.failed, error="boom")
    now = watch.look(sweep, launcher)
    many = [replace(now[1], job=replace(now[1].job, key=str(key))) for key in range(200)] + now[-1:]
    console = Console(width=120, record=True, file=io.StringIO())
    console.print(table(many, rows=10))
    text = console.export_text()
    assert "boom" in text
    assert "… and 191 done more" in text
    assert len(text.splitlines()) < 15


@pytest.mark.parametrize(
    ("argv", "said"), [(["absent"], "no sweep's folder"), (["absent", "flatten"], "invalid choice: 'flatten'")]
)
def test_wrong_command_lines_are_explained(argv, said, tmp_path):
    command = [sys.executable, "-m", "rlpipe", "sweep", *argv]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, check=False)
    assert done.returncode == 2
    assert said in done.stderr
    assert "Traceback" not in done.stderr


def test_the_folder_is_no_default(tmp_path: Path):
    done = subprocess.run([sys.executable, "-m", "rlpipe", "sweep"], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "DIR" in done.stderr
