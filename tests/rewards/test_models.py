"""Rewards from frozen models equal plain forward passes, and never come from a head that was made up."""

from __future__ import annotations

import dataclasses
import math

import pytest

from rlpipe.core.errors import ModelError, PluginError
from rlpipe.rewards.perplexity import Form, Mode, PerplexityReward
from rlpipe.rewards.reward_model import RewardModelReward


@pytest.fixture(scope="module")
def rollouts(finished):
    return [
        finished("Four.", "What is two and two?", reference="4", answer="4"),
        finished("I think that it is #### 4 after all, as everybody knows.", "2 + 2?", reference="four", answer="4"),
        finished("", "Why?", reference="because of it", answer="5"),
    ]


def started(reward, context):
    assert reward.problems() == []
    reward.start(context)
    return reward


@pytest.mark.parametrize("batch_tokens", [1, 8192])
def test_a_reward_model_gives_its_head_s_number_for_the_whole_conversation(
    rollouts, reward_model, context, batch_tokens
):
    import torch
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    config = RewardModelReward.Config(name="reward_model", model=reward_model, batch_tokens=batch_tokens)
    reward = started(RewardModelReward(config), context)
    tokenizer = AutoTokenizer.from_pretrained(reward_model)
    model = AutoModelForSequenceClassification.from_pretrained(reward_model).eval()
    for one, score in zip(rollouts, reward.score(rollouts), strict=True):
        messages = [*one.prompt.prompt, {"role": "assistant", "content": one.text}]
        ids = tokenizer.apply_chat_template(messages, return_tensors="pt", return_dict=True)["input_ids"]
        with torch.no_grad():
            assert score.value == pytest.approx(model(ids).logits.item(), rel=1e-4, abs=1e-6)
    assert not any(weight.requires_grad for weight in reward.loaded.model.parameters())


def per_token(model, tokenizer, context: str, answer: str) -> float:
    import torch

    before, after = (tokenizer(text, add_special_tokens=False)["input_ids"] for text in (context, answer))
    with torch.no_grad():
        logps = model(torch.tensor([before + after])).logits[0].log_softmax(-1)
    scored = [logps[len(before) - 1 + place, token].item() for place, token in enumerate(after)]
    return sum(scored) / len(scored)


@pytest.mark.parametrize("mode", Mode)
def test_perplexity_is_the_reference_s_mean_log_likelihood(rollouts, language_model, context, mode):
    from transformers import AutoModelForCausalLM, AutoTokenizer

    config = PerplexityReward.Config(name="perplexity", mode=mode, cue="\nSo:", verifier_weight=0.5)
    # Without a model of its own it takes the policy as it was at the start.
    reward = started(PerplexityReward(config), dataclasses.replace(context, policy=language_model))
    tokenizer = AutoTokenizer.from_pretrained(language_model)
    model = AutoModelForCausalLM.from_pretrained(language_model).eval()
    scores = reward.score(rollouts)
    for one, score, exact in zip(rollouts, scores, [0.0, 1.0, 0.0], strict=True):
        head = tokenizer.apply_chat_template(one.prompt.prompt, tokenize=False, add_generation_prompt=True)
        answer = f" {one.prompt.columns['reference']}"
        value = per_token(model, tokenizer, f"{head}{one.text}\nSo:", answer)
        assert score.parts["with_completion"] == pytest.approx(value, rel=1e-4)
        if mode is not Mode.absolute:
            value -= per_token(model, tokenizer, f"{head}\nSo:", answer)
        if mode is Mode.hybrid:
            value += 0.5 * exact
            assert score.parts["verifier"] == exact
        assert score.value == pytest.approx(value, rel=1e-3, abs=1e-5)
    if mode is Mode.relative:
        assert scores[2].value == pytest.approx(0.0, abs=1e-6), "saying nothing changes nothing"
    assert reward.columns == (("reference", "answer") if mode is Mode.hybrid else ("reference",))


@pytest.mark.parametrize("mode", Mode)
def test_perplexities_as_published_lie_between_0_and_1(rollouts, language_model, context, mode):
    def scored(**settings):
        config = PerplexityReward.Config(name="perplexity", model=language_model, **settings)
        return started(PerplexityReward(config), context).score(rollouts)

    scores = scored(mode=mode, form=Form.perplexity)
    for score, likely in zip(scores, scored(mode=Mode.relative), strict=True):
        after, alone = (math.exp(-likely.parts[name]) for name in ("with_completion", "prompt_alone"))
        wanted = {Mode.absolute: 1 / after, Mode.relative: max(0, 1 - after / alone)}
        wanted[Mode.hybrid] = (wanted[Mode.absolute] + wanted[Mode.relative]) / 2
        assert score.value == pytest.approx(wanted[mode], rel=1e-4, abs=1e-6)
        assert "verifier" not in score.parts
    assert min(score.value for score in scores) >= 0


@pytest.mark.parametrize("mode", Mode)
@pytest.mark.parametrize(("after", "alone"), [(-1e6, -1.0), (-1.0, -1e6), (-1e6, -1e6), (0.0, 0.0)])
def test_no_perplexity_overflows(mode, after, alone):
    reward = PerplexityReward(PerplexityReward.Config(name="perplexity", mode=mode, form=Form.perplexity))
    assert 0 <= reward._score(after, None if mode is Mode.absolute else alone).value <= 1


def test_what_fills_the_frozen_model_s_context_is_still_scored(finished, language_model, context):
    config = PerplexityReward.Config(name="perplexity", model=language_model, form=Form.perplexity)
    [score] = started(PerplexityReward(config), context).score([finished("so on and " * 500, reference="72")])
    assert 0 <= score.value <= 1


def test_a_reference_without_content_is_an_error(finished, language_model, context):
    config = PerplexityReward.Config(name="perplexity", model=language_model)
    reward = started(PerplexityReward(config), context)
    with pytest.raises(PluginError, match="row train/7 has nothing in column 'reference'"):
        reward.score([finished("x", reference="1"), finished("x", id="train/7", reference=" ")])


def test_a_language_model_is_refused_as_a_reward_model(language_model, context):
    reward = RewardModelReward(RewardModelReward.Config(name="reward_model", model=language_model))
    with pytest.raises(ModelError, match="a language model without a reward head: its numbers would be made up"):
        reward.start(context)


def test_settings_that_make_no_sense():
    def where(reward):
        return [problem.where for problem in reward.problems()]

    assert where(RewardModelReward(RewardModelReward.Config(name="reward_model"))) == ["model"]
    both = {"model": "a", "stage": ["method=reward_model"]}
    assert where(RewardModelReward(RewardModelReward.Config(name="reward_model", **both))) == ["model"]
    assert where(PerplexityReward(PerplexityReward.Config(name="perplexity"))) == []
    judged = PerplexityReward.Config(name="perplexity", mode=Mode.hybrid, verifier="judge")
    assert where(PerplexityReward(judged)) == ["verifier"]
