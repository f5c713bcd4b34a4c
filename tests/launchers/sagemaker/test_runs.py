"""A real sweep on SageMaker: a stage, an arm after it, and all that they leave is here in the end."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from rlpipe.cli import main as cli
from rlpipe.records.sweep import Sweep
from rlpipe.stages.stored import Stored
from rlpipe.sweep.states import State, standings
from tests.launchers.sagemaker.account import SETTINGS, Account

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

SMALL = ("model=blank", "method.max_steps=2", "evaluation=none", "hardware.device=cpu", "log.progress=false")


def test_a_sweep_is_as_if_it_had_run_here(
    account: Account, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    place = tmp_path / "here"
    account.sagemaker.hidden = [place]
    (place / "data").mkdir(parents=True)
    rows = [{"prompt": f"What is {one}?", "chosen": f"It is {one}.", "rejected": "No."} for one in range(24)]
    (place / "data" / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    monkeypatch.chdir(place)
    monkeypatch.setenv("RLPIPE_STORE", str(place / "store"))
    fields = {**SETTINGS, "python": sys.executable, "poll": 2.0}
    launcher = ["hydra/launcher=sagemaker", *(f"hydra.launcher.{name}={value}" for name, value in fields.items())]
    arm = ["method=dpo", "dataset=files", "dataset.source=data/rows.jsonl", "dataset.test_limit=4", "seed=0"]
    after = "after=[method=sft,dataset=files,dataset.source=data/rows.jsonl,method.max_steps=2,evaluation=none]"
    assert cli.status(["-m", *arm, after, *SMALL, *launcher, "hydra.sweep.dir=multirun/one"]) == 0
    said = capsys.readouterr().out
    assert "cost: " in said
    sweep = Sweep.load("multirun/one")
    stage, job = sweep.jobs
    assert [one.state for one in standings(sweep, {})] == [State.done, State.done]
    assert Stored(Path(stage.run_dir)).damage() is None
    assert (Path(job.run_dir) / "model" / "model.safetensors").is_file()
    manifest = json.loads((Path(job.run_dir) / "manifest.json").read_bytes())
    assert manifest["parents"] == {stage.key: stage.key} or stage.key in manifest["parents"]
    account.sagemaker.silent = True
    try:
        assert cli.status(["sweep", "multirun/one"]) == 0
        assert cli.status(["report", "multirun/one"]) == 0
    finally:
        account.sagemaker.silent = False
