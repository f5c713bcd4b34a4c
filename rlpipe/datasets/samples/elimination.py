"""Gauss elimination without fractions, written out as somebody would who works it out by hand.

Each other row becomes (pivot * row - factor * pivot row) / previous pivot, a division that leaves no rest
(Bareiss 1968, doi:10.1090/S0025-5718-1968-0226829-0): whole numbers stay whole, and the last pivot of a square matrix
is its determinant but for the sign of row swaps.
"""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction

Matrix = list[list[int]]


class Elimination:
    """A matrix of whole numbers, brought to echelon form in place, with the lines that were written on the way."""

    def __init__(self, matrix: Sequence[Sequence[int]], columns: int, above: bool):
        """`columns` may hold pivots (from the left); `above` clears columns above pivots too, as Gauss-Jordan does."""
        self.matrix = [list(row) for row in matrix]
        self.lines: list[str] = []
        self.pivots: list[int] = []
        """The column of each row's pivot; rows beyond have none."""
        self.swaps = 0
        self.above = above
        previous = 1
        for column in range(columns):
            if len(self.pivots) < len(self.matrix) and self._bring_up(column):
                previous = self._clear(column, previous)

    def _bring_up(self, column: int) -> bool:
        """Swap a row with something in a column to where its pivot belongs; False where there is none."""
        row = len(self.pivots)
        found = next((one for one in range(row, len(self.matrix)) if self.matrix[one][column]), None)
        if found is None:
            return False
        if found != row:
            self.matrix[row], self.matrix[found] = self.matrix[found], self.matrix[row]
            self.lines.append(f"swap R{row + 1} and R{found + 1}")
            self.swaps += 1
        self.pivots.append(column)
        return True

    def _clear(self, column: int, previous: int) -> int:
        """Clear a column beside its pivot, which is returned."""
        own = len(self.pivots) - 1
        pivot = self.matrix[own][column]
        for row in range(0 if self.above else own + 1, len(self.matrix)):
            factor = self.matrix[row][column]
            if row != own and (factor or pivot != previous):
                self._combine(row, own, pivot, factor, previous)
        return pivot

    def _combine(self, row: int, own: int, pivot: int, factor: int, previous: int) -> None:
        """Replace a row by (pivot * row - factor * pivot row) / previous pivot."""
        name, over = f"R{row + 1}", "" if previous == 1 else f"/{_signed(previous)}"
        whole = f"{_signed(pivot)}*{name}-{_signed(factor)}*R{own + 1}"
        self.lines.append(f"{name}={f'({whole}){over}' if over else whole}")
        for column, (value, beside) in enumerate(zip(self.matrix[row], self.matrix[own], strict=True)):
            if not value and not beside:
                continue
            left, right = pivot * value, factor * beside
            self.matrix[row][column] = (left - right) // previous
            if column not in self.pivots:
                products = f"{_signed(pivot)}*{_signed(value)}-{_signed(factor)}*{_signed(beside)}"
                shown = [f"({one}){over}" if over else one for one in (products, f"{left}-{_signed(right)}")]
                self.lines.append("=".join([*shown, str(self.matrix[row][column])]))
        self.lines.append(f"{name}={self.matrix[row]}")

    def reduced(self) -> list[list[Fraction]]:
        """Return the rows divided by their pivots, and write the divisions: the reduced form after Gauss-Jordan."""
        rows = []
        for number, row in enumerate(self.matrix):
            pivot = row[self.pivots[number]] if number < len(self.pivots) else 1
            rows.append([Fraction(value, pivot) for value in row])
            if pivot != 1:
                self.lines.append(f"R{number + 1}/{_signed(pivot)}={written(rows[-1])}")
        return rows


def written(value: Fraction | Sequence[Fraction] | Sequence[Sequence[Fraction]]) -> str:
    """Write a number, a vector or a matrix: `-1/2`, `[1, 0]`, `[[1, 0], [0, 1]]`."""
    return f"[{', '.join(map(written, value))}]" if isinstance(value, Sequence) else str(value)


def _signed(value: int) -> str:
    return f"({value})" if value < 0 else str(value)


def determinant(matrix: Matrix) -> tuple[list[str], Fraction]:
    """Return the steps to the determinant of a square matrix, and its value."""
    found = Elimination(matrix, len(matrix), above=False)
    if len(found.pivots) < len(matrix):
        return [*found.lines, f"R{len(matrix)} has no pivot: the determinant is 0"], Fraction(0)
    value = found.matrix[-1][-1]
    if found.swaps:
        signed = -value if found.swaps % 2 else value
        found.lines.append(f"{found.swaps} {'swap' if found.swaps == 1 else 'swaps'}: {value} becomes {signed}")
        value = signed
    return found.lines, Fraction(value)


def inverse(matrix: Matrix) -> tuple[list[str], list[list[Fraction]]]:
    """Return the steps to the inverse of a matrix that has one, beside which the identity is written."""
    size = len(matrix)
    beside = [[*row, *(int(column == number) for column in range(size))] for number, row in enumerate(matrix)]
    found = Elimination(beside, size, above=True)
    rows = [row[size:] for row in found.reduced()]
    return [str(beside), *found.lines], rows


def reduced_form(matrix: Matrix) -> tuple[list[str], list[list[Fraction]]]:
    """Return the steps to the reduced row echelon form of any matrix."""
    found = Elimination(matrix, len(matrix[0]), above=True)
    rows = found.reduced()
    return found.lines, rows


def solution(matrix: Matrix, right: Sequence[int]) -> tuple[list[str], list[Fraction]]:
    """Return the steps to x with matrix * x = right, for a matrix that has an inverse."""
    beside = [[*row, value] for row, value in zip(matrix, right, strict=True)]
    found = Elimination(beside, len(matrix), above=True)
    rows = found.reduced()
    return [str(beside), *found.lines], [row[-1] for row in rows]
