"""A frozen model answers from what the policy wrote, greedily and for a bounded length, and a verifier judges that."""

from __future__ import annotations

import dataclasses

import pytest

from rlpipe.core.errors import ModelError
from rlpipe.rewards.frozen_answer import FrozenAnswer


def made(context, model, **settings):
    config = FrozenAnswer.Config(name="frozen_answer", model=model, **settings)
    reward = FrozenAnswer(config)
    assert reward.problems() == []
    reward.start(context)
    return reward


class Scripted:
    """An engine that writes a text, whatever it reads."""

    def __init__(self, text: str):
        self.text, self.rows = text, []

    def write(self, loaded, rows, sampling, endings):
        self.rows += rows
        for row in rows:
            for token in loaded.tokenizer(self.text, add_special_tokens=False)["input_ids"]:
                if endings(row, token, 0.0) is not None:
                    break


@pytest.mark.parametrize(
    ("completion", "says", "value", "parsed"),
    [
        ("Half of 144 it is.", " 72\n#### 5", 1.0, True),
        ("#### 72", " 71", 0.0, True),
        ("#### 72", " no idea", 0.0, False),
        ("", " 72", 1.0, True),
    ],
    ids=["right, and ended by the line", "what the completion says does not count", "no number", "empty completion"],
)
def test_the_frozen_model_s_answer_is_verified(context, language_model, finished, completion, says, value, parsed):
    reward = made(context, language_model)
    reward.engine = Scripted(says)
    [score] = reward.score([finished(completion, answer="72")])
    assert (score.value, score.parsed, score.parts["cut"]) == (value, parsed, 0.0)


def test_it_is_what_the_frozen_model_writes_greedily(context, language_model, finished):
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    # Without a model of its own it takes the policy as it was at the start.
    reward = made(dataclasses.replace(context, policy=language_model), None, max_tokens=5, cue="\nSo:")
    rollouts = [finished("Ten and ten.", "How many?", answer="4"), finished("", "Why?", answer="4")]
    seen = []
    verify = reward.verifier.score
    reward.verifier.score = lambda answered: seen.extend(one.text for one in answered) or verify(answered)
    together = reward.score(rollouts)
    tokenizer = AutoTokenizer.from_pretrained(language_model)
    model = AutoModelForCausalLM.from_pretrained(language_model).eval()
    for one, text in zip(rollouts, seen, strict=True):
        head = tokenizer.apply_chat_template(one.prompt.prompt, tokenize=False, add_generation_prompt=True)
        ids = tokenizer(f"{head}{one.text}\nSo:", add_special_tokens=False, return_tensors="pt")["input_ids"]
        with torch.no_grad():
            whole = model.generate(ids, max_new_tokens=5, do_sample=False)[0, ids.shape[1] :]
        written = tokenizer.decode(whole, skip_special_tokens=True)
        assert text == "\nSo:" + (written.partition("\n")[0] + "\n" if "\n" in written else written)
    assert [reward.score([one])[0] for one in rollouts] == together
    assert not any(weight.requires_grad for weight in reward.loaded.model.parameters())


def test_equal_completions_are_answered_once_and_long_ones_lose_their_front(context, language_model, finished):
    reward = made(context, language_model, max_tokens=8)
    reward.engine = Scripted(" 72")
    rollouts = [finished("x", answer="72"), finished("and so on " * 500, answer="72"), finished("x", answer="72")]
    scores = reward.score(rollouts)
    assert [score.value for score in scores] == [1.0, 1.0, 1.0]
    assert [score.parts["cut"] for score in scores] == [0.0, 1.0, 0.0]
    assert len(reward.engine.rows) == 2
    longest = reward.engine.rows[1].prompt_ids
    assert len(longest) == reward.loaded.model.config.max_position_embeddings - 8
    assert reward.loaded.tokenizer.decode(longest).endswith("and so on \n####")


def test_an_answer_that_fills_the_context_is_refused(context, language_model):
    reward = FrozenAnswer(FrozenAnswer.Config(name="frozen_answer", model=language_model, max_tokens=512))
    with pytest.raises(ModelError, match="answers of 512 tokens leave nothing of the frozen model's 512"):
        reward.start(context)


@pytest.mark.parametrize(
    ("settings", "where"),
    [
        ({"verifier": "perplexity"}, "verifier"),
        ({"verifier": "environment"}, "verifier"),
        ({"stop": [""]}, "stop"),
        ({"model": "a", "stage": ["method=sft"]}, "model"),
    ],
)
def test_settings_that_make_no_sense(settings, where):
    reward = FrozenAnswer(FrozenAnswer.Config(name="frozen_answer", **settings))
    assert [problem.where for problem in reward.problems()] == [where]


def test_prompts_that_the_verifier_cannot_read_are_left_out():
    reward = FrozenAnswer(FrozenAnswer.Config(name="frozen_answer"))
    assert reward.columns == ("answer",)
    assert reward.unscorable({"answer": "many"}) == "no single number in column 'answer'"
