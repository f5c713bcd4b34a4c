"""How runs are known to trackers: names, groups and tags that make comparing runs there work."""

from __future__ import annotations

import json

import pytest

from rlpipe.config.compose import compose, to_plain
from rlpipe.config.resolved import resolve
from rlpipe.records.record import Record, Status
from rlpipe.records.sweep import SWEEP_FILE
from rlpipe.run.run import run
from rlpipe.training.tracking import experiment_of, identity, made_model, sweep_of, track, untrack
from tests.trackers.test_guarded import Fragile

pytestmark = pytest.mark.slow


@pytest.fixture
def known(tmp_path):
    def make(folder, *overrides, is_stage=False):
        config = compose(*overrides)
        record = Record.open(tmp_path / folder, to_plain(config), overrides=[*overrides, f"run_dir={folder}"])
        record.close()
        return identity(record, config, is_stage)

    return make


def test_a_single_run(known):
    run = known("18-19-15", "method=kto", "dataset=piqa")
    assert (run.name, run.job_type, run.group, run.tags) == ("kto-piqa 18-19-15", "kto", None, ("kto", "piqa"))
    assert "report.html" in run.notes
    assert "rlpipe method=kto dataset=piqa run_dir=NEW" in run.notes


def test_names_words_and_notes_of_ones_own(known, tmp_path):
    own = ("tracker=wandb", "tracker.run_name=mine", "tracker.tags=[toy,kto]", "tracker.notes=why")
    run = known("one", "method=kto", "dataset=piqa", *own)
    assert (run.name, run.tags) == ("mine", ("kto", "piqa", "toy"))
    assert run.notes.startswith("why\n\nfolder: ")
    (tmp_path / "sweep").mkdir()
    (tmp_path / "sweep" / SWEEP_FILE).write_text("{}")
    assert known(tmp_path / "sweep" / "3", "seed=3", *own).name == "mine 3: seed=3"


def test_weights_are_stored_and_followed_from_run_to_run(trained_run, tmp_path):
    """A run that starts from another's model names it as that run does; its checkpoints and its model are stored."""
    client = pytest.importorskip("mlflow.tracking")
    small = ("method.max_steps=2", "method.batch_size=4", "method.micro_batch_size=2", "method.max_length=256")
    shown = ("dataset.sample_size=64", "dataset.test_limit=8", "log.progress=false", "checkpoint.every=1")
    kept = ("tracker=mlflow", f"tracker.uri='{tmp_path / 'store'}'", "tracker.artifacts=checkpoints")
    chosen = ("model=hf", f"model.source='{trained_run}'", "method=sft", "dataset=smoltalk", "evaluation=none")
    overrides = [
        *chosen,
        "dataset.source=sample",
        *small,
        *shown,
        *kept,
        "hardware.device=cpu",
        f"run_dir='{tmp_path / 'run'}'",
    ]
    run(compose(*overrides), overrides)
    made = client.MlflowClient((tmp_path / "store").as_uri())
    [found] = made.search_runs([made.get_experiment_by_name("rlpipe").experiment_id])
    first = json.loads((trained_run / "manifest.json").read_text())["id"]
    assert found.data.tags["rlpipe.starts_from"] == f"model-{first}" == made_model(trained_run / "model").name
    stored = {str(file.parent.relative_to(file.parents[2])) for file in (tmp_path / "store").rglob("model.safetensors")}
    assert stored == {"artifacts/model", "checkpoints/checkpoint-1", "checkpoints/checkpoint-2"}


@pytest.mark.parametrize("note", [SWEEP_FILE, "multirun.yaml"])
def test_arms_of_a_sweep_are_one_group(known, tmp_path, note):
    sweep = tmp_path / "2026-11-20" / "15-00-00-1"
    sweep.mkdir(parents=True)
    (sweep / note).write_text("{}")
    arms = [known(sweep / str(seed), "method=dpo", f"seed={seed}", "tracker=wandb") for seed in (0, 1)]
    assert {arm.group for arm in arms} == {"2026-11-20/15-00-00-1"}
    assert [arm.name for arm in arms] == ["0: method=dpo seed=0", "1: method=dpo seed=1"]
    assert {arm.job_type for arm in arms} == {"dpo"}


def test_a_named_sweep_and_long_overrides(known, tmp_path):
    (tmp_path / "ablation").mkdir()
    (tmp_path / "ablation" / "multirun.yaml").write_text("")
    arm = known(tmp_path / "ablation" / "0", "method=dpo", f"dataset.source=/{'x' * 300}")
    assert (arm.group, len(arm.name)) == ("ablation", 128)


def test_an_experiment_is_group_and_tag(known):
    run = known("run", "experiment=chat_dpo")
    assert (run.group, run.tags[-1]) == ("chat_dpo", "chat_dpo")
    assert known("other", "experiment=chat_dpo", "tracker.group=mine").group == "mine"


@pytest.mark.parametrize(
    ("overrides", "name"), [(["+experiment=a"], "a"), (["experiment=a", "experiment=null"], None), (["seed=1"], None)]
)
def test_the_experiment_is_the_one_chosen_last(overrides, name):
    assert experiment_of(overrides) == name


def test_a_stage_is_told_from_the_run_that_needs_it(known):
    stage = known("sft-smoltalk-0123456789ab", "method=sft", "dataset=smoltalk", is_stage=True)
    assert (stage.name, stage.job_type) == ("sft-smoltalk-0123456789ab", "stage")


def test_a_folder_that_is_no_sweep_is_no_group(tmp_path):
    assert sweep_of(tmp_path / "runs" / "0") is None


def test_the_tracker_is_told_all_that_the_record_ends_with(tmp_path, monkeypatch):
    config = compose("method=dpo")
    record = Record.open(tmp_path / "run", to_plain(config))
    inner = Fragile()
    monkeypatch.setattr("rlpipe.config.plugins.make", lambda kind, node: inner)
    tracker = track(resolve(config), record, is_stage=False)
    metrics = {"after/x/score": float("nan"), "after/x/mean": 0.5}
    record.finish(Status.failed, "train", metrics=metrics, cost={"steps": 3}, error=ValueError("no"))
    untrack(tracker, record, metrics)
    [(_, ended), finished] = inner.got[1:]
    assert ended.keys() >= {"after/x/score", "after/x/mean", "cost/steps", "cost/seconds", "status", "attempts"}
    assert (ended["status"], ended["stage"], ended["error"]) == ("failed", "train", "ValueError: no")
    assert finished == ("finish", False)
