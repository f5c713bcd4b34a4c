"""Rows of a batch that begin alike go through the network as one: their prompt once instead of twice.

Trainers and evaluations call the model on padded rows. While `shared` lasts, hooks on the model's decoder find the
rows that begin alike, lay two and two out as `[beginning, end, other end]` (`engines.shared_rows`), and give
the hidden states back where the caller expects them. So heads, losses, wrappers and adapters are as without it, and
losses and gradients are equal up to rounding: a causal model's state of a token depends on what stands before it alone.

Importing this module imports torch.
"""

from __future__ import annotations

import inspect
import itertools
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from rlpipe.core import distributed
from rlpipe.engines.decoder import causal_lm
from rlpipe.engines.row_costs import Costs
from rlpipe.engines.shared_prefix import block_masks, costs, maskless, support
from rlpipe.engines.shared_rows import SharedRow, lay_out

LEFT_ALONE = ("position_ids", "inputs_embeds", "cache", "past_key_values", "output_router_logits")
"""Arguments of a decoder with which a call goes through as it is: something in it is told by row or position."""


@dataclass(frozen=True)
class Plan:
    """Which rows of a batch share a row of their own."""

    rows: list[SharedRow]
    members: list[tuple[int, ...]]
    """The rows of the batch that each of `rows` holds."""

    @property
    def shares(self) -> bool:
        """Whether any row holds two."""
        return any(len(members) > 1 for members in self.members)

    def places(self, starts: Sequence[int], shape: torch.Size) -> Tensor:
        """Return where the state of each token of the batch stands [B · T], as an index into rows end to end.

        `starts` says behind how much padding each row of the batch begins. Padding gets the first token's state.
        """
        width = max(row.length for row in self.rows)
        places = torch.zeros(shape, dtype=torch.long)
        for number, (row, members) in enumerate(zip(self.rows, self.members, strict=True)):
            shared, offset = len(row.beginning), number * width
            for member, columns in zip(members, row.columns(), strict=True):
                start = starts[member]
                places[member, start : start + shared] = torch.arange(offset, offset + shared)
                end = torch.arange(offset + columns.start, offset + columns.stop)
                places[member, start + shared : start + shared + len(columns)] = end
        return places.flatten()


def plan(rows: Sequence[list[int]], costs: Costs) -> Plan:
    """Put rows two and two together that begin alike, where that costs less than to leave all of them alone.

    Those with the longest common beginning first: in the order of their tokens they are neighbours.
    """
    order = sorted(range(len(rows)), key=rows.__getitem__)
    common = [_common(rows[one], rows[other]) for one, other in itertools.pairwise(order)]
    left, shared, members = set(order), [], []
    for place in sorted(range(len(common)), key=lambda place: -common[place]):
        pair = tuple(sorted(order[place : place + 2]))
        row = SharedRow(rows[pair[0]][: common[place]], [rows[member][common[place] :] for member in pair])
        if left.issuperset(pair) and _cheaper(row, costs):
            left.difference_update(pair)
            shared.append(row)
            members.append(pair)
    alone = sorted(left)
    together = Plan(shared + [SharedRow(rows[one], [[]]) for one in alone], members + [(one,) for one in alone])
    longest, width = max(map(len, rows)), max(row.length for row in together.rows)
    if len(together.rows) * costs.row(width, 2) < len(rows) * costs.row(longest, 1):
        return together
    return Plan([SharedRow(row, [[]]) for row in rows], [(number,) for number in range(len(rows))])


def _common(one: list[int], other: list[int]) -> int:
    """Count the tokens with which both begin."""
    length = min(len(one), len(other))
    if one[:length] == other[:length]:
        return length
    return next(place for place in range(length) if one[place] != other[place])


def _cheaper(row: SharedRow, costs: Costs) -> bool:
    longest = len(row.beginning) + max(map(len, row.ends))
    return bool(row.beginning) and costs.row(row.length, 2) < 2 * costs.row(longest, 1)


def refusal(model: nn.Module, compiled: bool = False) -> str | None:
    """Say why rows of this model cannot share their beginning; None where they can."""
    inner = causal_lm(model)
    if reason := maskless(inner):
        return reason
    if getattr(inner.config.get_text_config(), "output_router_logits", False):
        return "the balance of its experts is counted token by token"
    if compiled:
        return "method.extra.torch_compile wants the same shapes in every step"
    if distributed.any_rank(any(weight.is_meta or not weight.numel() for weight in inner.parameters())):
        return "its weights lie on several processes"
    found = support(inner)
    return None if found.shared else found.reason


@contextmanager
def shared(*models: nn.Module) -> Iterator[None]:
    """Have rows that begin alike share their beginning in every call of these models, those that serve (`support`)."""
    inner = {id(one): one for one in map(causal_lm, models)}
    with ExitStack() as hooks:
        for model in inner.values():
            known = costs(model)
            if known.share:
                hooks.enter_context(_hooked(model, known))
        yield


@contextmanager
def _hooked(model: Any, costs: Costs) -> Iterator[None]:
    decoder = model.get_decoder()
    names = list(inspect.signature(decoder.forward).parameters)
    pending: list[tuple[Tensor, torch.Size] | None] = []

    def lay(_: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        given = {**dict(zip(names, args, strict=False)), **kwargs}
        ids, mask = given.get("input_ids"), given.get("attention_mask")
        if ids is None or mask is None or mask.dim() != 2 or any(given.get(name) is not None for name in LEFT_ALONE):
            pending.append(None)
            return None
        seen = mask.bool().cpu()
        planned = plan([row[kept].tolist() for row, kept in zip(ids.cpu(), seen, strict=True)], costs)
        places = planned.places(seen.int().argmax(1).tolist(), ids.shape)
        pending.append((places.to(ids.device), ids.shape))
        laid = lay_out(planned.rows, ids.device)
        given |= {"input_ids": laid.ids, "attention_mask": None}
        if planned.shares:
            given |= {"position_ids": laid.positions, "attention_mask": block_masks(model, laid)}
        return (), given

    def restore(_: nn.Module, args: Any, output: Any) -> Any:
        taken = pending.pop()
        if taken is not None:
            places, shape = taken
            states = output.last_hidden_state
            output.last_hidden_state = states.flatten(0, 1).index_select(0, places).view(*shape, -1)
        return output

    before = decoder.register_forward_pre_hook(lay, with_kwargs=True)
    after = decoder.register_forward_hook(restore)
    try:
        yield
    finally:
        before.remove()
        after.remove()
