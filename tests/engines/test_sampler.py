"""What is drawn, what is recorded about it, and what it does not depend on."""

from __future__ import annotations

import copy
import math
from typing import TYPE_CHECKING

import pytest

from rlpipe.core.errors import ConfigError, DataError, ModelError, TrainingError
from rlpipe.datasets.forms import Prompt
from rlpipe.engines.prompts import prompt_ids
from rlpipe.engines.rollout import Finish, Rollout, SamplingConfig
from rlpipe.engines.sampler import Sampler
from rlpipe.engines.transformers import Transformers, TransformersConfig
from tests.engines.families import FAMILIES, config_of, each, family, loaded

if TYPE_CHECKING:
    from torch import Tensor

TEXTS = [
    "Make 24 of 3 and 8.",
    "Hi",
    "Say yes or no, and then say why that is so, in a few words.",
    "Who?",
    "Why is it?",
]
PROMPTS = [Prompt(f"train/{number}", [{"role": "user", "content": text}]) for number, text in enumerate(TEXTS)]
FAST = ("llama", "deepseek", "gemma3_window")
SETTINGS = SamplingConfig(temperature=0.8, top_k=200, top_p=0.95, min_p=0.001, max_tokens=20)


def plain_logps(model, rollout: Rollout, sampling: SamplingConfig) -> Tensor:
    """Score a rollout by one forward pass over all of it, without a cache."""
    import torch

    from rlpipe.engines.draw import keep

    ids = torch.tensor([rollout.prompt_ids + rollout.ids])
    with torch.no_grad():
        logits = model(input_ids=ids, use_cache=False).logits[0, len(rollout.prompt_ids) - 1 : -1].float()
    logps = keep(logits / sampling.temperature, sampling).log_softmax(-1)
    return logps.gather(1, torch.tensor(rollout.ids).unsqueeze(1)).squeeze(1)


@pytest.mark.parametrize("name", each(FAMILIES, FAST))
def test_recorded_log_probabilities_are_those_of_a_plain_forward(name: str) -> None:
    """In every family: padded prompts, shared prompts, windows shorter than a prompt, rows that left."""
    import torch

    one = family(name)
    # A filter may keep or leave out a token at its border by rounding, so the plain settings stand for all families.
    sampling = SamplingConfig(temperature=0.8, max_tokens=20)
    with_early_ends = Sampler(one, sampling)
    with_early_ends.endings.tokens = frozenset(range(0, 943, 6))
    rollouts = [rollout for group in with_early_ends.sample(PROMPTS, 3, seed=1) for rollout in group]
    assert len({len(rollout.ids) for rollout in rollouts}) > 3
    for rollout in rollouts:
        assert all(rollout.written)
        expected = plain_logps(one.model, rollout, sampling)
        assert len(expected) < 5 or expected.std() > 0.01
        torch.testing.assert_close(torch.tensor(rollout.logps), expected, atol=1e-4, rtol=0)


def test_log_probabilities_are_those_after_the_filters() -> None:
    import torch

    one = family("llama")
    for rollout in Sampler(one, SETTINGS).sample(PROMPTS[:1], 4, seed=1)[0]:
        expected = plain_logps(one.model, rollout, SETTINGS)
        torch.testing.assert_close(torch.tensor(rollout.logps), expected, atol=1e-4, rtol=0)


@pytest.mark.parametrize("name", each(FAMILIES, FAST))
def test_greedy_is_generate_token_by_token(name: str) -> None:
    import torch

    one = family(name)
    for prompt, (rollout,) in zip(
        PROMPTS, Sampler(one, SamplingConfig(temperature=0, max_tokens=16)).sample(PROMPTS, 1, 0), strict=True
    ):
        ids = torch.tensor([prompt_ids(prompt, one.tokenizer)])
        end = {"eos_token_id": one.tokenizer.eos_token_id, "pad_token_id": 0}
        written = one.model.generate(
            input_ids=ids, attention_mask=torch.ones_like(ids), do_sample=False, max_new_tokens=16, **end
        )
        assert rollout.ids == written[0, ids.shape[1] :].tolist()
        assert set(rollout.logps) == {0.0}


@pytest.mark.parametrize("name", ["llama", "gemma2_window"])
def test_results_do_not_depend_on_batches(name: str) -> None:
    """The first model shares prompts' keys, the second cannot."""
    one = family(name)

    def sampler(**settings: int) -> Sampler:
        made = Sampler(one, SETTINGS, engine=Transformers(TransformersConfig(**settings)))
        made.endings.tokens = frozenset(range(0, 943, 20))
        return made

    whole = sampler().sample(PROMPTS, 3, seed=5)
    assert len({len(rollout.ids) for group in whole for rollout in group}) > 2
    singly = sampler(cache_tokens=1).sample(PROMPTS[::-1], 3, seed=5)[::-1]
    fewer = sampler().sample(PROMPTS[1:3], 2, seed=5)
    ids = [[rollout.ids for rollout in group] for group in whole]
    assert [[rollout.ids for rollout in group] for group in singly] == ids
    assert [[rollout.ids for rollout in group] for group in fewer] == [group[:2] for group in ids[1:3]]
    assert [group[0].prompt for group in whole] == PROMPTS
    other = sampler().sample(PROMPTS, 3, seed=6)
    assert [[rollout.ids for rollout in group] for group in other] != ids
    assert len({tuple(one) for group in ids for one in group}) > 10


def test_each_distinct_prompt_is_read_once(monkeypatch: pytest.MonkeyPatch) -> None:
    one = family("llama")
    read = []

    def note(module, arguments, named):
        if named["input_ids"].shape[1] > 1:
            read.append(named["input_ids"].shape[0])

    handle = one.model.register_forward_pre_hook(note, with_kwargs=True)
    again = Prompt("train/9", PROMPTS[0].prompt)
    Sampler(one, SETTINGS).sample([*PROMPTS, again], 8, 0)
    handle.remove()
    assert read == [5]


def test_finished_rows_leave_the_batch() -> None:
    one = family("llama")
    sampler = Sampler(one, SamplingConfig(max_tokens=30))
    sampler.endings.tokens = frozenset(range(0, 943, 8))
    sizes = []
    handle = one.model.register_forward_pre_hook(
        lambda module, arguments, named: sizes.append(named["input_ids"].numel()), with_kwargs=True
    )
    rollouts = [rollout for group in sampler.sample(PROMPTS, 8, 0) for rollout in group]
    handle.remove()
    steps = range(1, max(len(rollout.ids) for rollout in rollouts))
    assert sizes[1:] == [sum(len(rollout.ids) > step for rollout in rollouts) for step in steps]
    assert sizes[-1] < 10


def test_half_precision_and_autocast_are_sampled_as_they_are_trained() -> None:
    """Close to a plain forward in the same precision, for bfloat16 weights and for float32 weights under autocast."""
    import torch

    half = loaded(config_of("qwen2"), dtype=torch.bfloat16)
    mixed = copy.copy(family("qwen2"))
    mixed.autocast = True
    sampling = SamplingConfig(max_tokens=20)
    for one in (half, mixed):
        for group in Sampler(one, sampling).sample(PROMPTS, 2, 0):
            for rollout in group:
                with torch.autocast("cpu", dtype=torch.bfloat16, enabled=one.autocast):
                    expected = plain_logps(one.model, rollout, sampling)
                assert (torch.tensor(rollout.logps) - expected).abs().mean() < 0.1
        assert one.model.dtype == (torch.float32 if one.autocast else torch.bfloat16)


def test_adapters_count_and_the_frozen_base_stays_frozen() -> None:
    import torch
    from peft import LoraConfig, get_peft_model

    one = loaded(config_of("llama"))
    model = get_peft_model(one.model, LoraConfig(r=4, target_modules="all-linear", lora_dropout=0.5))
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "lora_B" in name:
                parameter.normal_(std=0.5)
    one.model = model
    model.train()
    frozen = [name for name, parameter in model.named_parameters() if not parameter.requires_grad]
    sampling = SamplingConfig(max_tokens=12)
    group = Sampler(one, sampling).sample(PROMPTS[:2], 2, 0)[0]
    assert model.training
    assert all(module.training for module in model.modules())
    one.autocast = True
    Sampler(one, sampling).sample(PROMPTS[:1], 1, 0)
    assert [name for name, parameter in model.named_parameters() if not parameter.requires_grad] == frozen
    model.eval()
    for rollout in group:
        expected = plain_logps(model, rollout, sampling)
        torch.testing.assert_close(torch.tensor(rollout.logps), expected, atol=1e-4, rtol=0)


def test_the_model_comes_back_as_it_was() -> None:
    """Modes of single modules, attention, and weights that can be trained on, also after an error."""
    import torch

    from rlpipe.engines.shared_attention import NAME

    one = loaded(config_of("llama"))
    one.model.train()
    one.model.model.layers[0].eval()
    one.model.gradient_checkpointing_enable()
    one.model.config.use_cache = False
    modes = [module.training for module in one.model.modules()]
    sampler = Sampler(one, SETTINGS)
    sampler.sample(PROMPTS, 2, 0)
    with torch.no_grad():
        one.model.model.norm.weight[0] = math.nan
    with pytest.raises(TrainingError, match=r"not numbers after 0 tokens of a completion of prompt train/"):
        sampler.sample(PROMPTS, 2, 0)
    with torch.no_grad():
        one.model.model.norm.weight[0] = 1.0
    assert [module.training for module in one.model.modules()] == modes
    assert one.model.config._attn_implementation == "sdpa" != NAME
    ids = torch.tensor([[1, 2, 3]])
    one.model(input_ids=ids, labels=ids).loss.backward()
    assert all(parameter.grad is not None for parameter in one.model.parameters())


def test_sampling_leaves_the_global_random_state_alone() -> None:
    import torch

    torch.manual_seed(3)
    expected = torch.rand(4)
    torch.manual_seed(3)
    Sampler(family("llama"), SETTINGS).sample(PROMPTS, 2, 0)
    assert torch.equal(torch.rand(4), expected)


def test_every_end_token_ends_a_completion() -> None:
    one = loaded(config_of("llama"))
    first = Sampler(one, SamplingConfig(max_tokens=8)).sample(PROMPTS[:1], 1, 0)[0][0]
    one.model.generation_config.eos_token_id = [first.ids[3]]
    ended = Sampler(one, SamplingConfig(max_tokens=8)).sample(PROMPTS[:1], 1, 0)[0][0]
    where = first.ids.index(first.ids[3])
    assert (ended.ids, ended.finish) == (first.ids[: where + 1], Finish.stop)
    assert one.tokenizer.eos_token_id in Sampler(one, SETTINGS).endings.tokens


@pytest.mark.parametrize("length", [1, 3])
def test_a_stop_string_ends_a_completion_where_it_is_complete(length: int) -> None:
    one = family("llama")
    free = Sampler(one, SamplingConfig(max_tokens=20)).sample(PROMPTS[:1], 1, 0)[0][0]
    stop = str(one.tokenizer.decode(free.ids[5 : 5 + length])).strip()
    assert stop
    bound = Sampler(one, SamplingConfig(max_tokens=20, stop=["never written", stop])).sample(PROMPTS[:1], 1, 0)[0][0]
    assert bound.finish is Finish.stop
    assert bound.ids == free.ids[: len(bound.ids)]
    assert stop in bound.text
    assert stop not in str(one.tokenizer.decode(bound.ids[:-1]))


def test_the_context_bounds_a_completion_and_a_prompt_must_leave_room() -> None:
    one = family("llama")
    long = Prompt("train/7", [{"role": "user", "content": "a 1" * 79}])
    held = len(prompt_ids(long, one.tokenizer))
    assert 236 < held < 256
    rollout = Sampler(one, SamplingConfig(max_tokens=100)).sample([PROMPTS[0], long], 1, 0)[1][0]
    assert (len(rollout.ids), rollout.finish) == (256 - held, Finish.length)
    full = Prompt("train/8", [{"role": "user", "content": "a 1" * 200}])
    with pytest.raises(DataError, match=r"prompt train/8 has \d+ tokens, and the model takes 256"):
        Sampler(one, SETTINGS).sample([full], 1, 0)


def test_settings_out_of_range_are_all_named() -> None:
    wrong = SamplingConfig(temperature=-1, top_p=0, top_k=-1, min_p=2, max_tokens=0, stop=[""])
    with pytest.raises(ConfigError) as error:
        Sampler(family("llama"), wrong)
    names = ["temperature", "top_p", "top_k", "min_p", "max_tokens", "stop"]
    assert [problem.where for problem in error.value.problems] == [f"sampling.{name}" for name in names]


def test_a_model_without_keys_and_values_is_refused() -> None:
    from transformers import MambaConfig

    one = loaded(MambaConfig(vocab_size=943, hidden_size=32, num_hidden_layers=1, state_size=4))
    with pytest.raises(ModelError, match="MambaForCausalLM keeps no keys and values"):
        Sampler(one, SETTINGS).sample(PROMPTS, 1, 0)


def test_no_prompts_give_no_rollouts() -> None:
    assert Sampler(family("llama"), SETTINGS).sample([], 3, 0) == []
