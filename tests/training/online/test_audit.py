"""The audit of on-policy training finds what was planted, and nothing where nothing is wrong."""

from __future__ import annotations

import json

import pytest

from rlpipe.engines.rollout import Finish, Score, ToolCall
from rlpipe.training.online.audit import audit


def audited(trainer):
    return audit(trainer, trainer.collector.sampler.loaded, trainer.method)


def wheres(found) -> list[str]:
    return [problem.where for problem in (*found.errors, *found.warnings)]


def plant(trainer, change) -> None:
    """Let a change befall every completion that is sampled."""
    sample = trainer.collector.sampler.sample

    def changed(*given):
        groups = sample(*given)
        for group in groups:
            for rollout in group:
                change(rollout)
        return groups

    trainer.collector.sampler.sample = changed


def test_what_is_sampled_is_shown_and_scored(training, small_model, tmp_path):
    trainer = training.build(small_model, tmp_path, "rloo")
    before = training.digest(trainer.model)
    found = audited(trainer)
    assert not found.errors
    assert found.stop_tokens == ["<|im_end|>"]
    assert found.prompts["kept"] == 16
    assert found.written_share == 1
    assert len(found.shown) == 4
    shown = found.shown[0]
    assert shown["prefix"].startswith("<|im_start|>user\nred")
    assert shown["prefix"].endswith("<|im_start|>assistant\n")
    assert shown["scores"]["letters"]["value"] == shown["reward"]
    assert training.digest(trainer.model) == before
    json.dumps(found.to_dict())
    assert "16 of 16 prompts kept" in found.summary()


def test_completions_that_never_stop_are_worth_a_warning(training, small_model, tmp_path):
    trainer = training.build(small_model, tmp_path, "rloo")
    plant(trainer, lambda rollout: setattr(rollout, "finish", Finish.length))
    assert wheres(audited(trainer)) == ["audit.length"]


def test_model_without_a_stop_token_is_an_error(training, small_model, tmp_path):
    trainer = training.build(small_model, tmp_path, "rloo")
    loaded = trainer.collector.sampler.loaded
    loaded.tokenizer.eos_token = None
    loaded.model.generation_config.eos_token_id = None
    assert "audit.stop" in [error.where for error in audited(trainer).errors]


def test_template_that_loses_the_question_is_an_error(training, small_model, tmp_path):
    trainer = training.build(small_model, tmp_path, "rloo")
    trainer.collector.sampler.loaded.tokenizer.chat_template = "<|im_start|>assistant\n"
    assert "audit.prompt" in [error.where for error in audited(trainer).errors]


def test_tool_results_that_would_be_trained_are_an_error(training, small_model, tmp_path):
    trainer = training.build(small_model, tmp_path, "rloo")
    plant(trainer, lambda rollout: rollout.calls.append(ToolCall("calculator", {}, "4", False, at=0)))
    assert "audit.mask" in [error.where for error in audited(trainer).errors]


@pytest.mark.parametrize(
    ("value", "fatal"),
    [
        (lambda one: float(one.prompt.columns["row"]), True),  # of the prompt alone
        (lambda one: 0.5, False),  # as a reward that is hard to earn
        (lambda one: float(len(one.text)), None),
    ],
)
def test_rewards_that_ignore_the_completion(training, small_model, tmp_path, monkeypatch, value, fatal):
    trainer = training.build(small_model, tmp_path, "rloo")
    (name, reward), *_ = trainer.collector.rewards.rewards.items()
    monkeypatch.setattr(type(reward), "score", lambda self, rollouts: [Score(value(one)) for one in rollouts])
    found = audited(trainer)
    assert [error.where for error in found.errors] == [f"reward.{name}"] * (fatal is True)
    assert [error.where for error in found.warnings] == [f"reward.{name}"] * (fatal is False)
    if fatal is not None:
        (problem,) = (*found.errors, *found.warnings)
        assert "different completions of a prompt" in problem.what


def test_many_dropped_prompts_are_worth_a_warning(training, small_model, tmp_path):
    lengths = training.build(small_model, tmp_path, "rloo").collector.prompts.lengths
    trainer = training.build(small_model, tmp_path, "rloo", max_length=min(lengths) + 6)
    assert "audit.prompts" in wheres(audited(trainer))
