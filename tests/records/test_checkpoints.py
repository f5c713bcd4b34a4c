"""Only whole checkpoints are gone on from, whatever happened to the others."""

import json
import logging
import re
import subprocess
import sys
from pathlib import Path

import pytest

from rlpipe.core.errors import RecordError, TrainingError
from rlpipe.records import checkpoints


def make(folder, step, content=b"weights"):
    checkpoint = folder / f"checkpoint-{step}"
    (checkpoint / "sub").mkdir(parents=True)
    (checkpoint / "optimizer.pt").write_bytes(content)
    (checkpoint / "sub" / "part").write_bytes(b"part")
    return checkpoint


def names(folder):
    return [path.name for path in checkpoints.all_checkpoints(folder)]


def test_no_folder_no_checkpoint(tmp_path):
    assert checkpoints.newest_whole(tmp_path / "checkpoints") is None


def test_half_written_ones_are_passed_over(tmp_path):
    checkpoints.seal(make(tmp_path, 90))
    checkpoints.seal(make(tmp_path, 100))
    make(tmp_path, 110)
    assert checkpoints.newest_whole(tmp_path) == tmp_path / "checkpoint-100"


def _flip(path):
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


@pytest.mark.parametrize(
    ("harm", "why"),
    [
        (lambda c: _flip(c / "optimizer.pt"), "optimizer.pt: hash differs"),
        (lambda c: (c / "optimizer.pt").write_bytes(b"we"), "optimizer.pt: 2 bytes instead of 7"),
        (lambda c: (c / "sub" / "part").unlink(), "sub/part is missing"),
        (lambda c: (c / "whole.json").write_text("{"), "whole.json cannot be read"),
    ],
)
def test_a_damaged_one_is_named_and_the_one_before_is_taken(tmp_path, caplog, harm, why):
    checkpoints.seal(make(tmp_path, 200))
    damaged = make(tmp_path, 300)
    checkpoints.seal(damaged)
    harm(damaged)
    with caplog.at_level(logging.WARNING):
        assert checkpoints.newest_whole(tmp_path) == tmp_path / "checkpoint-200"
    assert f"checkpoint-300 is damaged ({why}" in caplog.text
    assert "going on from checkpoint-200" in caplog.text


def test_pruning_keeps_the_newest_whole_ones(tmp_path):
    for step in (10, 20, 30, 40):
        checkpoints.seal(make(tmp_path, step))
    make(tmp_path, 25)
    make(tmp_path, 50)
    checkpoints.prune(tmp_path, keep=2)
    assert names(tmp_path) == ["checkpoint-30", "checkpoint-40", "checkpoint-50"]


def test_before_training_goes_on_what_is_newer_goes(tmp_path):
    checkpoints.seal(make(tmp_path, 10))
    make(tmp_path, 20)
    checkpoints.clear_after(tmp_path, tmp_path / "checkpoint-10")
    assert names(tmp_path) == ["checkpoint-10"]
    checkpoints.clear_after(tmp_path, None)
    assert names(tmp_path) == []


def test_a_trainer_leaves_whole_checkpoints_and_goes_on_exactly(tmp_path):
    import torch

    from rlpipe.training import callbacks
    from tests.training.tiny_training import trainer, weights

    straight = trainer(tmp_path / "a")
    callbacks.train(straight, None)
    assert names(tmp_path / "a") == ["checkpoint-9", "checkpoint-12"]
    sealed = json.loads((tmp_path / "a" / "checkpoint-9" / "whole.json").read_text())
    assert {"optimizer.pt", "rng_state.pth", "trainer_state.json", "scheduler.pt"} <= sealed["files"].keys()
    assert sealed["step"] == 9
    resumed = trainer(tmp_path / "a")
    _flip(tmp_path / "a" / "checkpoint-12" / "optimizer.pt")
    newest = checkpoints.newest_whole(tmp_path / "a")
    assert newest.name == "checkpoint-9"
    checkpoints.clear_after(tmp_path / "a", newest)
    callbacks.train(resumed, newest)
    for name, value in weights(straight).items():
        assert torch.equal(value, weights(resumed)[name])


def test_a_trained_model_is_not_trained_further(tmp_path):
    import torch

    from rlpipe.training import callbacks
    from tests.training.tiny_training import trainer, weights

    # 5 of the epoch's 12 steps: from such a checkpoint the trainer itself would do a sixth
    straight = trainer(tmp_path, max_steps=5, save_steps=5)
    callbacks.train(straight, None)
    again = trainer(tmp_path, max_steps=5, save_steps=5)
    callbacks.train(again, checkpoints.newest_whole(tmp_path))
    assert again.state.global_step == 5
    for name, value in weights(straight).items():
        assert torch.equal(value, weights(again)[name])


@pytest.mark.parametrize("when", [1, 17])
def test_a_loss_that_is_no_number_stops_and_keeps_the_last_good_checkpoint(tmp_path, when):
    import torch

    from rlpipe.training import callbacks
    from tests.training import tiny_training
    from tests.training.tiny_training import trainer

    data = tiny_training.rows(200)
    made = trainer(
        tmp_path, data=data, save_steps=2, max_steps=40, logging_steps=50, train_sampling_strategy="sequential"
    )
    data[when * 4 + 1]["y"] = torch.tensor(float("inf"))
    with pytest.raises(TrainingError, match=rf"step {when + 1}: the loss is inf") as caught:
        callbacks.train(made, None)
    good = checkpoints.newest_whole(tmp_path)
    assert (good is None) == (when == 1)
    if good is not None:
        assert str(good) in str(caught.value)
        assert checkpoints.step_of(good) == when - 1
    assert all(checkpoints.step_of(path) <= when for path in checkpoints.all_checkpoints(tmp_path))


def test_a_weight_that_is_no_number_is_never_kept(tmp_path):
    from rlpipe.training import callbacks
    from tests.training.tiny_training import trainer

    made = trainer(tmp_path, max_steps=4, save_steps=2)

    class Break(callbacks.TrainerCallback):
        def on_step_end(self, args, state, control, model=None, **_):
            if state.global_step == 4:
                model.layer.bias.data[0] = float("nan")

    made.add_callback(Break())
    with pytest.raises(TrainingError, match="a weight is not a number"):
        callbacks.train(made, None)
    assert names(tmp_path) == ["checkpoint-2"]


FULL, FAILING = "no space left for a checkpoint", "the disk fails (Input/output error)"


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (OSError(28, "No space left on device"), FULL),
        (OSError(5, "Input/output error"), FAILING),
        (RuntimeError("Error while serializing: I/O error: Input/output error (os error 5)"), FAILING),
        (RuntimeError("[enforce fail at inline_container.cc:672] . unexpected pos 64 vs 0"), FAILING),
    ],
)
def test_a_disk_that_is_full_or_fails_while_saving_keeps_what_there_was(tmp_path, monkeypatch, error, said):
    import torch

    from rlpipe.training import callbacks
    from tests.training.tiny_training import trainer

    made = trainer(tmp_path, max_steps=6, save_steps=2)
    save = torch.save

    def fails(thing, path, *arguments, **options):
        if "checkpoint-4" in str(path):
            raise error
        return save(thing, path, *arguments, **options)

    monkeypatch.setattr(torch, "save", fails)
    with pytest.raises(RecordError, match=re.escape(f"{said}; checkpoint-2 is kept")) as raised:
        callbacks.train(made, None)
    assert "give the same command again" in raised.value.fix
    assert checkpoints.newest_whole(tmp_path).name == "checkpoint-2"
    assert names(tmp_path) == ["checkpoint-2"]


def test_another_error_of_a_file_is_none_of_the_disk(tmp_path):
    from rlpipe.training import callbacks
    from tests.training.tiny_training import trainer

    made = trainer(tmp_path, max_steps=2)
    made.compute_loss = lambda *arguments, **options: (tmp_path / "gone").read_bytes()
    with pytest.raises(FileNotFoundError):
        callbacks.train(made, None)


def test_a_checkpoint_does_not_grow_with_the_steps(tmp_path):
    from rlpipe.training import callbacks
    from tests.training.tiny_training import trainer

    callbacks.train(trainer(tmp_path, max_steps=12, save_steps=3, keep=4, logging_steps=1), None)
    states = [folder / "trainer_state.json" for folder in checkpoints.all_checkpoints(tmp_path)]
    assert len(states) == 4
    assert [json.loads(state.read_text())["log_history"] for state in states] == [[]] * 4


def test_no_printing_of_the_trainers_own(tmp_path, capfd):
    from rlpipe.training import callbacks
    from tests.training.tiny_training import trainer

    callbacks.train(trainer(tmp_path, max_steps=2), None)
    assert capfd.readouterr().out == ""


@pytest.mark.slow
def test_killed_at_any_moment_it_ends_with_the_same_weights(tmp_path, monkeypatch):
    import torch

    monkeypatch.chdir(Path(__file__).resolve().parents[1])
    printed = {}
    for kills in (0, 10):
        (tmp_path / str(kills)).mkdir()
        command = [sys.executable, "-m", "tests.training.tiny_training", str(tmp_path / str(kills)), str(kills)]
        printed[kills] = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    starts = [int(line.split()[1]) for line in printed[10].splitlines() if line.startswith("from ")]
    assert starts == sorted(starts)
    assert len(set(starts)) > 3, f"hardly a kill fell into the training: {starts}"
    straight, killed = (torch.load(tmp_path / kills / "final.pt") for kills in ("0", "10"))
    for name, value in straight.items():
        assert torch.equal(value, killed[name])


def test_an_attempt_writes_apart_and_only_what_is_whole_is_among_the_others(tmp_path):
    from rlpipe.training import callbacks
    from tests.training.tiny_training import trainer

    left_over = tmp_path / f"{checkpoints.WRITING}1" / "checkpoint-8"
    left_over.mkdir(parents=True)
    checkpoints.clear_after(tmp_path, None)
    assert not left_over.exists()
    made = trainer(tmp_path, max_steps=8, save_steps=4)
    made.args.output_dir = str(tmp_path / f"{checkpoints.WRITING}2")
    callbacks.train(made, None)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["checkpoint-4", "checkpoint-8"]
    assert checkpoints.newest_whole(tmp_path) == tmp_path / "checkpoint-8"
