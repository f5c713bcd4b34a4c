"""Sample goals with two solutions: one uses a tool that serves, the other one that does not."""

from __future__ import annotations

from collections.abc import Iterator
from random import Random

from rlpipe.datasets.base import Row
from rlpipe.datasets.samples.draw import draw
from rlpipe.datasets.samples.words import NAMES

TOOLS = {
    "cut the bread": "a knife", "eat the soup": "a spoon", "open the door": "a key", "dry {whose} hands": "a towel",
    "write a letter": "a pen", "dig a hole": "a shovel", "wash {whose} hands": "soap", "light the room": "a lamp",
    "sweep the floor": "a broom", "hit a nail": "a hammer", "clean {whose} teeth": "a brush",
    "stay dry in the rain": "an umbrella",
    "carry the milk": "a bag", "sit at the table": "a chair", "tie the box": "a rope", "see in the dark": "a torch",
    "bake a cake": "an oven", "keep food cold": "a fridge", "cut the paper": "scissors", "drink the tea": "a cup",
}  # fmt: skip

GOALS = (
    "How do I {task}?",
    "{name} asks: how do I {task}?",
    "I am {name}. How do I {task}?",
    "I am {name} and I want to {task}.",
    "{name} says: I must {task} today. How?",
)


def rows(split: str, count: int, seed: int) -> Iterator[Row]:
    """Yield rows with the hub's columns `goal`, `sol1`, `sol2` and `label`."""
    return draw("piqa", split, count, seed, _row)


def _row(rng: Random) -> tuple[str, Row]:
    task, tool = rng.choice(list(TOOLS.items()))
    other = rng.choice([other for other in TOOLS.values() if other != tool])
    question, answer = task.format(whose="my"), task.format(whose="your")
    goal = rng.choice(GOALS).format(name=rng.choice(NAMES), task=question)
    label = rng.randrange(2)
    solutions = [f"You can {answer} with {one}." for one in ((tool, other) if label == 0 else (other, tool))]
    return f"{goal} {other}", {"goal": goal, "sol1": solutions[0], "sol2": solutions[1], "label": label}
