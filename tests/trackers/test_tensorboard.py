"""TensorBoard: the event files are read back."""

import sys

import pytest

from rlpipe.core.errors import RlpipeError
from rlpipe.trackers.base import RunIdentity
from rlpipe.trackers.guarded import Guarded
from rlpipe.trackers.tensorboard import TensorBoard, TensorBoardConfig


def identity(tmp_path):
    return RunIdentity(id="0123456789ab", name="my-run", run_dir=tmp_path, job_type="dpo")


def test_curves_tables_and_hyperparameters_over_two_attempts(tmp_path):
    event_accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    for logged_until, steps, ok in ((-1, (10, 20, 30), False), (30, (30, 40), True)):
        tracker = Guarded(TensorBoard(TensorBoardConfig()), logged_until)
        tracker.start(identity(tmp_path), {"method": {"learning_rate": 1e-5, "betas": [1, 2]}, "seed": 0})
        for step in steps:
            tracker.log({"loss": 1 / step}, step)
        tracker.table("samples", [{"prompt": "a|b\nc", "score": 1.5}, {"prompt": "x", "more": [1]}], steps[-1])
        tracker.summary({"after/preference/accuracy": 0.7})
        tracker.finish(ok)
    events = event_accumulator.EventAccumulator(str(tmp_path / "tensorboard"))
    events.Reload()
    assert [(event.step, pytest.approx(1 / event.step)) for event in events.Scalars("loss")] == [
        (step, 1 / step) for step in (10, 20, 30, 40)
    ]
    table = events.Tensors("samples/text_summary")[0].tensor_proto.string_val[0].decode()
    assert table.splitlines()[0] == "| prompt | score | more |"
    assert "| a\\|b<br>c | 1.5 | null |" in table
    assert "learning_rate" in events.Tensors("config/text_summary")[0].tensor_proto.string_val[0].decode()
    assert events.Scalars("after/preference/accuracy")[-1].value == pytest.approx(0.7)
    assert "_hparams_/session_start_info" in events.summary_metadata


def test_steps_are_on_the_disk_when_log_returns(tmp_path):
    event_accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    tracker = TensorBoard(TensorBoardConfig())
    tracker.start(identity(tmp_path), {})
    tracker.log({"loss": 0.5}, 10)
    events = event_accumulator.EventAccumulator(str(tmp_path / "tensorboard"))
    events.Reload()
    assert [event.step for event in events.Scalars("loss")] == [10]
    tracker.finish(True)


def test_a_missing_package_is_named(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    with pytest.raises(RlpipeError, match=r"pip install 'rlpipe\[tensorboard\]'"):
        Guarded(TensorBoard(TensorBoardConfig())).start(identity(tmp_path), {})
