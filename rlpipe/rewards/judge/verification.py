"""Whether a completion says what the reference says: asked once, and in the other order where the verdict is in doubt.

For answers that no exact verifier reads. A judge that is shown two answers may favour the place of one
(arXiv:2305.17926), so a doubt is not asked about again as it stood.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import Enum

from rlpipe.engines.rollout import Score
from rlpipe.rewards.judge.pairwise import Pair
from rlpipe.rewards.judge.questions import TAIL

_SAME = re.compile(r"same\W{0,3}:\W{0,8}?(yes|no|unsure)(?!\w)", re.IGNORECASE)


class Same(Enum):
    """Whether two answers come to the same."""

    yes = "yes"
    no = "no"
    unsure = "unsure"


@dataclass(frozen=True)
class Opinion:
    """What a judge said of two answers."""

    same: Same
    reply: str
    """All that it wrote, its reasons with it."""


def opinion(reply: str) -> Opinion:
    """Return the last `Same: yes`, `no` or `unsure` of a reply, or the one that the reply is."""
    found = _SAME.findall(reply[-TAIL:])
    word = (found[-1] if found else reply.strip().strip("[]*`.'\"")).lower()
    if word not in {one.value for one in Same}:
        raise ValueError("the reply does not say whether the answers are the same")
    return Opinion(Same(word), reply)


def verify(ask: Callable[[Sequence[Pair]], list[Opinion | None]], pairs: Sequence[Pair]) -> list[Score]:
    """Score the first of each pair by whether it comes to the second, the reference: 1 for yes, else 0.

    `ask` gives a judge's opinion of each pair, None where no reply could be read. A pair that it is unsure of, or gives
    none of, is asked about once more, swapped; what is in doubt after that is not right, and not `parsed` either.
    Nobody is asked about an empty completion, nor about one that is the reference word by word.
    """
    plain = {place: Score(float(bool(text)), {"asked_again": 0.0}, parsed=bool(text)) for place, text in _plain(pairs)}
    left = [place for place in range(len(pairs)) if place not in plain]
    opinions = dict(zip(left, ask([pairs[place] for place in left]), strict=True))
    doubtful = [place for place in left if _in_doubt(opinions[place])]
    again = dict(zip(doubtful, ask([pairs[place].swapped() for place in doubtful]), strict=True))
    scores = {place: _score(opinions[place], place in again, again.get(place)) for place in left}
    return [(plain | scores)[place] for place in range(len(pairs))]


def _plain(pairs: Sequence[Pair]) -> list[tuple[int, str]]:
    """Return the places and completions of pairs that need no question."""
    texts = [(place, pair.first.strip(), pair.second.strip()) for place, pair in enumerate(pairs)]
    return [(place, text) for place, text, reference in texts if text in ("", reference)]


def _in_doubt(one: Opinion | None) -> bool:
    return one is None or one.same is Same.unsure


def _score(first: Opinion | None, asked_again: bool, second: Opinion | None) -> Score:
    last = second if asked_again else first
    replies = [one.reply for one in (first, second) if one is not None]
    right = last is not None and last.same is Same.yes
    return Score(float(right), {"asked_again": float(asked_again)}, not _in_doubt(last), "\n\n".join(replies))
