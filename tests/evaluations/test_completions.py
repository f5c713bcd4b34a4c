"""Completions of evaluations against transformers' `generate`, and how they are told of."""

from __future__ import annotations

import pytest

from rlpipe.config.kinds import Head, ModelConfig
from rlpipe.config.resolved import resolve
from rlpipe.datasets.forms import Prompt
from rlpipe.engines.prompts import prompt_ids
from rlpipe.engines.rollout import SamplingConfig
from rlpipe.evaluations.completions import DrawConfig, complete, drawing, settings
from rlpipe.models.base import Loaded
from rlpipe.models.pretrained import Pretrained
from tests.composed import compose

WORDS = "Once upon a time there was a little dog who wanted to see the sea . "


@pytest.fixture(scope="module")
def stories(shared_dir, tmp_path_factory) -> Loaded:
    """A model of 15 million weights that somebody trained to tell stories."""
    folder = tmp_path_factory.mktemp("stories") / "start"
    source = str(shared_dir / "models" / "stories15m")
    return Pretrained(ModelConfig(name="pretrained")).load(source, Head.causal_lm, 0, "cpu", folder)


@pytest.mark.slow
def test_a_real_models_greedy_completions_are_generates_token_by_token(stories):
    """Prompts of different lengths, together and in float32; `generate` gets each alone, unpadded."""
    import torch

    prompts = [Prompt(str(n), [{"role": "user", "content": WORDS * n + "Then"}]) for n in (1, 3, 2, 5)]
    drawn = complete(stories, prompts, SamplingConfig(temperature=0.0, max_tokens=40))
    for prompt, (rollout,) in zip(prompts, drawn, strict=True):
        ids = torch.tensor([prompt_ids(prompt, stories.tokenizer)])
        written = stories.model.generate(
            input_ids=ids,
            attention_mask=torch.ones_like(ids),
            do_sample=False,
            max_new_tokens=40,
            eos_token_id=stories.tokenizer.eos_token_id,
            pad_token_id=stories.tokenizer.pad_token_id,
        )
        assert rollout.ids == written[0, ids.shape[1] :].tolist()


def test_what_is_drawn_is_told_with_what_it_depends_on():
    run = compose("method=rloo", "dataset=countdown", "reward=countdown", "tool=calculator")
    sampled = settings(DrawConfig(temperature=0.5), run.method)
    assert sampled.max_tokens == run.method.sampling.max_tokens
    told = drawing(run, sampled, resolve(run).make_tools(), 3)
    assert (told["sampling"]["temperature"], told["seed"]) == (0.5, 3)
    assert told["tool"]["calculator"]["name"] == "calculator"
    greedy = drawing(run, settings(DrawConfig(temperature=0.0), run.method), [], 3)
    assert (greedy["seed"], greedy["tool"]) == (None, {})
