"""A run stops within moments wherever it is, keeps what it has, and ends as one that nobody disturbed."""

from __future__ import annotations

import itertools
import json
import os
import pkgutil
import signal
import time

import pytest

from rlpipe.core.errors import Stopped
from rlpipe.core.files import hashes
from rlpipe.core.signals import SIGNALS

PLACES = {
    "rlpipe.datasets.load._sample": "preparing its stages and its data",
    "rlpipe.run.build.data": "preparing its stages and its data",
    "rlpipe.run.build.model": "loading the model",
    "rlpipe.models.tokens._chats": "preparing the trainer",
    "rlpipe.training.offline.build.materialise": "preparing the trainer",
    "rlpipe.evaluations.portions._shared": "measuring",
    "rlpipe.training.offline.trainer.OfflineTrainer.compute_loss": "stopped after step 1 of 2, everything is saved",
    "rlpipe.models.export.save": "saving the model",
    "rlpipe.run.evaluate._change": "measuring the trained model",
    "rlpipe.report.page.at_end.find": "writing the report of a run that ended ok",
}
"""Where a run is when it is asked to stop, and what it then says."""


def stopping(place: str, number: signal.Signals, began: list[float]):
    """Return what stands at a place of the code, asking this process to stop when it is first come by."""
    real = pkgutil.resolve_name(place)

    def asks(*arguments, **options):
        if not began:
            began.append(time.monotonic())
            os.kill(os.getpid(), number)
            time.sleep(0.1 if "Trainer" in place else 60)  # within a step nothing is broken off
        return real(*arguments, **options)

    return asks


@pytest.mark.slow
def test_a_run_that_is_stopped_everywhere_ends_like_one_that_was_not(trained_run, tmp_path, monkeypatch):
    from rlpipe.config.compose import compose
    from rlpipe.run.run import run

    overrides = json.loads((trained_run / "manifest.json").read_text())["overrides"]
    asked = [*(one for one in overrides if not one.startswith("run_dir=")), f"run_dir='{tmp_path / 'run'}'"]

    def go_on():
        run(compose(*asked), asked)

    for place, words, number in zip(PLACES, PLACES.values(), itertools.cycle(SIGNALS)):
        began: list[float] = []
        with monkeypatch.context() as patch:
            patch.setattr(place, stopping(place, number, began))
            with pytest.raises(Stopped, match=words):
                go_on()
        assert time.monotonic() - began[0] < 10
        if "report" not in place:
            assert json.loads((tmp_path / "run" / "result.json").read_text())["status"] == "stopped"
    assert json.loads((tmp_path / "run" / "result.json").read_text())["status"] == "ok"
    go_on()
    report = tmp_path / "run" / "report.html"
    assert report.stat().st_mtime_ns > (tmp_path / "run" / "result.json").stat().st_mtime_ns
    weights = "model.safetensors"
    assert hashes(tmp_path / "run" / "model")[weights] == hashes(trained_run / "model")[weights]
    for rows in ("perplexity.before.jsonl", "perplexity.after.jsonl"):
        made, whole = ((folder / "evaluations" / rows).read_bytes() for folder in (tmp_path / "run", trained_run))
        assert made == whole
