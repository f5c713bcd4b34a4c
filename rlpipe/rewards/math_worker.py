"""The guarded process in which math-verify runs: a line of JSON in, a line of JSON out.

{"reference": …, "text": …, "seconds": …}  →  {"reference": can it be read?, "parsed": …, "equal": …}, or
{"late": true} after so many seconds of processor time.
"""

from __future__ import annotations

import re
from typing import Any

from rlpipe.rewards.worker import in_time, serve

SYMBOL = re.compile(r"\\?[A-Za-z]+(?:_\{?\w+\}?)?'?(?:\([^()=]*\))?|\\(?:text|mathrm)\{[^{}=]*\}")
"""What an answer may be the value of: `x`, `x_1`, `\\theta`, `f(2)`, `\\text{area}`."""
EQUALS = re.compile(r"=|\\equiv(?![A-Za-z])")
TOWER = re.compile(r"[0-9)}]\s*\^\s*\{?\s*[0-9]+\s*\^|\^\s*\{?\s*[0-9]{5,}|!\s*!|!\s*\)\s*!")
"""Numbers that no computer writes down: towers of powers, exponents of five digits, factorials of factorials."""


def compare(reference: str, text: str) -> dict[str, bool]:
    """Return whether both texts can be read as mathematics, and whether they are equal.

    The library takes the last side of an equation and an interval from 72 to 72 for 72. Here an equation that is not
    true of numbers (`71=72`, `x=71=72`) cannot be read, and several values are never equal to one.
    """
    from math_verify import parse, verify

    def equal(one: list[Any], other: list[Any]) -> bool:
        return bool(one and other) and bool(verify(one, other, timeout_seconds=None))

    laid_out = reference if "$" in reference or "\\boxed" in reference else f"${reference}$"
    # No time limits of its own: those need signals, and the process that asks keeps the time.
    wanted = parse(laid_out, parsing_timeout=None)
    stated = answer_in(text)
    if TOWER.search(stated or text):
        return {"reference": bool(wanted), "parsed": False, "equal": False}
    sides = [side.strip() for side in EQUALS.split(stated or "")]
    if stated is not None and len(sides) > 1 and "=" not in reference:
        values = [parse(f"${side}$", parsing_timeout=None) for side in sides if not SYMBOL.fullmatch(side)]
        if not all(equal(values[0], value) for value in values[1:]):
            return {"reference": bool(wanted), "parsed": False, "equal": False}
    found = parse(text, parsing_timeout=None)
    several = stated is not None and _is_list(stated) and not _is_list(answer_in(laid_out) or reference)
    return {"reference": bool(wanted), "parsed": bool(found), "equal": not several and equal(wanted, found)}


def answer_in(text: str) -> str | None:
    """Return what stands in the last `\\boxed{…}`, else between the last two `$`; None where neither is there."""
    start = text.rfind("\\boxed{")
    if start < 0:
        dollars = re.findall(r"\$([^$]+)\$", text)
        return dollars[-1] if dollars else None
    depth = 0
    for place in range(start + len("\\boxed"), len(text)):
        depth += {"{": 1, "}": -1}.get(text[place], 0)
        if depth == 0:
            return text[start + len("\\boxed{") : place]
    return None


def _is_list(answer: str) -> bool:
    return re.search(r";|,(?![0-9]{3}(?![0-9]))", answer) is not None


def answer(reference: str, text: str, seconds: float) -> dict[str, bool]:
    """Compare, but for no longer than some seconds of processor time."""
    return in_time(lambda: compare(reference, text), seconds)


def main() -> None:
    """Answer lines until there are no more."""
    # The library's first simplification imports for a second.
    serve(lambda: compare("x^2+2x+1", "$(x+1)^2$"), answer)


if __name__ == "__main__":
    main()
