"""Prompts from a file of anybody's: JSON, JSON lines, Parquet, CSV, or plain text with one prompt a line."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Sequence
from pathlib import Path

from rlpipe.core.errors import DataError, Problem, guess
from rlpipe.datasets.base import Row
from rlpipe.datasets.forms import Prompt
from rlpipe.datasets.messages import as_messages
from rlpipe.datasets.rows import SUFFIXES, read_rows, suffix_of

FIELDS = ("prompt", "turns", "messages", "instruction", "question", "text")
"""Where a prompt is looked for when no field is named; the first that the rows have counts."""


def problems(file: str | None, field: str | None) -> list[Problem]:
    """Return what is wrong with a choice of file and field, by a look at the file's first row."""
    if file is None:
        return [Problem("field", "a field is named without a file", "name the file too")] if field is not None else []
    try:
        _field(Path(file).expanduser(), _rows(file, limit=1), field)
    except DataError as error:
        return [error.at("file")]
    return []


def read(file: str, field: str | None, limit: int | None) -> list[Prompt]:
    """Return a file's prompts, named `<file's name>/<number>`.

    A prompt is a text, a list of messages that ends with the user's, or a list of texts: the turns of one user, of
    which those after the first stand in the column `turns`. The column `given` holds it as the file has it. Raises
    DataError, naming the row.
    """
    path = Path(file).expanduser()
    rows = _rows(file)
    name = _field(path, rows, field)
    return [_prompt(path, number, row, name) for number, row in enumerate(rows[:limit])]


def _rows(file: str, limit: int | None = None) -> list[Row]:
    path = Path(file).expanduser()
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
