r"""Reading a matrix, a vector or a number that a model wrote in one of the usual ways: exact, bounded, never `eval`.

    lists             [[1, 2], [3, 4]], ((1, 2), (3, 4)), {{1, 2}, {3, 4}}; also as the argument of Matrix or array
    semicolons        [1 2; 3 4], [1, 2; 3, 4], 1 2; 3 4
    lines             a row a line, with brackets or without, and what NumPy prints
    LaTeX             matrix, pmatrix, bmatrix, Bmatrix, smallmatrix and array, with \left and \right around them
    entries           3, -3, 0.25, 1/4, \frac{1}{4}
    around            a name and =, dollar signs, a factor: A^{-1} = \frac{1}{10} \begin{pmatrix} … \end{pmatrix}

Decimals are what they say: 0.1 is one tenth. A number is a matrix of one entry, a flat list a matrix of one row.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from fractions import Fraction

Rows = tuple[tuple[Fraction, ...], ...]

LENGTH = 5000
"""Longest text that is read."""
ENTRIES = 400
"""Most entries of a matrix."""
DIGITS = 40
"""Most digits before a decimal point, and after it."""

NUMBER = rf"(?:[0-9]{{1,{DIGITS}}}(?:\.[0-9]{{0,{DIGITS}}})?|\.[0-9]{{1,{DIGITS}}})"
ENTRY = re.compile(rf"(?P<sign>[-+]?) ?(?P<over>{NUMBER})(?:/(?P<under>-?{NUMBER}))?")
_PART = rf"\{{\s?(-?{NUMBER})\s?\}}"
FRACTION = re.compile(rf"(?<![0-9A-Za-z.}})\\/])\\[dt]?frac\s?(?:{_PART}\s?{_PART}|([0-9])([0-9]))(?![0-9A-Za-z.{{(/])")
NAME = re.compile(r"\\?[A-Za-z]{1,20}(?:\s?[({]?[A-Za-z][)}]?)?(?:\s?\^\s?\{?\s?-1\s?\}?)?\s?=\s?")
"""What may stand before an answer: `x =`, `A^{-1} =`, `det(A) =`."""
FACTOR = re.compile(r"([^\s\[({\\*]{1,90})\s?(?:\*|\\cdot|\\times)?\s?(?=[\[({]|\\begin)")
CALL = re.compile(r"(?:[A-Za-z]{1,10}\.)?(?:[Mm]atrix|array)\((.*)\)", re.DOTALL)
LATEX = re.compile(
    r"[\[(]?\s?\\begin\s?\{([pbB]?matrix|smallmatrix|array)\}(?:\s?\{[lcr| ]{1,99}\})?"
    r"([^\[\](){}]*)\\end\s?\{\1\}\s?[\])]?"
)
MATHS = (("$$", "$$"), ("$", "$"), ("\\[", "\\]"), ("\\(", "\\)"))
"""What LaTeX's formulas stand between."""
NO_MEANING = re.compile(r"\\(?:left|right)(?![A-Za-z])|\\[,;:!]")
BREAK = re.compile(r"\s*;\s*|[ \t]*\n\s*")
GROUP = re.compile(r"\[([^\[\](){}]*)\]|\(([^\[\](){}]*)\)|\{([^\[\](){}]*)\}")
BETWEEN = re.compile(r"\s*[,;]?\s*")
CLOSING = {"[": "]", "(": ")", "{": "}"}


def read_matrix(text: str) -> Rows | None:
    """Return the rows of a matrix, all as long as the first; None where the text is none, or more than one."""
    if len(text) > LENGTH:
        return None
    text = _plain(text)
    text = text[found.end() :] if (found := NAME.match(text)) else text
    factor = Fraction(1)
    if found := FACTOR.match(text):
        scale = _entry(found[1])
        if scale is not None:
            factor, text = scale, text[found.end() :]
    cells = _cells(text)
    if len({len(row) for row in cells}) != 1 or not 0 < len(cells) * len(cells[0]) <= ENTRIES:
        return None
    rows = [[_entry(cell) for cell in row] for row in cells]
    whole = tuple(tuple(factor * value for value in row if value is not None) for row in rows)
    return whole if all(len(row) == len(cells[0]) for row in whole) else None


def _plain(text: str) -> str:
    r"""Return a text without what only typesets; `\\` has become a semicolon, a LaTeX fraction `a/b`."""
    text = text.replace("\N{MINUS SIGN}", "-").strip().removesuffix(".")
    for opening, closing in MATHS:
        if len(text) > len(opening) + len(closing) and text.startswith(opening) and text.endswith(closing):
            text = text[len(opening) : -len(closing)].strip().removesuffix(".")
    text = NO_MEANING.sub(" ", text.replace("\\\\", " ; "))
    text = FRACTION.sub(lambda found: "/".join(part for part in found.groups() if part), text)
    return re.sub(r"[ \t]*/[ \t]*", "/", re.sub(r"[ \t]+", " ", text)).strip()


def _cells(text: str) -> list[list[str]]:
    """Return the cells of each row as they are written; no row where brackets do not pair."""
    if found := LATEX.fullmatch(text):
        rows = found[2].strip().removesuffix(";").split(";")
        return [[cell.strip() for cell in row.split("&")] for row in rows]
    if found := CALL.fullmatch(text):
        text = found[1].strip()
    inner = _unwrapped(text)
    if any(letter in inner for letter in "[](){}"):
        return [_row(group) for group in _groups(inner)]
    return [_row(row) for row in BREAK.split(inner.strip().removesuffix(";").strip())]


def _unwrapped(text: str) -> str:
    """Return what stands in the brackets that enclose a whole text; the text where none do."""
    closing = CLOSING.get(text[:1])
    if closing is None or not text.endswith(closing):
        return text
    depth = 0
    for place, letter in enumerate(text):
        depth += (letter in "[({") - (letter in "])}")
        if not depth:
            return text[1:-1] if place == len(text) - 1 else text
    return text


def _groups(text: str) -> Iterator[str]:
    """Yield what stands in each pair of brackets, of a text of nothing but these; an empty one for any other text."""
    text, place = text.strip().removesuffix(",").rstrip(), 0
    while place < len(text):
        found = GROUP.match(text, place)
        if found is None:
            yield ""
            return
        yield next(part for part in found.groups() if part is not None)
        between = BETWEEN.match(text, found.end())
        place = between.end() if between else found.end()


def _row(text: str) -> list[str]:
    """Return the cells of a row: between commas where there are any, else between white space."""
    if "," not in text:
        return text.split()
    return [cell.strip() for cell in text.strip().removesuffix(",").split(",")]


def _entry(text: str) -> Fraction | None:
    found = ENTRY.fullmatch(text)
    if found is None:
        return None
    under = Fraction(found["under"] or 1)
    value = Fraction(found["over"]) / under if under else None
    return -value if value is not None and found["sign"] == "-" else value


def flat(rows: Iterable[Iterable[Fraction]]) -> list[Fraction]:
    """Return all entries, row by row."""
    return [value for row in rows for value in row]
