"""What is made when it is looked at is what would have been held, and a large file is read line by line."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from rlpipe.core.errors import DataError
from rlpipe.datasets import lazily, rows
from rlpipe.datasets.lazily import Lazy, Lines, Places, at, joined, picked
from rlpipe.datasets.rows import read_rows, rows_of


@pytest.fixture(autouse=True)
def large(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rows, "LARGE", 1)


def squares(count: int) -> Lazy[int]:
    return Lazy(count, lambda places: [place**2 for place in places])


@pytest.mark.parametrize("count", [0, 1, 7])
def test_it_is_a_sequence(count, monkeypatch):
    monkeypatch.setattr(lazily, "AT_ONCE", 3)
    held = [place**2 for place in range(count)]
    assert list(squares(count)) == held
    assert squares(count)[2:] == held[2:]
    assert squares(count)[-1:] == held[-1:]
    with pytest.raises(IndexError):
        squares(count)[count]


def test_only_what_is_looked_at_is_made():
    looked_at: list[int] = []
    lazy = Lazy(10**9, lambda places: looked_at.extend(places) or list(places))
    assert picked(lazy, [7, 5, 10**8])[1:] == [5, 10**8]
    assert looked_at == [5, 10**8]
    assert at(lazy, [3]) == [3]


@pytest.mark.parametrize("lazy", [False, True])
def test_parts_are_joined(lazy):
    whole = joined([squares(3) if lazy else [0, 1, 4], [], [9]])
    assert list(whole) == [0, 1, 4, 9]
    assert isinstance(whole, Lazy) is lazy


def test_places_of_rows_with_several_items():
    places = Places([1, 0, 2])
    assert places.count == 3
    assert [places.of(place) for place in range(3)] == [(0, 0), (2, 0), (2, 1)]


CONTENTS = [
    '{"a": 1}\n{"a": 2}\n',
    '{"a": 1}\n\n  \n\u00a0\n {"a": 2}\r\n{"a": "\u00e9"}',
    '\ufeff{"a": 1}\n{"a": 2}',
    '\n\n{"a": 1}',
]


@pytest.mark.parametrize("block", [1, 5, 2**24])
@pytest.mark.parametrize("text", CONTENTS)
def test_a_large_file_has_the_rows_of_a_small_one(tmp_path: Path, monkeypatch, text, block):
    monkeypatch.setattr(lazily, "BLOCK", block)
    file = tmp_path / "rows.jsonl"
    file.write_text(text, encoding="utf-8")
    found = rows_of(file)
    assert isinstance(found, Lines)
    assert list(found) == read_rows(file)


@pytest.mark.parametrize("line", ["[1]", '{"a": ', "\udce9"])
def test_a_malformed_row_is_named_when_it_is_looked_at(tmp_path: Path, line):
    file = tmp_path / "rows.jsonl"
    file.write_text(f'{{"a": 1}}\n\n{line}\n', encoding="utf-8", errors="surrogateescape")
    with pytest.raises(DataError) as small:
        read_rows(file)
    with pytest.raises(DataError) as large:
        rows_of(file)[1]
    assert str(large.value) == str(small.value)
    assert "line 3" in str(large.value)


@pytest.mark.parametrize(("name", "text"), [("rows.jsonl", "\n \n"), ("rows.csv", "a\n1\n"), ("rows.json", "[{}]")])
def test_other_files_are_read_whole(tmp_path: Path, name, text):
    file = tmp_path / name
    file.write_text(text)
    if text.strip():
        assert rows_of(file) == read_rows(file)
    else:
        with pytest.raises(DataError, match="holds no rows"):
            rows_of(file)


def test_shards_of_both_kinds_make_one_split(tmp_path: Path):
    files = [tmp_path / "a.jsonl", tmp_path / "b.csv"]
    files[0].write_text(json.dumps({"a": "1"}))
    files[1].write_text("a\n2\n")
    assert list(joined([rows_of(file) for file in files])) == [{"a": "1"}, {"a": "2"}]
