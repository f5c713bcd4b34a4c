"""Rows that begin alike go through the network as one: same states, losses and gradients, fewer tokens."""

from __future__ import annotations

from typing import Any

import pytest

from rlpipe.engines.row_costs import Costs
from tests.engines.families import each
from tests.training.online.scoring import FAMILIES, VOCABULARY, build, close, gradient

FREE = Costs(share=True)
"""Attention that costs nothing: whatever saves a token is done."""
PAIRS = [
    ([1, 2, 3, 4, 5, 6, 7, 8, 9], [10, 11, 12], [10, 13]),
    ([1, 2, 3, 4, 14], [15], [16, 17, 18, 19, 20]),
    ([21, 22], [23, 24], [23, 24]),
]
"""Prompts and their chosen and rejected completions; of one pair they begin alike, of one they are the same."""
FAST = ("llama", "gemma3", "gpt2")


def batch(left: bool = False) -> dict[str, Any]:
    """Lay pairs out as TRL's collators do: chosen below rejected, padded at the right (or at the left)."""
    import torch

    rows = [prompt + answers[place] for place in (0, 1) for prompt, *answers in PAIRS]
    width = max(map(len, rows))
    ids, mask = torch.zeros(len(rows), width, dtype=torch.long), torch.zeros(len(rows), width, dtype=torch.long)
    for number, row in enumerate(rows):
        place = slice(width - len(row), width) if left else slice(0, len(row))
        ids[number, place], mask[number, place] = torch.tensor(row), 1
    return {"input_ids": ids, "attention_mask": mask}


def step(model: Any, inputs: dict[str, Any], share: bool) -> tuple[Any, Any, int]:
    """Return what the tokens got, the gradient of a weighted sum of it, and how many tokens went through the layers."""
    import torch

    from rlpipe.engines.shared_prompts import shared

    seen: list[int] = []
    watch = model.get_input_embeddings().register_forward_hook(lambda _, given, __: seen.append(given[0].numel()))
    with shared(*[model] * share):
        logits = model(**inputs, use_cache=False).logits
    watch.remove()
    kept = logits[inputs["attention_mask"].bool()]
    kept.mul(torch.randn(kept.shape, generator=torch.Generator().manual_seed(0))).sum().backward()
    return kept.detach(), gradient(model), seen[-1]


@pytest.fixture
def free(monkeypatch: pytest.MonkeyPatch) -> None:
    from rlpipe.engines import shared_prompts

    monkeypatch.setattr(shared_prompts, "costs", lambda model: FREE)


@pytest.mark.usefixtures("free")
@pytest.mark.parametrize("family", each(FAMILIES, FAST))
def test_states_and_gradients_are_those_of_rows_of_their_own(family: str) -> None:
    model = build(family)
    (plain, wanted, all_tokens), (ours, found, tokens) = (step(model, batch(), share) for share in (False, True))
    assert (all_tokens, tokens) == (6 * 12, 3 * 13)
    assert close(ours, plain)
    assert close(found, wanted)


@pytest.mark.usefixtures("free")
def test_padding_at_the_left_gradient_checkpointing_and_adapters() -> None:
    from peft import LoraConfig, get_peft_model

    model = get_peft_model(build("llama"), LoraConfig(r=2, target_modules=["q_proj"], init_lora_weights=False))
    plain, wanted, _ = step(model, batch(left=True), False)
    model.base_model.model.gradient_checkpointing_enable({"use_reentrant": False})
    model.train()
    ours, found, tokens = step(model, batch(left=True), True)
    assert tokens == 3 * 13
    assert close(ours, plain)
    assert close(found, wanted)


def test_without_a_pair_worth_it_the_mask_of_padding_goes(monkeypatch: pytest.MonkeyPatch) -> None:
    from rlpipe.engines import shared_prompts

    monkeypatch.setattr(shared_prompts, "costs", lambda model: Costs(share=True, masked=1e6))
    model, masks = build("llama"), []
    watch = model.model.layers[0].register_forward_pre_hook(
        lambda _, __, given: masks.append(given["attention_mask"]), with_kwargs=True
    )
    (plain, wanted, count), (ours, found, tokens) = (step(model, batch(), share) for share in (False, True))
    watch.remove()
    assert masks[0] is not None
    assert masks[1] is None
    assert count == tokens
    assert close(ours, plain)
    assert close(found, wanted)


def test_calls_that_say_more_than_rows_and_padding_are_left_alone(free: None) -> None:
    import torch

    from rlpipe.engines.shared_prompts import shared

    model, inputs = build("llama"), batch()
    with shared(model), torch.no_grad():
        for more in ({"position_ids": torch.arange(12)[None]}, {"attention_mask": None}):
            whole = model(**{**inputs, **more}, use_cache=False)
            assert whole.logits.shape == (6, 12, VOCABULARY)
    assert not model.model._forward_pre_hooks
    assert not model.model._forward_hooks


def test_rows_are_put_together_by_what_they_have_in_common() -> None:
    from rlpipe.engines.shared_prompts import plan

    rows = [[1, 2, 3, 4], [9, 9, 9], [1, 2, 3, 5, 6], [1, 7], [9, 9, 8]]
    found = plan(rows, FREE)
    assert found.members == [(0, 2), (1, 4), (3,)]
    for row, members in zip(found.rows, found.members, strict=True):
        assert [[*row.beginning, *end] for end in row.ends] == [rows[member] for member in members]
    assert [len(row.beginning) for row in found.rows] == [3, 2, 2]
    apart = plan(rows, Costs(share=True, masked=1.0))
    assert not apart.shares
    assert apart.members == [(0,), (1,), (2,), (3,), (4,)]


@pytest.mark.parametrize(
    ("settings", "compiled", "why"),
    [
        ({}, False, None),
        ({"attn_implementation": "flash_attention_2"}, False, "attention 'flash_attention_2' takes no mask of its own"),
        ({"output_router_logits": True}, False, "the balance of its experts"),
        ({}, True, "torch_compile wants the same shapes"),
    ],
    ids=str,
)
def test_what_does_not_serve_is_said(settings: Any, compiled: bool, why: str | None) -> None:
    from rlpipe.engines.shared_prompts import refusal

    model = build("llama")
    model.config._attn_implementation = settings.pop("attn_implementation", "sdpa")
    model.config.update(settings)
    found = refusal(model, compiled)
    assert found is None if why is None else why in str(found)
