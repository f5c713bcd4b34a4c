"""Exercises in linear algebra over small whole numbers, with exact answers and the elimination that leads to them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from random import Random

from rlpipe.datasets.base import Row
from rlpipe.datasets.samples.draw import draw
from rlpipe.datasets.samples.elimination import (
    Elimination,
    Matrix,
    determinant,
    inverse,
    reduced_form,
    solution,
    written,
)

TASKS = ("determinant", "inverse", "rref", "solve")
"""What can be asked of a matrix: to invert it, or to solve A x = b, only where it is regular."""
DEFICIENT = 0.25
"""How often the last row of a matrix to reduce is a multiple of another."""


def rows(
    split: str, count: int, seed: int, tasks: Sequence[str], sizes: Sequence[int], entries: tuple[int, int]
) -> Iterator[Row]:
    """Yield rows with `question`, `work`, `answer`, `task` and `size`.

    The square matrix of an exercise (of one to reduce, all but its last column) decides which split it is for,
    whatever is asked of it: none of a test row is in a train row.
    """

    def make(rng: Random) -> tuple[str, Row]:
        task, size = rng.choice(tasks), rng.choice(sizes)
        matrix = _matrix(rng, size, entries, regular=task in ("inverse", "solve"))
        if task == "rref" and rng.random() < DEFICIENT:
            matrix[-1] = _dependent(rng, matrix, entries)
        beside = [rng.randint(*entries) for _ in range(size)]
        return str(matrix), {"task": task, "size": size, **exercise(task, matrix, beside)}

    return draw("linear_algebra", split, count, seed, make, once=False)


def exercise(task: str, matrix: Matrix, beside: Sequence[int]) -> Row:
    """Return what is asked of a matrix, how it is worked out, and the answer; `beside` is a further column."""
    answer: object
    if task == "determinant":
        question, (work, answer) = f"Find the determinant of {matrix}.", determinant(matrix)
    elif task == "inverse":
        question, (work, answer) = f"Find the inverse of {matrix}.", inverse(matrix)
    elif task == "rref":
        wide = [[*row, last] for row, last in zip(matrix, beside, strict=True)]
        question, (work, answer) = f"Find the reduced row echelon form of {wide}.", reduced_form(wide)
    else:
        question, (work, answer) = f"Solve A x = b for A = {matrix} and b = {list(beside)}.", solution(matrix, beside)
    return {"question": question, "work": "\n".join(work), "answer": written(answer)}


def _matrix(rng: Random, size: int, entries: tuple[int, int], regular: bool) -> Matrix:
    while True:
        matrix = [[rng.randint(*entries) for _ in range(size)] for _ in range(size)]
        if not regular or len(Elimination(matrix, size, above=False).pivots) == size:
            return matrix


def _dependent(rng: Random, matrix: Matrix, entries: tuple[int, int]) -> list[int]:
    """Return a multiple of a row above the last that stays within the entries."""
    row = rng.choice(matrix[:-1])
    factors = [factor for factor in (-2, -1, 1, 2, 3) if all(entries[0] <= factor * one <= entries[1] for one in row)]
    return [rng.choice(factors) * one for one in row]
