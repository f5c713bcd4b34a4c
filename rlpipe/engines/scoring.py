"""How likely a model finds completions: the forward pass that evaluations share."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from rlpipe.datasets.forms import Example, Preference
from rlpipe.engines.row_costs import Costs
from rlpipe.models.tokens import tokenize

if TYPE_CHECKING:
    import torch

    from rlpipe.engines.shared_prefix import Support
    from rlpipe.models.base import Loaded

LOGITS_PER_BATCH = 2**27
"""At most this many logits at once (half a gigabyte in float32) where the output head cannot be called apart."""
BATCH_TOKENS = {"cpu": 2048, "cuda": 8192}
"""Tokens of a forward pass where nothing else is said, padding included: on a processor larger ones are slower."""


@dataclass(frozen=True)
class Likelihood:
    """The natural-log probability of a completion given its prompt, and its length in tokens."""

    logp: float
    tokens: int

    @property
    def per_token(self) -> float:
        """Mean log-probability of a token."""
        return self.logp / self.tokens


@dataclass(frozen=True)
class Span:
    """Token ids of a whole sequence, and how many of the last ones are scored."""

    ids: list[int]
    scored: int = 0


def likelihoods(
    loaded: Loaded, examples: Sequence[Example], batch_tokens: int | None = None
) -> list[tuple[Likelihood, ...]]:
    """Return, for each example in order, the log-likelihood of each of its answers given the prompt.

    A completion has one answer; a preference two, chosen and rejected. Text is laid out as in training.
    """
    tokens = tokenize(examples, loaded.tokenizer)
    spans = [Span(one.prompt + answer, len(answer)) for one in tokens for answer in one.answers]
    answers = iter(span_likelihoods(loaded, spans, batch_tokens))
    return [tuple(next(answers) for _ in one.answers) for one in tokens]


def span_likelihoods(loaded: Loaded, spans: Sequence[Span], batch_tokens: int | None = None) -> list[Likelihood]:
    """Return the log-likelihood of each sequence's scored tokens given those before, in order.

    What `loaded.scored` knows is not scored again, nor what stands here twice. Rows are batched by length, two that are
    scored behind the same tokens together, so that these go through the network once where that is cheaper
    (`shared_prompts`); logits are computed for scored tokens only, chunk by chunk. Sequences longer than the model's
    context are cut at the front, as the model would see them; of an answer that alone is longer, only the tokens that
    have one before them in the context count.
    """
    known: dict[Any, Likelihood] = {} if loaded.scored is None else loaded.scored
    keys = [(tuple(span.ids), span.scored) for span in spans]
    new = {key: span for key, span in zip(keys, spans, strict=True) if key not in known}
    known.update(zip(new, _score(loaded, list(new.values()), batch_tokens), strict=True))
    return [known[key] for key in keys]


def _score(loaded: Loaded, spans: Sequence[Span], batch_tokens: int | None) -> list[Likelihood]:
    """Score sequences, whatever is known."""
    import torch

    from rlpipe.engines.decoder import causal_lm
    from rlpipe.engines.shared_prefix import support

    found = [Likelihood(0.0, 1)] * len(spans)
    if not spans:
        return found
    loaded.model.eval()
    known = _whole(loaded) if loaded.sharded else support(causal_lm(loaded.model))
    logits = 0 if known.head else known.vocabulary
    with _sharing(loaded) as costs:
        for batch in _batches(spans, _tokens(loaded, batch_tokens), costs, logits):
            ids, lengths = _padded([spans[i].ids for i in batch], loaded)
            counts = [min(spans[i].scored, length - 1) for i, length in zip(batch, lengths, strict=True)]
            with without_gradients(loaded), autocast(loaded):
                logps = _logps(loaded.model, ids, lengths, counts, known)
                sums = torch.stack([part.double().sum() for part in logps.split(counts)]).tolist()
            for index, logp, count in zip(batch, sums, counts, strict=True):
                found[index] = Likelihood(logp, count)
    return found


def _whole(loaded: Loaded) -> Support:
    """Return that a model in shards is called as a whole: its weights are gathered by its own forward alone."""
    from rlpipe.engines.shared_prefix import Support

    vocabulary = loaded.model.get_output_embeddings().weight.shape[0]
    return Support(head=False, shared=False, reason="the weights are in shards", vocabulary=vocabulary)


def _logps(
    model: Any, ids: torch.Tensor, lengths: Sequence[int], counts: Sequence[int], known: Support
) -> torch.Tensor:
    """Return the log-probabilities [n] of the last `counts` tokens of each row of `ids` [B, T], row after row.

    The whole model goes without a mask: padding stands on the right, where a causal model sees none of it. The decoder
    gets one where rows may share their beginning, which must know where they end.
    """
    import torch

    from rlpipe.engines.decoder import causal_lm, chunk_length, hidden_states, logits

    width, inner = ids.shape[1], causal_lm(model)
    ends = zip(range(0, ids.numel(), width), lengths, counts, strict=True)
    places = torch.cat([torch.arange(row + end - count, row + end) for row, end, count in ends]).to(ids.device)
    targets = ids.flatten()[places]
    if not known.head:
        keep = width + 1 - min(end - count for end, count in zip(lengths, counts, strict=True))
        row, column = (places - 1) // width, (places - 1) % width
        made = model(input_ids=ids, use_cache=False, logits_to_keep=keep).logits[row, column - (width - keep)]
        return -torch.nn.functional.cross_entropy(made.float(), targets, reduction="none")
    mask = _mask(ids, lengths) if known.shared else None
    states = hidden_states(inner, ids, mask=mask).flatten(0, 1)[places - 1]
    length = chunk_length(known.vocabulary, ids.device)
    parts = [
        -torch.nn.functional.cross_entropy(logits(inner, chunk).float(), wanted, reduction="none")
        for chunk, wanted in zip(states.split(length), targets.split(length), strict=True)
    ]
    return torch.cat(parts)


def rewards(
    loaded: Loaded, examples: Sequence[Preference], batch_tokens: int | None = None
) -> list[tuple[float, float]]:
    """Return the reward head's numbers for each pair's chosen and rejected conversation, in order."""
    tokens = tokenize(examples, loaded.tokenizer)
    spans = [Span(one.prompt + answer, len(answer)) for one in tokens for answer in one.answers]
    found = span_rewards(loaded, spans, batch_tokens)
    return list(zip(found[::2], found[1::2], strict=True))


def span_rewards(loaded: Loaded, spans: Sequence[Span], batch_tokens: int | None = None) -> list[float]:
    """Return the reward head's number for each sequence of tokens, in order; batched as in `span_likelihoods`."""
    found = [0.0] * len(spans)
    if not spans:
        return found
    loaded.model.eval()
    with _sharing(loaded) as costs:
        for batch in _batches(spans, _tokens(loaded, batch_tokens), costs):
            ids, lengths = _padded([spans[i].ids for i in batch], loaded)
            with without_gradients(loaded), autocast(loaded):
                scores = loaded.model(input_ids=ids, attention_mask=_mask(ids, lengths)).logits[:, 0].float()
            for index, score in zip(batch, scores.tolist(), strict=True):
                found[index] = score
    return found


@contextmanager
def _sharing(loaded: Loaded) -> Iterator[Costs]:
    """Have rows of a batch that begin alike share their beginning, where the model serves; yield what rows cost."""
    from rlpipe.engines.shared_prefix import costs
    from rlpipe.engines.shared_prompts import refusal, shared

    if loaded.sharded or refusal(loaded.model) is not None:
        yield Costs(share=False)
        return
    with shared(loaded.model):
        yield costs(loaded.model)


def without_gradients(loaded: Loaded) -> AbstractContextManager[Any]:
    """Return the context in which nothing is kept for gradients."""
    import torch

    # What is gathered of weights in shards is used again in training, which takes nothing made in inference mode.
    return torch.no_grad() if loaded.sharded else torch.inference_mode()


def autocast(loaded: Loaded) -> AbstractContextManager[Any]:
    """Return the context in which the model's arithmetic runs as in training."""
    import torch

    if not loaded.autocast:
        return nullcontext()
    return torch.autocast(loaded.model.device.type, dtype=torch.bfloat16)


def _tokens(loaded: Loaded, batch_tokens: int | None) -> int:
    return batch_tokens or BATCH_TOKENS.get(loaded.model.device.type, BATCH_TOKENS["cuda"])


def _batches(spans: Sequence[Span], batch_tokens: int, costs: Costs, vocabulary: int = 0) -> Iterator[list[int]]:
    """Yield indices in batches of similar length, longest first, bounded in padded tokens and in their logits.

    Two sequences that are scored behind the same tokens stay together where they cost less in one row.
    """
    if vocabulary:
        batch_tokens = min(batch_tokens, LOGITS_PER_BATCH // vocabulary)
    batch: list[int] = []
    rows = longest = 0
    for length, members in sorted(_rows(spans, costs), key=lambda row: -row[0]):
        if batch and (rows + 1) * longest > batch_tokens:
            yield batch
            batch, rows = [], 0
        longest = length if rows == 0 else longest
        batch += members
        rows += 1
    if batch:
        yield batch


def _rows(spans: Sequence[Span], costs: Costs) -> Iterator[tuple[int, list[int]]]:
    """Yield rows that hold one sequence or two: how many tokens, and which sequences."""
    alike: dict[tuple[int, ...], list[int]] = defaultdict(list)
    for index, span in enumerate(spans):
        alike[tuple(span.ids[: len(span.ids) - span.scored])].append(index)
    for prompt, members in alike.items():
        members.sort(key=lambda index: len(spans[index].ids))
        for pair in (members[start : start + 2] for start in range(0, len(members), 2)):
            lengths = [len(spans[index].ids) for index in pair]
            together = sum(lengths) - len(prompt)
            if costs.share and len(pair) == 2 and costs.row(together, 2) < sum(costs.row(one, 1) for one in lengths):
                yield together, pair
            else:
                yield from ((length, [index]) for length, index in zip(lengths, pair, strict=True))


def _mask(ids: torch.Tensor, lengths: Sequence[int]) -> torch.Tensor:
    """Return which of the tokens [B, T] are no padding, 1 for yes."""
    import torch

    return (torch.arange(ids.shape[1]) < torch.tensor(lengths)[:, None]).long().to(ids.device)


def _padded(rows: list[list[int]], loaded: Loaded) -> tuple[torch.Tensor, list[int]]:
    """Return ids [B, T], padded at the right and cut at the front to the model's context, and each row's length."""
    import torch

    context = getattr(loaded.model.config.get_text_config(), "max_position_embeddings", None)
    rows = rows if context is None else [row[-context:] for row in rows]
    lengths = [len(row) for row in rows]
    ids = torch.full((len(rows), max(lengths)), loaded.tokenizer.pad_token_id, dtype=torch.long)
    for i, row in enumerate(rows):
        ids[i, : len(row)] = torch.tensor(row)
    return ids.to(loaded.model.device), lengths
