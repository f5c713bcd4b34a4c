"""The one evaluator for arithmetic that a model wrote: exact, bounded, and never `eval`.

Text is read as a Python expression tree, of which only numbers, `+ - * / // % **`, signs and
parentheses are allowed. Length, characters, digits and nesting are limited before the tree is
walked, and no result grows beyond `RESULT_BITS`, so any text at all costs microseconds.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from fractions import Fraction

LENGTH = 500
"""Longest expression in characters."""
DIGITS = 40
"""Most digits of one number."""
DEPTH = 100
"""Deepest nesting of the tree; a sum of n numbers has depth n."""
EXPONENT = 1000
"""Largest exponent, either sign."""
RESULT_BITS = 4096
"""Largest numerator or denominator on the way, in bits (about 1200 decimal digits)."""

_FOREIGN = re.compile(r"[^0-9+\-*/%.() ]")
_TOO_LONG = re.compile(rf"[0-9](?:\.?[0-9]){{{DIGITS},}}")
_HINTS = dict.fromkeys("×·x", "write *") | {
    "^": "write ** for a power",
    "÷": "write /",
    "−": "write -",
    ",": "write numbers without commas",
    "=": "give one side alone",
}


class Undefined(ValueError):
    """A well-formed expression without a value, such as a division by zero."""


@dataclass
class Calculation:
    """The value of an expression, and what it was made of."""

    value: Fraction = Fraction(0)
    numbers: list[Fraction] = field(default_factory=list)
    """The numbers that are written in it, in order."""
    operators: set[str] = field(default_factory=set)
    """The binary operators in it, as they are written."""


def evaluate(text: str) -> Fraction:
    """Return the exact value of an arithmetic expression.

    Raises ValueError, with words that a model can read, for anything that is no small arithmetic
    expression or has no value.
    """
    return calculate(text).value


def calculate(text: str) -> Calculation:
    """Evaluate an expression and tell what it was made of. Raises ValueError as `evaluate` does."""
    if not isinstance(text, str):
        raise ValueError("an expression must be text")
    if len(text) > LENGTH:
        raise ValueError(f"the expression is too long: at most {LENGTH} characters are allowed")
    text = re.sub(r"[ \t\r\n]+", " ", text).strip(" ")
    _refuse_foreign(text)
    try:
        tree = ast.parse(text, mode="eval")
    except (SyntaxError, ValueError, MemoryError, RecursionError):
        raise ValueError(f"this is not an arithmetic expression: {_shown(text)}") from None
    result = Calculation()
    result.value = _value(tree.body, text, result, 0)
    return result


def _refuse_foreign(text: str) -> None:
    if not text:
        raise ValueError("the expression is empty")
    foreign = _FOREIGN.search(text)
    if foreign:
        letter = foreign[0]
        hint = _HINTS.get(letter, "only numbers, + - * / // % ** and parentheses are allowed")
        raise ValueError(f"{letter!r} is not allowed in an expression: {hint}")
    if _TOO_LONG.search(text):
        raise ValueError(f"a number is too long: at most {DIGITS} digits are allowed")


def _value(node: ast.expr, text: str, result: Calculation, depth: int) -> Fraction:
    if depth > DEPTH:
        raise ValueError(f"the expression is nested too deeply: at most {DEPTH} levels are allowed")
    match node:
        case ast.Constant(value=int() | float()):
            # The text, not the float that Python made of it: 0.1 is one tenth.
            number = Fraction(text[node.col_offset : node.end_col_offset])
            result.numbers.append(number)
            return number
        case ast.UnaryOp(op=ast.UAdd() | ast.USub()):
            inner = _value(node.operand, text, result, depth + 1)
            return -inner if isinstance(node.op, ast.USub) else inner
        case ast.BinOp(op=op) if type(op) in _OPERATORS:
            sign, operation = _OPERATORS[type(op)]
            left = _value(node.left, text, result, depth + 1)
            right = _value(node.right, text, result, depth + 1)
            result.operators.add(sign)
            return _bounded(operation(left, right))
        case ast.Call():
            raise ValueError("two parts stand side by side without an operator: write * between them")
    raise ValueError("only numbers, + - * / // % ** and parentheses are allowed")


def _bounded(value: Fraction) -> Fraction:
    if max(value.numerator.bit_length(), value.denominator.bit_length()) > RESULT_BITS:
        raise ValueError("the result is too large")
    return value


def _divide(left: Fraction, right: Fraction) -> Fraction:
    return left / _not_zero(right)


def _floor_divide(left: Fraction, right: Fraction) -> Fraction:
    return Fraction(left // _not_zero(right))


def _remainder(left: Fraction, right: Fraction) -> Fraction:
    return left % _not_zero(right)


def _power(base: Fraction, exponent: Fraction) -> Fraction:
    if exponent.denominator != 1:
        raise ValueError("an exponent must be a whole number")
    if base == 0 and exponent < 0:
        raise Undefined("division by zero")
    power = abs(exponent.numerator)
    size = max(base.numerator.bit_length(), base.denominator.bit_length())
    # A number of b bits has a power of more than (b - 1) * n bits: refused before it is computed.
    if power > EXPONENT or (size - 1) * power > RESULT_BITS:
        raise ValueError("the power is too large")
    return Fraction(base**exponent.numerator)


def _not_zero(value: Fraction) -> Fraction:
    if value == 0:
        raise Undefined("division by zero")
    return value


_OPERATORS: dict[type[ast.operator], tuple[str, Callable[[Fraction, Fraction], Fraction]]] = {
    ast.Add: ("+", lambda left, right: left + right),
    ast.Sub: ("-", lambda left, right: left - right),
    ast.Mult: ("*", lambda left, right: left * right),
    ast.Div: ("/", _divide),
    ast.FloorDiv: ("//", _floor_divide),
    ast.Mod: ("%", _remainder),
    ast.Pow: ("**", _power),
}


def _shown(text: str) -> str:
    return text if len(text) <= 60 else f"{text[:57]}…"
