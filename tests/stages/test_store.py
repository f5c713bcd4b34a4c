"""Stages are built once, waited for, taken over from the dead, and never used damaged."""

from __future__ import annotations

import errno
import json
import multiprocessing
import os
import signal
import threading
import time

import pytest

from rlpipe.core.errors import RlpipeError, StageError, Stopped
from rlpipe.core.files import explained
from rlpipe.records import heartbeat, lease
from rlpipe.stages import identity, store
from rlpipe.stages.fingerprint import describe
from rlpipe.stages.stored import State, Stored
from rlpipe.stages.users import reserve, users, using
from tests.composed import compose


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    monkeypatch.setattr(store, "POLL", 0.02)


def test_it_is_built_once_and_reused(stage, other, build, capsys):
    assert not store.is_built(stage)
    assert store.ensure(stage, build) == stage.folder / "model"
    assert store.ensure(stage, build) == stage.folder / "model"
    store.ensure(other, build)
    assert build.built == [stage.name, other.name]
    said = capsys.readouterr().err
    assert f"building {stage.name} first" in said
    assert f"reusing {stage.name}" in said


def processes(count: int, target, *arguments) -> list:
    fork = multiprocessing.get_context("fork")
    started = [fork.Process(target=target, args=arguments) for _ in range(count)]
    for one in started:
        one.start()
    return started


def arm(stage, build, log) -> None:
    """Do what an arm does at its start, with a build that notes each of its ten steps."""

    def train(_):
        done = log.read_text().count("step") if log.exists() else 0
        for _ in range(done, 10):
            time.sleep(0.02)
            with log.open("a") as file:
                file.write(f"step {os.getpid()}\n")

    build.during = train
    with store.in_use(stage, "arm", build) as folder:
        assert (folder / "weights").read_text() == stage.fingerprint


def test_arms_that_start_together_build_it_once(stage, build, tmp_path):
    arms = processes(6, arm, stage, build, tmp_path / "log")
    for one in arms:
        one.join(30)
    assert [one.exitcode for one in arms] == [0] * 6
    steps = (tmp_path / "log").read_text().splitlines()
    assert len(steps) == 10
    assert len(set(steps)) == 1
    assert users(stage.folder) == []


@pytest.mark.slow
def test_when_the_owner_is_killed_half_way_one_of_the_others_goes_on(stage, build, tmp_path):
    log = tmp_path / "log"
    arms = processes(4, arm, stage, build, log)
    while not log.exists() or log.read_text().count("step") < 4:
        time.sleep(0.005)
    owner = Stored(stage.folder).builder.pid
    os.kill(owner, signal.SIGKILL)
    for one in arms:
        one.join(30)
    assert sorted(one.exitcode for one in arms) == [-signal.SIGKILL, 0, 0, 0]
    steps = log.read_text().splitlines()
    assert len(steps) == 10
    assert len(set(steps)) == 2
    assert len(json.loads((stage.folder / "manifest.json").read_text())["attempts"]) == 2


def elsewhere(folder) -> object:
    """Let a process of another machine hold a folder."""
    (folder / lease.FOLDER).mkdir(parents=True)
    file = folder / lease.FOLDER / "1"
    heartbeat.write(file, heartbeat.Owner(host="node7", machine="another", doing=f"building {folder.name}"))
    heartbeat.stop(file)
    return file


def test_who_is_waited_for_and_how_far_it_is(stage, build, capsys):
    file = elsewhere(stage.folder)
    (stage.folder / "metrics.jsonl").write_text('{"step": 7, "time": 0}\n')
    empty = {"config": {}, "overrides": [], "attempts": [], "parents": {}, "notes": []}
    (stage.folder / "manifest.json").write_text(json.dumps(empty))
    threading.Timer(0.3, lambda: os.utime(file, times=(1e9, 1e9))).start()
    store.ensure(stage, build)
    said = capsys.readouterr().err.replace("\n", " ")
    assert f"waiting for process {os.getpid()} on node7, which is building {stage.name}: step 7" in said
    assert build.built == [stage.name], "taken over when the other one counted as dead"


@pytest.mark.parametrize("look", ["holder", "acquire"])
def test_a_failure_that_was_waited_for_is_not_repeated(stage, build, monkeypatch, look):
    """It fails while it is waited for, between two looks or in the middle of one."""
    file, seen, real = elsewhere(stage.folder), [], getattr(lease, look)

    def fail():
        (stage.folder / "manifest.json").write_text('{"config": {}, "overrides": [], "attempts": []}')
        failed = {"status": "failed", "error": {"type": "OSError", "message": "no memory"}}
        (stage.folder / "result.json").write_text(json.dumps(failed))
        file.rename(file.with_name("1.free"))

    def looking(*args, **options):
        seen.append(args)
        if len(seen) == 2:
            fail()
        return real(*args, **options)

    monkeypatch.setattr(lease, look, looking)
    with pytest.raises(StageError, match="failed in another process: no memory"):
        store.ensure(stage, build)
    assert build.built == []
    assert lease.holder(stage.folder) is None


def test_a_failed_stage_is_tried_again_by_who_comes_later(stage, build):
    build.during = lambda _: (_ for _ in ()).throw(RlpipeError("", "bad rows", "fix them"))
    with pytest.raises(StageError, match=rf"{stage.name}, which this run needs, was not built: bad rows\n    → fix"):
        store.ensure(stage, build)
    assert Stored(stage.folder).state() is State.failed
    build.during = lambda _: None
    store.ensure(stage, build)
    assert Stored(stage.folder).state() is State.ok


def test_waiting_can_be_ended(stage, build):
    elsewhere(stage.folder)
    threading.Timer(0.2, lambda: os.kill(os.getpid(), signal.SIGTERM)).start()
    with pytest.raises(Stopped, match=f"while waiting for {stage.name}"):
        store.ensure(stage, build)


def test_an_owner_that_lost_its_stage_waits_for_the_one_that_has_it(stage, build, capsys):
    def taken_over(_):
        held = stage.folder / lease.FOLDER / "1"
        heartbeat.stop(held)
        os.utime(held, times=(1e9, 1e9))
        build.during = lambda _: None
        build(stage.config, stage)

    build.during = taken_over
    assert store.ensure(stage, build) == stage.product
    assert build.built == [stage.name] * 2
    assert "took this over" in capsys.readouterr().err
    assert Stored(stage.folder).state() is State.ok


@pytest.mark.parametrize("damage", ["content", "missing", "added"])
def test_a_damaged_stage_is_refused(stage, build, damage):
    store.ensure(stage, build)
    file = stage.product / "weights"
    if damage == "content":
        file.write_text("x" * file.stat().st_size)
    elif damage == "missing":
        file.unlink()
    else:
        (stage.product / "more").touch()
    with pytest.raises(StageError, match=r"damaged: model/.*\n    → rlpipe stages .*verify --repair"):
        store.ensure(stage, build)
    assert build.built == [stage.name]


def test_files_are_hashed_again_only_when_they_change(stage, build, monkeypatch):
    store.ensure(stage, build)
    read = []
    monkeypatch.setattr(identity, "sha256", lambda path: read.append(path) or "0")
    assert store.is_built(stage)
    assert read == []
    (stage.product / "weights").touch()
    with pytest.raises(StageError, match="another content"):
        store.is_built(stage)
    assert len(read) == 1


def test_a_full_store_says_how_to_get_room(stage, build):
    def full(_):
        with explained(stage.folder):
            raise OSError(errno.ENOSPC, "No space left on device")

    build.during = full
    with pytest.raises(StageError, match=r"(?s)no space left.*rlpipe stages --store .* prune"):
        store.ensure(stage, build)


def test_a_store_that_is_a_file(config, build, tmp_path):
    (tmp_path / "file").touch()
    config.store = str(tmp_path / "file")
    with (
        pytest.raises(StageError, match=r"store: cannot write .*\n    → set store=DIR or \$RLPIPE_STORE"),
        store.in_use(describe(config), "run", build),
    ):
        pass


def test_runs_and_sweeps_are_known_as_users(stage, build, tmp_path):
    from rlpipe.records.sweep import Ended, Job, Kind, Outcome, Sweep, write_outcome

    with store.in_use(stage, "/runs/a", build):
        [user] = users(stage.folder)
        assert user.endswith("using it for /runs/a")
    assert users(stage.folder) == []
    sweep = Sweep.create(tmp_path / "sweep")
    job = Job("0", Kind.arm, (), str(tmp_path / "sweep/0"))
    sweep.add([job])
    reserve(stage.folder, sweep.folder)
    assert users(stage.folder) == [f"the sweep {sweep.folder}"]
    sweep.job_folder(job).mkdir(parents=True, exist_ok=True)
    write_outcome(sweep.job_folder(job), Outcome(Ended.stopped))
    assert users(stage.folder) == [f"the sweep {sweep.folder}"], "it can go on"
    write_outcome(sweep.job_folder(job), Outcome(Ended.ok))
    assert users(stage.folder) == []


def test_a_store_for_reading_only_is_used_and_said(stage, build, monkeypatch, capsys, tmp_path):
    store.ensure(stage, build)
    # the superuser, who may run these tests, can write anywhere
    monkeypatch.setattr(os, "access", lambda path, mode: False)

    def refuse(*_):
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(heartbeat, "write", refuse)
    with store.in_use(stage, "a run", build) as folder:
        assert folder == stage.product
    assert capsys.readouterr().err.count("cannot be written") == 1


def test_a_mark_comes_back_when_the_folder_was_taken_away(tmp_path):
    folder = tmp_path / "stage"
    with using(folder, "a run") as mark:
        folder.rename(tmp_path / "gone")
        mark.renew()
        assert len(users(folder)) == 1


def test_a_killed_run_s_mark_counts_no_more(tmp_path):
    (tmp_path / ".users").mkdir()
    heartbeat.write(tmp_path / ".users" / "x", heartbeat.Owner(pid=2**22 + 1, born="1"))
    heartbeat.stop(tmp_path / ".users" / "x")
    assert users(tmp_path) == []
    assert not (tmp_path / ".users" / "x").exists()


@pytest.mark.slow
def test_what_is_not_built_is_an_error_for_who_only_loads_it(config):
    asking = compose(
        "model=blank", "method=dpo", "method.reference.stage=[method=sft,dataset=smoltalk]", f"store={config.store}"
    )
    with pytest.raises(StageError, match=r"the model of \[method.reference.stage\] is not there\n    → "):
        store.product_named(asking, "method.reference.stage")
