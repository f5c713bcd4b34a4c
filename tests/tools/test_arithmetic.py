"""The evaluator is exact, and no text at all makes it slow or raise anything but ValueError."""

from __future__ import annotations

from fractions import Fraction

import pytest
from hypothesis import example, given
from hypothesis import strategies as some

from rlpipe.tools.arithmetic import LENGTH, Undefined, calculate, evaluate

Made = tuple[str, Fraction | None]
"""An expression, and its value worked out beside it; None where it has none."""

numbers = some.one_of(
    some.integers(0, 9999).map(str),
    some.decimals(0, 999, places=2).map(lambda one: f"{one:.2f}"),
).map(lambda text: (text, Fraction(text)))


def join(left: Made, sign: str, right: Made, space: str) -> Made:
    text = f"({left[0]}){space}{sign}{space}({right[0]})"
    if left[1] is None or right[1] is None or (sign in "//%" and right[1] == 0):
        return text, None
    values = {
        "+": lambda a, b: a + b,
        "-": lambda a, b: a - b,
        "*": lambda a, b: a * b,
        "/": lambda a, b: a / b,
        "//": lambda a, b: Fraction(a // b),
        "%": lambda a, b: a % b,
    }
    return text, values[sign](left[1], right[1])


def signed(sign: str, one: Made) -> Made:
    return f"{sign}({one[0]})", -one[1] if one[1] is not None and sign == "-" else one[1]


operators = some.sampled_from(["+", "-", "*", "/", "//", "%"])
trees = some.recursive(
    numbers,
    lambda inner: some.one_of(
        some.builds(join, inner, operators, inner, some.sampled_from(["", " "])),
        some.builds(signed, some.sampled_from("+-"), inner),
    ),
    max_leaves=12,
)


@given(trees)
def test_generated_expressions_have_their_exact_value(made):
    text, value = made
    if len(text) > LENGTH:
        return
    if value is None:
        with pytest.raises(Undefined):
            evaluate(text)
    else:
        assert evaluate(text) == value


@given(some.one_of(some.text(), some.text("0123456789+-*/%.() \n", max_size=LENGTH + 10)))
@example("9**9**9")
@example("(9**999)**999")
@example("1" * 1_000_000)
@example("(" * 1_000_000)
@example("(" * 250 + "1" + ")" * 249)
@example("-" * 499 + "1")
@example("1+" * 249 + "1")
@example("1/7" + "*3**99" * 80)
@example("\x00")
@example("1\x002")
@example("٣+٤")
@example("１+1")
@example("__import__('os').getpid()")
@example("().__class__")
@example("0.1**1000")
def test_no_text_is_slow_or_raises_anything_else(quick, text):
    def attempt() -> object:
        try:
            return evaluate(text)
        except ValueError as error:
            return error

    found = quick(attempt)
    assert isinstance(found, Fraction) or 10 < len(str(found)) < 200


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1 + 2 * 3", Fraction(7)),
        ("(1 + 2)\n * 3", Fraction(9)),
        ("1/3 + 1/6", Fraction(1, 2)),
        ("0.1 + 0.2", Fraction(3, 10)),
        ("-2**2", Fraction(-4)),
        ("2**-2", Fraction(1, 4)),
        ("2**3**2", Fraction(512)),
        ("-7 // 2", Fraction(-4)),
        ("-7 % 3", Fraction(2)),
        (".5 + 1.", Fraction(3, 2)),
        ("9" * 40, Fraction("9" * 40)),
    ],
)
def test_values(text, value):
    assert evaluate(text) == value


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "the expression is empty"),
        ("  \n", "the expression is empty"),
        ("1" * 41, "a number is too long: at most 40 digits"),
        ("1," * 300, "too long: at most 500 characters"),
        ("1,000", "write numbers without commas"),
        ("2^3", "write \\*\\* for a power"),
        ("2 × 3", "'×' is not allowed in an expression: write \\*"),
        ("2(3)", "write \\* between them"),
        ("1 +", "this is not an arithmetic expression: 1 \\+"),
        ("()", "only numbers"),
        ("2**0.5", "an exponent must be a whole number"),
        ("9**9**9", "the power is too large"),
        ("2**1001", "the power is too large"),
        ("9**999*9**999", "the result is too large"),
        ("1e5", "'e' is not allowed"),
        ("1_0", "'_' is not allowed"),
    ],
)
def test_what_is_wrong_is_said_in_words(text, words):
    with pytest.raises(ValueError, match=words):
        evaluate(text)


@pytest.mark.parametrize("text", ["1/0", "1//(2-2)", "1%0", "0**-1"])
def test_an_expression_without_a_value_is_told_apart(text):
    with pytest.raises(Undefined, match="division by zero"):
        evaluate(text)


def test_anything_but_text_is_refused():
    with pytest.raises(ValueError, match="must be text"):
        evaluate(12)  # type: ignore[arg-type]


def test_what_it_was_made_of():
    found = calculate("(1.5 + 2) * -2")
    assert (found.value, found.numbers, found.operators) == (Fraction(-7), [Fraction(3, 2), 2, 2], {"+", "*"})
