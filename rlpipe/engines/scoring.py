"""How likely a model finds completions: the forward pass that evaluations share."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from rlpipe.datasets.forms import Example, Preference
from rlpipe.models.tokens import tokenize

if TYPE_CHECKING:
    import torch

    from rlpipe.models.base import Loaded

LOGITS_PER_BATCH = 2**27
"""At most this many logits at once (half a gigabyte in float32), whatever the vocabulary."""


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


def likelihoods(loaded: Loaded, examples: Sequence[Example], batch_tokens: int) -> list[tuple[Likelihood, ...]]:
    """Return, for each example in order, the log-likelihood of each of its answers given the prompt.

    A completion has one answer; a preference two, chosen and rejected. Text is laid out as in training.
    """
    tokens = tokenize(examples, loaded.tokenizer)
    spans = [Span(one.prompt + answer, len(answer)) for one in tokens for answer in one.answers]
    answers = iter(span_likelihoods(loaded, spans, batch_tokens))
    return [tuple(next(answers) for _ in one.answers) for one in tokens]


def span_likelihoods(loaded: Loaded, spans: Sequence[Span], batch_tokens: int) -> list[Likelihood]:
    """Return the log-likelihood of each sequence's scored tokens given those before, in order.

    Rows are batched by length, and logits are computed for scored tokens only. Sequences longer than
    the model's context are cut at the front, as the model would see them; of an answer that alone is
    longer, only the tokens that have one before them in the context count.
    """
    found = [Likelihood(0.0, 1)] * len(spans)
    vocabulary = loaded.model.get_output_embeddings().weight.shape[0]
    loaded.model.eval()
    for batch in _batches(spans, batch_tokens, cost=lambda span: (span.scored + 1) * vocabulary):
        ids, mask = _padded([spans[i].ids for i in batch], loaded, left=True)
        counts = [min(spans[i].scored, ids.shape[1] - 1) for i in batch]
        keep = max(counts) + 1
        with without_gradients(loaded), autocast(loaded):
            positions = (mask.cumsum(-1) - 1).clamp(min=0)
            logits = loaded.model(
                input_ids=ids, attention_mask=mask, position_ids=positions, logits_to_keep=keep, use_cache=False
            ).logits
            logps = logits[:, :-1].float().log_softmax(-1)
            logps = logps.gather(-1, ids[:, -keep + 1 :].unsqueeze(-1)).squeeze(-1)
        for row, (index, count) in enumerate(zip(batch, counts, strict=True)):
            found[index] = Likelihood(logp=logps[row, -count:].double().sum().item(), tokens=count)
    return found


def rewards(loaded: Loaded, examples: Sequence[Preference], batch_tokens: int) -> list[tuple[float, float]]:
    """Return the reward head's numbers for each pair's chosen and rejected conversation, in order."""
    ids = [one.prompt + answer for one in tokenize(examples, loaded.tokenizer) for answer in one.answers]
    found = sequence_scores(loaded, ids, batch_tokens)
    return list(zip(found[::2], found[1::2], strict=True))


def sequence_scores(loaded: Loaded, sequences: Sequence[list[int]], batch_tokens: int) -> list[float]:
    """Return the reward head's number for each sequence of tokens, in order; rows are batched by length."""
    spans = [Span(ids) for ids in sequences]
    found = [0.0] * len(spans)
    loaded.model.eval()
    for batch in _batches(spans, batch_tokens, cost=lambda span: 1):
        ids, mask = _padded([spans[i].ids for i in batch], loaded, left=False)
        with without_gradients(loaded), autocast(loaded):
            scores = loaded.model(input_ids=ids, attention_mask=mask).logits[:, 0].float()
        for row, index in enumerate(batch):
            found[index] = scores[row].item()
    return found


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


def _batches(sequences: Sequence[Span], batch_tokens: int, cost: Callable[[Span], int]) -> Iterator[list[int]]:
    """Yield indices in batches of similar length, bounded in padded tokens and in logits; longest first."""
    order = sorted(range(len(sequences)), key=lambda i: -len(sequences[i].ids))
    batch: list[int] = []
    widest = 0
    for index in order:
        widest_now = max(widest, cost(sequences[index]))
        rows = len(batch) + 1
        longest = len(sequences[batch[0]].ids) if batch else len(sequences[index].ids)
        if batch and (rows * longest > batch_tokens or rows * widest_now > LOGITS_PER_BATCH):
            yield batch
            batch, widest_now = [], cost(sequences[index])
        batch.append(index)
        widest = widest_now
    if batch:
        yield batch


def _padded(rows: list[list[int]], loaded: Loaded, left: bool) -> tuple[torch.Tensor, torch.Tensor]:
    """Return ids and mask [B, T], padded at the left so that answers end together, else at the right."""
    import torch

    length = max(map(len, rows))
    context = getattr(loaded.model.config.get_text_config(), "max_position_embeddings", None)
    if context is not None:
        length = min(length, context)
    ids = torch.full((len(rows), length), loaded.tokenizer.pad_token_id, dtype=torch.long)
    mask = torch.zeros_like(ids)
    for i, row in enumerate(rows):
        row = row[-length:]
        span = slice(length - len(row), length) if left else slice(0, len(row))
        ids[i, span] = torch.tensor(row)
        mask[i, span] = 1
    return ids.to(loaded.model.device), mask.to(loaded.model.device)
