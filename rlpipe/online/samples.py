"""A few completions of a batch, as rows to read. Importing this module imports torch."""

from __future__ import annotations

from typing import Any

from rlpipe.datasets.forms import text_of
from rlpipe.methods.batch import Batch

PROMPTS, COMPLETIONS = 2, 4
"""How many prompts of a batch are shown, and how many completions of each at most."""


def sample_rows(batch: Batch) -> list[dict[str, Any]]:
    """Return a few prompts of a batch, one row a completion: text, rewards with parts, tool calls, advantage."""
    rows = []
    for group in range(min(PROMPTS, len(batch.rollouts) // batch.group_size)):
        for place in range(min(COMPLETIONS, batch.group_size)):
            number = group * batch.group_size + place
            rollout = batch.rollouts[number]
            own = batch.places([number])
            advantages = batch.advantages[own][batch.written[own]]
            rows.append(
                {
                    "prompt_id": rollout.prompt.id,
                    "prompt": text_of(rollout.prompt.prompt),
                    "completion": rollout.text,
                    "reward": rollout.reward,
                    "scores": {name: vars(score) for name, score in rollout.scores.items()},
                    "advantage": float(advantages.mean()) if len(advantages) else 0.0,
                    "finish": rollout.finish.value,
                    "tokens": len(rollout.ids),
                    "calls": [vars(call) for call in rollout.calls],
                }
            )
    return rows
