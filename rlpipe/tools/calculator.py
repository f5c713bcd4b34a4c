"""`calculator`: exact arithmetic, by the evaluator that the arithmetic rewards use too."""

from __future__ import annotations

import re
from collections.abc import Iterator
from fractions import Fraction
from typing import Any

from rlpipe.config.kinds import ToolConfig
from rlpipe.tools.arithmetic import evaluate
from rlpipe.tools.base import ByHand, Tool

PLACES = 6
"""Decimal places of a result that no finite decimal writes."""
LONGEST = 60
"""Results of more digits are given as a power of ten."""

READ = 20_000
"""Characters of a worked solution that are searched, so that no text takes long: the longest of GSM8K has 1,200."""
ANNOTATION = re.compile(r"<<([^<>=\n]{1,200})=([^<>=\n]{1,60})>>")
"""GSM8K's annotation of a calculation; the result follows it once more (arXiv:2110.14168)."""
EQUATION = re.compile(r"(?<![\w.)])([\d(][\d .+\-*/()]{1,100}[\d)]) ?= ?(?=(-?\d+(?:\.\d+)?)(?![\d./*]| [+\-*/] ?\d))")
"""A calculation in a worked solution."""


class Calculator(Tool):
    """Works out one arithmetic expression."""

    Config = ToolConfig
    tag = "calc"

    @property
    def schema(self) -> dict[str, Any]:
        """Return the function `calculator` of one parameter."""
        expression = {"type": "string", "description": "Such as (3 + 4) * 2."}
        parameters = {"type": "object", "properties": {"expression": expression}, "required": ["expression"]}
        description = "Work out an arithmetic expression."
        return {
            "type": "function",
            "function": {"name": "calculator", "description": description, "parameters": parameters},
        }

    def call(self, arguments: dict[str, Any]) -> str:
        """Return the value of `expression`. Raises ValueError for anything else than small arithmetic."""
        expression = arguments.get("expression")
        if not isinstance(expression, str):
            raise ValueError("give 'expression' as text, such as \"3 * 4\"")
        unknown = sorted(set(arguments) - {"expression"})
        if unknown:
            raise ValueError("give 'expression' alone")
        return written(evaluate(expression.strip()))

    def by_hand(self, text: str) -> Iterator[ByHand]:
        """Find GSM8K's annotations, or where there are none, equations with the result on the right.

        An annotation whose result is rounded or wrong makes no call, and goes. Beyond `READ` characters nothing is
        looked for.
        """
        text = text[:READ]
        for found in ANNOTATION.finditer(text):
            yield ByHand(found.start(), found.end(), _same(*found.groups()))
        if ANNOTATION.search(text) is None:
            for found in EQUATION.finditer(text):
                arguments = _same(*found.groups())
                if arguments is not None and set(found[1]) & set("+-*/"):
                    yield ByHand(found.end(), found.end(), arguments)


def written(value: Fraction) -> str:
    """Write a number: whole or as a decimal, rounded to six places where it has more of them."""
    if value.denominator == 1 and abs(value.numerator) < 10**LONGEST:
        return str(value.numerator)
    if abs(value) >= 10**LONGEST:
        return _as_power(value)
    rounded = round(value, PLACES)
    if rounded == 0 and value != 0:
        return _as_power(value)
    scaled = abs(rounded.numerator) * 10**PLACES // rounded.denominator
    whole, part = divmod(scaled, 10**PLACES)
    text = f"{whole}.{part:0{PLACES}d}".rstrip("0").rstrip(".")
    return f"-{text}" if rounded < 0 else text


def _as_power(value: Fraction) -> str:
    """Write a number as one digit, six decimals and a power of ten."""
    sign, value = ("-", -value) if value < 0 else ("", value)
    power = len(str(value.numerator)) - len(str(value.denominator))
    if Fraction(10) ** power > value:
        power -= 1
    digits = str(int(value / Fraction(10) ** power * 10**PLACES))
    return f"{sign}{digits[0]}.{digits[1:]}e{power:+d}"


def _same(expression: str, result: str) -> dict[str, Any] | None:
    """Return the call for an expression where its value is the result that is stated."""
    try:
        return {"expression": expression.strip()} if evaluate(expression.strip()) == evaluate(result.strip()) else None
    except ValueError:
        return None
