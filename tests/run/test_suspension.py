"""A run that is suspended, taken over, waken and killed, in every phase: it ends as one that nobody disturbed.

Process A is suspended for longer than a run may give no sign of life; B takes the run over and is killed in the same
phase; A goes on, and must change nothing any more; C ends the run.
"""

from __future__ import annotations

import itertools
import json
import multiprocessing
import os
import pkgutil
import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from rlpipe.core.files import hashes
from rlpipe.records import heartbeat

pytestmark = pytest.mark.slow

PLACES = {
    "rlpipe.evaluations.portions._shared": 2,
    "rlpipe.training.offline.trainer.OfflineTrainer.compute_loss": 3,
    "transformers.Trainer._save_optimizer_and_scheduler": 1,
    "rlpipe.records.checkpoints.seal": 1,
    "rlpipe.models.export._put": 1,
    "rlpipe.records.attempts.close": 1,
}
"""Where A is suspended and B is killed, and at which time that they come there."""
FEEDBACK = {"rlpipe.rewards.judge.asking.Replies.keep": 5, "rlpipe.training.feedback.chunks.append": 3}
"""Likewise of a run that makes rows by a judge."""


def at(place: str, arrival: int, number: signal.Signals) -> Callable:
    """Return what stands at a place of the code, sending this process a signal when it comes there again."""
    real, come = pkgutil.resolve_name(place), []

    def sends(*arguments, **options):
        come.append(place)
        if len(come) == arrival:
            os.kill(os.getpid(), number)
        return real(*arguments, **options)

    return sends


def status_of(pid: int) -> str:
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]


def content(folder: Path) -> dict[str, str]:
    return {name: digest for name, digest in hashes(folder).items() if not name.startswith(".")}


def suspended(asked: list[str], folder: Path, place: str, arrival: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Begin a run, suspend it at a place, have another process take it over and be killed there, and end it."""
    from rlpipe.config.compose import compose
    from rlpipe.evaluations.base import Evaluation
    from rlpipe.run.run import run

    monkeypatch.setattr(heartbeat, "BEAT", 0.1)
    monkeypatch.setattr(heartbeat, "LIMIT", 1.0)
    monkeypatch.setattr(Evaluation, "portion", 2)

    def go_on() -> None:
        run(compose(*asked), asked)

    def other(number: signal.Signals) -> multiprocessing.Process:
        with monkeypatch.context() as patch:
            patch.setattr(place, at(place, arrival, number))
            process = multiprocessing.get_context("fork").Process(target=go_on)
            process.start()
        return process

    first = other(signal.SIGSTOP)
    deadline = time.monotonic() + 120
    while status_of(first.pid) != "T":
        assert first.exitcode is None
        assert time.monotonic() < deadline
        time.sleep(0.02)
    time.sleep(1.2)
    second = other(signal.SIGKILL)
    second.join(120)
    assert second.exitcode == -signal.SIGKILL
    before = content(folder)
    os.kill(first.pid, signal.SIGCONT)
    first.join(120)
    assert first.exitcode not in (0, None), "it says that it has lost the run"
    assert content(folder) == before
    go_on()
    assert json.loads((folder / "result.json").read_text())["status"] == "ok"


@pytest.mark.parametrize("place", PLACES)
def test_one_that_was_suspended_changes_nothing_and_the_run_ends_well(trained_run, tmp_path, monkeypatch, place):
    folder = tmp_path / "run"
    overrides = json.loads((trained_run / "manifest.json").read_text())["overrides"]
    asked = [*(one for one in overrides if not one.startswith("run_dir=")), f"run_dir='{folder}'"]
    suspended(asked, folder, place, PLACES[place], monkeypatch)
    assert hashes(folder / "model")["model.safetensors"] == hashes(trained_run / "model")["model.safetensors"]
    for rows in ("perplexity.before.jsonl", "perplexity.after.jsonl"):
        made, whole = ((one / "evaluations" / rows).read_text() for one in (folder, trained_run))
        assert [json.loads(line)["id"] for line in made.splitlines()] == [
            json.loads(line)["id"] for line in whole.splitlines()
        ]
        assert not (folder / "evaluations" / f"{rows}.part").exists()


@pytest.mark.parametrize("place", FEEDBACK)
def test_so_it_is_with_a_judge_and_the_rows_that_it_makes(small, judge, tmp_path, monkeypatch, place):
    folder, answers = tmp_path / "run", itertools.count()
    judge.reply = lambda question: f"Score: {next(answers) % 11}"  # each time otherwise
    asked = [*small, "reward=judge", "reward.judge.model=m", f"reward.judge.url={judge.url}"]
    asked += ["reward.judge.concurrency=2"]
    suspended([*asked, f"run_dir='{folder}'"], folder, place, FEEDBACK[place], monkeypatch)
    for split, count in {"train": 11, "test": 2}.items():
        for name in ("responses", "judgements"):
            rows = [
                json.loads(line) for line in (folder / "feedback" / f"{name}.{split}.jsonl").read_text().splitlines()
            ]
            assert len({row["id"] for row in rows}) == len(rows) <= count
    assert len(judge.asked) <= len(set(judge.asked)) + 4  # those on their way when two processes were ended
