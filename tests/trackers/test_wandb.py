"""Weights & Biases in offline mode: what the real client wrote is read back."""

import json
import os
import signal
import subprocess
import sys
import time
from unittest import mock

import pytest

from rlpipe.config.kinds import Artifacts
from rlpipe.core.errors import RlpipeError
from rlpipe.trackers.base import Artifact, RunIdentity
from rlpipe.trackers.guarded import Guarded
from rlpipe.trackers.wandb import Mode, Wandb, WandbConfig
from tests.trackers import wandb_files

HYPERPARAMETERS = {"method": {"name": "dpo", "learning_rate": 1e-5}, "seed": 0}

pytestmark = pytest.mark.slow  # the client itself takes seconds to import and to start


def tracker(**settings):
    return Wandb(WandbConfig(mode=Mode.offline, project="bench", **settings))


def identity(tmp_path, id="0123456789ab"):
    known = {"group": "sweep-1", "tags": ("dpo", "ultrafeedback", "toy"), "notes": "folder: here"}
    return RunIdentity(id=id, name="my-run", run_dir=tmp_path, job_type="dpo", **known)


def folders(tmp_path):
    found = [path for path in (tmp_path / "wandb").glob("offline-run-*") if path.is_dir() and not path.is_symlink()]
    return sorted(found, key=lambda path: path.stat().st_mtime)


def weights(tmp_path, folder, name, aliases=()):
    place = tmp_path / folder
    place.mkdir(exist_ok=True)
    (place / "model.safetensors").write_bytes(folder.encode())
    return Artifact(name, name.partition("-")[0], place, aliases, {"step": 30})


@pytest.fixture(scope="module")
def two_attempts(tmp_path_factory):
    """Two attempts of one run, the second going on from step 20 of 30."""
    tmp_path = tmp_path_factory.mktemp("wandb")
    samples = [{"prompt": "2+2", "completion": "4", "parts": {"format": 1.0}}, {"prompt": "3+3", "score": 0.5}]
    for logged_until, steps, ok in ((-1, (10, 20, 30), False), (30, (30, 40), True)):
        guarded = Guarded(tracker(), logged_until)
        guarded.start(identity(tmp_path), HYPERPARAMETERS)
        for step in steps:
            guarded.log({"loss": 1 / step}, step)
        guarded.table("samples", samples, steps[-1])
        guarded.starts_from(weights(tmp_path, "start", "model-0"))
        guarded.store(weights(tmp_path, f"checkpoint-{steps[-1]}", "checkpoint-1", (f"step-{steps[-1]}",)))
        guarded.summary({"after/preference/accuracy": 0.7})
        guarded.finish(ok)
        assert not guarded.working
        if not ok:
            time.sleep(1.1)  # the client names its folders by the second
    return tmp_path


def test_who_the_run_is(two_attempts):
    first, second = folders(two_attempts)
    for folder in (first, second):
        run = wandb_files.run(folder)
        assert run.run_id == "0123456789ab"
        assert run.display_name == "my-run"
        assert run.run_group == "sweep-1"
        assert run.job_type == "dpo"
        assert run.project == "bench"
        assert list(run.tags) == ["dpo", "ultrafeedback", "toy"]
        assert run.notes == "folder: here"


def test_hyperparameters(two_attempts):
    config = wandb_files.config(folders(two_attempts)[0])
    assert config["method"] == {"name": "dpo", "learning_rate": 1e-5}
    assert config["seed"] == 0


def test_curves_have_the_step_and_no_step_comes_twice(two_attempts):
    rows = [row for folder in folders(two_attempts) for row in wandb_files.history(folder)]
    losses = {row["_step"]: row["loss"] for row in rows if "loss" in row}
    assert losses == {step: 1 / step for step in (10, 20, 30, 40)}
    assert len([row for row in rows if "loss" in row]) == 4


def test_tables_can_be_read(two_attempts):
    [file] = folders(two_attempts)[0].rglob("*.table.json")
    table = json.loads(file.read_text())
    assert table["columns"] == ["prompt", "completion", "parts", "score"]
    assert table["data"] == [["2+2", "4", '{"format": 1.0}', None], ["3+3", None, None, 0.5]]


def test_weights_are_versions_of_one_artifact(two_attempts):
    all_records = [record for folder in folders(two_attempts) for record in wandb_files.records(folder)]
    made = [one.artifact for one in all_records if one.artifact.type == "checkpoint"]
    assert [(one.type, one.name, sorted(one.aliases)) for one in made] == [
        ("checkpoint", "checkpoint-1", ["latest", f"step-{step}"]) for step in (30, 40)
    ]
    [kept] = made[0].manifest.contents
    assert kept.path == "model.safetensors"
    assert not kept.local_path.startswith(str(two_attempts)), "a copy: the folder may be gone before it is sent"
    changed = {item.key: item.value_json for record in all_records for item in record.config.update}
    assert changed["starts_from"] == '"model-0"'


def test_a_model_that_is_used_is_a_line_in_the_graph(tmp_path):
    """Online; the service is not there, so that what the client is asked for stands for what it would do."""
    made = tracker(artifacts=Artifacts.model)
    made._run = mock.Mock(offline=False)
    made.starts_from(weights(tmp_path, "start", "model-0"))
    [used] = made._run.use_artifact.call_args.args
    assert (used.name, used.type, sorted(used.manifest.entries)) == ("model-0", "model", ["model.safetensors"])


def test_the_command_line_is_not_sent(two_attempts):
    for folder in folders(two_attempts):
        assert not list(folder.rglob("wandb-metadata.json"))
        kinds = {record.WhichOneof("record_type") for record in wandb_files.records(folder)}
        assert "environment" not in kinds


def test_a_kill_loses_at_most_the_last_second(tmp_path):
    code = (
        "import os, sys; sys.path.insert(0, '.'); from pathlib import Path\n"
        "from tests.trackers.test_wandb import tracker, identity, HYPERPARAMETERS\n"
        f"t = tracker(); t.start(identity(Path({str(tmp_path)!r})), HYPERPARAMETERS)\n"
        "for step in (10, 20, 30): t.log({'loss': 1 / step}, step)\n"
        "import time; time.sleep(2); t.log({'loss': 0}, 40); os.kill(os.getpid(), 9)"
    )
    subprocess.run([sys.executable, "-c", code], check=False, env={**os.environ, "PYTHONPATH": "."})
    [folder] = folders(tmp_path)
    assert [row["_step"] for row in wandb_files.history(folder, finished=False)][:2] == [10, 20]


def test_it_cannot_start_without_an_account(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    monkeypatch.delenv("WANDB_API_KEY", raising=False)
    with pytest.raises(RlpipeError, match=r"tracker=wandb: cannot start: .*\n.*tracker=none"):
        Guarded(Wandb(WandbConfig(mode=Mode.online))).start(identity(tmp_path), {})


def test_a_missing_client_is_named(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "wandb", None)
    with pytest.raises(RlpipeError, match="'wandb' is not installed"):
        tracker().start(identity(tmp_path), {})


def test_evaluations_are_tables_of_the_run_with_the_same_columns_and_points(tmp_path):
    """What `evaluate.measure` sends: the rows before any step, both after the last, beside the curves."""
    guarded = Guarded(tracker())
    guarded.start(identity(tmp_path, "ba9876543210"), HYPERPARAMETERS)
    before = [{"id": "test/0", "score": 0.0, "calls": []}]
    after = [{"id": "test/0", "score": 1.0, "without_tool": "12"}]
    guarded.evaluation("accuracy", before, None, 0)
    guarded.log({"before/accuracy/accuracy": 0.0}, 0)
    guarded.log({"loss": 0.5}, 30)
    guarded.evaluation("accuracy", before, after, 30)
    guarded.log({"after/accuracy/accuracy": 1.0}, 30)
    guarded.finish(True)
    [folder] = folders(tmp_path)
    in_summary = wandb_files.summary(folder)
    for when, data in (("before", ["test/0", 0.0, "[]", None]), ("after", ["test/0", 1.0, None, "12"])):
        shown = in_summary[f"evaluations/accuracy/{when}"]
        assert shown["_type"] == "table-file"
        table = json.loads((folder / "files" / shown["path"]).read_text())
        assert table["columns"] == ["id", "score", "calls", "without_tool"]
        assert table["data"] == [data]
    rows = {row["_step"]: row for row in wandb_files.history(folder) if "_step" in row}
    assert rows[0]["before/accuracy/accuracy"] == 0.0
    assert (rows[30]["loss"], rows[30]["after/accuracy/accuracy"], rows[30]["step"]) == (0.5, 1.0, 30)


def test_the_axis_of_all_curves_is_the_optimiser_step(two_attempts):
    for folder in folders(two_attempts):
        axes = {(one.metric.glob_name, one.metric.step_metric) for one in wandb_files.records(folder)}
        assert ("*", "step") in axes
        assert all(row["step"] == row["_step"] for row in wandb_files.history(folder))


def test_the_summary_holds_words_and_numbers_that_are_none(tmp_path):
    guarded = Guarded(tracker())
    guarded.start(identity(tmp_path, "aaaabbbbcccc"), {})
    ended = {"status": "failed", "error": "TrainingError: no", "cost/seconds": 1.5}
    guarded.summary({"after/x/score": float("nan"), "after/y/score": None, **ended})
    guarded.finish(False)
    found = wandb_files.summary(folders(tmp_path)[0])
    assert found["after/x/score"] is found["after/y/score"] is None
    assert ended.items() <= found.items()


def test_a_run_and_its_resumption_are_one_run_with_all_that_the_record_says(tmp_path):
    """Killed on its way and gone on with: the same id, no step twice, no key missing that result.json has."""
    folder = tmp_path / "night" / "7"
    (tmp_path / "night").mkdir()
    (tmp_path / "night" / "multirun.yaml").write_text("hydra: {}\n")
    chosen = ["model=blank", "method=sft", "dataset=smoltalk", "evaluation=perplexity", "hardware.device=cpu"]
    small = ["dataset.sample_size=200", "dataset.test_limit=8", "method.batch_size=4", "method.max_steps=40"]
    small += ["method.micro_batch_size=4"]
    shown = ["tracker=wandb", "tracker.mode=offline", "log.every=1", "checkpoint.every=10", f"run_dir={folder}"]
    asked = [*chosen, *small, *shown]
    # Not forked from one process: the client's own files in the system's place for such would end with the first.
    command = [sys.executable, "-m", "rlpipe", *asked]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    while not (folder / "checkpoints" / "checkpoint-10" / "whole.json").exists():
        assert process.poll() is None
        time.sleep(0.01)
    process.send_signal(signal.SIGTERM)
    assert process.wait() == 75
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    first, second = folders(folder)
    identities = {(run.run_id, run.run_group, run.job_type) for run in map(wandb_files.run, (first, second))}
    manifest = json.loads((folder / "manifest.json").read_text())
    assert identities == {(manifest["id"], "night", "sft")}
    assert wandb_files.run(first).display_name.startswith("7: model=blank method=sft")
    losses = [row["_step"] for one in (first, second) for row in wandb_files.history(one) if "loss" in row]
    assert losses == list(range(1, 41))
    zeros = [row for one in (first, second) for row in wandb_files.history(one) if row["_step"] == 0]
    assert len(zeros) == 1
    result = json.loads((folder / "result.json").read_text())
    found = wandb_files.summary(second)
    expected = {**result["metrics"], **{f"cost/{key}": value for key, value in result["cost"].items()}}
    expected |= {key: result[key] for key in ("status", "stage", "attempts")}
    assert set(result) == {"metrics", "cost", "status", "stage", "attempts"}
    assert {key: found.get(key) for key in expected} == expected
    assert found["evaluations/perplexity/after"]["ncols"] == found["evaluations/perplexity/before"]["ncols"]
    assert wandb_files.config(second)["method"] == manifest["config"]["method"]


def test_a_sigterm_to_all_processes_of_a_job_loses_no_step(tmp_path):
    """SLURM sends it to the client's own process too, and the run goes on logging until it has saved."""
    folder = tmp_path / "run"
    code = f"""
import psutil, signal
from rlpipe.config.compose import compose, to_plain
from rlpipe.config.resolved import resolve
from rlpipe.core.signals import stop_requests
from rlpipe.records.record import Record, Status
from rlpipe.training.tracking import track, untrack
config = compose("tracker=wandb", "tracker.mode=offline", "method=none")
record = Record.open({str(folder)!r}, to_plain(config))
first = len(record.manifest["attempts"]) == 1
record.rewind(0 if first else 4)
with stop_requests() as stop:
    tracker = track(resolve(config), record, False)
    for step in range(1 if first else 5, 7 if first else 9):
        if first and step == 4:
            clients = psutil.Process().children(recursive=True)
            for process in clients:
                process.send_signal(signal.SIGTERM)
            psutil.wait_procs(clients, timeout=30)
        record.log_metrics(step, {{"loss": float(step)}})
        tracker.log({{"loss": float(step)}}, step)
    record.finish(Status.stopped if first else Status.ok, "train", hold=True)
    untrack(tracker, record, {{}})
    record.close()
"""
    alone = {name: value for name, value in os.environ.items() if not name.startswith("WANDB_SERVICE")}
    for _ in range(2):  # each with a client of its own, not this process's
        subprocess.run([sys.executable, "-c", code], check=True, timeout=120, env=alone)
        time.sleep(1.1)  # the client names its folders by the second
    lost, whole = folders(folder)
    there = {row["_step"] for row in wandb_files.history(lost, finished=False) if "loss" in row}
    assert there < set(range(1, 7)), "else there is nothing to log again"
    there |= {row["_step"] for row in wandb_files.history(whole) if "loss" in row}
    assert there == set(range(1, 9))
