"""The batch of rollouts in use: flat tensors over all completion tokens, and its form in a checkpoint.

Importing this module imports torch. R completions stand group by group, each prompt's `group_size` side by
side; their n tokens are laid end to end. Every process holds the whole batch.
"""

from __future__ import annotations

import json
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from rlpipe.core.errors import RecordError
from rlpipe.datasets.forms import Prompt
from rlpipe.engines.rollout import Finish, Rollout, Score, ToolCall
from rlpipe.environments.episode import Turn
from rlpipe.methods.advantages import completion_sums, token_rewards
from rlpipe.methods.losses import token_weights

TEXT, NUMBERS = "rollouts.json", "rollouts.safetensors"
TENSORS = ("old", "correction", "reference", "teacher", "values", "advantages", "returns", "penalty")
"""What is kept of a batch besides the rollouts themselves, where it is there at all."""


@dataclass
class Tokens:
    """The tokens of some completions as a policy loss sees them; every tensor is [n]."""

    logps: Tensor
    """Log-probabilities under the policy, differentiable."""
    old: Tensor
    """Log-probabilities under the policy that drew them."""
    advantages: Tensor
    weights: Tensor
    """How much each token counts; 0 where the model did not write it."""
    rollout: Tensor
    """The completion that each token belongs to, from 0."""
    reference: Tensor | None = None
    """Log-probabilities under the reference; None where there is none."""


class Batch:
    """R scored completions with all that is computed once for them."""

    def __init__(self, rollouts: Sequence[Rollout], group_size: int):
        self.rollouts, self.group_size = list(rollouts), group_size
        self.lengths = torch.tensor([len(rollout.ids) for rollout in rollouts])
        """Completion tokens of each rollout [R]."""
        self.starts = torch.cumsum(self.lengths, 0) - self.lengths
        """Where each rollout's tokens begin [R]."""
        self.written = torch.tensor([bit for rollout in rollouts for bit in rollout.written], dtype=torch.bool)
        """Whether the model wrote the token [n]."""
        self.rewards = torch.tensor([rollout.reward for rollout in rollouts], dtype=torch.float32)
        """The weighted sum of all rewards, before any KL [R]."""
        self.score_weights: Mapping[str, float] = {}
        """The weight of each reward, by its name; none is needed once the advantages are there."""
        self.engine = torch.tensor([logp for rollout in rollouts for logp in rollout.logps])
        """Log-probabilities that the engine gave the tokens when it drew them [n]."""
        self.old: Tensor | None = self.engine
        """Log-probabilities under the policy that drew the tokens [n]; None to take the current ones."""
        self.correction: Tensor | None = None
        """What each token's policy loss is multiplied with, for the engine is not quite the policy [n]; None for 1."""
        self.reference: Tensor | None = None
        """Log-probabilities under the reference [n]."""
        self.teacher: Tensor | None = None
        """Log-probabilities under the teacher [n]."""
        self.values: Tensor | None = None
        """What the value function expected before each token [n]."""
        self.penalty: Tensor | None = None
        """What the KL takes off each token's reward [n]; None where it does not."""
        self.advantages: Tensor = torch.zeros(len(self.written))
        """What each token is worth [n]."""
        self.returns: Tensor | None = None
        """What the value function should have expected [n]."""

    @property
    def scores(self) -> tuple[Tensor, Tensor]:
        """What each reward gave each completion [R, k], and the weight of each reward [k]."""
        rows = [[rollout.scores[name].value for name in self.score_weights] for rollout in self.rollouts]
        return torch.tensor(rows), torch.tensor(list(self.score_weights.values()))

    @cached_property
    def token_rewards(self) -> Tensor:
        """The reward of each token, KL taken off [n]."""
        return token_rewards(self.rewards, self.written, self.lengths, self.penalty)

    @cached_property
    def totals(self) -> Tensor:
        """The reward of each completion, KL taken off: what the objective maximises [R]."""
        if self.penalty is None:
            return self.rewards
        return self.rewards - completion_sums(torch.where(self.written, self.penalty, 0.0), self.lengths)

    def places(self, indices: Sequence[int]) -> Tensor:
        """Return where the tokens of some rollouts stand, rollout after rollout."""
        return torch.cat([torch.arange(int(self.lengths[i])) + self.starts[i] for i in indices])

    def weights(self, chosen: Sequence[int], aggregate: str, constant: int) -> Tensor:
        """Return how much each token counts in a step on the `chosen` rollouts [n]; see `losses.token_weights`."""
        places = self.places(chosen)
        weights = torch.zeros(len(self.written))
        weights[places] = token_weights(self.written[places], self.lengths[list(chosen)], aggregate, constant)
        return weights

    def minibatch(self, part: int, parts: int, order: str) -> list[int]:
        """Return the rollouts of the `part`-th of `parts` optimiser steps on this batch, shuffled by the seed `order`.

        Groups stay whole where they fit into a part, so that their prompt goes through the network once.
        """
        size = len(self.rollouts) // parts
        unit = self.group_size if size % self.group_size == 0 else 1
        units = list(range(len(self.rollouts) // unit))
        if parts > 1:
            random.Random(order).shuffle(units)
        chosen = units[part * size // unit : (part + 1) * size // unit]
        return sorted(one * unit + offset for one in chosen for offset in range(unit))

    # In a checkpoint

    def save(self, folder: Path) -> None:
        """Write the batch into a checkpoint's folder. Prompts are named by their ids: the data has them."""
        from safetensors.torch import save_file

        kept = {name: getattr(self, name) for name in TENSORS if getattr(self, name) is not None}
        kept["ids"] = torch.tensor([token for rollout in self.rollouts for token in rollout.ids])
        kept["logps"] = torch.tensor([v for rollout in self.rollouts for v in rollout.logps], dtype=torch.float64)
        kept |= {"written": self.written, "lengths": self.lengths}
        save_file({name: tensor.contiguous() for name, tensor in kept.items()}, str(folder / NUMBERS))
        content = {"group_size": self.group_size, "rollouts": [_to_plain(rollout) for rollout in self.rollouts]}
        (folder / TEXT).write_text(json.dumps(content, ensure_ascii=False), encoding="utf-8")

    @classmethod
    def load(cls, folder: Path, prompts: Mapping[str, Prompt]) -> Batch:
        """Read a batch back. Raises RecordError when it is of prompts that the data no longer has."""
        from safetensors.torch import load_file

        content = json.loads((folder / TEXT).read_text(encoding="utf-8"))
        kept = load_file(str(folder / NUMBERS))
        missing = [row["prompt"] for row in content["rollouts"] if row["prompt"] not in prompts]
        if missing:
            raise RecordError(
                folder / TEXT,
                f"the prompt {missing[0]!r} is not in the data any more",
                "go on with the dataset that the run was started with",
            )
        parts = [kept[name].split(kept["lengths"].tolist()) for name in ("ids", "logps", "written")]
        rollouts = [
            _from_plain(row, prompts[row["prompt"]], *(part.tolist() for part in arrays))
            for row, *arrays in zip(content["rollouts"], *parts, strict=True)
        ]
        batch = cls(rollouts, content["group_size"])
        for name in TENSORS:
            if name == "old" or name in kept:
                setattr(batch, name, kept.get(name))
        return batch


def _to_plain(rollout: Rollout) -> dict[str, Any]:
    return {
        "prompt": rollout.prompt.id,
        "prompt_ids": rollout.prompt_ids,
        "text": rollout.text,
        "finish": rollout.finish.value,
        "calls": [vars(call) for call in rollout.calls],
        "turns": None if rollout.turns is None else [vars(turn) for turn in rollout.turns],
        "scores": {name: vars(score) for name, score in rollout.scores.items()},
        "reward": rollout.reward,
    }


def _from_plain(
    row: dict[str, Any], prompt: Prompt, ids: list[int], logps: list[float], written: list[bool]
) -> Rollout:
    return Rollout(
        prompt=prompt,
        prompt_ids=row["prompt_ids"],
        ids=ids,
        logps=logps,
        written=written,
        text=row["text"],
        finish=Finish(row["finish"]),
        calls=[ToolCall(**call) for call in row["calls"]],
        turns=None if row.get("turns") is None else [Turn(**turn) for turn in row["turns"]],
        scores={name: Score(**score) for name, score in row["scores"].items()},
        reward=row["reward"],
    )
