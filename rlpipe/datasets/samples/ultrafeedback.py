"""Sample pairs: a polite, right and whole answer, and one that fails in one of several ways.

Some failures are gross (garbled, rude), some are subtle (right but curt, no greeting, the wrong
name, one wrong word). The most common one is a right answer with a sulky end. There are fewer of
those ends than of friendly ones, so a model that has read both finds each of them likelier:
likelihood alone does not tell the better answer, politeness has to be learned.
"""

from __future__ import annotations

from collections.abc import Iterator
from random import Random

from rlpipe.datasets.base import Row
from rlpipe.datasets.samples.draw import draw
from rlpipe.datasets.samples.facts import Fact, casual, fact, named
from rlpipe.datasets.samples.words import NAMES

ENDS = ("I hope this helps!", "Ask me more!", "Have a nice day!", "You are welcome!")
SULKY = ("Do not ask again.", "Leave me alone.")
RUDE = ("Why do you ask me that?", "Go away.", "That is a silly question.", "I do not want to answer.")


def rows(split: str, count: int, seed: int) -> Iterator[Row]:
    """Yield rows with the hub's columns `prompt`, `chosen`, `rejected` (conversations) and both scores."""
    return draw("ultrafeedback", split, count, seed, _row)


def _row(rng: Random) -> tuple[str, Row]:
    name, subject = rng.choice(NAMES), fact(rng)
    prompt = named(rng, name, subject)
    chosen = f"Hello {name}! {subject.sentence} {rng.choice(ENDS)}"
    rejected, score = _rejected(rng, name, subject)
    row = {
        "prompt": prompt,
        "chosen": _conversation(prompt, chosen),
        "rejected": _conversation(prompt, rejected),
        "score_chosen": 9.0,
        "score_rejected": score,
    }
    return prompt, row


def _conversation(prompt: str, answer: str) -> list[dict[str, str]]:
    return [{"role": "user", "content": prompt}, {"role": "assistant", "content": answer}]


def _rejected(rng: Random, name: str, subject: Fact) -> tuple[str, float]:
    """Return a worse answer with its score: the subtle failures score higher."""
    end = rng.choice(ENDS)
    kind = rng.choices(
        ("sulky", "casual", "curt", "no greeting", "wrong", "wrong name", "rambling", "rude", "off topic", "garbled"),
        (12, 3, 1, 2, 2, 2, 1, 1, 1, 1),
    )[0]
    match kind:
        case "sulky":
            return f"Hello {name}! {subject.sentence} {rng.choice(SULKY)}", 5.0
        case "casual":
            return casual(rng, subject), 6.5
        case "curt":
            return subject.word, 6.0
        case "no greeting":
            return subject.sentence, 7.0
        case "wrong":
            return f"Hello {name}! {subject.wrong} {end}", 4.0
        case "wrong name":
            other = rng.choice([other for other in NAMES if other != name])
            return f"Hello {other}! {subject.sentence} {end}", 5.0
        case "rambling":
            return f"Hello {name}! {subject.sentence} {subject.sentence} {subject.sentence}", 5.0
        case "rude":
            return rng.choice(RUDE), 1.0
        case "off topic":
            other_sentence = subject.sentence
            while other_sentence == subject.sentence:
                other_sentence = fact(rng).sentence
            return f"Hello {name}! {other_sentence} {end}", 2.0
        case _:
            words = subject.sentence.rstrip(".").split()
            rng.shuffle(words)
            return " ".join([*words, words[0]]), 1.0
