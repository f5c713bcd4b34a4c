"""From judged responses to rows with a better and a worse one, and the count of all that became none."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any

from rlpipe.core.files import Row
from rlpipe.datasets.forms import text_of
from rlpipe.engines.rollout import Finish
from rlpipe.methods.ai_feedback import AIFeedbackConfig, Mode
from rlpipe.rewards.judge.pairwise import Choice, PositionBias, position_bias
from rlpipe.training.feedback.judging import two_by_two, verdict
from rlpipe.training.feedback.responses import usable


class Fate(Enum):
    """What becomes of two responses that might make a pair."""

    kept = "kept"
    ties = "ties"
    """Neither is better."""
    unreadable = "unreadable"
    """The judge's replies say nothing that could be read."""
    unusable = "unusable"
    """A response is empty, or was cut off."""


@dataclass(frozen=True)
class Outcome:
    """The fate of two responses, and their numbers, the better one first, where a pair is kept."""

    fate: Fate
    chosen: int = -1
    rejected: int = -1
    reason: Any = None
    """What the judge said of the two, for the row."""


def outcomes(row: Row, judged: Row, settings: AIFeedbackConfig) -> Iterator[Outcome]:
    """Yield what became of a prompt's responses: one outcome with `best_of_n`, else one for every two responses."""
    may = usable(row, settings)
    if settings.mode is Mode.best_of_n:
        yield _best_against_worst(judged["scores"], may, settings.margin)
        return
    pairs = two_by_two(may)
    yield from [Outcome(Fate.unusable)] * (len(may) // 2 - len(pairs))
    if settings.mode is Mode.rubric:
        for pair in pairs:
            yield _higher(judged["scores"], pair, settings.margin)
    else:
        yield from map(_preferred, judged["verdicts"])


def _best_against_worst(scores: Sequence[Any], may: Sequence[bool], margin: float) -> Outcome:
    scored = [number for number, entry in enumerate(scores) if entry is not None]
    if len(scored) < 2:
        return Outcome(Fate.unusable if sum(may) < 2 else Fate.unreadable)
    best = max(scored, key=lambda number: scores[number]["value"])
    worst = min(scored, key=lambda number: scores[number]["value"])
    return _higher(scores, (best, worst), margin)


def _higher(scores: Sequence[Any], pair: tuple[int, int], margin: float) -> Outcome:
    one, other = pair
    if scores[one] is None or scores[other] is None:
        return Outcome(Fate.unreadable)
    difference = scores[one]["value"] - scores[other]["value"]
    if abs(difference) <= margin:
        return Outcome(Fate.ties)
    better, worse = (one, other) if difference > 0 else (other, one)
    return Outcome(Fate.kept, better, worse, {"chosen": scores[better]["parts"], "rejected": scores[worse]["parts"]})


def _preferred(entry: dict[str, Any]) -> Outcome:
    found, (one, other) = verdict(entry), entry["pair"]
    if not found.readable:
        return Outcome(Fate.unreadable)
    if found.winner is Choice.tie:
        return Outcome(Fate.ties)
    better, worse = (one, other) if found.winner is Choice.first else (other, one)
    return Outcome(Fate.kept, better, worse, {"forward": entry["forward"], "backward": entry["backward"]})


def pair_row(row: Row, judged: Row, outcome: Outcome, provenance: Mapping[str, Any]) -> Row:
    """Return a kept pair in the columns of UltraFeedback, and in further ones that say where it comes from."""
    chosen, rejected = (row["responses"][number] for number in (outcome.chosen, outcome.rejected))
    scores = judged.get("scores")
    return {
        "prompt": text_of(row["prompt"][-1:]),
        "prompt_id": row["id"],
        "chosen": _conversation(row, chosen),
        "rejected": _conversation(row, rejected),
        **({"tools": row["tools"]} if "tools" in row else {}),
        "score_chosen": scores[outcome.chosen]["value"] if scores else None,
        "score_rejected": scores[outcome.rejected]["value"] if scores else None,
        "responses": [outcome.chosen, outcome.rejected],
        "tokens": [len(chosen["ids"]), len(rejected["ids"])],
        "judged": outcome.reason,
        **provenance,
    }


def _conversation(row: Row, response: Mapping[str, Any]) -> list[dict[str, Any]]:
    return [*row["prompt"], {"role": "assistant", "content": response["text"]}]


def rows(
    drawn: Sequence[Row], judged: Sequence[Row], settings: AIFeedbackConfig, provenance: Mapping[str, Any]
) -> tuple[list[Row], Counter[Fate]]:
    """Return the kept pairs of a split, and how many pairs met which fate."""
    fates: Counter[Fate] = Counter()
    kept: list[Row] = []
    for row, about in zip(drawn, judged, strict=True):
        for outcome in outcomes(row, about, settings):
            fates[outcome.fate] += 1
            if outcome.fate is Fate.kept:
                kept.append(pair_row(row, about, outcome, provenance))
    return kept, fates


def numbers(drawn: Sequence[Row], fates: Counter[Fate], kept: Sequence[Row]) -> dict[str, float]:
    """Return what a record keeps of a split: counts, lengths in tokens, and how far the longer response is favoured."""
    found: dict[str, float] = {"prompts": len(drawn), **{fate.value: fates[fate] for fate in Fate}}
    found |= drawn_numbers(drawn)
    if kept:
        tokens = [row["tokens"] for row in kept]
        found["length_chosen"], found["length_rejected"] = (_mean(side) for side in zip(*tokens, strict=True))
        # 0.5: what is chosen does not go with length.
        found["longer_chosen"] = _mean([0.5 + 0.5 * ((one > other) - (one < other)) for one, other in tokens])
        for name in ("score_chosen", "score_rejected"):
            if kept[0][name] is not None:
                found[name] = _mean([row[name] for row in kept])
    return found


def drawn_numbers(drawn: Sequence[Row]) -> dict[str, float]:
    """Return the mean length of responses in tokens, and the share of those that were cut off."""
    ended = [one["finish"] == Finish.length.value for row in drawn for one in row["responses"]]
    return {"response_length": _mean(lengths(drawn)), "ended_by_length": _mean(ended)} if drawn else {}


def judged_numbers(judged: Sequence[Row]) -> dict[str, float]:
    """Return the mean score, or what comparisons owe to the order."""
    values = [entry["value"] for row in judged for entry in row.get("scores", ()) if entry is not None]
    if values:
        return {"score": _mean(values)}
    rate = bias(judged).first_rate
    return {} if rate is None else {"first_answer_rate": rate}


def lengths(drawn: Sequence[Row]) -> list[int]:
    """Return every response's number of tokens."""
    return [len(one["ids"]) for row in drawn for one in row["responses"]]


def bias(judged: Sequence[Row]) -> PositionBias:
    """Return what all comparisons together owe to the order in which responses were shown."""
    return position_bias([verdict(entry) for row in judged for entry in row.get("verdicts", ())])


def _mean(values: Sequence[float]) -> float:
    return math.fsum(values) / len(values)
