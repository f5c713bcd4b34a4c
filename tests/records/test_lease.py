"""The right to write into a folder: one process has it, the dead lose it, the suspended notice that they lost it."""

from __future__ import annotations

import multiprocessing
import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from rlpipe.core import files
from rlpipe.records import heartbeat, lease
from rlpipe.records.heartbeat import Owner
from rlpipe.records.lease import Lost, Taken, acquire, holder
from tests.records.takeover import take_over


@pytest.fixture
def quick(monkeypatch):
    monkeypatch.setattr(heartbeat, "BEAT", 0.1)
    monkeypatch.setattr(heartbeat, "LIMIT", 0.6)


def foreign(folder: Path, age: float = 0.0, number: int = 1) -> Path:
    """Leave the number that a process of another machine has, whose last sign of life is `age` seconds old."""
    (folder / lease.FOLDER).mkdir(exist_ok=True)
    file = folder / lease.FOLDER / str(number)
    heartbeat.write(file, Owner(host="node7", pid=1, machine="another one"))
    heartbeat.stop(file)
    os.utime(file, times=(time.time() - age, time.time() - age))
    return file


def test_one_process_has_the_right_until_it_lets_go(tmp_path):
    first = acquire(tmp_path, "painting it")
    with pytest.raises(Taken, match=rf"process {os.getpid()} on .* is painting it\n    → wait for it or stop it"):
        acquire(tmp_path)
    assert holder(tmp_path).owner == first.owner
    first.release()
    first.release()
    assert holder(tmp_path) is None
    second = acquire(tmp_path)
    assert second.number == first.number + 1
    second.check()
    first.release()
    second.check()
    assert [file.name for file in (tmp_path / lease.FOLDER).iterdir()] == [str(second.number)]
    second.release()


HOLD = (
    "import sys, time; from pathlib import Path; from rlpipe.records import heartbeat, lease;"
    "heartbeat.BEAT, heartbeat.LIMIT = 0.05, float(sys.argv[2]); folder = Path(sys.argv[1]);"
    "held = lease.acquire(folder); out = open(folder / 'log', 'a', buffering=1)\n"
    "while True:\n"
    "    held.check(); out.write(f'{time.monotonic()}\\n'); time.sleep(0.01)"
)


def holding(folder: Path, limit: float) -> subprocess.Popen:
    """Start a process that takes the right, and writes a line every hundredth of a second."""
    process = subprocess.Popen([sys.executable, "-c", HOLD, folder, str(limit)], stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 60
    while not (folder / "log").exists():
        assert process.poll() is None, process.stderr.read()
        assert time.monotonic() < deadline
        time.sleep(0.01)
    return process


def test_a_killed_owner_loses_the_right_at_once(tmp_path):
    process = holding(tmp_path, limit=60)
    with pytest.raises(Taken, match=f"process {process.pid}"):
        acquire(tmp_path)
    process.kill()
    while heartbeat.born(process.pid) is not None:
        time.sleep(0.01)
    assert process.returncode is None, "not collected yet: a dead process may stay in the table for long"
    held = acquire(tmp_path)
    assert held.number == 2
    process.wait()
    process.stderr.close()
    held.release()


def test_one_that_was_suspended_writes_nothing_after_it_lost_the_right(tmp_path, monkeypatch):
    monkeypatch.setattr(heartbeat, "LIMIT", 0.6)
    process = holding(tmp_path, limit=0.6)
    process.send_signal(signal.SIGSTOP)
    deadline = time.monotonic() + 30
    while True:
        try:
            held = acquire(tmp_path)
            break
        except Taken:
            assert time.monotonic() < deadline
            time.sleep(0.05)
    before = (tmp_path / "log").read_text()
    process.send_signal(signal.SIGCONT)
    _, told = process.communicate(timeout=30)
    assert f"process {os.getpid()} on" in told
    assert "took this over" in told
    after = (tmp_path / "log").read_text()
    assert after.count("\n") - before.count("\n") <= 1, "a line that was on its way when it was suspended"
    held.check()
    held.release()


def test_a_process_id_that_was_given_again_is_another_process(tmp_path):
    (tmp_path / lease.FOLDER).mkdir()
    heartbeat.write(tmp_path / lease.FOLDER / "1", Owner(born="1"))
    heartbeat.stop(tmp_path / lease.FOLDER / "1")
    assert holder(tmp_path) is None
    acquire(tmp_path).release()


def test_another_machine_s_process_lives_by_its_signs_of_life(tmp_path, quick):
    file = foreign(tmp_path)
    assert holder(tmp_path).owner.host == "node7"
    with pytest.raises(Taken, match="process 1 on node7"):
        acquire(tmp_path, patient=False)
    began = time.monotonic()
    acquire(tmp_path).release()
    assert time.monotonic() - began > 0.4, "it was given time to show that it lives"
    assert not file.exists()


@pytest.mark.parametrize("ahead", [3600.0, 1e8])
def test_a_sign_of_life_from_the_future_counts_no_longer_than_any_other(tmp_path, quick, capsys, ahead):
    """The clock was set back since, and the other machine is dead."""
    file = foreign(tmp_path, age=-ahead)
    with pytest.raises(Taken):
        acquire(tmp_path, patient=False)
    began = time.monotonic()
    acquire(tmp_path).release()
    assert 0.4 < time.monotonic() - began < 10
    said = capsys.readouterr().err
    assert "is process 1 on node7 still" in said
    assert f"if it is surely gone, delete {file}" in said


def test_whoever_looks_again_and_again_sees_a_future_sign_lapse(tmp_path, quick):
    foreign(tmp_path, age=-3600)
    deadline = time.monotonic() + 10
    while holder(tmp_path) is not None:
        assert time.monotonic() < deadline
        time.sleep(0.05)
    acquire(tmp_path, patient=False).release()


def test_a_living_machine_with_a_clock_ahead_keeps_the_right(tmp_path, quick):
    file = foreign(tmp_path, age=-3600)
    for beat in range(8):
        assert holder(tmp_path) is not None
        os.utime(file, times=(time.time() + 3600 + beat, time.time() + 3600 + beat))
        time.sleep(0.1)
    assert holder(tmp_path) is not None


def test_the_advice_for_one_that_is_surely_gone_helps(tmp_path):
    foreign(tmp_path).unlink()
    acquire(tmp_path, patient=False).release()


def test_a_sign_of_life_ends_the_waiting(tmp_path, monkeypatch):
    monkeypatch.setattr(heartbeat, "BEAT", 0.1)
    file = foreign(tmp_path, age=5)
    pause = time.sleep
    monkeypatch.setattr(time, "sleep", lambda seconds: (os.utime(file), pause(seconds)))
    with pytest.raises(Taken, match="node7"):
        acquire(tmp_path)


def test_the_clock_is_the_file_system_s(tmp_path, monkeypatch):
    monkeypatch.setattr(time, "time", lambda: 0.0)
    lost = foreign(tmp_path)
    os.utime(lost)
    assert holder(tmp_path) is not None
    monkeypatch.setattr(time, "time", lambda: 4e9)
    assert holder(tmp_path) is not None
    os.utime(lost, times=(1e9, 1e9))
    monkeypatch.setattr(time, "time", lambda: 1e9)
    assert holder(tmp_path) is None


@pytest.mark.parametrize("content", ["", "{", "[]", '{"pid": 3}'])
def test_an_owner_that_died_while_it_signed_counts_by_time(tmp_path, content):
    file = foreign(tmp_path)
    file.write_text(content)
    with pytest.raises(Taken, match="another process is"):
        acquire(tmp_path, patient=False)
    os.utime(file, times=(1e9, 1e9))
    acquire(tmp_path).release()


def test_files_are_kept_young_until_the_right_is_given_up(tmp_path, quick):
    held = acquire(tmp_path)
    file = tmp_path / lease.FOLDER / str(held.number)
    os.utime(file, times=(1e9, 1e9))
    deadline = time.monotonic() + 10
    while file.stat().st_mtime == 1e9 and time.monotonic() < deadline:
        time.sleep(0.02)
    assert heartbeat.read(file).age < 1
    held.release()
    free = file.with_name(f"{held.number}.free")
    os.utime(free, times=(1e9, 1e9))
    time.sleep(0.3)
    assert free.stat().st_mtime == 1e9


@pytest.mark.parametrize("number", range(1, 9))
def test_a_number_that_was_given_and_let_go_meanwhile_is_not_given_again(tmp_path, monkeypatch, number):
    """Both names of a number are there for a moment, in whatever order the folder lists them."""
    (tmp_path / lease.FOLDER).mkdir()
    (tmp_path / lease.FOLDER / f"{number}.free").touch()
    listing, old = lease._newest, [(number - 1, True)]
    monkeypatch.setattr(lease, "_newest", lambda folder: old.pop() if old else listing(folder))
    held = acquire(tmp_path)
    assert held.number == number + 1
    assert [file.name for file in (tmp_path / lease.FOLDER).iterdir()] == [str(number + 1)]
    held.release()


WRITES = {
    "write_atomic": lambda folder: files.write_atomic(folder / "a" / "manifest.json", "x"),
    "append": lambda folder: files.append(folder / "rows.jsonl", "x\n"),
    "write_lines": lambda folder: files.write_lines(folder / "rows.jsonl", []),
    "cut_torn": lambda folder: files.cut_torn(folder / "rows.jsonl"),
    "remove": lambda folder: files.remove(folder / "rows.jsonl"),
    "remove a folder": lambda folder: files.remove(folder / "inner"),
    "move": lambda folder: files.move(folder / "inner", folder / "outer"),
    "by another path": lambda folder: files.append(folder / "inner" / ".." / "rows.jsonl", "x\n"),
    "by a link": lambda folder: files.append(folder.parent / "link" / "rows.jsonl", "x\n"),
}


@pytest.mark.parametrize("write", WRITES)
def test_nothing_is_changed_in_a_folder_that_was_taken_over(tmp_path, write):
    folder = tmp_path / "run"
    (folder / "inner").mkdir(parents=True)
    (tmp_path / "link").symlink_to(folder)
    (folder / "rows.jsonl").write_text("row\ntorn")
    held = acquire(folder)
    take_over(folder)
    before = files.hashes(folder)
    for _ in range(2):  # letting go of what is lost gives no right back
        with pytest.raises(Lost, match="took this over"):
            WRITES[write](folder)
        held.release()
    assert files.hashes(folder) == before
    assert sorted(path.name for path in folder.iterdir()) == sorted([".lease", "inner", "rows.jsonl", *_empty(write)])


def _empty(write: str) -> list[str]:
    return ["a"] if write == "write_atomic" else []  # a folder that nothing was written into


@pytest.mark.parametrize("write", WRITES)
def test_whoever_has_the_right_or_needs_none_changes_what_it_likes(tmp_path, write):
    folder = tmp_path / "run"
    (folder / "inner").mkdir(parents=True)
    (tmp_path / "link").symlink_to(folder)
    held = acquire(folder)
    WRITES[write](folder)
    held.release()
    (folder / "inner").mkdir(exist_ok=True)
    if write == "move":
        (folder / "outer").rmdir()
    WRITES[write](folder)


def contend(folder: Path, rounds: int, wins: multiprocessing.Queue) -> None:
    """Take the right as often as possible; leave it half the time as one that died elsewhere does."""
    won = 0
    while won < rounds:
        try:
            held = acquire(folder, patient=False)
        except Taken:
            continue
        inside = os.open(folder / "inside", os.O_CREAT | os.O_EXCL)  # fails where two are here at once
        os.close(inside)
        (folder / "inside").unlink()
        won += 1
        if won % 2:
            held.release()
        else:
            heartbeat.stop(held._file)
            os.utime(held._file, times=(1e9, 1e9))
    wins.put(won)


@pytest.mark.slow
def test_of_many_takers_one_wins_every_time(tmp_path):
    fork = multiprocessing.get_context("fork")
    wins = fork.Queue()
    takers = [fork.Process(target=contend, args=(tmp_path, 25, wins)) for _ in range(4)]
    for taker in takers:
        taker.start()
    for taker in takers:
        taker.join(timeout=60)
    assert [taker.exitcode for taker in takers] == [0] * 4
    assert sum(wins.get() for _ in takers) == 100
    [last] = (tmp_path / lease.FOLDER).iterdir()
    assert int(last.name.removesuffix(".free")) == 100


class Machines(RuleBasedStateMachine):
    """Three processes on three machines; a model says who must have the right."""

    def __init__(self):
        super().__init__()
        self.folder = Path(tempfile.mkdtemp())
        self.leases: dict[str, lease.Lease] = {}
        self.right: str | None = None
        self.silent = False

    def on(self, name: str):
        patch = pytest.MonkeyPatch()
        patch.setattr(heartbeat, "machine", lambda: name)
        return patch

    @rule(name=st.sampled_from("abc"))
    def take(self, name):
        patch = self.on(name)
        try:
            held = acquire(self.folder, patient=False)
        except Taken:
            assert self.right is not None
            assert not self.silent
        else:
            assert self.right is None or self.silent
            self.leases[name], self.right, self.silent = held, name, False
            heartbeat.stop(held._file)
        finally:
            patch.undo()

    @precondition(lambda self: self.right and not self.silent)
    @rule()
    def fall_silent(self):
        os.utime(self.leases[self.right]._file, times=(1e9, 1e9))
        self.silent = True

    @precondition(lambda self: self.right and self.silent)
    @rule()
    def come_back(self):
        os.utime(self.leases[self.right]._file)
        self.silent = False

    @rule(name=st.sampled_from("abc"))
    def release(self, name):
        if name in self.leases:
            self.leases.pop(name).release()
            if self.right == name:
                self.right, self.silent = None, False

    @invariant()
    def only_the_last_owner_may_write(self):
        for name, held in self.leases.items():
            if name == self.right:
                held.check()
            else:
                with pytest.raises(Lost):
                    held.check()


Machines.TestCase.settings = settings(max_examples=40, stateful_step_count=20)
TestMachines = Machines.TestCase
