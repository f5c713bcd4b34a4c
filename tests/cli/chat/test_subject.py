"""Whom one can talk to."""

from __future__ import annotations

import json
import shutil

import pytest

from rlpipe.cli.chat.subject import SAMPLING, find
from rlpipe.core.errors import ModelError, RecordError


def test_a_run_brings_its_model_tools_and_sampling(trained_run, tmp_path):
    shutil.copytree(trained_run, tmp_path / "run", ignore=shutil.ignore_patterns("checkpoints"))
    manifest = json.loads((tmp_path / "run" / "manifest.json").read_text())
    tool = {"name": "calculator", "max_calls": 8, "timeout": 1.0, "protocol": "auto"}
    manifest["config"]["tool"] = {"calculator": tool}
    (tmp_path / "run" / "manifest.json").write_text(json.dumps(manifest))
    found = find(str(tmp_path / "run"), "cpu", tmp_path / "start")
    assert [one.name for one in found.tools] == ["calculator"]
    assert found.sampling == SAMPLING
    assert found.loaded.path == str(tmp_path / "run" / "model")
    assert "run: trained by sft on smoltalk (90" in found.description
    assert found.notes == []


def test_the_sampling_of_training_is_the_default(trained_run, tmp_path):
    """An on-policy method's own settings."""
    shutil.copytree(trained_run, tmp_path / "run", ignore=shutil.ignore_patterns("checkpoints"))
    from rlpipe.config.compose import to_plain
    from tests.composed import compose

    chosen = ("model=blank", "method=grpo", "dataset=countdown", "reward=countdown")
    plain = to_plain(compose(*chosen, "method.sampling.temperature=0.4", "method.sampling.max_tokens=17"))
    manifest = json.loads((tmp_path / "run" / "manifest.json").read_text())
    (tmp_path / "run" / "manifest.json").write_text(json.dumps({**manifest, "config": plain}))
    sampling = find(str(tmp_path / "run"), "cpu", tmp_path / "start").sampling
    assert (sampling.temperature, sampling.max_tokens) == (0.4, 17)


def test_any_model_folder_will_do(small_model, tmp_path):
    found = find(str(small_model), "cpu", tmp_path / "start")
    assert found.description.startswith(str(small_model))
    assert (found.notes, list(found.tools)) == ([], [])


def test_a_base_model_is_told_as_one(shared_dir, tmp_path):
    found = find(str(shared_dir / "models" / "stories260k"), "cpu", tmp_path / "start")
    [note] = found.notes
    assert "has no chat template" in note
    assert "laid out as ChatML" in note


def test_a_run_that_ended_badly_with_a_model_is_told(trained_run, tmp_path):
    shutil.copytree(trained_run, tmp_path / "run", ignore=shutil.ignore_patterns("checkpoints"))
    result = json.loads((tmp_path / "run" / "result.json").read_text())
    (tmp_path / "run" / "result.json").write_text(json.dumps({**result, "status": "failed"}))
    assert find(str(tmp_path / "run"), "cpu", tmp_path / "start").notes == ["the run has not ended well (failed)"]


@pytest.mark.parametrize(
    ("name", "error", "why"),
    [
        ("nobody", ModelError, "no run's folder, no stage of the store, no model's folder, and no hub id"),
        ("some/one", ModelError, "HF_HUB_OFFLINE is set, and the local cache has no copy"),
    ],
)
def test_a_name_for_nothing_is_refused(tmp_path, monkeypatch, name, error, why):
    monkeypatch.setenv("RLPIPE_STORE", str(tmp_path / "store"))
    with pytest.raises(error, match=why):
        find(name, "cpu", tmp_path / "start")


def test_a_folder_without_run_or_model_is_refused(tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(RecordError, match="holds no run"):
        find(str(tmp_path / "empty"), "cpu", tmp_path / "start")


def test_a_model_that_is_not_the_one_that_was_made_is_told(trained_run, tmp_path):
    run = shutil.copytree(trained_run, tmp_path / "run", ignore=shutil.ignore_patterns("checkpoints"))
    (run / "model" / "generation_config.json").write_text("{}")
    [note] = find(str(run), "cpu", tmp_path / "start").notes
    assert note.startswith("model/generation_config.json has another content")
