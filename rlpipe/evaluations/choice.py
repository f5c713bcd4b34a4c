"""Multiple choice: is the right answer the one that the model finds likeliest?

`accuracy` compares log-probabilities of whole answers, `accuracy_per_token` their mean per token
(long answers are not put at a disadvantage).
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

from rlpipe.config.schema import RunConfig
from rlpipe.datasets.forms import Choice, Completion, Example, text_of
from rlpipe.evaluations.base import Evaluation, Row
from rlpipe.models.base import Loaded


class ChoiceAccuracy(Evaluation):
    """Accuracy on questions with several given answers."""

    takes = (Choice,)

    def numbers(self, config: RunConfig) -> Collection[str] | None:
        """Return both accuracies."""
        return ("accuracy", "accuracy_per_token")

    def repeatable(self) -> bool:
        """Return that scores repeat."""
        return True

    def rows(self, loaded: Loaded, examples: Sequence[Example]) -> list[Row]:
        """One row a question: `score` 1 or 0, and the answers' log-probabilities; `completion` is the pick."""
        from rlpipe.engines import scoring

        questions = [example for example in examples if isinstance(example, Choice)]
        flat = [
            Completion(example.id, example.prompt, [{"role": "assistant", "content": choice}])
            for example in questions
            for choice in example.choices
        ]
        found = iter(scoring.likelihoods(loaded, flat, self.config.batch_tokens))
        rows = []
        for example in questions:
            answers = [next(found)[0] for _ in example.choices]
            pick = _best([answer.logp for answer in answers])
            per_token = _best([answer.per_token for answer in answers])
            rows.append(
                {
                    "id": example.id,
                    "prompt": text_of(example.prompt),
                    "completion": example.choices[pick],
                    "score": float(pick == example.answer),
                    "parts": {"per_token": float(per_token == example.answer)},
                    "pick": pick,
                    "answer": example.answer,
                    "logps": [answer.logp for answer in answers],
                }
            )
        return rows

    def summary(self, rows: Sequence[Row], start: Sequence[Row] | None) -> dict[str, float]:
        """`accuracy` and `accuracy_per_token`."""
        return {
            "accuracy": sum(row["score"] for row in rows) / len(rows),
            "accuracy_per_token": sum(row["parts"]["per_token"] for row in rows) / len(rows),
        }


def _best(values: Sequence[float]) -> int:
    return max(range(len(values)), key=values.__getitem__)
