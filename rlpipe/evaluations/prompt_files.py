"""Prompts from files of anybody's: JSON, JSON lines, Parquet, CSV, or plain text with one prompt a line.

Rows with `num` (or `nums`) and `target` are Countdown puzzles, which are put into words here.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Sequence
from pathlib import Path

from rlpipe.core.errors import DataError, Problem, guess
from rlpipe.datasets.base import Dataset, Row
from rlpipe.datasets.countdown import Countdown, CountdownConfig
from rlpipe.datasets.forms import Prompt
from rlpipe.datasets.messages import as_messages
from rlpipe.datasets.rows import SUFFIXES, read_rows, suffix_of

FIELDS = ("prompt", "turns", "messages", "instruction", "question", "text")
"""Where a prompt is looked for when no field is named; the first that the rows have counts."""
NUMBERS = ("num", "nums")
"""What the numbers of a Countdown puzzle are called, beside its `target`."""


def problems(source: str | None, field: str | None) -> list[Problem]:
    """Return what is wrong with a choice of file (or folder) and field, by a look at each file's first row."""
    if source is None:
        return [Problem("field", "a field is named without a file", "name the file too")] if field is not None else []
    found = []
    try:
        for path in files(source):
            try:
                _field(path, _rows(path, limit=1), field)
            except DataError as error:
                found.append(error.at("file"))
    except DataError as error:
        found.append(error.at("file"))
    return found


def files(source: str) -> list[Path]:
    """Return the file, or those of a folder that may hold prompts, by name. Raises DataError for a folder of none."""
    path = Path(source).expanduser()
    if not path.is_dir():
        return [path]
    found = sorted(one for one in path.iterdir() if one.is_file() and (one.suffix == ".txt" or suffix_of(one)))
    if not found:
        raise DataError(path, "the folder holds no files of prompts", f"put files of .txt, {', '.join(SUFFIXES)} there")
    names = [stem(one) for one in found]
    if twice := next((name for name in names if names.count(name) > 1), None):
        what = f"several of the folder's files are called '{twice}', as the one file of responses would be"
        raise DataError(path, what, "rename one")
    return found


def stem(path: Path) -> str:
    """Return a file's name without its ending."""
    return path.name.removesuffix(suffix_of(path) or path.suffix)


def read(source: str, field: str | None, limit: int | None, dataset: Dataset | None = None) -> list[Prompt]:
    """Return the prompts of a file, or of a folder's files one after another, named `<file's name>/<number>`.

    A prompt is a text, a list of messages that ends with the user's, or a list of texts: the turns of one user, of
    which those after the first stand in the column `turns`. The column `given` holds it as the file has it. Of a
    puzzle that is both its fields, and verifiers may read `nums` and `target`; it is worded as the `dataset` does,
    where that is Countdown. Raises DataError, naming the row.
    """
    prompts: list[Prompt] = []
    for path in files(source):
        rows = _rows(path)
        name = _field(path, rows, field)
        if name in NUMBERS and field is None:
            worded = dataset if isinstance(dataset, Countdown) else Countdown(CountdownConfig("countdown", "hub"))
            prompts += [_puzzle(path, number, row, name, worded) for number, row in enumerate(rows)]
        else:
            prompts += [_prompt(path, number, row, name) for number, row in enumerate(rows)]
    return prompts[:limit]


def has_puzzles(source: str, field: str | None) -> bool:
    """Return whether some file holds puzzles, by a look at first rows. Raises DataError."""
    return field is None and any(_field(path, _rows(path, limit=1), None) in NUMBERS for path in files(source))


def _rows(path: Path, limit: int | None = None) -> list[Row]:
    if path.suffix == ".txt":
        return _lines(path)
    if path.is_file() and suffix_of(path) is None:
        raise DataError(path, "not a kind of file that holds prompts", f"give one of .txt, {', '.join(SUFFIXES)}")
    return read_rows(path, limit)


def _lines(path: Path) -> list[Row]:
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except FileNotFoundError as error:
        raise DataError(path, "no such file", "correct the path") from error
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(path, f"cannot be read ({error})", "give a text file in UTF-8") from error
    rows: list[Row] = [{"prompt": line} for line in lines if line.strip()]
    if not rows:
        raise DataError(path, "the file holds no prompts", "write one prompt a line")
    return rows


def _field(path: Path, rows: Sequence[Row], named: str | None) -> str:
    if named is not None:
        if named in rows[0]:
            return named
        raise DataError(path, f"its rows have no field '{named}'", guess(named, rows[0]))
    found = next((field for field in FIELDS if field in rows[0]), None)
    if found is None and "target" in rows[0]:
        found = next((field for field in NUMBERS if field in rows[0]), None)
    if found is None:
        what = f"none of its fields ({', '.join(rows[0])}) is known to hold a prompt"
        raise DataError(path, what, "name the one that does: evaluation.NAME.field=…")
    return found


def _prompt(path: Path, number: int, row: Row, field: str) -> Prompt:
    value = row.get(field)
    id = f"{path.name}/{number}"
    with contextlib.suppress(ValueError):  # as of text that is not valid Unicode
        json.dumps(value, ensure_ascii=False).encode()
        if isinstance(value, str) and value.strip():
            return Prompt(id, [{"role": "user", "content": value}], {"given": value})
        if isinstance(value, list) and value and all(isinstance(turn, str) and turn.strip() for turn in value):
            return Prompt(id, [{"role": "user", "content": value[0]}], {"given": value, "turns": value[1:]})
        messages = as_messages(value, "user") if isinstance(value, list) else []
        if messages and messages[-1]["role"] in ("user", "tool"):
            return Prompt(id, messages, {"given": value})
    raise DataError(
        f"{path}, row {number + 1}",
        f"its '{field}' is no prompt",
        "write a text, a list of messages that ends with the user's, or a list of the user's turns",
    )


def _puzzle(path: Path, number: int, row: Row, field: str, dataset: Countdown) -> Prompt:
    puzzle = {"nums": row.get(field), "target": row.get("target")}
    try:
        worded = dataset.example(puzzle, f"{path.name}/{number}")
    except ValueError as error:
        what = f"no Countdown puzzle: {error}"
        raise DataError(
            f"{path}, row {number + 1}", what, f"write a list of whole numbers as {field}, and a target"
        ) from error
    return Prompt(worded.id, worded.prompt, {**puzzle, "given": {field: row[field], "target": row["target"]}})
