"""The pool, with jobs that are as small as a process can be."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from rlpipe.core.errors import LaunchError
from rlpipe.core.files import append
from rlpipe.launchers.base import Phase
from rlpipe.launchers.local import launcher as launcher_module
from rlpipe.launchers.local import pool, process
from rlpipe.launchers.local.launcher import LocalLauncher
from rlpipe.launchers.local.pool import Pool
from rlpipe.launchers.warm import IMPORTS, LIGHT, Start, Warm
from rlpipe.records.sweep import SWEEP_FILE, Ended, Job, Sweep

Make = Callable[..., Sweep]

JOB = """
import json, os, sys, time
folder = sys.argv[-1]
told = os.path.join(folder, "told.json")
how = json.load(open(told)) if os.path.exists(told) else {}
begun = time.time()
with open(os.path.join(folder, "spans"), "a") as file:
    file.write(json.dumps([begun, os.environ.get("CUDA_VISIBLE_DEVICES")]) + "\\n")
time.sleep(how.get("seconds", 0.0))
if how.get("kill"):
    os.kill(os.getpid(), 9)
if how.get("exit"):
    sys.exit(how["exit"])
row = {"ended": how.get("ended", "ok"), "pid": os.getpid(), "time": time.time(), "error": how.get("error")}
with open(os.path.join(folder, "new"), "w") as file:
    json.dump(row, file)
os.replace(os.path.join(folder, "new"), os.path.join(folder, "outcome.json"))
with open(os.path.join(folder, "ends"), "a") as file:
    file.write(json.dumps(time.time()) + "\\n")
"""
"""Stands in for `rlpipe.sweep.job`: it writes the outcome that its folder's told.json asks for."""


class Cold:
    """Stands in for the parent of jobs: they are a small program, which finds the job's folder in its last argument."""

    program = JOB

    def __init__(self, imports: Sequence[str] = ()):
        self.imports = imports

    def ready(self) -> bool:
        return True

    def start(self, start: Start) -> Cold:
        with open(start.files[1], "ab") as log:
            self.popen = subprocess.Popen(
                [sys.executable, "-S", "-c", self.program, *start.arguments],
                cwd=start.cwd,
                env=start.environment,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        made = Cold()
        made.popen, made.pid = self.popen, self.popen.pid
        return made

    def wait(self, timeout: float) -> int | None:
        return self.popen.poll()

    def close(self) -> None: ...


def run_instead(monkeypatch: pytest.MonkeyPatch, program: str) -> None:
    """Have jobs run a small program."""
    monkeypatch.setattr(Cold, "program", program)


@pytest.fixture(autouse=True)
def small_jobs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pool, "Warm", Cold)
    monkeypatch.setattr(pool, "TICK", 0.01)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")


def tell(sweep: Sweep, key: str, **how: object) -> None:
    folder = sweep.folder / ".launch" / key
    folder.joinpath("told.json").write_text(json.dumps(how))


def submit(sweep: Sweep, *keys: str) -> None:
    """Hand jobs over without starting a pool for them."""
    sweep.submitted("local", keys or [job.key for job in sweep.jobs])


def work(sweep: Sweep) -> None:
    Pool(sweep.folder).work()


def ended(sweep: Sweep) -> dict[str, Ended]:
    outcomes = {job.key: sweep.outcome(job) for job in sweep.jobs}
    return {key: outcome.ended for key, outcome in outcomes.items() if outcome is not None}


def times(sweep: Sweep, name: str, key: str) -> list:
    path = sweep.folder / ".launch" / key / name
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def most_at_once(sweep: Sweep) -> int:
    marks = [(start, 1) for job in sweep.jobs for start, _ in times(sweep, "spans", job.key)]
    marks += [(end, -1) for job in sweep.jobs for end in times(sweep, "ends", job.key)]
    level = most = 0
    for _, change in sorted(marks):
        level += change
        most = max(most, level)
    return most


@pytest.mark.parametrize("limit", [1, 3])
def test_never_more_than_the_limit_and_as_many_as_it_allows(make_sweep: Make, limit: int) -> None:
    sweep = make_sweep(6, jobs=limit)
    for job in sweep.jobs:
        tell(sweep, job.key, seconds=0.4 if limit > 1 else 0.05)
    submit(sweep)
    work(sweep)
    assert set(ended(sweep).values()) == {Ended.ok}
    assert most_at_once(sweep) == limit


def test_each_job_has_a_gpu_of_the_exported_list_for_itself(make_sweep: Make, monkeypatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "4,7")
    sweep = make_sweep(4)
    for job in sweep.jobs:
        tell(sweep, job.key, seconds=0.3)
    submit(sweep)
    work(sweep)
    assert most_at_once(sweep) == 2
    used = [times(sweep, "spans", str(i))[0] for i in range(4)]
    for i in range(4):
        for j in range(i):
            overlap = abs(used[i][0] - used[j][0]) < 0.3
            assert not (overlap and used[i][1] == used[j][1])
    assert {gpu for _, gpu in used} == {"4", "7"}


@pytest.mark.parametrize(
    ("exported", "found"), [("2,3", ["2", "3"]), ("", []), ("-1", []), ("0, 1,-1,2", ["0", "1"]), ("GPU-a", ["GPU-a"])]
)
def test_the_exported_list_of_gpus_counts(monkeypatch, exported: str, found: list[str]) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", exported)
    assert process.gpus() == found


def test_a_driver_that_does_not_answer_is_no_machine_without_gpus(monkeypatch, tmp_path: Path) -> None:
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES")
    broken = tmp_path / "nvidia-smi"
    broken.write_text("#!/bin/sh\nexit 9\n")
    broken.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    with pytest.raises(LaunchError, match="export CUDA_VISIBLE_DEVICES"):
        process.gpus()
    broken.write_text("#!/bin/sh\necho 0\necho 1\n")
    assert process.gpus() == ["0", "1"]


def test_a_stage_comes_before_the_arms_that_need_it(make_sweep: Make) -> None:
    sweep = make_sweep(3, {0: ("sft",), 1: ("sft",)}, jobs=3)
    tell(sweep, "sft", seconds=0.3)
    submit(sweep)
    work(sweep)
    done = times(sweep, "ends", "sft")[0]
    assert [times(sweep, "spans", key)[0][0] >= done for key in ("0", "1", "2")] == [True, True, False]


def test_what_a_failed_stage_was_needed_for_is_cancelled_with_the_reason(make_sweep: Make) -> None:
    sweep = make_sweep(2, {0: ("sft",)}, jobs=2)
    sweep.frozen_config(sweep.arms[0]).parent.mkdir()
    sweep.frozen_config(sweep.arms[0]).write_text("seed: 0\n")
    tell(sweep, "sft", ended="failed", error="DataError: no rows")
    submit(sweep)
    work(sweep)
    assert ended(sweep) == {"sft": Ended.failed, "0": Ended.cancelled, "1": Ended.ok}
    reason = "sft, which it needs, is failed: DataError: no rows"
    assert sweep.outcome(sweep.arms[0]).error == reason
    assert json.loads((sweep.folder / "0" / "result.json").read_text())["error"]["message"] == reason


def test_cancelling_goes_down_the_chain(make_sweep: Make) -> None:
    sweep = make_sweep(1, {0: ("reward_model",)}, jobs=1)
    jobs = [Job(**{**vars(sweep.jobs[0]), "needs": ("sft",)}), sweep.jobs[1]]
    sweep.data["jobs"] = []
    first = Job("sft", jobs[0].kind, (), str(sweep.folder / "store"))
    (sweep.folder / ".launch" / "sft").mkdir()
    sweep.data["arms"] = []
    sweep.add([first, *jobs])
    tell(sweep, "sft", exit=3)
    submit(sweep)
    work(sweep)
    assert ended(sweep) == {"sft": Ended.failed, "reward_model": Ended.cancelled, "0": Ended.cancelled}


@pytest.mark.parametrize(
    ("how", "said"), [({"kill": True}, "killed by SIGKILL (no memory left?)"), ({"exit": 3}, "exit code 3")]
)
def test_a_job_that_dies_without_a_word_is_given_one(make_sweep: Make, how, said: str) -> None:
    sweep = make_sweep(2, jobs=1)
    tell(sweep, "0", **how)
    submit(sweep)
    work(sweep)
    assert ended(sweep) == {"0": Ended.failed, "1": Ended.ok}
    assert sweep.outcome(sweep.jobs[0]).error == said


@pytest.mark.parametrize("where", ["ready", "start"])
def test_what_cannot_be_started_is_said(make_sweep: Make, monkeypatch, where: str) -> None:
    def refuse(*_: object) -> None:
        raise OSError("no such folder")

    monkeypatch.setattr(Cold, where, refuse)
    sweep = make_sweep(2, {0: ("sft",)})
    submit(sweep)
    work(sweep)
    assert ended(sweep) == {"sft": Ended.failed, "0": Ended.cancelled, "1": Ended.failed}
    assert sweep.outcome(sweep.arms[1]).error == "cannot be started: no such folder"


def test_nothing_begins_before_what_jobs_are_forked_from_is_ready(make_sweep: Make, monkeypatch) -> None:
    looks = iter([False, False, False, True])
    monkeypatch.setattr(Cold, "ready", lambda _: next(looks, True))
    sweep = make_sweep(2, jobs=2)
    submit(sweep)
    work(sweep)
    assert next(looks, None) is None
    assert ended(sweep) == {"0": Ended.ok, "1": Ended.ok}


@pytest.mark.parametrize(("task", "imports"), [("rlpipe.cli.run", IMPORTS), ("app", LIGHT)])
def test_runs_of_other_applications_are_not_given_what_ours_import(make_sweep: Make, task: str, imports: tuple) -> None:
    sweep = make_sweep()
    sweep.change(task=task)
    assert Pool(sweep.folder).warm.imports == imports


def test_only_what_is_submitted_runs_and_again_only_when_submitted_again(make_sweep: Make) -> None:
    sweep = make_sweep(2, jobs=2)
    tell(sweep, "0", ended="stopped")
    submit(sweep, "0")
    work(sweep)
    work(sweep)
    assert ended(sweep) == {"0": Ended.stopped}
    assert len(times(sweep, "spans", "0")) == 1
    submit(sweep, "0")
    work(sweep)
    assert len(times(sweep, "spans", "0")) == 2


def test_jobs_added_while_it_works_are_run_too(make_sweep: Make) -> None:
    sweep = make_sweep(1, jobs=1)
    tell(sweep, "0", seconds=0.5)
    submit(sweep)
    runner = threading.Thread(target=work, args=(sweep,))
    runner.start()
    time.sleep(0.2)
    job = Job("1", sweep.jobs[0].kind, (), str(sweep.folder / "1"))
    (sweep.folder / ".launch" / "1").mkdir()
    sweep.add([job])
    sweep.submitted("local", ["1"])
    runner.join(20)
    assert ended(sweep) == {"0": Ended.ok, "1": Ended.ok}


def test_a_cancelled_job_is_ended_with_all_that_it_started(make_sweep: Make, monkeypatch) -> None:
    child = "import subprocess, sys, time; subprocess.Popen(['sleep', '61.7']); time.sleep(60)"
    run_instead(monkeypatch, child)
    sweep = make_sweep(2, jobs=1)
    submit(sweep)
    runner = threading.Thread(target=work, args=(sweep,))
    runner.start()
    launcher = LocalLauncher(sweep)
    monkeypatch.setattr(launcher_module, "holder", lambda folder: True)
    while "0" not in launcher.statuses(sweep.jobs) or launcher.statuses(sweep.jobs)["0"].phase is not Phase.running:
        time.sleep(0.02)
    group = process.of(sweep.folder / ".launch" / "0").pid
    time.sleep(0.3)
    launcher.cancel(sweep.jobs)
    runner.join(20)
    assert ended(sweep) == {"0": Ended.cancelled, "1": Ended.cancelled}
    listed = subprocess.run(["ps", "-o", "stat=", "-g", str(group)], capture_output=True, text=True, check=False).stdout
    assert [state for state in listed.split() if not state.startswith("Z")] == []


def test_a_pruned_arm_s_slot_goes_to_the_next_and_no_later_cancel_changes_it(make_sweep: Make, monkeypatch) -> None:
    sweep = make_sweep(2, jobs=1)
    tell(sweep, "0", ended="pruned", seconds=0.3)
    submit(sweep)
    runner = threading.Thread(target=work, args=(sweep,))
    runner.start()
    while not times(sweep, "spans", "0"):
        time.sleep(0.01)
    monkeypatch.setattr(process.Process, "signal", lambda *_: None)  # it ends of itself just then
    Pool(sweep.folder).queue.request_cancel("0")
    runner.join(20)
    assert ended(sweep) == {"0": Ended.pruned, "1": Ended.ok}


def test_a_job_that_does_not_listen_is_killed_after_a_while(make_sweep: Make, monkeypatch) -> None:
    deaf = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); open('deaf', 'w'); time.sleep(60)"
    run_instead(monkeypatch, deaf)
    monkeypatch.setattr(pool, "GRACE", 0.3)
    sweep = make_sweep(1, jobs=1)
    submit(sweep)
    runner = threading.Thread(target=work, args=(sweep,))
    runner.start()
    while not Path("deaf").exists():
        time.sleep(0.02)
    Pool(sweep.folder).queue.request_cancel("0")
    runner.join(20)
    assert ended(sweep) == {"0": Ended.cancelled}


def test_where_jobs_stand(make_sweep: Make, monkeypatch) -> None:
    sweep = make_sweep(3, {1: ("sft",)}, jobs=1)
    launcher = LocalLauncher(sweep)
    assert launcher.statuses(sweep.jobs) == {}
    submit(sweep, "sft", "0", "1")
    seen = launcher.statuses(sweep.jobs)
    assert {key: one.phase for key, one in seen.items()} == dict.fromkeys(("sft", "0", "1"), Phase.gone)
    assert "resume" in seen["0"].reason
    monkeypatch.setattr(launcher_module, "holder", lambda folder: True)
    seen = launcher.statuses(sweep.jobs)
    assert (seen["1"].phase, seen["1"].reason) == (Phase.queued, "waits for sft")
    assert seen["0"].reason == "waits for its turn"
    monkeypatch.setattr(launcher_module, "holder", lambda folder: None)
    work(sweep)
    assert {one.phase for one in launcher.statuses(sweep.jobs).values()} == {Phase.gone}


@pytest.mark.parametrize("jobs", [0, -1])
def test_a_pool_of_none_is_refused(make_sweep: Make, jobs: int) -> None:
    [problem] = LocalLauncher(make_sweep(jobs=jobs)).problems()
    assert problem.where == "hydra.launcher.jobs"


def test_a_torn_submission_is_not_read(make_sweep: Make) -> None:
    sweep = make_sweep(1, jobs=1)
    submit(sweep)
    append(sweep.folder / ".launch" / "submissions.jsonl", '{"time": 1, "laun')
    work(sweep)
    assert ended(sweep) == {"0": Ended.ok}


class TestProcesses:
    """The pool as a process of its own."""

    pytestmark = pytest.mark.slow

    @pytest.fixture(autouse=True)
    def real_jobs(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(pool, "Warm", Warm)

    def freeze(self, sweep: Sweep, seconds: float) -> None:
        from rlpipe.sweep.job import freeze

        for job in sweep.jobs:
            freeze(sweep, job, lambda: time.sleep(seconds))  # type: ignore[arg-type]

    def wait(self, true: Callable[[], bool]) -> None:
        until = time.monotonic() + 90
        while not true():
            assert time.monotonic() < until
            time.sleep(0.1)

    def test_it_outlives_who_submitted_and_ends_by_itself(self, make_sweep: Make) -> None:
        sweep = make_sweep(2, jobs=2)
        self.freeze(sweep, 1)
        program = (
            "import os, sys; from rlpipe.launchers.base import launcher_of; from rlpipe.records.sweep import Sweep\n"
            "sweep = Sweep.load(sys.argv[1]); launcher_of(sweep).submit(sweep.jobs); os.kill(os.getpid(), 9)"
        )
        done = subprocess.run([sys.executable, "-c", program, str(sweep.folder)], check=False)
        assert done.returncode == -signal.SIGKILL
        self.wait(lambda: ended(sweep) == {"0": Ended.ok, "1": Ended.ok})
        self.wait(lambda: launcher_module.holder(LocalLauncher(sweep).home) is None)

    def test_when_it_is_killed_its_jobs_go_on_and_the_next_one_finds_them(self, make_sweep: Make) -> None:
        sweep = make_sweep(3, jobs=1)
        self.freeze(sweep, 4)
        launcher = LocalLauncher(sweep)
        launcher.submit(sweep.jobs)
        self.wait(lambda: ended(sweep).get("0") is Ended.running)
        os.kill(launcher_module.holder(launcher.home).owner.pid, signal.SIGKILL)
        self.wait(lambda: launcher_module.holder(launcher.home) is None)
        seen = launcher.statuses(sweep.jobs)
        assert [seen[key].phase for key in "012"] == [Phase.running, Phase.gone, Phase.gone]
        launcher.submit(sweep.jobs[1:])
        self.wait(lambda: ended(sweep) == dict.fromkeys("012", Ended.ok))
        spans = [process.of(sweep.job_folder(job)).submission for job in sweep.jobs]
        assert spans == [1, 2, 2]

    def test_a_pool_that_cannot_run_says_why(self, make_sweep: Make) -> None:
        sweep = make_sweep(1, jobs=1)
        (sweep.folder / SWEEP_FILE).unlink()
        with pytest.raises(LaunchError, match=r"the pool cannot run \(exit code 1\): .*name one under multirun"):
            LocalLauncher(sweep).submit(sweep.jobs)
