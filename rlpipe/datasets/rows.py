"""Reading one local file of rows: JSON lines, JSON, CSV or Parquet.

Ours, not a library's, so that an error names the file and the line.
"""

from __future__ import annotations

import csv
import gzip
import json
import sys
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

from rlpipe.core.errors import DataError
from rlpipe.datasets.base import Row

SUFFIXES = (".jsonl", ".jsonl.gz", ".json", ".csv", ".csv.gz", ".parquet")


def suffix_of(path: Path) -> str | None:
    """Return the file's ending among `SUFFIXES`, or None for a file that holds no rows."""
    return next((suffix for suffix in SUFFIXES if path.name.endswith(suffix)), None)


def read_rows(path: Path, first_only: bool = False) -> list[Row]:
    """Return the rows of a file, or its first row alone (which leaves the rest unread).

    Raises DataError for a file that is missing, empty, not UTF-8 or malformed, naming the line.
    """
    if suffix_of(path) is None:
        raise DataError(path, "not a kind of file that holds rows", f"give one of {', '.join(SUFFIXES)}")
    try:
        rows = list(_iterate(path, first_only))
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


def _iterate(path: Path, first_only: bool) -> Iterator[Row]:
    suffix = str(suffix_of(path))
    if suffix == ".parquet":
        yield from _parquet(path, first_only)
        return
    read = {".json": _json, ".csv": _csv, ".csv.gz": _csv}.get(suffix, _jsonl)
    with _open(path) as file:
        for row in read(path, file):
            yield row
            if first_only:
                return


def _open(path: Path) -> IO[bytes]:
    if path.name.endswith(".gz"):
        return gzip.open(path, "rb")  # type: ignore[return-value]
    return path.open("rb")


def _decode(path: Path, number: int, line: bytes) -> str:
    try:
        return line.decode("utf-8-sig" if number == 1 else "utf-8")
    except UnicodeDecodeError as error:
        what = f"not UTF-8 (byte 0x{line[error.start]:02x} at position {error.start + 1} of the line)"
        raise DataError(
            f"{path}, line {number}", what, "save the file as UTF-8 (iconv -f ORIGINAL -t UTF-8)"
        ) from error


def _jsonl(path: Path, file: IO[bytes]) -> Iterator[Row]:
    for number, line in enumerate(file, 1):
        text = _decode(path, number, line)
        if not text.strip():
            continue
        where = f"{path}, line {number}"
        row = _parse(where, text)
        if not isinstance(row, dict):
            raise DataError(where, f"a row must be a JSON object, this is {_kind(row)}", "write one {…} a line")
        yield row


def _json(path: Path, file: IO[bytes]) -> Iterator[Row]:
    lines = [_decode(path, number, line) for number, line in enumerate(file, 1)]
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
        raise DataError(where, f"malformed JSON: {error.msg} at {place}", "fix or delete this row") from error
    except (ValueError, RecursionError) as error:
        raise DataError(where, f"JSON that cannot be read: {error}", "fix or delete this row") from error


def _kind(value: Any) -> str:
    names = {list: "a list", dict: "an object", str: "a string", bool: "true or false", type(None): "null"}
    return names.get(type(value), "a number")


def _csv(path: Path, file: IO[bytes]) -> Iterator[Row]:
    before = csv.field_size_limit(min(sys.maxsize, 2**31 - 1))
    reader = csv.reader((_decode(path, number, line) for number, line in enumerate(file, 1)), strict=True)
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


def _parquet(path: Path, first_only: bool) -> Iterator[Row]:
    if not path.is_file():
        raise FileNotFoundError(path)
    import pyarrow
    import pyarrow.parquet

    try:
        with pyarrow.parquet.ParquetFile(path) as table:
            for batch in table.iter_batches(batch_size=1 if first_only else 8192):
                yield from batch.to_pylist()
                if first_only:
                    return
    except (pyarrow.ArrowException, OSError) as error:
        raise DataError(
            path, f"not a whole Parquet file ({str(error).splitlines()[0]})", "fetch the file again"
        ) from error
