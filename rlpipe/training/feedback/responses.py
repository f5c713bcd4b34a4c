"""Several responses of the policy to every prompt."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from rlpipe.core.files import Row
from rlpipe.datasets.forms import Prompt
from rlpipe.engines.prompts import lay_out
from rlpipe.engines.rollout import Finish, Rollout
from rlpipe.methods.ai_feedback import AIFeedbackConfig, Cut
from rlpipe.models.tokens import encode
from rlpipe.training.feedback.chunks import shared_out

if TYPE_CHECKING:
    from rlpipe.engines.sampler import Sampler


@dataclass(frozen=True)
class Prompts:
    """The prompts of a split that leave room for a response."""

    split: str
    """`train` or `test`."""
    kept: list[Prompt]
    ids: list[list[int]]
    """The tokens of each, the header of the assistant's turn included."""
    too_long: int
    """How many leave no room."""


def fitting(split: str, prompts: Sequence[Prompt], sampler: Sampler, max_length: int) -> Prompts:
    """Leave out prompts after which `sampling.max_tokens` do not fit into `max_length`."""
    tokenizer = sampler.loaded.tokenizer
    ids = encode([lay_out(prompt, tokenizer, None) for prompt in prompts], tokenizer) if prompts else []
    room = max_length - sampler.sampling.max_tokens
    kept = [number for number, tokens in enumerate(ids) if len(tokens) <= room]
    return Prompts(split, [prompts[n] for n in kept], [ids[n] for n in kept], len(prompts) - len(kept))


def draw(prompts: Sequence[Prompt], sampler: Sampler, count: int, seed: int) -> list[Row]:
    """Return a row a prompt with its responses: `{id, prompt, responses: [{text, ids, finish}]}`."""
    groups = shared_out(prompts, lambda mine: sampler.sample(mine, count, seed) if mine else [])
    return [
        {
            "id": prompt.id,
            "prompt": prompt.prompt,
            **({"tools": prompt.tools} if prompt.tools else {}),
            "responses": [{"text": one.text, "ids": one.ids, "finish": one.finish.value} for one in group],
        }
        for prompt, group in zip(prompts, groups, strict=True)
    ]


def rollouts(row: Row, prompt: Prompt, ids: list[int]) -> list[Rollout]:
    """Return a row's responses as rewards take them; log-probabilities are not kept and are 0."""
    return [
        Rollout(
            prompt,
            ids,
            one["ids"],
            [0.0] * len(one["ids"]),
            [True] * len(one["ids"]),
            one["text"],
            Finish(one["finish"]),
        )
        for one in row["responses"]
    ]


def usable(row: Row, settings: AIFeedbackConfig) -> list[bool]:
    """Say of each response whether it may stand in a pair: it says something, and it was not cut off."""
    return [
        bool(one["text"].strip()) and (settings.cut is Cut.keep or one["finish"] != Finish.length.value)
        for one in row["responses"]
    ]
