"""What a search may choose from is read from Hydra's own syntax."""

from __future__ import annotations

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser

from rlpipe.config.overrides import as_options
from rlpipe.core.errors import Problem
from rlpipe.sweep.space import Choice, Condition, Dimension, Interval, Space, read

RATE = "method.learning_rate=tag(log,interval(1e-6,1e-3))"
GAMMA = 'method.gamma=tag("method=simpo",interval(0.3,1.5))'


def problems_of(*overrides: str) -> tuple[Space, list[Problem]]:
    return read(OverridesParser.create().parse_overrides(as_options(overrides)))


def space_of(*overrides: str) -> Space:
    space, problems = problems_of(*overrides)
    assert problems == []
    return space


@pytest.mark.parametrize(
    ("override", "dimension"),
    [
        ("a=interval(0,1)", Interval("a", 0.0, 1.0)),
        ("a=tag(log,interval(1e-6,1e-3))", Interval("a", 1e-6, 1e-3, log=True)),
        ("a=int(interval(4,64))", Interval("a", 4, 64, whole=True)),
        ("a=tag(log,int(interval(4,64)))", Interval("a", 4, 64, log=True, whole=True)),
        ("a=range(1,9,2)", Interval("a", 1, 7, whole=True, step=2)),
        ("a=range(5,1,-1)", Interval("a", 2, 5, whole=True, step=1)),
        ("a=tag(log,range(1,9))", Interval("a", 1, 8, log=True, whole=True)),
        ("a=range(0,1,0.25)", Interval("a", 0.0, 0.75, step=0.25)),
        ("a=1,2,1", Choice("a", ("1", "2"))),
        ("a=true,null", Choice("a", ("true", "null"))),
        ("a=shuffle(3,1,2)", Choice("a", ("1", "2", "3"))),
    ],
)
def test_every_way_to_say_values(override: str, dimension: Dimension) -> None:
    assert space_of(override).dimensions == (dimension,)


def test_what_is_not_searched_is_in_every_arm_and_seeds_repeat_settings() -> None:
    space = space_of("model=blank", "seed=0,1", "a=interval(0,1)", "model=tiny")
    assert [one.key for one in space.dimensions] == ["a"]
    assert space.arms({"a": "0.5"}) == [["model=tiny", "a=0.5", "seed=0"], ["model=tiny", "a=0.5", "seed=1"]]
    assert space_of("a=1,2").arms({"a": "1"}) == [["a=1"]]


def test_fields_under_conditions_stand_behind_what_they_wait_for() -> None:
    space = space_of(GAMMA, RATE, "method=dpo,simpo,orpo", 'b=tag("method=dpo,simpo","c=1",choice(1,2))', "c=1,2")
    assert [one.key for one in space.dimensions] == ["method.learning_rate", "method", "c", "method.gamma", "b"]
    assert space.dimensions[-1].conditions == (Condition("c", ("1",)), Condition("method", ("dpo", "simpo")))


def test_every_choice_and_both_ends_are_rehearsed_where_they_can_occur() -> None:
    space = space_of(RATE, "method=dpo,simpo,orpo", GAMMA, "after=[method=sft],[method=sft,seed=2]")
    corners = space.corners()
    found = {pair for corner in corners for pair in corner.items()}
    assert found == {(one.key, end) for one in space.dimensions for end in one.ends}
    assert all((corner["method"] == "simpo") == ("method.gamma" in corner) for corner in corners)
    assert len(corners) == 4


@pytest.mark.parametrize(
    ("interval", "number", "text"),
    [
        (Interval("a", 1e-6, 1e-3, log=True), 1e-6, "1e-06"),
        (Interval("a", 1e-6, 1e-3, log=True), 0.00012345678, "0.0001235"),
        (Interval("a", 0.0, 0.55555555), 0.555555, "0.55555555"),
        (Interval("a", 4, 64, whole=True), 17, "17"),
    ],
)
def test_numbers_have_four_digits_and_stay_in_their_interval(interval: Interval, number: float, text: str) -> None:
    assert interval.written(number) == text


@pytest.mark.parametrize(
    ("overrides", "what", "fix"),
    [
        (["a=1"], "nothing to search", "tag(log,interval"),
        (["a=interval(3,1)"], "is no interval", "interval(1,3)"),
        (["a=tag(log,interval(0,1))"], "no logarithm at 0", "above 0"),
        (["a=tag(log,choice(1,2))"], "only intervals and ranges", "interval(LOW,HIGH)"),
        (["a=tag(log,range(1,9,2))"], "no steps", "int(interval(1,7))"),
        (["a=tag(odd,interval(0,1))"], "the tag 'odd'", "conditions"),
        (["a=tag(\"b=1\",interval(0,1))"], "names b, which has no choice", "b=a,b"),
        (["b=1,2", "a=tag(\"b=3\",interval(0,1))"], "waits for b=3", "1, 2"),
        (["b=1,2", "a=tag(\"b=1\",\"b=2\",interval(0,1))"], "exclude each other", "drop one"),
        (["a=tag(\"b=1\",choice(1,2))", "b=tag(\"a=1\",choice(1,2))"], "waits for a field", "drop a condition"),
        (["a=1,2", "seed=interval(0,9)"], "seeds repeat a setting", "seed=0,1,2"),
    ],
)  # fmt: skip
def test_what_cannot_be_searched_is_said_with_what_to_do(overrides: list[str], what: str, fix: str) -> None:
    _, problems = problems_of(*overrides)
    assert what in problems[0].what
    assert fix in problems[0].fix


def test_all_problems_are_found_together() -> None:
    _, problems = problems_of("a=interval(3,1)", "b=tag(odd,interval(0,1))", 'c=tag("d=1",choice(1,2))')
    assert len(problems) == 3
