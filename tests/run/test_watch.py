"""Watching a run while it trains: it changes no weight, decides by what it measured, and survives a stop."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path

import pytest

from rlpipe.config.compose import compose
from rlpipe.config.explain import key_of
from rlpipe.core.errors import Stopped, TrainingError
from rlpipe.core.files import hashes
from rlpipe.records.record import read_result
from rlpipe.run.check.check import problems

SMALL = [
    *("model=blank", "method.max_steps=4", "method.batch_size=4", "method.max_length=160", "method.learning_rate=0.01"),
    *("dataset.sample_size=64", "dataset.test_limit=4"),
    *("hardware.device=cpu", "log.progress=false", "checkpoint.every=2"),
]
OFFLINE = ["method.micro_batch_size=4"]
SHORT = "evaluation.accuracy.sampling.max_tokens=8"
CASES = {
    "sft": [*OFFLINE, "method=sft", "dataset=smoltalk", "evaluation=perplexity", "model.lora.rank=2"],
    "dpo": [*OFFLINE, "method=dpo", "dataset=ultrafeedback", "evaluation=preference"],
    "rloo": ["method=rloo", "dataset=countdown", "reward=countdown", "evaluation=accuracy", SHORT],
}
ONLINE = ["method.group_size=2", "method.sampling.max_tokens=8", "method.samples_every=0"]
WATCHED = ["watch.every=2", "watch.limit=4"]


def execute(folder: Path, *overrides: str) -> dict:
    """Run in this process; returns the result."""
    from rlpipe.run.run import run

    given = {key_of(one) for one in overrides}
    chosen = [*(one for one in SMALL if key_of(one) not in given), *overrides, f"run_dir='{folder}'"]
    run(compose(*chosen), chosen)
    result = read_result(folder)
    assert result is not None
    return result


def lines(file: Path) -> list[dict]:
    """Return the rows of a file."""
    return [json.loads(line) for line in file.read_text().splitlines()]


def weights(folder: Path) -> dict[str, str]:
    """Return the hashes of the model's weights; the card beside them names the run's command."""
    return {name: digest for name, digest in hashes(folder / "model").items() if name.endswith(".safetensors")}


def watched(folder: Path) -> dict[int, dict[str, float]]:
    """Return the watched numbers of each step."""
    rows = lines(folder / "metrics.jsonl")
    assert len({row["step"] for row in rows}) == len(rows), "one row a step"
    named = {row["step"]: {key: value for key, value in row.items() if key.startswith("watch/")} for row in rows}
    return {step: numbers for step, numbers in named.items() if numbers}


@pytest.mark.slow
@pytest.mark.parametrize("case", ["sft", "dpo", "rloo"])
def test_a_watched_run_ends_with_the_weights_of_one_that_is_not(tmp_path, case):
    overrides = [*CASES[case], *(ONLINE if case == "rloo" else ())]
    execute(tmp_path / "plain", *overrides)
    execute(tmp_path / "watched", *overrides, *WATCHED)
    assert weights(tmp_path / "plain") == weights(tmp_path / "watched") != {}
    rows = watched(tmp_path / "watched")
    assert sorted(rows) == [0, 2, 4]
    expected = {"sft": "watch/loss", "dpo": "watch/preference/score", "rloo": "watch/reward"}
    assert all(expected[case] in numbers for numbers in rows.values())
    data = json.loads((tmp_path / "watched" / "manifest.json").read_text())["data"]
    assert data["validation"]["kept"] == 4
    folder = tmp_path / "watched" / "evaluations"
    [name] = [path.name.split(".")[0] for path in folder.glob("*.watch.jsonl")]
    final, start = ({row["prompt"] for row in lines(folder / f"{name}.{when}.jsonl")} for when in ("after", "watch"))
    assert len(start) == 4
    assert not final & start
    plain, seen = (read_result(tmp_path / name)["metrics"] for name in ("plain", "watched"))
    assert {name: seen[name] for name in plain} == plain  # sample rows have enough for both


@pytest.mark.slow
def test_the_best_weights_are_kept_and_patience_ends_the_training(tmp_path):
    overrides = [*CASES["dpo"], *WATCHED, "watch.metric=loss", "method.learning_rate=0.5", "watch.patience=2"]
    result = execute(tmp_path / "run", *overrides, "watch.restore_best=true", "method.max_steps=20")
    rows = watched(tmp_path / "run")
    losses = {step: numbers["watch/loss"] for step, numbers in rows.items()}
    best = min(losses, key=losses.__getitem__)
    assert result["metrics"]["watch/best"] == losses[best]
    assert result["metrics"]["watch/best_step"] == best
    assert result["metrics"]["watch/ended_early"] == result["cost"]["steps"] == best + 4 < 20
    if best == 0:  # such a rate makes nothing better: the run ends with the weights that it began with
        assert result["metrics"]["before/preference/margin"] == result["metrics"]["after/preference/margin"]
    again = execute(tmp_path / "run", *overrides, "watch.restore_best=true", "method.max_steps=20")
    assert again == result


@pytest.mark.slow
def test_best_weights_that_are_not_as_written_are_refused(tmp_path, monkeypatch):
    """The disk changes a bit of them while training goes on."""
    from rlpipe.run.watch import Watch

    restore = Watch.restore

    def damaged(self):
        if self.best.step != self.trainer.state.global_step:
            file = self.folder / f"best-{self.best.step}" / "weights.safetensors"
            content = file.read_bytes()
            file.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
        restore(self)

    monkeypatch.setattr(Watch, "restore", damaged)
    overrides = [*CASES["dpo"], *WATCHED, "watch.metric=loss", "method.learning_rate=0.5", "watch.patience=2"]
    with pytest.raises(TrainingError, match="the best weights are not as they were written"):
        execute(tmp_path / "run", *overrides, "watch.restore_best=true", "method.max_steps=20")


@pytest.mark.slow
def test_a_stopped_run_decides_as_one_that_was_not(tmp_path, monkeypatch):
    from rlpipe.training import callbacks

    overrides = [*CASES["dpo"], *WATCHED, "watch.restore_best=true", "watch.metric=loss", "watch.patience=3"]
    whole = execute(tmp_path / "whole", *overrides)
    begin = callbacks.ShowProgress.on_step_end

    def stop_once(self, args, state, control, **kwargs):
        begin(self, args, state, control, **kwargs)
        if state.global_step == 3:
            os.kill(os.getpid(), signal.SIGTERM)

    with monkeypatch.context() as patch:
        patch.setattr(callbacks.ShowProgress, "on_step_end", stop_once)
        with pytest.raises(Stopped):
            execute(tmp_path / "again", *overrides)
    assert (tmp_path / "again" / "checkpoints").is_dir()
    again = execute(tmp_path / "again", *overrides)
    assert weights(tmp_path / "again") == weights(tmp_path / "whole") != {}
    assert watched(tmp_path / "again") == watched(tmp_path / "whole")
    assert again["metrics"] == whole["metrics"]


@pytest.mark.parametrize(
    ("overrides", "where", "what"),
    [
        (["watch.patience=3"], "watch.patience", "no effect where nothing is watched"),
        (["watch.restore_best=true"], "watch.restore_best", "no effect where nothing is watched"),
        (["watch.every=2", "watch.evaluations=[accuracy]"], "watch.evaluations", "no evaluation 'accuracy'"),
        (["watch.every=2", "watch.metric=accuracy/score"], "watch.metric", "number of no evaluation"),
        (["watch.every=0"], "watch.every", "at least 1"),
        (["watch.every=100"], "watch.every", "more than the run has"),
    ],
)
def test_what_makes_no_sense_is_found_before_anything_starts(overrides, where, what):
    found = problems(compose(*SMALL, *CASES["dpo"], *overrides))
    assert [what in problem.what + problem.fix for problem in found if problem.where == where] == [True]


def test_watching_counts_for_a_stage_only_where_it_decides():
    from rlpipe.stages.fingerprint import describe

    prints = [
        describe(compose(*SMALL, *CASES["dpo"], *more)).fingerprint
        for more in ([], WATCHED, [*WATCHED, "watch.patience=1"], [*WATCHED, "watch.patience=1", "watch.every=3"])
    ]
    assert prints[0] == prints[1]
    assert len(set(prints)) == 3
