"""A file that grows by chunks: what is whole stays, what is torn is made again, foreign rows are refused."""

from __future__ import annotations

import json
from types import SimpleNamespace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rlpipe.core.errors import RecordError, Stopped
from rlpipe.core.files import json_line
from rlpipe.records.lease import Lost, acquire
from rlpipe.training.feedback.chunks import Chunks
from tests.records.takeover import take_over

IDS = [f"train/{number}" for number in range(10)]
WHOLE = [{"id": name, "text": "é" * number} for number, name in enumerate(IDS)]


def complete(file, asked=None, told=None, stop=lambda: False, ids=IDS):
    calls = [] if asked is None else asked

    def make(place: slice) -> list[dict]:
        calls.append((place.start, place.stop))
        return WHOLE[place]

    record = SimpleNamespace(may_write=lambda: True)
    request = type("Request", (), {"requested": property(lambda self: stop())})()
    chunks = Chunks(file, ids, 4, record, request)
    return chunks.complete(make, "testing", lambda done, rows: told is not None and told.append((done, rows)), False)


def test_rows_come_in_order_by_chunks_and_all_are_told(tmp_path):
    asked, told = [], []
    assert complete(tmp_path / "a" / "rows.jsonl", asked, told) == WHOLE
    assert asked == [(0, 4), (4, 8), (8, 10)]
    assert [(done, len(rows)) for done, rows in told] == [(4, 4), (8, 4), (10, 2)]
    again: list = []
    assert complete(tmp_path / "a" / "rows.jsonl", asked := [], again) == WHOLE
    assert asked == []
    assert again == told


@given(st.integers(0, len("".join(map(json_line, WHOLE)).encode())))
@settings(max_examples=60)
def test_wherever_the_file_ends_the_rows_are_the_same(tmp_path_factory, end):
    file = tmp_path_factory.mktemp("cut") / "rows.jsonl"
    content = "".join(map(json_line, WHOLE)).encode()
    file.write_bytes(content[:end])
    asked: list = []
    assert complete(file, asked) == WHOLE
    assert file.read_bytes() == content
    rows = content[:end].count(b"\n")
    rows += bool(content[:end]) and end < len(content) and content[end : end + 1] == b"\n"  # only its end is missing
    whole = rows if rows == len(WHOLE) else rows // 4 * 4
    assert sum(stop - start for start, stop in asked) == len(WHOLE) - whole


def test_a_request_to_stop_is_heard_between_two_chunks(tmp_path):
    file, asked = tmp_path / "rows.jsonl", []
    with pytest.raises(Stopped, match="stopped after 4 of 10 prompts"):
        complete(file, asked, stop=lambda: len(asked) == 1)
    assert len(file.read_text().splitlines()) == 4
    assert complete(file) == WHOLE


def test_rows_of_other_prompts_are_refused(tmp_path):
    file = tmp_path / "rows.jsonl"
    complete(file)
    with pytest.raises(RecordError, match="other prompts than the dataset gives now"):
        complete(file, ids=["train/1", *IDS])
    with pytest.raises(RecordError, match="other prompts"):
        complete(file, ids=IDS[:4])
    with pytest.raises(RecordError, match="other prompts"):
        complete(file, ids=[*IDS[:6], "train/new", *IDS[6:]])


SPOILT = {
    "damaged": lambda rows: [*rows[:5], '{"id": "train/5"', *rows[6:]],
    "of another shape": lambda rows: [*rows[:5], "[]", *rows[6:]],
    "without its name": lambda rows: [*rows[:5], '{"text": "é"}', *rows[6:]],
    "twice": lambda rows: [*rows[:5], rows[4], *rows[5:]],
    "NULs": lambda rows: [*rows[:5], "\0" * len(rows[5]), *rows[6:]],
}


@pytest.mark.parametrize("name", SPOILT)
def test_what_follows_a_spoilt_row_is_made_again(tmp_path, name):
    file, asked = tmp_path / "rows.jsonl", []
    file.write_text("\n".join(SPOILT[name]([json.dumps(row) for row in WHOLE])) + "\n")
    assert complete(file, asked) == WHOLE
    assert asked == [(4, 8), (8, 10)]
    assert [json.loads(line) for line in file.read_text().splitlines()] == WHOLE


def test_one_that_was_suspended_adds_nothing_to_its_successor_s_rows(tmp_path):
    """It is asked for its next chunk, sleeps for long, and another process takes the run over."""
    file = tmp_path / "feedback" / "rows.jsonl"
    held = acquire(tmp_path)
    asked: list = []

    def suspended():
        if len(asked) == 1:
            take_over(tmp_path)
        return False

    with pytest.raises(Lost, match="took this over"):
        complete(file, asked, stop=suspended)
    assert len(file.read_text().splitlines()) == 4
    held.release()
