"""A real sweep on SageMaker: a stage, an arm after it, and all that they leave is here in the end."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from rlpipe.cli import main as cli
from rlpipe.launchers.sagemaker import home
from rlpipe.records.sweep import Sweep
from rlpipe.stages.stored import Stored
from rlpipe.sweep.states import State, standings
from tests.launchers.sagemaker.account import SETTINGS, Account

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

ROWS = ("dataset=files", "dataset.source=data/rows.jsonl", "dataset.test_limit=4")
STAGE = ("method=sft", *ROWS, "method.max_steps=1", "method.batch_size=4", "evaluation=none")
ARM = ("method=none", *ROWS, "evaluation=perplexity", f"after=[{','.join(STAGE)}]", "model=blank", "seed=0")


def test_a_sweep_is_as_if_it_had_run_here(
    account: Account, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    place = tmp_path / "here"
    account.sagemaker.hidden = [place]
    (place / "data").mkdir(parents=True)
    rows = [{"prompt": f"What is {one}?", "completion": f"It is {one}."} for one in range(24)]
    (place / "data" / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    monkeypatch.chdir(place)
    monkeypatch.setenv("RLPIPE_STORE", str(place / "store"))
    fields = {**SETTINGS, "python": sys.executable, "poll": 5.0}
    launcher = ["hydra/launcher=sagemaker", *(f"hydra.launcher.{name}={value}" for name, value in fields.items())]
    assert cli.status(["-m", *ARM, *launcher, "hydra.sweep.dir=multirun/one"]) == 0
    assert "($0.10 an hour of ml.m5.large)" in capsys.readouterr().err
    sweep = Sweep.load("multirun/one")
    stage, job = sweep.jobs
    assert [one.state for one in standings(sweep, {})] == [State.done, State.done]
    assert Stored(Path(stage.run_dir)).damage() is None
    manifest = json.loads((Path(job.run_dir) / "manifest.json").read_bytes())
    assert stage.key in manifest["parents"]
    assert "the code is another" not in (sweep.job_folder(job) / "log.txt").read_text()
    monkeypatch.setattr(home, "LATE", 0.0)
    account.sagemaker.silent = True  # what is over needs no account any more
    try:
        assert cli.status(["sweep", "multirun/one"]) == 0
        assert cli.status(["report", "multirun/one"]) == 0
    finally:
        account.sagemaker.silent = False
