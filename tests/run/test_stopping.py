"""A run stops within moments wherever it is, keeps what it has, and ends as one that nobody disturbed."""

from __future__ import annotations

import itertools
import json
import os
import pkgutil
import signal
import time
from pathlib import Path

import pytest

from rlpipe.core.errors import Stopped
from rlpipe.core.files import hashes
from rlpipe.core.signals import SIGNALS

PLACES = {
    "rlpipe.datasets.load._sample": "preparing its stages and its data",
    "rlpipe.run.build.data": "preparing its stages and its data",
    "rlpipe.run.build.model": "loading the model",
    "rlpipe.models.tokens._chats": "preparing the trainer",
    "rlpipe.training.offline.build.laid_out": "preparing the trainer",
    "rlpipe.evaluations.portions._shared": "measuring",
    "rlpipe.training.offline.trainer.OfflineTrainer.compute_loss": "stopped after step 1 of 2, everything is saved",
    "rlpipe.models.export.save": "saving the model",
    "rlpipe.run.evaluate._change": "measuring the trained model",
    "rlpipe.report.page.at_end.find": "writing the report of a run that ended ok",
}
"""Where a run is when it is asked to stop, and what it then says."""
JUDGED = {
    "rlpipe.training.offline.trainer.OfflineTrainer.compute_ref_log_probs": "preparing the trainer",
    "rlpipe.rewards.judge.endpoint.Endpoint._post": "measuring",
}
"""Of a run with a reference whose completions a judge compares."""


def stopping(place: str, number: signal.Signals, began: list[float]):
    """Return what stands at a place of the code, asking this process to stop when it is first come by."""
    real = pkgutil.resolve_name(place)

    def asks(*arguments, **options):
        if not began:
            began.append(time.monotonic())
            os.kill(os.getpid(), number)
            time.sleep(0.1 if "compute_loss" in place else 60)  # within a step nothing is broken off
        return real(*arguments, **options)

    return asks


def stopped_everywhere(overrides: list[str], folder: Path, places: dict[str, str], monkeypatch: pytest.MonkeyPatch):
    """Begin a run, and stop it at one place after another; returns what goes on with it."""
    from rlpipe.config.compose import compose
    from rlpipe.run.run import run

    asked = [*(one for one in overrides if not one.startswith("run_dir=")), f"run_dir='{folder}'"]

    def go_on():
        run(compose(*asked), asked)

    for place, words, number in zip(places, places.values(), itertools.cycle(SIGNALS)):
        began: list[float] = []
        with monkeypatch.context() as patch:
            patch.setattr(place, stopping(place, number, began))
            with pytest.raises(Stopped, match=words):
                go_on()
        assert time.monotonic() - began[0] < 10
        if "report" not in place:
            assert json.loads((folder / "result.json").read_text())["status"] == "stopped"
    return go_on


@pytest.mark.slow
def test_a_run_that_is_stopped_everywhere_ends_like_one_that_was_not(trained_run, tmp_path, monkeypatch):
    overrides = json.loads((trained_run / "manifest.json").read_text())["overrides"]
    overrides.append("evaluation.perplexity.reuse=false")  # the other run has measured the same
    go_on = stopped_everywhere(overrides, tmp_path / "run", PLACES, monkeypatch)
    assert json.loads((tmp_path / "run" / "result.json").read_text())["status"] == "ok"
    go_on()
    report = tmp_path / "run" / "report.html"
    assert report.stat().st_mtime_ns > (tmp_path / "run" / "result.json").stat().st_mtime_ns
    weights = "model.safetensors"
    assert hashes(tmp_path / "run" / "model")[weights] == hashes(trained_run / "model")[weights]
    for rows in ("perplexity.before.jsonl", "perplexity.after.jsonl"):
        made, whole = ((folder / "evaluations" / rows).read_bytes() for folder in (tmp_path / "run", trained_run))
        assert made == whole


@pytest.mark.slow
def test_also_where_a_reference_and_a_judge_are_asked(judge, tmp_path, monkeypatch):
    small = ["method.max_steps=1", "method.batch_size=4", "method.max_length=200", "dataset.sample_size=32"]
    judged = ["reward=judge", "reward.judge.model=m", f"reward.judge.url={judge.url}", "evaluation=win_rate"]
    drawn = ["evaluation.win_rate.against=dataset", "evaluation.win_rate.sampling.max_tokens=4", "dataset.test_limit=2"]
    chosen = ["model=blank", "method=dpo", "dataset=ultrafeedback", "hardware.device=cpu", "log.progress=false"]
    judge.reply = lambda question: "Better: A" if len(question) % 2 else "Better: B"
    overrides = [*chosen, *small, *judged, *drawn]
    stopped_everywhere(overrides, tmp_path / "run", JUDGED, monkeypatch)()
    stopped_everywhere(overrides, tmp_path / "whole", {}, monkeypatch)()
    assert len(judge.asked) <= 2 * len(set(judge.asked)) + 1  # what was on its way is asked again, and no more
    run, whole = (json.loads((tmp_path / name / "result.json").read_text()) for name in ("run", "whole"))
    assert run["metrics"] == whole["metrics"]
    assert run["attempts"] == 3
    weights = "model.safetensors"
    assert hashes(tmp_path / "run" / "model")[weights] == hashes(tmp_path / "whole" / "model")[weights]
