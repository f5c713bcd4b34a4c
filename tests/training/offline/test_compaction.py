import pytest


@pytest.mark.parametrize("name", ["sft", "dpo"])
def test_loss_and_gradients_are_those_of_scoring_every_position(build, tmp_path, monkeypatch, name):
    from rlpipe.training.offline import trainer as module

    trainer = build(tmp_path, name)
    batch = trainer.data_collator([trainer.train_dataset[row] for row in range(4)])

    def step() -> tuple[float, list]:
        trainer.model.zero_grad()
        loss = trainer.compute_loss(trainer.model, dict(batch))
        loss.backward()
        return loss.item(), [weight.grad.clone() for weight in trainer.model.parameters() if weight.grad is not None]

    positions = []
    import trl.trainer.utils as utils

    original = utils._ChunkedLogProbFunction.apply

    class Counting:
        @staticmethod
        def apply(hidden, *rest):
            positions.append(len(hidden))
            return original(hidden, *rest)

    monkeypatch.setattr(utils, "_ChunkedLogProbFunction", Counting)
    loss, gradients = step()
    from contextlib import nullcontext

    monkeypatch.setattr(module, "compact", nullcontext)
    every_loss, every_gradients = step()
    assert positions[0] < 0.8 * positions[1]
    assert loss == pytest.approx(every_loss, rel=1e-6)
    assert len(gradients) == len(every_gradients) > 10
    for one, other in zip(gradients, every_gradients, strict=True):
        assert (one - other).norm() <= 2e-5 * other.norm() + 1e-9


def test_trl_is_left_as_it_was():
    from trl.trainer import utils

    from rlpipe.training.offline.compaction import compact

    before = utils._use_triton
    with compact() as possible:
        assert possible
        assert utils._use_triton is not before
    assert utils._use_triton is before


def test_without_the_symbol_nothing_is_touched(monkeypatch):
    from trl.trainer import utils

    from rlpipe.training.offline.compaction import compact

    monkeypatch.delattr(utils, "_use_triton")
    with compact() as possible:
        assert not possible
    assert not hasattr(utils, "_use_triton")
