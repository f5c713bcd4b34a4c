"""Which process of a run failed first, where all of them fail together."""

from __future__ import annotations

import pytest

from rlpipe.launchers import words
from rlpipe.records.sweep import Ended, Outcome, read_outcome, write_outcome

RESET = "RuntimeError: Read error: Connection reset by peer"


def failed(error: str, time: float, traceback: str | None = "Traceback …") -> Outcome:
    return Outcome(Ended.failed, error=error, time=time, traceback=traceback)


@pytest.mark.parametrize(
    ("outcomes", "first"),
    [
        ([failed(RESET, 1.0), failed("ValueError: unwell", 2.0)], 1),
        ([failed("ValueError: unwell", 1.0), failed("ValueError: unwell too", 2.0)], 0),
        ([failed(RESET, 1.0), failed(RESET, 2.0), failed("ended without a word", 9.0, None)], 2),
        ([failed("KeyError: 'x'", 3.0), failed("ended without a word", 1.0, None)], 0),
        ([failed(RESET, 1.0), Outcome(Ended.stopped, error="stopped")], 0),
        ([Outcome(Ended.ok), Outcome(Ended.ok)], None),
    ],
    ids=["own error", "earlier", "killed", "killed by torchrun", "stopped", "none"],
)
def test_what_others_did_not_lead_to_comes_first(tmp_path, outcomes, first):
    for rank, outcome in enumerate(outcomes):
        write_outcome(tmp_path, outcome, rank)
    found = words.first_failure(tmp_path, len(outcomes))
    assert (None if found is None else found[0]) == first


def test_who_is_gone_without_a_word_is_noted_and_forgotten_by_the_next_attempt(tmp_path):
    for rank in range(3):
        write_outcome(tmp_path, Outcome(Ended.running) if rank else failed(RESET, 1.0), rank)
    words.note_killed(tmp_path, range(2), "; its limit")
    assert read_outcome(tmp_path).error == RESET
    assert read_outcome(tmp_path, 1).error == "ended without a word, by a signal or for want of memory; its limit"
    assert read_outcome(tmp_path, 2).ended is Ended.running, "another node's"
    assert words.first_failure(tmp_path, 3, patience=0.0)[0] == 1
    words.forget(tmp_path, range(2))
    assert [read_outcome(tmp_path, rank) is None for rank in range(3)] == [False, True, False]
