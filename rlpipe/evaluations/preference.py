"""Does the model prefer the better of two completions?

A language model prefers what it finds likelier per token. Compared with the start of training, its
implicit reward (arXiv:2305.18290, eq. 5) is the rise in log-probability: `reward_accuracy` is the
share of pairs in which the chosen completion rose more than the rejected one, `reward_margin` by
how much (in nats, without β); at the start every pair is a tie. A reward model prefers what it
scores higher.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

from rlpipe.config.kinds import Head
from rlpipe.config.resolved import resolve
from rlpipe.config.schema import RunConfig
from rlpipe.datasets.forms import Example, Preference, text_of
from rlpipe.evaluations.base import Evaluation, Row
from rlpipe.models.base import Loaded


class PreferenceAccuracy(Evaluation):
    """Held-out accuracy and margin on chosen/rejected pairs."""

    takes = (Preference,)
    heads = (Head.causal_lm, Head.reward)

    def numbers(self, config: RunConfig) -> Collection[str] | None:
        """Return accuracy and margin, for a language model also those of its implied reward."""
        implied = ("reward_accuracy", "reward_margin") if resolve(config).method.head is Head.causal_lm else ()
        return ("accuracy", "margin", *implied)

    def repeatable(self) -> bool:
        """Return that scores repeat."""
        return True

    def rows(self, loaded: Loaded, examples: Sequence[Example]) -> list[Row]:
        """One row a pair: `score` 1, 0, or 0.5 for a tie.

        `completion` is the chosen text; `parts` holds both completions' log-probabilities (with their tokens) or
        rewards, and the margin between them.
        """
        from rlpipe.engines import scoring

        pairs = [example for example in examples if isinstance(example, Preference)]
        if loaded.head is Head.reward:
            scores = scoring.rewards(loaded, pairs, self.config.batch_tokens)
            return [_row(pair, c - r, c, r, {}) for pair, (c, r) in zip(pairs, scores, strict=True)]
        rows = []
        for pair, (c, r) in zip(pairs, scoring.likelihoods(loaded, pairs, self.config.batch_tokens), strict=True):
            tokens = {"chosen_tokens": c.tokens, "rejected_tokens": r.tokens}
            rows.append(_row(pair, c.per_token - r.per_token, c.logp, r.logp, tokens))
        return rows

    def summary(self, rows: Sequence[Row], start: Sequence[Row] | None) -> dict[str, float]:
        """`accuracy` and `margin`; for a language model also `reward_accuracy` and `reward_margin`."""
        margins = [row["parts"]["margin"] for row in rows]
        numbers = {"accuracy": _mean([row["score"] for row in rows]), "margin": _mean(margins)}
        if "chosen_tokens" in rows[0]["parts"]:
            before = [row["parts"]["margin"] for row in start or rows]
            rises = [now - then for now, then in zip(margins, before, strict=True)]
            numbers["reward_accuracy"] = _mean([_win(rise) for rise in rises])
            numbers["reward_margin"] = _mean(rises)
        return numbers


def _row(pair: Preference, preferred: float, chosen: float, rejected: float, more: Mapping[str, float]) -> Row:
    texts = {"prompt": text_of(pair.prompt), "completion": text_of(pair.chosen), "rejected": text_of(pair.rejected)}
    parts = {"chosen": chosen, "rejected": rejected, "margin": chosen - rejected, **more}
    return {"id": pair.id, **texts, "score": _win(preferred), "parts": parts}


def _win(difference: float) -> float:
    """Score a difference; one that rounding could have made is a tie."""
    return 0.5 if abs(difference) < 1e-6 else float(difference > 0)


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)
