"""Reading one local file of rows: JSON lines, JSON, CSV or Parquet.

Ours, not a library's, so that an error names the file and the line.
"""

from __future__ import annotations

import csv
import gzip
import json
import sys
import zlib
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import IO, Any

from rlpipe.core.errors import DataError
from rlpipe.datasets.base import Row
from rlpipe.datasets.lazily import Lines

SUFFIXES = (".jsonl", ".jsonl.gz", ".json", ".csv", ".csv.gz", ".parquet")


def suffix_of(path: Path) -> str | None:
    """Return the file's ending among `SUFFIXES`, or None for a file that holds no rows."""
    return next((suffix for suffix in SUFFIXES if path.name.endswith(suffix)), None)


def read_rows(path: Path, limit: int | None = None) -> list[Row]:
    """Return the rows of a file, or the first `limit` ones (which leaves the rest unread).

    Raises DataError for a file that is missing, empty, not UTF-8 or malformed, naming the line.
    """
    if suffix_of(path) is None:
        raise DataError(path, "not a kind of file that holds rows", f"give one of {', '.join(SUFFIXES)}")
    try:
        rows = list(islice(_iterate(path, limit), limit))
    except FileNotFoundError as error:
        raise DataError(path, "no such file", "correct the path") from error
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise DataError(path, f"damaged gzip data ({error})", "fetch the file again") from error
    except OSError as error:
        raise DataError(
            path, f"cannot be read ({error.strerror or error})", "check the file and its permissions"
        ) from error
    if not rows:
        raise DataError(path, "the file holds no rows", "give a file with data, or another split")
    return rows


LARGE = 16_000_000
"""Bytes of a file of JSON lines from which on its rows stay on the disk until they are looked at."""


def rows_of(path: Path) -> Sequence[Row]:
    """Return the rows of a file, as `read_rows` does; of a large file of JSON lines each when it is looked at.

    Then a malformed row is found, by its line, as soon as it is looked at.
    """
    if suffix_of(path) != ".jsonl" or not path.is_file() or path.stat().st_size < LARGE:
        return read_rows(path)

    def text(number: int, line: bytes) -> str:
        return _decode(f"{path}, line {number}", line, number == 1)

    lines: Lines[Row] = Lines(
        path,
        lambda number, line: _object(f"{path}, line {number}", text(number, line)),
        lambda number, line: not text(number, line).strip(),
    )
    return lines if len(lines) else read_rows(path)  # which says that there are none


PLACES, STRETCH, FIRST = 10, 500_000, 2_000
"""A large file of JSON lines is looked at in so many places of so many bytes; of another kind, so many first rows."""


def sample_rows(path: Path) -> tuple[list[Row], str]:
    """Return some rows of a large file, and in words which: from its beginning to its end where lines are rows.

    Raises DataError as `read_rows` does; a malformed row far from the beginning is named by its place in bytes.
    """
    if suffix_of(path) != ".jsonl":
        return read_rows(path, FIRST), f"the first {FIRST} rows"
    rows = []
    size = path.stat().st_size
    with _open(path) as file:
        for place in range(PLACES):
            start = place * max(0, size - STRETCH) // (PLACES - 1)
            file.seek(start)
            lines = file.read(STRETCH).split(b"\n")
            whole = lines[bool(start) : None if start + STRETCH >= size else -1]
            where = f"{path}, near byte {start}"
            texts = (_decode(where, line, False) for line in whole)
            rows += [_object(where, text) for text in texts if text.strip()]
    return rows, f"{PLACES} stretches from its beginning to its end"


def _iterate(path: Path, limit: int | None) -> Iterator[Row]:
    suffix = str(suffix_of(path))
    if suffix == ".parquet":
        yield from _parquet(path, limit)
        return
    read = {".json": _json, ".csv": _csv, ".csv.gz": _csv}.get(suffix, _jsonl)
    with _open(path) as file:
        yield from read(path, file)


def _open(path: Path) -> IO[bytes]:
    if path.name.endswith(".gz"):
        return gzip.open(path, "rb")  # type: ignore[return-value]
    return path.open("rb")


def _decode(where: str, line: bytes, first: bool) -> str:
    try:
        return line.decode("utf-8-sig" if first else "utf-8")
    except UnicodeDecodeError as error:
        what = f"not UTF-8 (byte 0x{line[error.start]:02x} at position {error.start + 1} of the line)"
        raise DataError(where, what, "save the file as UTF-8 (iconv -f ORIGINAL -t UTF-8)") from error


def _lines(path: Path, file: IO[bytes]) -> Iterator[str]:
    return (_decode(f"{path}, line {number}", line, number == 1) for number, line in enumerate(file, 1))


def _jsonl(path: Path, file: IO[bytes]) -> Iterator[Row]:
    for number, text in enumerate(_lines(path, file), 1):
        if text.strip():
            yield _object(f"{path}, line {number}", text)


def _object(where: str, text: str) -> Row:
    row = _parse(where, text)
    if not isinstance(row, dict):
        raise DataError(where, f"a row must be a JSON object, this is {_kind(row)}", "write one {…} a line")
    return row


def _json(path: Path, file: IO[bytes]) -> Iterator[Row]:
    lines = list(_lines(path, file))
    if not "".join(lines).strip():
        return
    rows = _parse(str(path), "".join(lines))
    if not isinstance(rows, list):
        raise DataError(
            path, f"must hold a list of objects, this is {_kind(rows)}", "name it .jsonl if it has one row a line"
        )
    for number, row in enumerate(rows, 1):
        if not isinstance(row, dict):
            raise DataError(
                f"{path}, row {number}", f"a row must be a JSON object, this is {_kind(row)}", "fix the row"
            )
        yield row


def _parse(where: str, text: str) -> Any:
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        place = f"column {error.colno}" if error.lineno == 1 else f"line {error.lineno}, column {error.colno}"
        what = error.msg.removesuffix(" at")  # some of Python's messages end so
        raise DataError(where, f"malformed JSON: {what} at {place}", "fix or delete this row") from error
    except (ValueError, RecursionError) as error:
        raise DataError(where, f"JSON that cannot be read: {error}", "fix or delete this row") from error


def _kind(value: Any) -> str:
    names = {list: "a list", dict: "an object", str: "a string", bool: "true or false", type(None): "null"}
    return names.get(type(value), "a number")


def _csv(path: Path, file: IO[bytes]) -> Iterator[Row]:
    before = csv.field_size_limit(min(sys.maxsize, 2**31 - 1))
    reader = csv.reader(_lines(path, file), strict=True)
    try:
        header = next(reader, None)
        if header is None:
            return
        if len(set(header)) < len(header):
            raise DataError(f"{path}, line 1", "two columns have the same name", "give every column its own name")
        for fields in reader:
            if not fields:
                continue
            if len(fields) != len(header):
                what = f"{len(fields)} fields where the header has {len(header)}"
                raise DataError(
                    f"{path}, line {reader.line_num}", what, 'put fields with commas or line ends into "quotes"'
                )
            yield dict(zip(header, fields, strict=True))
    except csv.Error as error:
        raise DataError(f"{path}, line {reader.line_num}", f"malformed CSV: {error}", "fix this row") from error
    finally:
        csv.field_size_limit(before)


def _parquet(path: Path, limit: int | None) -> Iterator[Row]:
    if not path.is_file():
        raise FileNotFoundError(path)
    import pyarrow
    import pyarrow.parquet

    try:
        with pyarrow.parquet.ParquetFile(path) as table:
            for batch in table.iter_batches(batch_size=min(limit or 8192, 8192)):
                yield from batch.to_pylist()
    except (pyarrow.ArrowException, OSError) as error:
        raise DataError(
            path, f"not a whole Parquet file ({str(error).splitlines()[0]})", "fetch the file again"
        ) from error
