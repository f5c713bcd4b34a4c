"""Reading one file: what comes back, and what a message says about a file that cannot be read."""

from __future__ import annotations

import csv
import gzip
import json
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from rlpipe.core.errors import DataError
from rlpipe.datasets.rows import read_rows

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=5,
)
ROWS = st.lists(st.dictionaries(st.text(), VALUES, max_size=4), min_size=1, max_size=8)
QUIET = settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])


@QUIET
@given(rows=ROWS, ascii_only=st.booleans(), end=st.sampled_from(["\n", "\r\n", "\n\n"]), last=st.booleans())
def test_json_lines_come_back_as_they_were_written(
    tmp_path: Path, rows: list[dict], ascii_only: bool, end: str, last: bool
) -> None:
    text = end.join(json.dumps(row, ensure_ascii=ascii_only) for row in rows) + (end if last else "")
    (tmp_path / "a.jsonl").write_bytes(text.encode())
    (tmp_path / "b.jsonl.gz").write_bytes(gzip.compress(text.encode(), 1))
    assert read_rows(tmp_path / "a.jsonl") == rows
    assert read_rows(tmp_path / "b.jsonl.gz") == rows
    assert read_rows(tmp_path / "a.jsonl", limit=1) == rows[:1]


@QUIET
@given(
    before=st.integers(0, 5),
    broken=st.sampled_from(['{"a": 1', "nonsense", '{"a": 1}}', "[1, 2]", '"text"', "{'a': 1}"]),
)
def test_a_malformed_row_is_named_by_file_and_line(tmp_path: Path, before: int, broken: str) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text('{"a": 1}\n' * before + broken + '\n{"a": 1}\n')
    with pytest.raises(DataError, match=rf"rows\.jsonl, line {before + 1}: .*(malformed JSON|must be a JSON object)"):
        read_rows(path)


@QUIET
@given(before=st.integers(0, 5), position=st.integers(0, 5))
def test_bytes_that_are_not_utf8_are_named_by_line_and_byte(tmp_path: Path, before: int, position: int) -> None:
    line = b'{"a": "' + b"x" * position + b'\xe9"}\n'
    for name in ("rows.jsonl", "rows.csv"):
        header = b"" if name.endswith("jsonl") else b"a\n"
        good = b'{"a": 1}\n' if name.endswith("jsonl") else b"1\n"
        path = tmp_path / name
        path.write_bytes(header + good * before + line)
        number = before + 1 + (name == "rows.csv")
        with pytest.raises(DataError, match=rf"line {number}: not UTF-8 \(byte 0xe9 at position {8 + position} "):
            read_rows(path)


@QUIET
@given(
    rows=st.lists(
        st.tuples(*[st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\r\n\x00"))] * 2), min_size=1
    )
)
def test_csv_comes_back_as_it_was_written(tmp_path: Path, rows: list[tuple[str, str]]) -> None:
    path = tmp_path / "rows.csv"
    with path.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file, quoting=csv.QUOTE_ALL).writerows([("a", "b"), *rows])
    assert read_rows(path) == [{"a": a, "b": b} for a, b in rows]


def test_a_long_csv_field_is_read_and_the_limit_of_others_stays(tmp_path: Path) -> None:
    path = tmp_path / "rows.csv"
    path.write_text("a\n" + "x" * 200_000 + "\n")
    before = csv.field_size_limit()
    assert len(read_rows(path)[0]["a"]) == 200_000
    assert csv.field_size_limit() == before


def test_csv_row_of_another_length_is_named(tmp_path: Path) -> None:
    path = tmp_path / "rows.csv"
    path.write_text('a,b\n1,2\n"two\nlines",2\n1,2,3\n')
    with pytest.raises(DataError, match=r"rows\.csv, line 5: 3 fields where the header has 2"):
        read_rows(path)


def test_byte_order_mark_is_no_part_of_the_first_column(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_bytes(b"\xef\xbb\xbfa\n1\n")
    (tmp_path / "a.jsonl").write_bytes(b'\xef\xbb\xbf{"a": "1"}\n')
    assert read_rows(tmp_path / "a.csv") == read_rows(tmp_path / "a.jsonl") == [{"a": "1"}]


def test_json_list(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    path.write_text('[{"a": 1},\n {"a": 2}]')
    assert read_rows(path) == [{"a": 1}, {"a": 2}]
    path.write_text('[{"a": 1},\n 2]')
    with pytest.raises(DataError, match=r"a\.json, row 2: a row must be a JSON object, this is a number"):
        read_rows(path)
    path.write_text('[{"a": 1},\n {"a": ]')
    with pytest.raises(DataError, match=r"malformed JSON: .* at line 2, column 8"):
        read_rows(path)


def test_parquet(tmp_path: Path) -> None:
    import pyarrow
    import pyarrow.parquet

    rows = [{"nums": [1, 2], "text": "é"}, {"nums": [], "text": None}]
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), tmp_path / "a.parquet")
    assert read_rows(tmp_path / "a.parquet") == rows
    assert read_rows(tmp_path / "a.parquet", limit=1) == rows[:1]
    whole = (tmp_path / "a.parquet").read_bytes()
    (tmp_path / "b.parquet").write_bytes(whole[:-10])
    with pytest.raises(DataError, match=r"b\.parquet: not a whole Parquet file"):
        read_rows(tmp_path / "b.parquet")


@pytest.mark.parametrize(
    ("name", "text"),
    [("a.jsonl", ""), ("a.jsonl", "\n \n"), ("a.csv", ""), ("a.csv", "a,b\n"), ("a.json", ""), ("a.json", "[]")],
)
def test_an_empty_file_is_named(tmp_path: Path, name: str, text: str) -> None:
    (tmp_path / name).write_text(text)
    with pytest.raises(DataError, match=rf"{name}: the file holds no rows"):
        read_rows(tmp_path / name)


def test_damaged_gzip_is_named(tmp_path: Path) -> None:
    whole = gzip.compress(b'{"a": 1}\n' * 1000)
    (tmp_path / "a.jsonl.gz").write_bytes(whole[:-20])
    with pytest.raises(DataError, match=r"a\.jsonl\.gz: damaged gzip"):
        read_rows(tmp_path / "a.jsonl.gz")
    (tmp_path / "a.jsonl.gz").write_bytes(b"no gzip")
    with pytest.raises(DataError, match="damaged gzip"):
        read_rows(tmp_path / "a.jsonl.gz")


def test_missing_and_unknown_files_are_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"none\.jsonl: no such file"):
        read_rows(tmp_path / "none.jsonl")
    with pytest.raises(DataError, match=r"none\.parquet: no such file"):
        read_rows(tmp_path / "none.parquet")
    (tmp_path / "a.txt").write_text("x")
    with pytest.raises(DataError, match=r"a\.txt: not a kind of file that holds rows"):
        read_rows(tmp_path / "a.txt")


def test_a_row_that_nests_too_deep_is_named(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text('{"a": 1}\n{"a": ' + "[" * 200_000 + "]" * 200_000 + "}\n")
    with pytest.raises(DataError, match="line 2: JSON that cannot be read"):
        read_rows(tmp_path / "a.jsonl")
