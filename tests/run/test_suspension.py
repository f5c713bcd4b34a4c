"""A run that is suspended, taken over, waken and killed, in every phase: it ends as one that nobody disturbed.

Process A is suspended for longer than a run may give no sign of life; B takes the run over and is killed in the same
phase; A goes on, and must change nothing any more; C ends the run.
"""

from __future__ import annotations

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


@pytest.mark.parametrize("place", PLACES)
def test_one_that_was_suspended_changes_nothing_and_the_run_ends_well(trained_run, tmp_path, monkeypatch, place):
    from rlpipe.config.compose import compose
    from rlpipe.evaluations.base import Evaluation
    from rlpipe.run.run import run

    monkeypatch.setattr(heartbeat, "BEAT", 0.1)
    monkeypatch.setattr(heartbeat, "LIMIT", 1.0)
    monkeypatch.setattr(Evaluation, "portion", 2)
    folder = tmp_path / "run"
    overrides = json.loads((trained_run / "manifest.json").read_text())["overrides"]
    asked = [*(one for one in overrides if not one.startswith("run_dir=")), f"run_dir='{folder}'"]

    def go_on() -> None:
        run(compose(*asked), asked)

    def other(number: signal.Signals) -> multiprocessing.Process:
        with monkeypatch.context() as patch:
            patch.setattr(place, at(place, PLACES[place], number))
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
    assert hashes(folder / "model")["model.safetensors"] == hashes(trained_run / "model")["model.safetensors"]
    for rows in ("perplexity.before.jsonl", "perplexity.after.jsonl"):
        made, whole = ((one / "evaluations" / rows).read_text() for one in (folder, trained_run))
        assert [json.loads(line)["id"] for line in made.splitlines()] == [
            json.loads(line)["id"] for line in whole.splitlines()
        ]
        assert not (folder / "evaluations" / f"{rows}.part").exists()
