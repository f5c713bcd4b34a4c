"""Runs that are killed while they sample or judge go on and end with the same rows."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest

from tests import warm
from tests.composed import once

pytestmark = pytest.mark.slow


def command(small: list[str], run_dir: Path, store: Path, judge) -> list[str]:
    asked = ["reward=judge", "reward.judge.model=m", f"reward.judge.url={judge.url}", "method.mode=pairwise"]
    asked += ["reward.judge.comparison='{first}|||{second}'", "reward.judge.concurrency=2", "method.chunk=2"]
    return once(*small, *asked, f"run_dir={run_dir}", f"store={store}")


def finish(overrides: list[str]) -> None:
    done = warm.run("rlpipe", *overrides)
    assert done.returncode == 0, done.stderr


def kill_at(overrides: list[str], file: Path, lines: int) -> None:
    """Start a run and kill it once a file has so many lines."""
    process = warm.Process("rlpipe", *overrides)
    deadline = time.monotonic() + 200
    while not file.exists() or file.read_bytes().count(b"\n") < lines:
        assert process.poll() is None, "the run ended before it could be killed"
        assert time.monotonic() < deadline
        time.sleep(0.002)
    process.kill()
    assert process.wait() == -9


def test_a_run_that_is_killed_twice_ends_with_the_same_rows(small, judge, tmp_path):
    def slowly(question: str) -> str:
        time.sleep(0.05)
        first, second = question.split("|||")
        return "Better: tie" if len(first) == len(second) else f"Better: {'A' if len(first) > len(second) else 'B'}"

    judge.reply = slowly
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    finish(command(small, whole, tmp_path / "store", judge))
    paid = len(judge.asked)
    again = command(small, killed, tmp_path / "store", judge)
    kill_at(again, killed / "feedback" / "responses.train.jsonl", 2)
    kill_at(again, killed / "feedback" / "judgements.train.jsonl", 4)
    assert not (killed / "data").exists()
    finish(again)
    for split in ("train", "test"):
        rows = f"data/{split}.jsonl"
        assert (killed / rows).exists() == (whole / rows).exists()
        if (whole / rows).exists():
            assert (killed / rows).read_bytes() == (whole / rows).read_bytes()
    # at most the questions that were under way are asked again
    assert paid <= len(judge.asked) - paid <= paid + 2
    results = [json.loads((folder / "result.json").read_text()) for folder in (whole, killed)]
    assert results[0]["metrics"] == results[1]["metrics"]
    assert results[1]["attempts"] == 3
