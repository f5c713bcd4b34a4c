"""What responses are worth: the score of each, or which of two is better, as rows beside those of the responses."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from rlpipe.core.files import Row
from rlpipe.datasets.forms import Prompt
from rlpipe.engines.rollout import Rollout
from rlpipe.methods.ai_feedback import AIFeedbackConfig, Mode
from rlpipe.rewards.combine import Rewards
from rlpipe.rewards.judge.pairwise import Choice, Pair, Verdict, compare
from rlpipe.training.feedback.chunks import shared_out
from rlpipe.training.feedback.responses import rollouts, usable


def judge(
    rows: Sequence[Row],
    prompts: Sequence[Prompt],
    ids: Sequence[list[int]],
    settings: AIFeedbackConfig,
    rewards: Rewards,
) -> list[Row]:
    """Return a row a prompt: `{id, scores}`, or `{id, verdicts}` where responses are compared.

    `scores` has one entry a response: `{value, parts}`, or null for a response that takes part in no pair or that no
    score is to be had for. `verdicts` has one entry a pair: the two responses' numbers, and the answers in both orders.
    """
    if settings.mode is Mode.pairwise:
        return _compared(rows, prompts, settings, rewards)
    return _scored(rows, prompts, ids, settings, rewards)


def two_by_two(usable: Sequence[bool]) -> list[tuple[int, int]]:
    """Return the numbers of the first two responses, the next two …, where both may stand in a pair."""
    return [(one, one + 1) for one in range(0, len(usable) - 1, 2) if usable[one] and usable[one + 1]]


def verdict(entry: dict[str, Any]) -> Verdict:
    """Return the verdict that an entry of `verdicts` holds."""
    forward, backward = (Choice(answer) if answer else None for answer in (entry["forward"], entry["backward"]))
    return Verdict(forward, backward)


def _scored(
    rows: Sequence[Row],
    prompts: Sequence[Prompt],
    ids: Sequence[list[int]],
    settings: AIFeedbackConfig,
    rewards: Rewards,
) -> list[Row]:
    groups = [rollouts(*one) for one in zip(rows, prompts, ids, strict=True)]
    fit = [usable(row, settings) for row in rows]
    scorable = [
        one for group, may in zip(groups, fit, strict=True) for one, wanted in zip(group, may, strict=True) if wanted
    ]

    def entries(mine: Sequence[Rollout]) -> list[dict[str, Any] | None]:
        found = rewards.try_score(mine)
        return [_entry(one) if scored else None for one, scored in zip(mine, found, strict=True)]

    given = iter(shared_out(scorable, entries))
    return [
        {"id": row["id"], "scores": [next(given) if wanted else None for wanted in may]}
        for row, may in zip(rows, fit, strict=True)
    ]


def _entry(rollout: Rollout) -> dict[str, Any]:
    parts = {name: {"value": score.value, **score.parts} for name, score in rollout.scores.items()}
    return {"value": rollout.reward, "parts": parts}


def _compared(
    rows: Sequence[Row], prompts: Sequence[Prompt], settings: AIFeedbackConfig, rewards: Rewards
) -> list[Row]:
    [judge] = rewards.rewards.values()
    pairs = [two_by_two(usable(row, settings)) for row in rows]
    compared = [
        Pair(prompt, *(row["responses"][number]["text"] for number in pair))
        for row, prompt, row_pairs in zip(rows, prompts, pairs, strict=True)
        for pair in row_pairs
    ]
    given = iter(shared_out(compared, lambda mine: compare(judge, mine)))
    return [
        {"id": row["id"], "verdicts": [_verdict_row(pair, next(given)) for pair in row_pairs]}
        for row, row_pairs in zip(rows, pairs, strict=True)
    ]


def _verdict_row(pair: tuple[int, int], found: Verdict) -> dict[str, Any]:
    forward, backward = (answer.value if answer else None for answer in (found.forward, found.backward))
    return {"pair": list(pair), "forward": forward, "backward": backward}
