"""A sweep's table at every width: no word is broken where there is room for it, and failures say what failed."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from rlpipe.core.errors import DataError
from rlpipe.records.sweep import Ended, Outcome
from rlpipe.sweep.job import _outcome
from rlpipe.sweep.states import Standing, State
from rlpipe.sweep.table import detail, table

REASON = "ReqNodeNotAvail, UnavailableNodes:node[01-12]"
WRONG = "DataError: data.jsonl, row 7: not JSON\n    → fix or delete that line"


@pytest.fixture
def now(sweep):
    _, queued, failed, running, done = sweep.jobs[0], *sweep.arms
    return [
        Standing(queued, State.queued, REASON, job_id="1234567_0"),
        Standing(
            failed, State.failed, WRONG, step=7, seconds=71.0, place="node-with-a-long-name-17", job_id="1234567_1"
        ),
        Standing(running, State.running, step=5, metric=("loss", 0.1234), place="node17", job_id="1234567_2"),
        Standing(done, State.done, step=10, metric=("after/preference/accuracy", 0.75), seconds=3723.0),
    ]


@pytest.mark.parametrize("width", [60, 70, 80, 100, 120, 160, 250])
def test_words_stay_whole_at_every_width(now, width):
    out = io.StringIO()
    Console(file=out, width=width).print(table(now))
    shown = out.getvalue()
    assert all(len(line) <= width for line in shown.splitlines())
    assert "UnavailableNodes:node[01-12]" in shown
    together = " ".join(shown.split())
    for words in ("not JSON", "→ fix or delete that line", "1 queued, 1 running, 1 done, 1 failed"):
        assert words in together
    assert [line.split()[:3] for line in shown.splitlines() if line[0] != " "][:5] == [
        ["job", "seed", "state"], ["0", "0", "queued"], ["1", "1", "failed"], ["2", "2", "running"], ["3", "3", "done"],
    ]  # fmt: skip


def test_what_failed_comes_before_the_advice(now):
    assert detail(now[1]) == "DataError: data.jsonl, row 7: not JSON → fix or delete that line"


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (DataError("data.jsonl, row 7", "not JSON", "fix or delete that line"), WRONG),
        (DataError("", "two\nlines", ""), "DataError: two"),
        (ValueError("what is wrong\nand what to do"), "ValueError: what is wrong"),
        (ValueError(), "ValueError:"),
    ],
)
def test_an_outcome_says_what_failed(error, words):
    assert _outcome(Outcome(Ended.running), error).error.strip() == words
