"""Which prompts a run samples from, and in which order. Nothing here imports torch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from rlpipe.core.errors import DataError, guess
from rlpipe.datasets.forms import Prompt
from rlpipe.training.offline.order import BatchOrder

if TYPE_CHECKING:
    from rlpipe.methods.online import OnlineConfig


@dataclass
class PromptBatches:
    """The prompts that leave room for a completion, drawn batch by batch.

    Which prompts a batch of rollouts has is decided by seed and epoch alone: each epoch is a fresh shuffle of
    all prompts, of which only whole batches are used. With a curriculum it is then sorted, easy prompts first;
    equally hard ones stay shuffled.
    """

    kept: list[Prompt]
    lengths: list[int]
    """Tokens of each, the header of the assistant's turn included."""
    seen: int
    """How many prompts there were."""
    too_long: int
    """How many left no room for a completion."""
    per_batch: int
    seed: int
    difficulty: list[float] | None = None
    """How hard each is, for a curriculum."""

    def __post_init__(self) -> None:
        self.order = BatchOrder(len(self.kept), self.per_batch, self.seed)

    @property
    def batches(self) -> int:
        """Batches of rollouts in one epoch."""
        return self.order.batches

    def of(self, batch: int) -> list[Prompt]:
        """Return the prompts of batch number `batch`, counted from 0 over all epochs."""
        self.order.set_epoch(batch // self.batches)
        places = list(self.order)
        if self.difficulty is not None:
            places.sort(key=self.difficulty.__getitem__)
        start = batch % self.batches * self.per_batch
        return [self.kept[place] for place in places[start : start + self.per_batch]]

    def report(self) -> dict[str, Any]:
        """Return the counts and the lengths' spread, for the record."""
        lengths = sorted(self.lengths)
        spread = {"median": lengths[len(lengths) // 2], "longest": lengths[-1]}
        left = self.order.count - len(self.order)
        counts = {"seen": self.seen, "kept": len(self.kept), "too_long": self.too_long, "left_out": left}
        return {**counts, "tokens": spread}


def fit(
    examples: Sequence[Prompt], lengths: Sequence[int], config: OnlineConfig, seed: int, curriculum: str | None = None
) -> PromptBatches:
    """Leave out prompts after which `sampling.max_tokens` do not fit into `max_length`.

    `lengths` are the prompts' tokens, `curriculum` the column that tells how hard each is. Raises DataError when too
    few are left for one batch of rollouts, and for a column that tells of no difficulty.
    """
    room = config.max_length - config.sampling.max_tokens
    kept = [place for place, length in enumerate(lengths) if length <= room]
    too_long = len(examples) - len(kept)
    if len(kept) < config.prompts_per_batch:
        raise DataError(
            f"method.batch_size={config.batch_size}",
            (
                f"a batch of rollouts needs {config.prompts_per_batch} prompts (batch_size · minibatches / "
                f"group_size), and there are {len(kept)} ({too_long} of {len(examples)} have more than {room} "
                "tokens, which is method.max_length less method.sampling.max_tokens)"
            ),
            "lower method.batch_size or raise method.max_length, or use more data",
        )
    return PromptBatches(
        kept=[examples[place] for place in kept],
        lengths=[lengths[place] for place in kept],
        seen=len(examples),
        too_long=too_long,
        per_batch=config.prompts_per_batch,
        seed=seed,
        difficulty=None if curriculum is None else [_difficulty(examples[place], curriculum) for place in kept],
    )


def _difficulty(prompt: Prompt, column: str) -> float:
    value = prompt.columns.get(column)
    if isinstance(value, list):
        return len(value)
    if isinstance(value, int | float):
        return value
    raise DataError(
        f"method.curriculum={column}",
        f"prompt {prompt.id} has no number and no list in that column",
        guess(column, prompt.columns),
    )
