"""Whether an engine draws from the policy of now: measured at every synchronisation, never taken on trust.

An engine with weights of its own can be stale without any error: a weight that was not taken over, a packed copy of a
tied head, keys in a cache that older weights computed. So it continues a few sequences that it drew last, and the
policy scores the same tokens by one plain forward pass. What rounding explains is small; anything else stops the run.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

from rlpipe.core.errors import TrainingError
from rlpipe.datasets.forms import Prompt
from rlpipe.engines.base import Gap, SeparateEngine
from rlpipe.engines.prompts import prompt_ids
from rlpipe.engines.rollout import SamplingConfig
from rlpipe.engines.rows import Endings, Row

if TYPE_CHECKING:
    from rlpipe.engines.base import Engine
    from rlpipe.models.base import Loaded

SEQUENCES, TOKENS = 4, 16
"""How many sequences are continued, and for how many tokens at most."""
FIRST = ("Count from one to ten.", "Why is the sky blue?", "Name three rivers.", "Say hello.")
"""What is continued where nothing has been drawn yet."""
BOUNDS = {"float32": 1e-3, "bfloat16": 0.1}
"""The largest mean distance (nats a token) that rounding explains, by the arithmetic of policy and engine."""


@contextmanager
def fresh(engine: Engine, loaded: Loaded, rows: Sequence[Row]) -> Iterator[None]:
    """Have an engine awake, and with the model's weights of now, while it draws rows.

    Raises TrainingError where it cannot be brought up to date.
    """
    if not isinstance(engine, SeparateEngine):
        yield
        return
    if not engine.started:
        engine.start(loaded)
        engine.started = True
    engine.wake()
    try:
        if engine.outdated:
            engine.sync(loaded)
            engine.gap = measure(engine, loaded)
            refuse_stale(engine, loaded)
            engine.outdated = False
        yield
        engine.recent = [row.prompt_ids + row.ids for row in rows[:SEQUENCES]] or engine.recent
    finally:
        engine.sleep()


def measure(engine: SeparateEngine, loaded: Loaded) -> Gap:
    """Return how far the engine's log-probabilities are from the policy's, on tokens that the engine draws now."""
    sampling = SamplingConfig(max_tokens=TOKENS)
    endings = Endings(loaded, sampling)
    context = getattr(loaded.model.config.get_text_config(), "max_position_embeddings", None) or math.inf
    starts = engine.recent or [
        prompt_ids(Prompt(text, [{"role": "user", "content": text}]), loaded.tokenizer) for text in FIRST
    ]
    rows = [
        Row(place, 0, TOKENS, ids[: int(min(len(ids), context - TOKENS))], f"freshness/{place}")
        for place, ids in enumerate(starts)
    ]
    engine.write(loaded, rows, sampling, endings)
    theirs = [logp for row in rows for logp in row.logps]
    ours = [logp for row in rows for logp in _scored(loaded, row)]
    distances = [abs(one - other) for one, other in zip(theirs, ours, strict=True)]
    count = len(distances)
    return Gap(math.fsum(distances) / count, max(distances), math.fsum(theirs) / count, math.fsum(ours) / count)


def refuse_stale(engine: SeparateEngine, loaded: Loaded) -> None:
    """Raise TrainingError where the last gap is more than rounding explains, or no number."""
    gap, bound = engine.gap, bound_of(engine, loaded)
    assert gap is not None
    if gap.mean <= bound:
        return
    name = engine.config.name
    what = (
        f"after a synchronisation, the engine gives its tokens a log-probability of {gap.engine:.4f} in the mean, and "
        f"the policy gives them {gap.policy:.4f}; token by token they differ by {gap.mean:.3g} in the mean and "
        f"{gap.largest:.3g} at most, where rounding explains {bound:g}: it draws with other weights than the policy's"
    )
    fix = (
        "most likely this version of the engine does not take over some weights of this model: use another version, or "
        "engine=transformers; where it is known to round more coarsely, raise engine.max_gap"
    )
    raise TrainingError(f"engine={name}", what, fix)


def bound_of(engine: SeparateEngine, loaded: Loaded) -> float:
    """Return the largest mean gap that is let pass."""
    import torch

    if engine.config.max_gap is not None:
        return engine.config.max_gap
    exact = loaded.model.dtype == torch.float32 and not loaded.autocast
    return BOUNDS["float32" if exact else "bfloat16"]


def _scored(loaded: Loaded, row: Row) -> list[float]:
    """Return the policy's log-probabilities of a row's tokens, at temperature 1, by one forward pass."""
    import torch

    from rlpipe.engines.generation import writing

    ids = torch.tensor([row.prompt_ids + row.ids], device=loaded.model.device)
    with writing(loaded):
        logits = loaded.model(input_ids=ids, use_cache=False).logits[0, len(row.prompt_ids) - 1 : -1]
        logps = logits.float().log_softmax(-1)
    return list(logps.gather(1, ids[0, len(row.prompt_ids) :, None]).squeeze(1).tolist())
