"""MLflow: what its own client wrote into its file store is read back by it."""

import json
import math
import sys

import pytest

from rlpipe.config.kinds import Artifacts
from rlpipe.core.errors import RlpipeError
from rlpipe.trackers.base import Artifact, RunIdentity
from rlpipe.trackers.guarded import Guarded
from rlpipe.trackers.mlflow import MLflow, MLflowConfig


def identity(tmp_path):
    known = {"group": "sweep-1", "tags": ("dpo", "a,b"), "notes": "folder: here"}
    return RunIdentity(id="0123456789ab", name="my-run", run_dir=tmp_path, job_type="dpo", **known)


@pytest.mark.slow
def test_two_attempts_are_one_run_with_curves_tables_and_weights(tmp_path):
    pytest.importorskip("mlflow")
    weights = tmp_path / "checkpoint-30"
    weights.mkdir()
    (weights / "model.safetensors").write_bytes(b"weights")
    long = {
        "method": {"learning_rate": 1e-5, "extra": "x" * 9000},
        **{f"field_{number}": number for number in range(150)},
    }
    for logged_until, steps, status in ((-1, (10, 20, 30), "stopped"), (30, (30, 40), "ok")):
        inner = MLflow(MLflowConfig(uri=str(tmp_path / "store"), experiment="bench", artifacts=Artifacts.checkpoints))
        tracker = Guarded(inner, logged_until)
        tracker.start(identity(tmp_path), long)
        for step in steps:
            tracker.log({"loss": 1 / step, "lm_eval/acc,none": math.nan}, step)
        tracker.table("samples", [{"prompt": "a|b", "score": 1.5}, {"prompt": "x", "more": [1]}], steps[-1])
        tracker.starts_from(Artifact("model-0", "model", tmp_path))
        tracker.store(Artifact("checkpoint-0", "checkpoint", weights))
        tracker.summary({"after/accuracy": 0.7, "status": status, "none": None})
        assert tracker.working
        tracker.finish(status == "ok")
        client = inner._client
        assert client.get_run(inner._run).info.status == {"stopped": "KILLED", "ok": "FINISHED"}[status]
    [experiment] = [one for one in client.search_experiments() if one.name == "bench"]
    [run] = client.search_runs([experiment.experiment_id])
    assert run.info.run_name == "my-run"
    assert run.data.tags.items() >= {"mlflow.note.content": "folder: here", "rlpipe.starts_from": "model-0"}.items()
    assert run.data.tags.items() >= {"rlpipe.group": "sweep-1", "rlpipe.tag.a_b": "a,b", "rlpipe.status": "ok"}.items()
    assert run.data.params.items() >= {"method.learning_rate": "1e-05", "field_149": "149"}.items()
    points = client.get_metric_history(run.info.run_id, "loss")
    assert [(point.step, point.value) for point in points] == [(step, 1 / step) for step in (10, 20, 30, 40)]
    assert run.data.metrics["after/accuracy"] == 0.7
    assert math.isnan(run.data.metrics["lm_eval/acc_none"])
    files = {file.name: file for file in (tmp_path / "store").rglob("*") if file.is_file()}
    assert json.loads(files["step-30.json"].read_text()) == {
        "columns": ["prompt", "score", "more"],
        "data": [["a|b", 1.5, None], ["x", None, [1]]],
    }
    assert files["model.safetensors"].read_bytes() == b"weights"
    assert files["model.safetensors"].parent.name == "checkpoint-30"


def test_another_destination_gets_all_steps(tmp_path):
    """What another folder has of a run says nothing about this one."""
    tracker = Guarded(MLflow(MLflowConfig()), 30)
    tracker.tracker.start = lambda run, config: None
    tracker.tracker.confirmed = lambda: -1
    tracker.start(identity(tmp_path), {})
    assert tracker.logged_until == -1


def test_a_missing_package_is_named(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "mlflow.tracking", None)
    monkeypatch.setitem(sys.modules, "mlflow.entities", None)
    with pytest.raises(RlpipeError, match=r"pip install 'rlpipe\[mlflow\]'"):
        Guarded(MLflow(MLflowConfig(uri=str(tmp_path)))).start(identity(tmp_path), {})


@pytest.mark.parametrize(
    ("settings", "where"),
    [({"experiment": " "}, "experiment"), ({"tags": [""]}, "tags"), ({"uri": "sqlite:///runs.db"}, "uri"), ({}, None)],
)
def test_what_cannot_start_is_said_in_the_check(settings, where, monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None if name == "sqlalchemy" else object())
    assert [problem.where for problem in MLflow(MLflowConfig(**settings)).problems()] == ([where] if where else [])
