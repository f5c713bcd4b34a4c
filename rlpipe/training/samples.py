"""Completions to read while an on-policy method trains: to samples.jsonl, the tracker and the terminal.

Imports transformers, like `callbacks`, which puts this callback among the others.
"""

from __future__ import annotations

from typing import Any

from transformers import TrainerCallback

from rlpipe.core import distributed
from rlpipe.core.terminal import say_detail
from rlpipe.datasets.forms import text_of
from rlpipe.methods.batch import Batch
from rlpipe.records.record import Record
from rlpipe.trackers.base import Tracker

WIDEST = 400
"""Characters of a completion that the terminal shows; the files have all of it."""


class LogSamples(TrainerCallback):
    """Writes completions to samples.jsonl and the tracker, and shows them on the terminal."""

    def __init__(self, record: Record, tracker: Tracker):
        self.record, self.tracker = record, tracker

    def show(self, step: int, rows: list[dict[str, Any]]) -> None:
        """Log rows of completions that the optimiser step `step` learns from."""
        if not distributed.is_main():
            return
        self.record.log_samples(step, rows)
        self.tracker.table("samples", rows, step)
        say_detail("\n".join([f"step {step}: samples", *map(_line, rows)]))


def _line(row: dict[str, Any]) -> str:
    completion = " ".join(row["completion"].split())
    cut = completion if len(completion) <= WIDEST else f"{completion[:WIDEST]}…"
    called = f", {len(row['calls'])} tool calls" if row["calls"] else ""
    ended = ", cut by length" if row["finish"] == "length" else ""
    earned = f"reward {row['reward']:.3g}, advantage {row['advantage']:+.3g}"
    return f"  {row['prompt_id']}: {earned}{called}{ended}\n    {cut}"


PROMPTS, COMPLETIONS = 2, 4
"""How many prompts of a batch are shown, and how many completions of each at most."""


def sample_rows(batch: Batch) -> list[dict[str, Any]]:
    """Return a few prompts of a batch, one row a completion: text, rewards with parts, tool calls, turns, advantage."""
    rows = []
    for group in range(min(PROMPTS, len(batch.rollouts) // batch.group_size)):
        for place in range(min(COMPLETIONS, batch.group_size)):
            number = group * batch.group_size + place
            rollout = batch.rollouts[number]
            places = batch.places([number])
            advantages = batch.advantages[places][batch.written[places]]
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
                    **({} if rollout.turns is None else {"episode": [vars(turn) for turn in rollout.turns]}),
                }
            )
    return rows
