"""Log-probabilities, entropies and gradients of packed rollouts equal those of one row per rollout."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from rlpipe.core.errors import TrainingError
from rlpipe.engines.row_costs import Costs
from rlpipe.training.online.packing import MicroBatch, micro_batches
from tests.engines.families import each
from tests.training.online.scoring import (
    ALL,
    FAMILIES,
    VOCABULARY,
    backward,
    build,
    close,
    gradient,
    plain,
    rollout,
    some,
    weights,
)

if TYPE_CHECKING:
    from rlpipe.training.online.forward import Scored


FAST = ("llama", "gemma3", "gpt2")


@pytest.mark.parametrize("family", each(FAMILIES, FAST))
def test_values_and_gradients_equal_one_row_per_rollout(family: str) -> None:
    import torch

    from rlpipe.engines import shared_prefix

    model, rollouts = build(family), some()
    scale, temperature = weights(rollouts), 0.7
    assert shared_prefix.supports_shared_prefix(model)[0], shared_prefix.supports_shared_prefix(model)[1]
    wanted = [plain(model, each, temperature) for each in rollouts]
    torch.cat(scale).mul(torch.cat([logps for logps, _ in wanted])).sum().backward()
    exact = gradient(model)
    batches = micro_batches(rollouts, 60, ALL)
    assert any(batch.shared for batch in batches)
    assert any(len(batch.rows) > 1 for batch in batches)
    for packed in (batches, micro_batches(rollouts, 60, Costs(share=False, call=1e6))):
        found = backward(model, packed, scale, temperature)
        for index, (logps, _) in enumerate(wanted):
            assert close(found[index], logps), index
        assert close(gradient(model), exact)


@pytest.fixture(scope="module")
def llama() -> Any:
    return build("llama")


@pytest.fixture(scope="module")
def one_batch() -> MicroBatch:
    (batch,) = micro_batches(some(), 10**6, ALL)
    return batch


@pytest.fixture
def scored(llama: Any, one_batch: MicroBatch) -> Iterator[Scored]:
    from rlpipe.training.online.forward import forward

    yield forward(llama, one_batch, 1.0, hidden=True)
    llama.zero_grad()


def test_entropies_and_places(llama: Any, one_batch: MicroBatch, scored: Scored) -> None:
    import torch

    wanted = torch.cat([plain(llama, each, 1.0)[1] for each in one_batch.rollouts])
    assert close(scored.entropies, wanted)
    pairs = [(number, place) for number, each in enumerate(one_batch.rollouts) for place in range(len(each.ids))]
    assert list(zip(scored.rollout.tolist(), scored.position.tolist(), strict=True)) == pairs


def test_hidden_states_are_what_the_head_takes(llama: Any, one_batch: MicroBatch, scored: Scored) -> None:
    import torch

    from rlpipe.training.online.forward import forward

    assert scored.hidden is not None
    targets = torch.tensor([token for each in one_batch.rollouts for token in each.ids])
    again = llama.lm_head(scored.hidden).log_softmax(-1).gather(-1, targets[:, None])[:, 0]
    assert close(again, scored.logps)
    scored.hidden.sum().backward()
    assert llama.get_input_embeddings().weight.grad.abs().sum() > 0
    assert forward(llama, one_batch, 1.0).hidden is None


def test_tool_results_are_scored_too(llama: Any) -> None:
    from rlpipe.training.online.forward import forward

    given = rollout([1, 2], [3, 4, 5])
    given.written = [True, False, True]
    (batch,) = micro_batches([given], 100, ALL)
    assert close(forward(llama, batch, 1.0).logps, plain(llama, given, 1.0)[0])


def test_chunks_that_are_computed_again_change_nothing(
    llama: Any, one_batch: MicroBatch, monkeypatch: pytest.MonkeyPatch
) -> None:
    from rlpipe.engines import decoder
    from rlpipe.training.online import logprobs
    from rlpipe.training.online.forward import forward

    whole = forward(llama, one_batch, 1.0)
    whole.logps.square().sum().backward()
    exact = gradient(llama)
    rows: list[int] = []
    watched = llama.lm_head.register_forward_hook(lambda _, inputs, __: rows.append(len(inputs[0])))
    for module, name, value in (
        (decoder, "CHUNKS", {"cpu": 4 * VOCABULARY}),
        (decoder, "SHORTEST_CHUNK", 1),
        (logprobs, "KEPT", 0),
    ):
        monkeypatch.setattr(module, name, value)
    parts = forward(llama, one_batch, 1.0)
    parts.logps.square().sum().backward()
    watched.remove()
    assert max(rows) == 4
    assert sum(rows) == 2 * len(parts.logps)
    assert close(parts.logps, whole.logps)
    assert close(parts.entropies, whole.entropies)
    assert close(gradient(llama), exact)


@pytest.mark.parametrize("temperature", [1.0, 0.7])
def test_entropies_have_the_gradient_of_the_entropy(temperature: float) -> None:
    import torch
    from torch import nn

    from rlpipe.training.online import logprobs

    logits = torch.randn(5, 7, generator=torch.Generator().manual_seed(0), requires_grad=True)
    scale, targets = torch.arange(5.0), torch.tensor([0, 1, 2, 3, 4])
    plain = (logits / temperature).log_softmax(-1)
    logps, entropies = logprobs.token_logps(nn.Identity(), 7, logits, targets, temperature)
    chosen, spread = plain[range(5), targets], -(plain.exp() * plain).sum(-1)
    for ours, theirs in ((entropies, spread), (logps + entropies, chosen + spread)):
        found, exact = (
            torch.autograd.grad((scale * one).sum(), logits, retain_graph=True)[0] for one in (ours, theirs)
        )
        assert close(found, exact)


def test_forbidden_tokens_give_no_nan() -> None:
    import torch
    from torch import nn

    from rlpipe.training.online import logprobs

    logits = torch.tensor([[0.0, 1.0, float("-inf")]], requires_grad=True)
    logps, entropies = logprobs.token_logps(nn.Identity(), 3, logits, torch.tensor([1]), 1.0)
    (logps + entropies).sum().backward()
    shares = torch.tensor([0.0, 1.0]).softmax(-1)
    assert close(entropies, -(shares * shares.log()).sum()[None])
    assert logits.grad is not None
    assert torch.isfinite(logits.grad).all()


def test_gradient_checkpointing() -> None:
    model, rollouts = build("gemma3").train(), some()
    batches, scale = micro_batches(rollouts, 60, ALL), weights(rollouts)
    backward(model, batches, scale)
    exact = gradient(model)
    model.gradient_checkpointing_enable({"use_reentrant": False})
    backward(model, batches, scale)
    assert model.training
    assert close(gradient(model), exact)


def test_autocast(llama: Any, one_batch: MicroBatch) -> None:
    import torch

    from rlpipe.training.online.forward import forward

    exact = forward(llama, one_batch, 1.0).logps
    with torch.autocast("cpu", torch.bfloat16):
        found = forward(llama, one_batch, 1.0).logps
    assert found.dtype == torch.float32
    assert not torch.equal(found, exact)
    assert (found - exact).abs().max() < 0.1 * exact.abs().max()
    found.sum().backward()
    assert torch.isfinite(gradient(llama)).all()


@pytest.mark.parametrize("family", ["llama", "gemma2"])
def test_bfloat16_weights(family: str) -> None:
    import torch

    from rlpipe.training.online.forward import forward

    model = build(family).to(torch.bfloat16)
    rollouts = some(groups=1)
    (batch,) = micro_batches(rollouts, 10**6, ALL)
    wanted = torch.cat([plain(model, each, 1.0)[0] for each in rollouts])
    assert (forward(model, batch, 1.0).logps - wanted).abs().max() < 0.05 * wanted.abs().max()


def test_adapters() -> None:
    import torch
    from peft import LoraConfig, get_peft_model

    from rlpipe.training.online.forward import sequence_logps

    rollouts = some()
    batches, scale = micro_batches(rollouts, 60, ALL), weights(rollouts)
    model = get_peft_model(build("llama"), LoraConfig(target_modules="all-linear", init_lora_weights=False))
    exact = torch.cat([plain(model, each, 1.0)[0] for each in rollouts])
    torch.cat(scale).mul(exact).sum().backward()
    wanted = gradient(model)
    backward(model, batches, scale)
    assert wanted.norm() > 0
    assert close(gradient(model), wanted)
    with model.disable_adapter():
        base = torch.cat(sequence_logps(model, rollouts, 1.0, 60))
        assert close(base, torch.cat([plain(model, each, 1.0)[0] for each in rollouts]))
    assert not close(base, exact, 1e-2)


def test_processes_exchange_gradients(tmp_path: Path) -> None:
    import torch
    from torch import distributed, nn

    rollouts = some()
    batches, scale = micro_batches(rollouts, 10**6, ALL), weights(rollouts)
    model = build("llama")
    backward(model, batches, scale)
    exact = gradient(model)
    distributed.init_process_group("gloo", init_method=f"file://{tmp_path}/store", rank=0, world_size=1)
    try:
        wrapped = nn.parallel.DistributedDataParallel(model)
        exchanged: list[int] = []

        def hook(_, bucket):  # DDP insists on its own annotations, or none
            exchanged.append(bucket.buffer().numel())
            done = torch.futures.Future()
            done.set_result(bucket.buffer())
            return done

        wrapped.register_comm_hook(None, hook)
        backward(wrapped, batches, scale)
        assert sum(exchanged) == len(exact) * len(batches)
        assert close(gradient(model), exact)
    finally:
        distributed.destroy_process_group()
    ids = torch.tensor([[1, 2, 3]])
    assert model(input_ids=ids).logits.shape == (1, 3, VOCABULARY)


def test_sequence_logps_come_in_order_without_dropout() -> None:
    from rlpipe.training.online.forward import sequence_logps

    model, rollouts = build("llama", attention_dropout=0.5).train(), some()
    found = sequence_logps(model, rollouts, 0.5, 40)
    assert model.training
    assert all(module.training for module in model.modules())
    model.eval()
    for one, logps in zip(rollouts, found, strict=True):
        assert not logps.requires_grad
        assert close(logps, plain(model, one, 0.5)[0])
    assert sequence_logps(model, [], 1.0, 40) == []


def test_temperature_zero_is_refused(llama: Any, one_batch: MicroBatch) -> None:
    from rlpipe.training.online.forward import forward

    with pytest.raises(TrainingError, match="temperature 0"):
        forward(llama, one_batch, 0)


def test_only_completion_tokens_reach_the_head(llama: Any, one_batch: MicroBatch) -> None:
    from rlpipe.training.online.forward import forward

    rows: list[int] = []
    watched = llama.lm_head.register_forward_hook(lambda _, inputs, __: rows.append(len(inputs[0])))
    forward(llama, one_batch, 1.0)
    watched.remove()
    assert sum(rows) == sum(len(each.ids) for each in one_batch.rollouts)


def test_the_prompt_goes_through_once(llama: Any) -> None:
    from rlpipe.training.online.forward import forward

    (batch,) = micro_batches(some(groups=1), 10**6, ALL)
    seen: list[int] = []
    watched = llama.get_input_embeddings().register_forward_hook(lambda _, inputs, __: seen.append(inputs[0].numel()))
    forward(llama, batch, 1.0)
    watched.remove()
    assert seen == [11 + sum(len(each.ids) - 1 for each in batch.rollouts)]
