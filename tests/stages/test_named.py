"""Runs by the names that people give them, and why a run has no model."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from rlpipe.core.errors import ModelError, RecordError
from rlpipe.records.lease import acquire
from rlpipe.stages.named import look_up, model_of, refuse_altered, run_named, stage_names


def copy(run: Path, to: Path, *, model: bool = True) -> Path:
    shutil.copytree(run, to, ignore=shutil.ignore_patterns("checkpoints", *([] if model else ["model"])))
    return to


def edit(file: Path, **changes) -> None:
    file.write_text(json.dumps({**json.loads(file.read_text()), **changes}))


@pytest.mark.parametrize("inside", ["", "model"])
def test_a_run_is_its_folder_or_the_model_in_it(trained_run, inside):
    run = run_named(str(trained_run / inside))
    assert run.dir == trained_run
    assert model_of(run) == trained_run / "model"


def test_a_stage_is_found_by_its_name(trained_run, tmp_path, monkeypatch):
    monkeypatch.setenv("RLPIPE_STORE", str(tmp_path))
    copy(trained_run, tmp_path / "sft-smoltalk-0123456789ab")
    assert run_named("sft-smoltalk-0123456789ab").dir == tmp_path / "sft-smoltalk-0123456789ab"
    assert stage_names() == ["sft-smoltalk-0123456789ab"]
    with pytest.raises(RecordError, match="did you mean 'sft-smoltalk-0123456789ab'"):
        run_named("sft-smoltalk-0123")


def test_what_is_no_run_is_refused_with_what_it_is(trained_run, tmp_path):
    with pytest.raises(RecordError, match="neither a run's folder nor a stage"):
        run_named(str(tmp_path / "nothing"))
    with pytest.raises(RecordError, match="holds no run"):
        run_named(str(tmp_path))
    with pytest.raises(RecordError, match=f"it lies inside one: {trained_run}"):
        run_named(str(trained_run / "evaluations"))
    copy(trained_run, tmp_path / "sweep" / "0", model=False)
    copy(trained_run, tmp_path / "sweep" / "1", model=False)
    with pytest.raises(RecordError, match="holds 2 runs, not one"):
        run_named(str(tmp_path / "sweep"))


def test_a_damaged_record_is_refused(trained_run, tmp_path):
    copy(trained_run, tmp_path / "run")
    (tmp_path / "run" / "result.json").write_text('{"status": "ok", "sta')
    with pytest.raises(RecordError, match=r"result\.json: damaged .*\n.*move it away and give the run's command again"):
        look_up(str(tmp_path / "run"))


def without_model(run: Path, to: Path, status: str | None) -> Path:
    copy(run, to, model=False)
    if status is None:
        (to / "result.json").unlink()
    else:
        error = {"type": "DataError", "message": "no rows\n→ add some", "traceback": "error.txt"}
        edit(to / "result.json", status=status, **({"error": error} if status == "failed" else {}))
    return to


@pytest.mark.parametrize(
    ("status", "why"),
    [
        ("failed", r"failed before it had a model: DataError: no rows\n.*fix that.*run_dir="),
        ("stopped", r"was stopped before it had a model\n.*go on with it: rlpipe .*run_dir="),
        (None, r"was killed before it had a model\n.*go on with it"),
        ("ok", r"has lost its model\n.*make it anew: rlpipe .*run_dir="),
    ],
)
def test_a_run_without_a_model_says_why(trained_run, tmp_path, status, why):
    run = run_named(str(without_model(trained_run, tmp_path / "run", status)))
    with pytest.raises(ModelError, match=why):
        model_of(run)


def test_a_run_that_is_still_going_says_so(trained_run, tmp_path):
    folder = without_model(trained_run, tmp_path / "run", None)
    held = acquire(folder)
    try:
        with pytest.raises(ModelError, match=r"is still going and has no model yet\n.*wait"):
            model_of(run_named(str(folder)))
    finally:
        held.release()


@pytest.mark.parametrize("inside", ["", "model"])
def test_a_model_that_is_not_the_one_that_was_made_is_refused_and_the_advice_holds(trained_run, tmp_path, inside):
    run = shutil.copytree(trained_run, tmp_path / "run", ignore=shutil.ignore_patterns("checkpoints"))
    refuse_altered(str(run / inside))
    weights = run / "model" / "model.safetensors"
    whole = weights.read_bytes()
    weights.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    with pytest.raises(ModelError, match=r"not the model that the run has made: model/model\.safetensors has another"):
        refuse_altered(str(run / inside))
    weights.write_bytes(whole)
    refuse_altered(str(run / inside))
    refuse_altered(str(shutil.copytree(run / "model", tmp_path / "elsewhere")))
    (run / "manifest.json").write_bytes(b"\0" * 100)
    refuse_altered(str(run / inside))
    (run / "manifest.copy.json").write_text("[]")
    with pytest.raises(RecordError, match="damaged"):  # nobody can say how the model was written
        refuse_altered(str(run / inside))
