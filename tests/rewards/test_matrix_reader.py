"""Matrices however they are written: read as they stand, or not at all, and never run as code."""

from __future__ import annotations

from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as some

from rlpipe.rewards.matrix_reader import LENGTH, read_matrix

WHOLE = ((1, 2), (3, -4))
HALVES = ((Fraction(1, 2), Fraction(-3, 4)), (0, 5))


@pytest.mark.parametrize(
    ("text", "rows"),
    [
        ("[[1, 2], [3, -4]]", WHOLE),
        ("[[1,2],[3,-4]]", WHOLE),
        ("((1, 2), (3, -4))", WHOLE),
        ("{{1, 2}, {3, -4}}", WHOLE),
        ("[[1, 2],\n [3, -4],]", WHOLE),
        ("[1, 2], [3, -4]", WHOLE),
        ("[[1 2] [3 -4]]", WHOLE),
        ("Matrix([[1, 2], [3, -4]])", WHOLE),
        ("np.array([[1, 2],\n          [3, -4]])", WHOLE),
        ("[[ 1.  2.]\n [ 3. -4.]]", WHOLE),
        ("[1 2; 3 -4]", WHOLE),
        ("[1, 2; 3, -4];", None),
        ("[1, 2;\n3, -4;]", WHOLE),
        ("1 2; 3 -4", WHOLE),
        ("1 2\n3 -4", WHOLE),
        ("1, 2\n3, −4\n", WHOLE),
        ("[1 2]\n[3 -4]", WHOLE),
        (r"\begin{pmatrix} 1 & 2 \\ 3 & -4 \end{pmatrix}", WHOLE),
        (r"\begin{bmatrix}1&2\\3&-4\\\end{bmatrix}", WHOLE),
        (r"$$\begin{Bmatrix} 1 & 2 \\ 3 & - 4 \end{Bmatrix}$$", WHOLE),
        (r"\[ \begin{smallmatrix} 1 & 2 \\ 3 & -4 \end{smallmatrix} \].", WHOLE),
        (r"\left[\begin{array}{c|c} 1 & 2 \\ 3 & -4 \end{array}\right]", WHOLE),
        (r"\left( \begin{matrix} 1 & 2 \\ 3 & -4 \end{matrix} \right)", WHOLE),
        (r"A^{-1} = \begin{pmatrix} 1 & 2 \\ 3 & -4 \end{pmatrix}", WHOLE),
        ("A^-1 = [[1, 2], [3, -4]]", WHOLE),
        (r"\frac{1}{2} \begin{pmatrix} 2 & 4 \\ 6 & -8 \end{pmatrix}", WHOLE),
        ("1/2 * [[2, 4], [6, -8]]", WHOLE),
        (r"-\frac12\cdot[[-2, -4], [-6, 8]]", WHOLE),
        ("[[1/2, -3/4], [0, 5]]", HALVES),
        ("[[0.5, -.75], [0, 5.0]]", HALVES),
        ("[[+1/2, 3/-4], [-0, 15/3]]", HALVES),
        ("[1 / 2 -3 / 4; 0 5]", HALVES),
        (r"\begin{pmatrix} \frac{1}{2} & -\frac{3}{4} \\ 0 & 5 \end{pmatrix}", HALVES),
        (r"\begin{pmatrix} \dfrac12 & \tfrac{-3}{4} \\ 0 & 5 \end{pmatrix}", HALVES),
        (r"[[\frac{1}{2}, -\frac{3}{4}], [0, 5]]", HALVES),
        ("[1, 2]", ((1, 2),)),
        ("(1, 2)", ((1, 2),)),
        ("1 2", ((1, 2),)),
        ("[[1], [2]]", ((1,), (2,))),
        ("((1,), (2,))", ((1,), (2,))),
        ("[1; 2]", ((1,), (2,))),
        (r"x = \begin{pmatrix} 1 \\ 2 \end{pmatrix}", ((1,), (2,))),
        ("-7", ((-7,),)),
        ("(7/2)", ((Fraction(7, 2),),)),
        ("det(A) = 5.", ((5,),)),
        (r"\det A = 5", ((5,),)),
        (r"$\frac{1}{3}$", ((Fraction(1, 3),),)),
        ("0.1", ((Fraction(1, 10),),)),
    ],
)  # fmt: skip
def test_the_usual_ways_are_read(text, rows):
    assert read_matrix(text) == rows


@pytest.mark.parametrize(
    "text",
    [
        "", " ", "[]", "[[]]", "[[], []]", ";", "[1, 2", "1, 2]", "[1, 2)", "[[1, 2], [3, 4)]", "[[1, 2]] [[3, 4]]",
        "[[1, 2], [3]]", "[[1, 2], 3]", "[1 2; 3]", "1 2\n3", "[[[1, 2]]]", "[1,, 2]", "[, 1]", "1;;2", "[1 2,]",
        "a", "1 + 2", "[1+2, 3]", "[1-2]", "--1", "-", "1/0", "[1/0, 1]", "1/2/3", "2 1/2,", "1e3", "0x10", "1_0",
        "٣", "٣ 4", "½", "1.2.3", ".", "9" * 41, "1 = 2", "= 2", "x + y = 2", "x = y = 2", "71 = 72",
        r"\begin{vmatrix} 1 & 2 \\ 3 & 4 \end{vmatrix}", r"\begin{pmatrix} 1 & 2 \end{bmatrix}",
        r"\begin{pmatrix} 1 & 2 \\ 3 \end{pmatrix}", r"\begin{pmatrix} 1 2 \\ 3 4 \end{pmatrix}",
        r"\begin{pmatrix} 1 & 2 \end{pmatrix} \begin{pmatrix} 1 & 2 \end{pmatrix}", r"\begin{pmatrix} \end{pmatrix}",
        r"2\frac{1}{2}", r"[2\frac12]", r"\frac{1}{2}3", r"\frac123", r"\frac{1}{2}/3", r"3/\frac{1}{2}",
        r"\frac{1}{0}", r"\frac{1}", r"\frac{x}{2}", r"\sqrt{2}", "[[1, 2], [3, 4]]^T", "2^3", "(1)(2", "2 * 3",
        "__import__('os')", "[__import__('os')]", "Matrix(1, 2", "[1, 2] and more", "the answer is [1, 2]",
    ],
)  # fmt: skip
def test_what_is_no_matrix_is_not_read(text):
    assert read_matrix(text) is None


@some.composite
def matrices(draw) -> tuple[tuple[Fraction, ...], ...]:
    numbers = some.builds(Fraction, some.integers(-999, 999), some.integers(1, 9))
    width = draw(some.integers(1, 3))
    return tuple(draw(some.lists(some.tuples(*[numbers] * width), min_size=1, max_size=3)))


def latex(value: Fraction) -> str:
    return str(value) if value.denominator == 1 else rf"\frac{{{value.numerator}}}{{{value.denominator}}}"


def joined(rows, cells: str, between: str, begin: str = "", end: str = "") -> str:
    return between.join(f"{begin}{cells.join(map(str, row))}{end}" for row in rows)


BREAK = r" \\ "
STYLES = {
    "lists": lambda rows: f"[{joined(rows, ', ', ', ', '[', ']')}]",
    "tuples": lambda rows: f"({joined(rows, ', ', ', ', '(', ',)')},)",
    "semicolons": lambda rows: f"[{joined(rows, ' ', '; ')}]",
    "commas and semicolons": lambda rows: joined(rows, ", ", "; "),
    "lines": lambda rows: joined(rows, " ", "\n"),
    "lines of lists": lambda rows: joined(rows, ", ", "\n", "[", "]"),
    "latex": lambda rows: rf"\begin{{pmatrix}} {joined([map(latex, row) for row in rows], '&', BREAK)} \end{{pmatrix}}",
    "a factor": lambda rows: f"1/7 * [{joined([[7 * one for one in row] for row in rows], ', ', ', ', '[', ']')}]",
}


@settings(max_examples=20)
@given(matrices())
def test_what_is_written_is_read_back(rows):
    for style, write in STYLES.items():
        assert read_matrix(write(rows)) == rows, style


@settings(max_examples=40)
@given(some.text(alphabet="[](){}0123456789-+./,; \n\\&$=*^abfr", max_size=60))
def test_no_text_breaks_the_reader(text):
    rows = read_matrix(text)
    assert rows is None or (len({len(row) for row in rows}) == 1 and all(isinstance(one, Fraction) for one in rows[0]))


@settings(max_examples=40)
@given(
    some.recursive(some.integers(-99, 99) | some.sampled_from(["0.5", "-.25"]), lambda one: some.lists(one, max_size=3))
)
def test_json_is_read_as_json_reads_it(value):
    """Lists of any nesting: a matrix where all rows are as long, else nothing."""
    text = str(value).replace("'", "")
    rows = value if isinstance(value, list) else [[value]]
    rows = rows if any(isinstance(row, list) for row in rows) else [rows]
    regular = all(isinstance(row, list) and row and not any(isinstance(one, list) for one in row) for row in rows)
    if regular and len({len(row) for row in rows}) == 1:
        assert read_matrix(text) == tuple(tuple(map(Fraction, row)) for row in rows)
    else:
        assert read_matrix(text) is None


@pytest.mark.parametrize("seed", range(8))
def test_what_numpy_prints_is_read(seed):
    import numpy as np

    made = np.random.default_rng(seed).integers(-999, 999, size=(1 + seed % 3, 1 + seed // 2))
    for array in (made, made / 4):
        for printed in (str(array), repr(array)):
            assert read_matrix(printed) == tuple(tuple(map(Fraction, row)) for row in array.tolist())


@pytest.mark.slow
@settings(max_examples=20)
@given(matrices())
def test_another_reader_of_latex_agrees(rows):
    """math-verify's, which hands the text to sympy."""
    parse = pytest.importorskip("latex2sympy2_extended").latex2sympy
    found = parse(STYLES["latex"](rows)).tolist()
    assert tuple(tuple(Fraction(int(one.p), int(one.q)) for one in row) for row in found) == rows


HOSTILE = [
    "[" * LENGTH * 2, "[]" * (LENGTH // 2), "(" * 5000 + ")" * 5000, "1," * (LENGTH // 2), "1 " * (LENGTH // 2),
    "\n" * LENGTH, " " * LENGTH, "\\begin{pmatrix}" * 600, "\\begin{pmatrix}" + "1&" * 4000 + "\\end{bmatrix}",
    "\\frac" * 2000, "\\frac{1}{2" * 900, "\\left" * 2000, "a=" * 5000, "1/" * 5000, "-" * LENGTH, "$" * LENGTH,
    "[[1, 2], " * 1000, "[1; 2] " * 1400, " / " * 3000, ";\n" * 5000, "Matrix(" * 1400, "{" * 99 + "}" * 99,
]  # fmt: skip


@pytest.mark.parametrize("text", HOSTILE, ids=lambda text: text[:16].encode("unicode_escape").decode())
def test_hostile_texts_cost_nothing(quick, text):
    quick(lambda: read_matrix(text[:LENGTH]))
    assert read_matrix(text) is None


def test_long_texts_are_not_looked_at(quick):
    assert read_matrix("1" + " " * LENGTH) is None
    assert quick(lambda: read_matrix("1 " * 10_000_000)) is None
