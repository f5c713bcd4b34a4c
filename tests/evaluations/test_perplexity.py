"""Perplexity of reference answers after the model's own reasoning, against transformers' loss on the same text."""

from __future__ import annotations

import math

import pytest

from rlpipe.datasets.forms import Completion
from rlpipe.engines.rollout import Finish, Rollout
from rlpipe.evaluations import perplexity
from rlpipe.evaluations.base import EvaluationContext
from rlpipe.evaluations.perplexity import Perplexity, PerplexityConfig
from tests.composed import compose

THOUGHTS = ["2 and 2 make 4.\n#### 5", "no idea", ""]


def examples() -> list[Completion]:
    answers = ["2+2=4\n#### 4", "It is 3.\n#### 3", "yes"]
    asked = [[{"role": "user", "content": f"Question {n}?"}] for n in range(3)]
    said = [[{"role": "assistant", "content": answer}] for answer in answers]
    return [Completion(f"test/{n}", *pair) for n, pair in enumerate(zip(asked, said, strict=True))]


def measured(loaded, folder, monkeypatch, **settings):
    one = Perplexity(PerplexityConfig(name="perplexity", reasoning=True, **settings))
    one.start(EvaluationContext(compose("method=none", "dataset=gsm8k"), folder, "perplexity"))

    def script(loaded, prompts, sampling, tools=(), count=1, seed=0):
        assert sampling.stop == ["####"]
        return [
            [Rollout(prompt, [], [], [], [], text, Finish.stop)] for prompt, text in zip(prompts, THOUGHTS, strict=True)
        ]

    monkeypatch.setattr(perplexity, "complete", script)
    return one, one.rows(loaded, examples())


def by_transformers(loaded, context: str, answer: str) -> float:
    import torch

    tokenizer = loaded.tokenizer
    head, tail = (tokenizer(text, add_special_tokens=False)["input_ids"] for text in (context, answer))
    labels = torch.tensor([[-100] * len(head) + tail])
    with torch.no_grad():
        return -loaded.model(input_ids=torch.tensor([head + tail]), labels=labels).loss.item() * len(tail)


def test_the_answer_stands_after_the_models_own_reasoning(blank_loaded, tmp_path, monkeypatch):
    one, rows = measured(blank_loaded, tmp_path, monkeypatch)
    for row, thought, answer in zip(rows, ["2 and 2 make 4.\n", "no idea\n", ""], ["4", "3", "yes"], strict=True):
        asked = [{"role": "user", "content": row["prompt"]}]
        head = blank_loaded.tokenizer.apply_chat_template(asked, tokenize=False, add_generation_prompt=True)
        parts = row["parts"]
        alone = by_transformers(blank_loaded, f"{head}####", f" {answer}")
        reasoned = by_transformers(blank_loaded, f"{head}{thought}####", f" {answer}")
        assert parts["answer_logp"] == pytest.approx(alone, rel=1e-4, abs=1e-3)
        assert parts["reasoned_logp"] == pytest.approx(reasoned, rel=1e-4, abs=1e-3)
    assert [row["reasoning"] for row in rows] == ["2 and 2 make 4.\n", "no idea", ""]
    assert rows[2]["parts"]["answer_logp"] == pytest.approx(rows[2]["parts"]["reasoned_logp"])
    numbers = one.summary(rows, None)
    tokens = sum(row["parts"]["answer_tokens"] for row in rows)
    expected = math.exp(-sum(row["parts"]["reasoned_logp"] for row in rows) / tokens)
    assert numbers["reasoned_perplexity"] == pytest.approx(expected)
    ratio = numbers["answer_perplexity"] / numbers["reasoned_perplexity"]
    assert numbers["reasoning_gain"] == pytest.approx(math.log(ratio))


def test_plain_perplexity_draws_nothing(blank_loaded, tmp_path, monkeypatch):
    one = Perplexity(PerplexityConfig(name="perplexity"))
    one.start(EvaluationContext(compose("method=none", "dataset=gsm8k"), tmp_path, "perplexity"))
    monkeypatch.setattr(perplexity, "complete", lambda *_, **__: pytest.fail("nothing is to be drawn"))
    rows = one.rows(blank_loaded, examples())
    assert set(rows[0]["parts"]) == {"logp", "tokens"}
    assert set(one.summary(rows, None)) == {"perplexity", "loss"}
    assert "sampling" not in one.protocol(blank_loaded)


def test_reasoning_settings_are_checked():
    settings = {"cue": " ", "sampling": perplexity.LikeliestConfig(stop=[""])}
    found = Perplexity(PerplexityConfig(name="perplexity", **settings)).problems()
    assert [one.where for one in found] == ["sampling.stop", "cue"]
