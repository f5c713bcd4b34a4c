"""What runs keep in the store for others: named by what they depend on, computed once, gone on with after a kill."""

from __future__ import annotations

import multiprocessing
import os
import signal
import time
from pathlib import Path
from typing import Any

import pytest

from rlpipe.records import provenance
from rlpipe.stages import entries, store
from rlpipe.stages.stored import State, Stored

INPUTS = {"weights": "a", "rows": "b"}


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store, "POLL", 0.02)


def test_the_name_follows_inputs_and_numeric_packages_and_no_setting(config, monkeypatch):
    entry = entries.entry("reference", config, INPUTS)
    assert entry.name.startswith("reference-smoltalk-")
    config.method.learning_rate = 7.0
    assert entries.entry("reference", config, INPUTS) == entry
    assert entries.entry("reference", config, {**INPUTS, "rows": "c"}).name != entry.name
    monkeypatch.setattr(entries, "packages", lambda: {**provenance.packages(), "torch": "0"})
    assert entries.entry("reference", config, INPUTS).name != entry.name


def arm(entry: entries.Entry, log: Path, killed: bool) -> None:
    """Take an entry as an arm does, or compute it slowly and note so; the first of all may wait to be killed."""

    def compute(folder: Path) -> None:
        with log.open("a") as file:
            file.write(f"begun {os.getpid()}\n")
        time.sleep(60 if killed and log.read_text().count("begun") == 1 else 0.2)
        (folder / "file").write_text("numbers")
        with log.open("a") as file:
            file.write(f"done {os.getpid()}\n")

    with entries.lent(entry, Path("run"), compute) as (folder, _):
        assert (folder / "file").read_text() == "numbers"


def start(count: int, *arguments: Any) -> list[Any]:
    fork = multiprocessing.get_context("fork")
    arms = [fork.Process(target=arm, args=arguments) for _ in range(count)]
    for one in arms:
        one.start()
    return arms


@pytest.mark.parametrize("killed", [False, True])
def test_arms_that_start_together_compute_once_and_go_on_after_a_kill(config, tmp_path, killed):
    entry, log = entries.entry("reference", config, INPUTS), tmp_path / "log"
    arms = start(3, entry, log, killed)
    if killed:
        while not (log.exists() and log.read_text().endswith("\n")):
            time.sleep(0.005)
        os.kill(int(log.read_text().split()[1]), signal.SIGKILL)
    for one in arms:
        one.join(60)
    assert sorted(one.exitcode for one in arms) == [-signal.SIGKILL if killed else 0, 0, 0]
    lines = log.read_text().splitlines()
    assert sum(line.startswith("done") for line in lines) == 1
    assert sum(line.startswith("begun") for line in lines) == 1 + killed
    assert Stored(entry.folder).state() is State.ok
