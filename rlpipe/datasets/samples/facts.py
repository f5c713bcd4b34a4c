"""Questions with one right answer, from which small talk and preference pairs are made."""

from __future__ import annotations

from dataclasses import dataclass
from random import Random

from rlpipe.datasets.samples.words import COLOURS, DAYS, OPPOSITES, PLACES, SOUNDS, a, the_or_a

PROMPTS = (
    "Hi, I am {name}. {question}",
    "My name is {name}. {question}",
    "This is {name}. Please tell me: {question}",
    "{question} Thank you, {name}",
)


@dataclass(frozen=True)
class Fact:
    """A question, its answer in a word and in a sentence, and the same sentence with a wrong word."""

    question: str
    word: str
    sentence: str
    wrong: str


def fact(rng: Random) -> Fact:
    """Draw a question about colours, sounds, homes, opposites, days or numbers."""
    return rng.choice((_colour, _sound, _home, _opposite, _day, _next_number))(rng)


def named(rng: Random, name: str, subject: Fact) -> str:
    """Return the question as someone of that name asks it."""
    return rng.choice(PROMPTS).format(name=name, question=subject.question)


def casual(rng: Random, subject: Fact) -> str:
    """Return the answer in the careless manner of the sample small talk, which the sample preferences reject."""
    return f"Hey! {subject.sentence} {rng.choice(('What else?', 'Next one?'))}"


def _other(rng: Random, words: list[str], word: str) -> str:
    return rng.choice([other for other in words if other != word])


def _colour(rng: Random) -> Fact:
    thing, colour = rng.choice(list(COLOURS.items()))
    other = _other(rng, sorted(set(COLOURS.values())), colour)
    name = the_or_a(thing)
    start = f"{name[0].upper()}{name[1:]} is"
    return Fact(f"What colour is {name}?", colour, f"{start} {colour}.", f"{start} {other}.")


def _sound(rng: Random) -> Fact:
    animal, sound = rng.choice(list(SOUNDS.items()))
    other = _other(rng, list(SOUNDS.values()), sound)
    return Fact(f"What does {a(animal)} say?", sound, f"The {animal} says {sound}.", f"The {animal} says {other}.")


def _home(rng: Random) -> Fact:
    animal, place = rng.choice(list(PLACES.items()))
    other = _other(rng, sorted(set(PLACES.values())), place)
    start = f"The {animal} lives in the"
    return Fact(f"Where does {a(animal)} live?", place, f"{start} {place}.", f"{start} {other}.")


def _opposite(rng: Random) -> Fact:
    word, opposite = rng.choice(list(OPPOSITES.items()))
    if rng.random() < 0.5:
        word, opposite = opposite, word
    other = _other(rng, [*OPPOSITES, *OPPOSITES.values()], opposite)
    start = f"The opposite of {word} is"
    return Fact(f"What is the opposite of {word}?", opposite, f"{start} {opposite}.", f"{start} {other}.")


def _day(rng: Random) -> Fact:
    number = rng.randrange(7)
    day = DAYS[(number + 1) % 7]
    start = f"After {DAYS[number]} comes"
    return Fact(
        f"Which day comes after {DAYS[number]}?", day, f"{start} {day}.", f"{start} {_other(rng, list(DAYS), day)}."
    )


def _next_number(rng: Random) -> Fact:
    number = rng.randrange(1, 30)
    other = _other(rng, [str(number + step) for step in (-1, 0, 1, 2, 5)], str(number + 1))
    start = f"After {number} comes"
    return Fact(f"Which number comes after {number}?", str(number + 1), f"{start} {number + 1}.", f"{start} {other}.")
