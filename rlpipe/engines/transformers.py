"""`transformers`: the policy itself draws, in its present state.

Prompts of like length are read together, each one once; the rows that go on from them draw a token each at every step,
by the numbers that belong to each completion. A row that a tool answers takes the answer's tokens one a step while the
others go on writing; a row that is done leaves. Imports torch only when it draws.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import TYPE_CHECKING

from rlpipe.config.kinds import EngineConfig
from rlpipe.config.settings import Changes, changing, setting
from rlpipe.core.errors import TrainingError
from rlpipe.engines.base import Engine

if TYPE_CHECKING:
    from rlpipe.engines.rollout import SamplingConfig
    from rlpipe.engines.rows import Endings, Row
    from rlpipe.models.base import Loaded

LOGITS = 2**27
"""At most this many logits at once (half a gigabyte in float32), whatever the vocabulary."""


@changing(Changes.nothing)
@dataclass
class TransformersConfig(EngineConfig):
    """How much is drawn at once."""

    name: str = "transformers"
    """The engine plugin."""
    cache_tokens: int = setting(2**16, at_least=1)
    """At most this many tokens in the cache at once, over all rows (but one prompt's completions at least)."""


class Transformers(Engine):
    """The policy itself draws, token by token: nothing to synchronise, and draws that repeat bit for bit."""

    Config = TransformersConfig
    config: TransformersConfig

    def write(self, loaded: Loaded, rows: Sequence[Row], sampling: SamplingConfig, endings: Endings) -> None:
        """Write each row to its end. However rows are batched, the draws are the same up to rounding of the logits."""
        from rlpipe.engines.generation import writing

        with writing(loaded):
            for chunk in self._chunks(loaded, rows):
                _write(loaded, chunk, sampling, endings)

    def _chunks(self, loaded: Loaded, rows: Sequence[Row]) -> Iterator[list[Row]]:
        """Yield rows of prompts of like length, as many as may be in the cache at once; longest first."""
        vocabulary = loaded.model.get_output_embeddings().weight.shape[0]
        groups = [list(group) for _, group in groupby(rows, key=lambda row: row.prompt)]
        chunk: list[Row] = []
        widest = 0
        for group in sorted(groups, key=lambda group: -len(group[0].prompt_ids)):
            longest = (chunk or group)[0].prompt_ids
            widest = max(widest, len(longest) + group[0].room)
            together = len(chunk) + len(group)
            if chunk and (together * widest > self.config.cache_tokens or together * vocabulary > LOGITS):
                yield chunk
                chunk, widest = [], len(group[0].prompt_ids) + group[0].room
            chunk = chunk + group
        if chunk:
            yield chunk

    def notes(self, loaded: Loaded) -> list[str]:
        """Say whether completions share the keys of their prompt. Imports torch."""
        from rlpipe.engines.shared_attention import can_share

        copied = "sampling copies a prompt's keys for each completion: attention is not sdpa in float32"
        shared = "sampling shares a prompt's keys among its completions, unless the model's attention remakes keys"
        return [shared if can_share(loaded) else copied]


def _write(loaded: Loaded, rows: list[Row], sampling: SamplingConfig, endings: Endings) -> None:
    """Write rows to their ends, together."""
    import torch

    from rlpipe.engines.draw import draw, uniforms
    from rlpipe.engines.generation import Generation

    longest = max(row.room for row in rows)
    distinct = {tuple(row.prompt_ids): None for row in rows}
    places = {tokens: place for place, tokens in enumerate(distinct)}
    of = [places[tuple(row.prompt_ids)] for row in rows]
    generation = Generation(loaded, [list(tokens) for tokens in distinct], of, longest)
    numbers = [uniforms(row.seed, row.id, row.index, longest) for row in rows]
    uniform = torch.tensor(numbers, dtype=torch.float64, device=generation.device)
    for step in range(longest):
        drawn, logps = draw(generation.logits, uniform[:, step], sampling)
        gone = []
        for place, (row, token, logp) in enumerate(zip(rows, drawn.tolist(), logps.tolist(), strict=True)):
            if logp != logp:
                raise diverged(row)
            if endings(row, token, logp) is not None:
                gone.append(place)
        if len(gone) == len(rows):
            return
        if gone:
            order = generation.drop(gone)
            rows = [rows[place] for place in order]
            uniform = uniform[order]
        generation.step([row.ids[-1] for row in rows])


def diverged(row: Row) -> TrainingError:
    """Return the error of a model that no longer gives numbers."""
    what = (
        f"the model's logits are not numbers after {len(row.ids)} tokens of a completion of prompt {row.id}: its "
        "weights have diverged"
    )
    return TrainingError("", what, "lower method.learning_rate")
