"""Which of two responses is better, example by example, and what that comes to over all of them."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import fmean
from typing import Any

from rlpipe.engines.rollout import Rollout
from rlpipe.evaluations.base import Row
from rlpipe.rewards.base import Reward
from rlpipe.rewards.combine import Rewards
from rlpipe.rewards.judge.pairwise import Choice, Pair, PositionBias, Verdict, compare, position_bias

SCORES = {"win": 1.0, "tie": 0.5, "loss": 0.0}
ROUNDING = 1e-6
"""Rewards that differ by no more are the same."""


def by_score(rewards: Rewards, named: str | None, ours: Sequence[Rollout], theirs: Sequence[Rollout]) -> list[Row]:
    """Let the higher reward win: `named`'s own value, or the weighted sum of all rewards where none is named."""
    rewards.score([*ours, *theirs])
    rows = []
    for mine, other in zip(ours, theirs, strict=True):
        value, reference_value = (one.reward if named is None else one.scores[named].value for one in (mine, other))
        same = mine.text == other.text or abs(value - reference_value) <= ROUNDING
        verdict = "tie" if same else "win" if value > reference_value else "loss"
        parts = {"reward": value, "reference_reward": reference_value, "reward_improvement": value - reference_value}
        rows.append(_row(verdict, mine, other, parts))
    return rows


def by_comparison(judge: Reward, ours: Sequence[Rollout], theirs: Sequence[Rollout]) -> list[Row]:
    """Let a judge compare, in both orders; responses that are the same are a tie, and nobody is asked."""
    pairs = [Pair(mine.prompt, mine.text, other.text) for mine, other in zip(ours, theirs, strict=True)]
    differing = [pair for pair in pairs if pair.first != pair.second]
    answers = iter(compare(judge, differing) if differing else ())
    names = {Choice.first: "win", Choice.second: "loss", Choice.tie: "tie"}
    rows = []
    for pair, mine, other in zip(pairs, ours, theirs, strict=True):
        if pair.first == pair.second:
            rows.append(_row("tie", mine, other, {}))
            continue
        verdict = next(answers)
        orders = [None if one is None else one.value for one in (verdict.forward, verdict.backward)]
        rows.append({**_row(names[verdict.winner], mine, other, {}), "orders": orders})
    return rows


def _row(verdict: str, mine: Rollout, other: Rollout, parts: dict[str, float]) -> Row:
    lengths = {"length": float(len(mine.text)), "reference_length": float(len(other.text))}
    return {"verdict": verdict, "score": SCORES[verdict], "parts": {**parts, **lengths}, "reference": other.text}


def numbers(rows: Sequence[Row]) -> dict[str, float]:
    """Sum rows up; lengths are in characters, a ratio or rate that is not to be had is left out.

    `win_rate` counts ties as half, with its 95 % interval; `win`, `tie` and `loss` are shares. Then the mean
    `reward` of both and its improvement, `length_ratio` of mean lengths, and `length_controlled_win_rate`. Of a
    judge that compares, what it owes to the order of the answers (`pairwise.PositionBias`).
    """
    from rlpipe.statistics import intervals
    from rlpipe.statistics.length_control import length_controlled_win_rate

    scores = [row["score"] for row in rows]
    found = intervals.mean(scores)
    summed = {"win_rate": found.estimate, **found.ends("win_rate_")}
    summed |= {name: fmean(row["verdict"] == name for row in rows) for name in SCORES}
    for part in rows[0]["parts"]:
        summed[part] = fmean(row["parts"][part] for row in rows)
    if summed["reference_length"]:
        summed["length_ratio"] = summed["length"] / summed["reference_length"]
    controlled = length_controlled_win_rate(scores, _differences(rows))
    if controlled is not None:
        summed["length_controlled_win_rate"] = controlled
    bias = _bias(rows)
    return summed | (bias.numbers() if bias is not None else {})


def notes(rows: Sequence[Row]) -> list[str]:
    """Return what a reader of the numbers must know about the judge, and about lengths."""
    bias = _bias(rows)
    remarks = [bias.note()] if bias is not None else []
    differences = _differences(rows)
    if any(differences) and (min(differences) > 0 or max(differences) < 0):
        which = "longer" if differences[0] > 0 else "shorter"
        remarks.append(
            f"every response is {which} than its reference: what the length-controlled win rate says of equal lengths "
            "lies outside of what was seen"
        )
    return [note for note in remarks if note is not None]


def _differences(rows: Sequence[Row]) -> list[float]:
    return [row["parts"]["length"] - row["parts"]["reference_length"] for row in rows]


def _bias(rows: Sequence[Row]) -> PositionBias | None:
    orders = [row["orders"] for row in rows if "orders" in row]
    return position_bias([Verdict(_choice(first), _choice(second)) for first, second in orders]) if orders else None


def _choice(value: Any) -> Choice | None:
    return None if value is None else Choice(value)
