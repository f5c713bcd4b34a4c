"""Training on what another engine drew: kept up to date, measured, corrected, resumed."""

from __future__ import annotations

import shutil

import pytest

from rlpipe.core.errors import TrainingError
from rlpipe.methods.online import Correction, CorrectionLevel
from tests.engines.engines import Copied


def logged(trainer, name: str) -> list[float]:
    return [row[name] for row in trainer.state.log_history if name in row]


@pytest.mark.parametrize("name", ["rloo", pytest.param("ppo", marks=pytest.mark.slow)])
def test_a_copy_of_the_policy_teaches_what_the_policy_does(training, small_model, tmp_path, name):
    import torch

    alone = training.build(small_model, tmp_path / "alone", name, max_steps=4)
    alone.train()
    engine = Copied()
    trainer = training.build(small_model, tmp_path / "copied", name, max_steps=4, engine=engine)
    trainer.train()
    assert logged(trainer, "reward") == logged(alone, "reward")
    for one, other in zip(trainer.model.parameters(), alone.model.parameters(), strict=True):
        torch.testing.assert_close(one, other, atol=1e-4, rtol=1e-3)
    assert engine.events.count("sync") == 1, "a batch of rollouts is used for four steps"
    assert logged(trainer, "engine/gap") == pytest.approx([0], abs=1e-5)
    assert logged(trainer, "engine/ratio_mean") == pytest.approx([1], abs=1e-4)
    assert logged(trainer, "engine/effective_sample_size") == pytest.approx([1], abs=1e-4)
    assert not logged(alone, "engine/gap")


def test_every_batch_is_drawn_from_the_policy_of_then(training, small_model, tmp_path):
    engine = Copied()
    once = {"minibatches": 1, "epochs_per_batch": 1, "max_steps": 3}
    trainer = training.build(small_model, tmp_path, "rloo", engine=engine, **once)
    trainer.train()
    assert engine.synced == 3
    assert max(logged(trainer, "engine/gap_largest")) < 1e-4


def test_a_stale_engine_stops_the_training(training, small_model, tmp_path):
    once = {"minibatches": 1, "epochs_per_batch": 1, "max_steps": 3}
    trainer = training.build(small_model, tmp_path, "rloo", engine=Copied(stuck_after=1), **once)
    with pytest.raises(TrainingError, match="other weights than the policy's"):
        trainer.train()
    assert trainer.state.global_step == 1


@pytest.mark.parametrize("level", CorrectionLevel)
def test_what_the_engine_drew_otherwise_is_corrected(training, small_model, tmp_path, level):
    """The engine says of every token that it was twice as likely as the policy has it."""
    import math

    from rlpipe.methods.correction import per_completion

    class Off(Copied):
        def write(self, loaded, rows, sampling, endings):
            super().write(loaded, rows, sampling, endings)
            for row in rows:
                row.logps = [logp + math.log(2) for logp in row.logps]

    from rlpipe.engines.base import SeparateConfig

    engine = Off(SeparateConfig(name="off", max_gap=1.0))
    settings = {"correction": Correction.truncate, "correction_level": level, "correction_cap": 1.5}
    trainer = training.build(small_model, tmp_path, "grpo", engine=engine, **settings)
    batch, numbers = trainer.collector.collect(trainer.model, 0)
    assert numbers["engine/gap"] == pytest.approx(math.log(2), abs=1e-4)
    assert numbers["engine/ratio_mean"] == pytest.approx(0.5, abs=1e-4)
    assert numbers["engine/ratio_outside"] == 1
    counts = per_completion(batch.written.float(), batch.lengths)
    expected = 0.5 ** (counts if level is CorrectionLevel.completion else counts / counts)
    assert batch.correction.tolist() == pytest.approx(expected.tolist(), abs=1e-4)
    from rlpipe.training.online.objective import Objective

    step = Objective(trainer.method, batch, range(len(batch.rollouts)), None)
    assert step.advantages.tolist() == pytest.approx((batch.advantages * expected).tolist(), abs=1e-4)


@pytest.mark.slow
def test_a_resumed_run_goes_on_with_the_corrections_of_its_batch(training, small_model, tmp_path):
    """Step 3 lies inside the passes over one batch of rollouts."""
    options = {"every": 3, "correction": Correction.mask}
    whole = training.build(small_model, tmp_path / "whole", "grpo", engine=Copied(), **options)
    whole.train()
    checkpoint = tmp_path / "again" / "checkpoints" / "checkpoint-3"
    shutil.copytree(tmp_path / "whole" / "checkpoints" / checkpoint.name, checkpoint)
    again = training.build(small_model, tmp_path / "again", "grpo", engine=Copied(), **options)
    again.train(resume_from_checkpoint=str(checkpoint))
    assert training.digest(again.model) == training.digest(whole.model)
