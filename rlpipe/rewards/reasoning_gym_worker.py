"""The guarded process in which reasoning-gym's scorers run: a line of JSON in, a line of JSON out.

{"answer": …, "entry": …, "seconds": …}  →  {"score": …, "failed": did the scorer raise an error?}, or {"late": true}
after so many seconds of processor time.

Some scorers hand the model's text to `eval` or to a parser that does, and one takes any text for right: those in `SAFE`
are replaced here.
"""

from __future__ import annotations

import functools
import json
import re
from collections import Counter
from collections.abc import Callable
from fractions import Fraction
from typing import Any

from rlpipe.rewards.worker import in_time, serve
from rlpipe.tools.arithmetic import Undefined, calculate

NUMBER = re.compile(r"\d{1,30}(\.\d{1,30})?( ?/ ?\d{1,30})?%?")
"""A share without an exponent: numbers of a billion digits are written in few signs."""
TUPLES = ("arc_agi", "rearc")
"""Tasks whose boards are tuples, which JSON writes as lists."""


def same(answer: str, entry: dict[str, Any]) -> float:
    """Return 1 for the very text of the answer, whatever the white space at line ends."""
    return float([line.strip() for line in answer.split("\n")] == [line.strip() for line in _lines(entry["answer"])])


def _lines(text: str) -> list[str]:
    return text.strip().split("\n")


def placed(answer: str, entry: dict[str, Any]) -> float:
    """Return 1 for a board that is one of the right ones."""
    return float(answer in entry["metadata"]["valid_answers"])


def made(answer: str, numbers: list[int], target: int) -> float:
    """Return 1 for arithmetic that makes a number from each given one, used once."""
    try:
        found = calculate(answer)
    except (ValueError, Undefined):
        return 0.0
    whole = found.operators <= {"+", "-", "*", "/"} and Counter(found.numbers) == Counter(map(Fraction, numbers))
    return float(whole and found.value == target)


SAFE: dict[str, Callable[[str, dict[str, Any]], float]] = {
    "string_insertion": same,
    "spiral_matrix": same,
    "binary_matrix": same,
    "n_queens": placed,
    "game_of_life_halting": same,
    "puzzle24": lambda answer, entry: made(answer, entry["metadata"]["numbers"], 24),
    "countdown": lambda answer, entry: made(answer, entry["metadata"]["numbers"], entry["metadata"]["target"]),
}
"""Scorers in place of those that cannot be trusted: strict ones, without shares for another notation."""


def score(answer: str, entry: dict[str, Any]) -> dict[str, Any]:
    """Score an answer. What the scorer fails on is worth nothing, and `failed`."""
    task = entry["task"]
    if task in SAFE:
        return {"score": SAFE[task](answer, entry), "failed": False}
    if task == "coin_flip" and not NUMBER.fullmatch(answer):
        return {"score": 0.0, "failed": False}
    if task in TUPLES:
        entry = {**entry, "metadata": _tuples(entry["metadata"])}
    scorer = _scorer(task, json.dumps(entry["options"], sort_keys=True))
    try:
        return {"score": float(scorer(answer, entry)), "failed": False}
    except Exception:
        return {"score": 0.0, "failed": True}


def _tuples(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _tuples(item) for name, item in value.items()}
    return tuple(map(_tuples, value)) if isinstance(value, list) else value


@functools.cache
def _scorer(task: str, options: str) -> Callable[[str, dict[str, Any]], float]:
    import reasoning_gym

    found: Callable[[str, dict[str, Any]], float]
    found = reasoning_gym.create_dataset(task, seed=0, size=1, **json.loads(options)).score_answer
    return found


def reply(answer: str, entry: dict[str, Any], seconds: float) -> dict[str, Any]:
    """Score, but for no longer than some seconds of processor time."""
    if entry["task"] not in SAFE:
        _scorer(entry["task"], json.dumps(entry["options"], sort_keys=True))  # made once, and not on an answer's time
    return in_time(lambda: score(answer, entry), seconds)


def start() -> None:
    """Import what scoring needs."""
    import reasoning_gym  # noqa: F401


if __name__ == "__main__":
    serve(start, reply)
