"""Whether a model takes rows in which several sequences share their beginning, and what such rows cost on it.

Nothing is believed from a model's name: a few tokens go through the model's own plain forward and through ours, once
per model, and only what agrees is used.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn

from rlpipe.core.errors import ModelError
from rlpipe.engines.decoder import causal_lm, hidden_states, logits
from rlpipe.engines.row_costs import Costs
from rlpipe.engines.shared_rows import SharedRow, SharedRows, lay_out
from rlpipe.models.lockstep import evaluating

CHECKED_WINDOW = 4
"""The sliding window that the self-check sets, so that a few tokens exceed it."""
SLOWER_PAIRS = {"sdpa": (1.5, 1.1), "eager": (1.1, 1.3)}
"""How many times as long as the linear layers attention takes per operation: causal rows, rows with a dense mask.
Fitted to `benchmarks/forward.py --splits` on one CPU thread; a causal row of sdpa has half the pairs."""
CALL_OPERATIONS = {"cpu": 1e9, "cuda": 1e13}
"""Operations that a device could have done in the time a micro-batch costs however small it is."""


@dataclass(frozen=True)
class Support:
    """What `support` found out about a model."""

    head: bool
    """Whether decoder and output head, called apart, give the model's own logits."""
    shared: bool
    """Whether sequences may share a row."""
    reason: str
    """Why not, or how it was made sure."""
    vocabulary: int
    """The number of logits."""


ROUNDING, COARSE_ROUNDING = 1e-4, 0.03
"""What float32, and half precision or TF32, may change in the self-check, relative to the spread of the values."""
FAILURES = (TypeError, ValueError, RuntimeError, AttributeError, KeyError, IndexError)
"""What models raise that cannot be called as the self-check calls them."""

_checked: WeakKeyDictionary[nn.Module, Support] = WeakKeyDictionary()


def supports_shared_prefix(model: nn.Module) -> tuple[bool, str]:
    """Return whether completions may share a row of this model, and why or why not, for the record."""
    found = support(model)
    return found.shared, found.reason


def support(model: nn.Module) -> Support:
    """Compare our forward with the model's own on tiny rollouts; done once per model. Raises ModelError.

    The model is put into evaluation mode for it and back; no gradient, no random number is drawn.
    """
    inner = causal_lm(model)
    if inner not in _checked:
        with torch.no_grad(), evaluating(inner), _small_window(inner), torch.autocast(inner.device.type, enabled=False):
            _checked[inner] = _check(inner)
    return _checked[inner]


def adopt(model: nn.Module, found: Support) -> None:
    """Take over what `support` found out about the same model elsewhere: one in shards cannot be called for it."""
    _checked[causal_lm(model)] = found


def maskless(model: Any) -> str | None:
    """Say, from its config alone, why a model's attention takes no mask of its own; None where it may."""
    config = model.config.get_text_config()
    implementation = config._attn_implementation
    if implementation not in SLOWER_PAIRS:
        return f"attention {implementation!r} takes no mask of its own: {' or '.join(SLOWER_PAIRS)} does"
    strange = set(getattr(config, "layer_types", None) or []) - {"full_attention", "sliding_attention"}
    return f"layers of kind {', '.join(sorted(strange))} take no such mask" if strange else None


def costs(model: nn.Module) -> Costs:
    """Derive a model's cost of rows from its sizes.

    A token costs `2 (2 H A + 2 H G + 3 H I)` operations in the linear layers of one transformer layer and a pair of
    tokens `4 A` in its attention (H hidden size, A heads times head size, G the same of keys, I the inner size of the
    feed-forward part, times the experts that a token visits), so layers cancel; `SLOWER_PAIRS` corrects for attention
    being slower per operation.
    """
    inner = causal_lm(model)
    config = inner.config.get_text_config()
    hidden, heads = config.hidden_size, config.num_attention_heads
    size = getattr(config, "head_dim", None) or hidden // heads
    keys = size * (getattr(config, "num_key_value_heads", None) or heads)
    feed = getattr(config, "intermediate_size", None) or 4 * hidden
    if experts := getattr(config, "num_experts_per_tok", None):
        feed = experts * (getattr(config, "moe_intermediate_size", None) or feed)
    token = 2 * (2 * hidden * heads * size + 2 * hidden * keys + 3 * hidden * feed)
    pair = 4 * heads * size / token
    implementation = config._attn_implementation
    causal, masked = SLOWER_PAIRS.get(implementation, SLOWER_PAIRS["sdpa"])
    operations = 3 * token * config.num_hidden_layers
    return Costs(
        share=support(model).shared,
        causal=pair * causal * (1.0 if implementation == "eager" else 0.5),
        masked=pair * masked,
        call=CALL_OPERATIONS.get(inner.device.type, CALL_OPERATIONS["cuda"]) / operations,
    )


def block_masks(model: Any, laid: SharedRows) -> Any:
    """Return who sees whom in the form that the model's public forward takes: a tensor, or one per kind of layer.

    sdpa takes booleans [R, 1, T, T]; eager attention adds the mask to its scores, so it gets 0 and the lowest number.
    """
    config = model.config.get_text_config()
    window = getattr(config, "sliding_window", None)
    kinds = set(getattr(config, "layer_types", None) or ["sliding_attention" if window else "full_attention"])
    masks = {kind: laid.mask(window if kind == "sliding_attention" else None) for kind in kinds}
    if config._attn_implementation == "eager":
        dtype = model.get_input_embeddings().weight.dtype
        low = torch.finfo(dtype).min
        masks = {kind: torch.zeros_like(mask, dtype=dtype).masked_fill_(~mask, low) for kind, mask in masks.items()}
    return masks if len(masks) > 1 else masks.popitem()[1]


@contextmanager
def _small_window(model: Any) -> Iterator[None]:
    """Make sliding windows so small that the self-check exceeds them."""
    config = model.config.get_text_config()
    window = getattr(config, "sliding_window", None)
    if window is None:
        yield
        return
    config.sliding_window = CHECKED_WINDOW
    try:
        yield
    finally:
        config.sliding_window = window


def _check(model: Any) -> Support:
    row, name = _tiny(model), type(model).__name__
    alone = [torch.tensor([[*row.beginning, *end]], device=model.device) for end in row.ends]
    part = slice(len(row.beginning) - 1, None)  # what an end is predicted from
    if model.get_output_embeddings() is None:
        return _check_headless(model, row, alone, part)
    try:
        plain = [model(input_ids=ids, use_cache=False).logits[0, part] for ids in alone]
    except FAILURES as error:
        what = f"failed on a few tokens: {type(error).__name__}: {error}"
        raise ModelError(name, what, "check model.attention and the weights") from error
    vocabulary = plain[0].shape[-1]
    if not torch.isfinite(plain[0]).all():
        raise ModelError(name, "the logits of a few tokens are not finite", "check the weights")
    try:
        ours = [logits(model, hidden_states(model, ids)[0, part]) for ids in alone]
        far = _difference(plain, ours)
    except FAILURES as error:
        far = f"{type(error).__name__}: {error}"
    if far:
        reason = f"the output head of {name} cannot be called apart: {far}"
        return Support(head=False, shared=False, reason=reason, vocabulary=vocabulary)
    shared, reason = _check_shared(model, row, plain, partial(logits, model))
    return Support(head=True, shared=shared, reason=reason, vocabulary=vocabulary)


def _check_headless(model: Any, row: SharedRow, alone: list[Tensor], part: slice) -> Support:
    """Compare hidden states: a reward model's head makes one number of a whole sequence."""
    try:
        plain = [hidden_states(model, ids)[0, part] for ids in alone]
    except FAILURES as error:
        reason = f"{type(model).__name__} has no decoder that can be called apart: {type(error).__name__}: {error}"
        return Support(head=False, shared=False, reason=reason, vocabulary=0)
    shared, reason = _check_shared(model, row, plain, nn.Identity())
    return Support(head=False, shared=shared, reason=reason, vocabulary=0)


def _check_shared(
    model: Any, row: SharedRow, plain: list[Tensor], outcome: Callable[[Tensor], Tensor]
) -> tuple[bool, str]:
    if reason := maskless(model):
        return False, reason
    laid = lay_out([row], model.device)
    try:
        states = hidden_states(model, laid.ids, laid.positions, block_masks(model, laid))[0]
    except FAILURES as error:
        return False, f"{type(model).__name__} failed with such a mask: {type(error).__name__}: {error}"
    last = len(row.beginning) - 1
    ours = [outcome(states[[last, *columns]]) for columns in row.columns()]
    if far := _difference(plain, ours):
        return False, f"{type(model).__name__} computes something else with such a mask: {far}"
    return True, "equal to one row per rollout on a self-check"


def _tiny(model: Any) -> SharedRow:
    size = model.get_input_embeddings().weight.shape[0]
    numbers = [(7 + 31 * place) % size for place in range(17)]
    return SharedRow(numbers[:6], [numbers[6:9], numbers[10:16]])


def _difference(plain: list[Tensor], ours: list[Tensor]) -> str:
    """Describe how far log-probabilities are apart relative to their spread, or nothing where that is rounding.

    Hidden states are taken for logits, which loses their mean alone.
    """
    theirs, mine = (torch.cat(parts).float().log_softmax(-1) for parts in (plain, ours))
    if theirs.shape != mine.shape:
        return f"{mine.shape[-1]} logits against {theirs.shape[-1]}"
    rounding = ROUNDING if plain[0].dtype == torch.float32 and not _tensor_floats(plain[0]) else COARSE_ROUNDING
    far = ((theirs - mine).norm() / (theirs - theirs.mean(-1, keepdim=True)).norm()).item()
    return "" if far <= rounding else f"log-probabilities differ by {far:.2g} of their spread (allowed {rounding:g})"


def _tensor_floats(made: Tensor) -> bool:
    """Whether float32 products are rounded to TF32 on the way."""
    return made.is_cuda and torch.get_float32_matmul_precision() != "highest"
