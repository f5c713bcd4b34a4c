"""A judge's verdict on whether two answers come to the same is read, and a doubt is asked about in the other order."""

from __future__ import annotations

import pytest

from rlpipe.datasets.forms import Prompt
from rlpipe.rewards.judge.pairwise import Pair
from rlpipe.rewards.judge.verification import Opinion, Same, opinion, verify

PROMPT = Prompt("test/0", [{"role": "user", "content": "Why?"}])


@pytest.mark.parametrize(
    ("reply", "same"),
    [
        ("Both say 8.\n`Same: yes`", Same.yes),
        ("**Same:** No.", Same.no),
        ("same: unsure", Same.unsure),
        ("Same: yes at first sight, but no.\nSame: no", Same.no),
        ("no", Same.no),
    ],
)
def test_the_last_verdict_of_a_reply_counts(reply, same):
    assert opinion(reply) == Opinion(same, reply)


@pytest.mark.parametrize(
    "reply", ["", "The same, yes.", "Same: yesterday", "Same: maybe", "yes, I think", "Same:" * 10**5]
)
def test_a_reply_without_a_verdict_is_refused(reply):
    with pytest.raises(ValueError, match="does not say"):
        opinion(reply)


@pytest.mark.parametrize(
    ("first", "second", "value", "parsed"),
    [
        (Same.yes, None, 1, True),
        (Same.no, None, 0, True),
        (Same.unsure, Same.yes, 1, True),
        (Same.unsure, Same.no, 0, True),
        (Same.unsure, Same.unsure, 0, False),
        (None, Same.yes, 1, True),
        (None, None, 0, False),
    ],
)
def test_what_stays_in_doubt_is_not_right_and_not_parsed(first, second, value, parsed):
    seen = []

    def ask(pairs):
        seen.append([(one.first, one.second) for one in pairs])
        answer = first if len(seen) == 1 else second
        return [None if answer is None else Opinion(answer, answer.value) for _ in pairs]

    [score] = verify(ask, [Pair(PROMPT, "8", "eight")])
    again = first in (None, Same.unsure)
    assert (score.value, score.parsed, score.parts) == (value, parsed, {"asked_again": float(again)})
    assert seen == [[("8", "eight")], [("eight", "8")] if again else []]


def test_nobody_is_asked_about_nothing_nor_about_the_reference_itself():
    pairs = [Pair(PROMPT, " \n", "8"), Pair(PROMPT, "8\n", "8"), Pair(PROMPT, "", "")]
    scores = verify(lambda left: [pytest.fail(str(one)) for one in left], pairs)
    assert [(score.value, score.parsed) for score in scores] == [(0, False), (1, True), (0, False)]
