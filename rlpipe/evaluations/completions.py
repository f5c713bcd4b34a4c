"""Completions for evaluations, by the sampler and with the tools and the environment that training uses."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from rlpipe.config.settings import Changes, changing, setting
from rlpipe.datasets.forms import Prompt, text_of
from rlpipe.engines.rollout import Finish, Rollout, SamplingConfig, stop_problems
from rlpipe.engines.transformers import TransformersConfig
from rlpipe.records.provenance import plain

if TYPE_CHECKING:
    from rlpipe.config.schema import RunConfig
    from rlpipe.core.errors import Problem
    from rlpipe.environments.episode import Environments, Turn
    from rlpipe.models.base import Loaded
    from rlpipe.tools.base import Tool

MAX_TOKENS = 256
"""Longest completion where the run's method samples none and nothing else is said."""


@changing(Changes.rows)
@dataclass
class DrawConfig:
    """How an evaluation draws completions: `method.sampling`'s fields, of which two may be left to the method."""

    temperature: float = setting(1.0, at_least=0, at_most=100, usual=(None, 2))
    """Logits are divided by it; 0 takes the likeliest token (greedy)."""
    top_p: float = setting(1.0, above=0, at_most=1, usual=(0.1, 1))
    """Draw from the fewest tokens that together have this probability (arXiv:1904.09751)."""
    top_k: int = setting(0, at_least=0, zero="all tokens", at_most=10**7)
    """Draw from this many likeliest tokens; 0 for all."""
    min_p: float = setting(0.0, at_least=0, below=1)
    """Draw from tokens that have at least this share of the likeliest one's probability (arXiv:2407.01082)."""
    max_tokens: int | None = setting(None, at_least=1, at_most=10**7, usual=(None, 2**17))
    """Longest completion in tokens; null: as in training, or 256 where the method samples nothing."""
    stop: list[str] | None = None
    """End a completion after any of these strings; null: as in training."""


@changing(Changes.rows)
@dataclass
class LikeliestConfig(DrawConfig):
    """How an evaluation draws completions that is about the likeliest ones."""

    temperature: float = 0.0
    """Logits are divided by it; 0 takes the likeliest token (greedy)."""


def settings(draw: DrawConfig, method: Any) -> SamplingConfig:
    """Fill in what a draw leaves to the method's config."""
    trained: SamplingConfig = getattr(method, "sampling", None) or SamplingConfig(max_tokens=MAX_TOKENS)
    return SamplingConfig(
        temperature=draw.temperature,
        top_p=draw.top_p,
        top_k=draw.top_k,
        min_p=draw.min_p,
        max_tokens=trained.max_tokens if draw.max_tokens is None else draw.max_tokens,
        stop=trained.stop if draw.stop is None else draw.stop,
    )


def drawing(
    config: RunConfig, sampling: SamplingConfig, tools: Sequence[Tool], seed: int | None, played: bool = False
) -> dict[str, Any]:
    """Return what completions depend on beside weights, template and prompts, for an evaluation's protocol.

    `played` says that they are episodes of the run's environment, where there is one.
    """
    greedy = sampling.temperature == 0
    offered = {name: plain(node) for name, node in config.tool.items()} if tools else {}
    found = {"sampling": plain(sampling), "seed": None if greedy else seed, "tool": offered}
    if played and config.environment is not None:
        found["environment"] = plain(config.environment)
    if (
        not greedy and config.engine.name != TransformersConfig.name
    ):  # records from before there were others say nothing
        found["engine"] = config.engine.name
    return found


def draws_repeat(config: RunConfig) -> bool:
    """Return whether completions are the same whenever they are drawn: nothing but the model and its seeds is asked."""
    return config.engine.name == TransformersConfig.name and not config.tool and config.environment is None


def draw_problems(draw: DrawConfig) -> list[Problem]:
    """Return what is wrong with a draw beside its numbers, each at its field's name."""
    return stop_problems(draw.stop, "sampling.")


def complete(
    loaded: Loaded,
    prompts: Sequence[Prompt],
    sampling: SamplingConfig,
    tools: Sequence[Tool] = (),
    count: int = 1,
    seed: int = 0,
    environments: Environments | None = None,
) -> list[list[Rollout]]:
    """Draw `count` completions of each prompt, the same ones for a seed however prompts are shared out.

    With `environments` they are episodes. A prompt that fills the model's context gets empty completions that ended by
    length: it is held out all the same, and the model fails at it.
    """
    from rlpipe.engines.prompts import prompt_ids
    from rlpipe.engines.sampler import Sampler

    context = getattr(loaded.model.config.get_text_config(), "max_position_embeddings", None) or sys.maxsize
    sampler = Sampler(loaded, sampling, tools, environments=environments)
    read = sampler.opened(prompts)
    ids = [prompt_ids(prompt, loaded.tokenizer, tools) for prompt in read]
    fitting = [prompt for prompt, tokens in zip(prompts, ids, strict=True) if len(tokens) < context]
    drawn = iter(sampler.sample(fitting, count, seed) if fitting else ())
    played = environments is not None
    return [
        next(drawn) if len(tokens) < context else [_empty(prompt, tokens, played) for _ in range(count)]
        for prompt, tokens in zip(read, ids, strict=True)
    ]


def converse(
    loaded: Loaded,
    prompts: Sequence[Prompt],
    sampling: SamplingConfig,
    tools: Sequence[Tool] = (),
    seed: int = 0,
    environments: Environments | None = None,
) -> list[list[Rollout]]:
    """Let the model answer each prompt, and then each of the user's further turns in the prompt's column `turns`.

    Returns the answers of each prompt, in order; each is given with all that was said before.
    """
    answers: list[list[Rollout]] = [[] for _ in prompts]
    waiting = list(enumerate(prompts))
    while waiting:
        drawn = complete(
            loaded, [prompt for _, prompt in waiting], sampling, tools, seed=seed, environments=environments
        )
        going_on = []
        for (number, prompt), (rollout,) in zip(waiting, drawn, strict=True):
            answers[number].append(rollout)
            turns = prompts[number].columns.get("turns", [])
            if len(answers[number]) <= len(turns):
                answer = {"role": "assistant", "content": rollout.text}
                question = {"role": "user", "content": turns[len(answers[number]) - 1]}
                later = f"{prompts[number].id}/turn{len(answers[number]) + 1}"
                going_on.append((number, Prompt(later, [*prompt.prompt, answer, question], tools=prompt.tools)))
        waiting = going_on
    return answers


def _empty(prompt: Prompt, ids: list[int], played: bool) -> Rollout:
    turns: list[Turn] | None = [] if played else None
    return Rollout(prompt, ids, ids=[], logps=[], written=[], text="", finish=Finish.length, turns=turns)


def completion_row(rollout: Rollout) -> dict[str, Any]:
    """Return what a row says of a completion."""
    return {
        "completion": rollout.text,
        "finish": rollout.finish.value,
        "tokens": len(rollout.ids),
        "calls": [vars(call) for call in rollout.calls],
        **({} if rollout.turns is None else {"episode": [vars(turn) for turn in rollout.turns]}),
    }


def conversation(prompt: Prompt, answers: Sequence[Rollout]) -> dict[str, Any]:
    """Return the row of a conversation, as `converse` has it.

    With several turns, `completion` is what was said after the prompt, and `turns` holds each on its own.
    """
    row = {"id": prompt.id, "prompt": text_of(answers[0].prompt.prompt), **completion_row(answers[0])}
    if len(answers) == 1:
        return row
    questions = [row["prompt"], *prompt.columns["turns"]]
    row["turns"] = [{"prompt": turn, **completion_row(answer)} for turn, answer in zip(questions, answers, strict=True)]
    later = [f"[user]\n{turn['prompt']}\n\n[assistant]\n{turn['completion']}" for turn in row["turns"][1:]]
    row["completion"] = "\n\n".join([row["completion"], *later])
    row["tokens"] = sum(turn["tokens"] for turn in row["turns"])
    row["finish"] = row["turns"][-1]["finish"]
    row["calls"] = [call for turn in row["turns"] for call in turn["calls"]]
    return row
