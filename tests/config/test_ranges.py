"""Every number of every plugin is held to what its field says: one property over all fields."""

from __future__ import annotations

import dataclasses
import math
import typing

import pytest

from rlpipe.config import plugins
from rlpipe.config.kinds import LoraConfig
from rlpipe.config.ranges import out_of_range, without_effect
from rlpipe.config.schema import RunConfig
from rlpipe.config.settings import Range, statement, written


def classes(cls):
    """Yield a config class and those that its fields hold."""
    yield cls
    for hint in typing.get_type_hints(cls).values():
        for inner in (hint, *typing.get_args(hint)):
            if dataclasses.is_dataclass(inner):
                yield from classes(inner)


BUILT_IN = [plugins.table()[kind][name].cls.Config for kind, names in plugins.BUILT_IN.items() for name in names]
CLASSES = sorted({one for cls in (RunConfig, *BUILT_IN) for one in classes(cls)}, key=lambda cls: cls.__qualname__)
FIELDS = [
    (cls, field.name, known)
    for cls in CLASSES
    for field in dataclasses.fields(cls)
    if (known := statement(cls, field.name).range) is not None
]


def holding(cls, name, value):
    """Return a config object with a value in a field of numbers, whatever holds them."""
    default = getattr(cls(), name)
    return dataclasses.replace(
        cls(), **{name: [value] if isinstance(default, list) else {"x": value} if isinstance(default, dict) else value}
    )


def outside(known: Range):
    """Yield numbers beyond each end of a range."""
    yield from (math.nan, math.inf, -math.inf)
    for bound, step in ((known.above, 0), (known.at_least, -1), (known.below, 0), (known.at_most, 1)):
        if bound is not None:
            yield bound + step * max(1e-6, abs(bound) * 1e-6)
            yield bound + (step or (-1 if bound == known.above else 1)) * (1 + abs(bound))


def test_every_field_of_every_plugin_refuses_what_means_nothing():
    assert len(FIELDS) > 150
    for cls, name, known in FIELDS:
        for number in outside(known):
            found = [one for one in out_of_range(holding(cls, name, number), "at.") if one.where == f"at.{name}"]
            assert [one.fatal for one in found] == [True], f"{cls.__name__}.{name} takes {number}"
            assert str(number) in found[0].what
            assert f"at.{name}=" in found[0].fix


def test_every_example_is_taken_and_every_default_is_usual():
    for cls, name, known in FIELDS:
        assert [one for one in out_of_range(cls()) if one.where == name] == [], f"{cls.__name__}.{name}"
        assert known.holds(float(known.example)), f"{cls.__name__}.{name}"


def test_what_is_unusual_is_a_warning_with_the_usual_range():
    looked_at = 0
    for cls, name, known in FIELDS:
        least, most = known.usual
        for number in (
            None if least is None else least - 0.9 * (abs(least) or 1),
            None if most is None else most * 1.5,
        ):
            if number is None or not known.holds(number):
                continue
            looked_at += 1
            found = [one for one in out_of_range(holding(cls, name, number)) if one.where == name]
            assert [one.fatal for one in found] == [False], f"{cls.__name__}.{name}={number}"
            assert known.usual_values in found[0].fix
    assert looked_at > 100


@pytest.mark.parametrize("usual", [(1, None), (None, 9), (1, 9)])
def test_what_switches_off_is_no_surprise(usual):
    known = Range(at_least=0, zero="never", usual=usual)
    assert known.is_usual(0)
    assert known.is_usual(9)
    assert known.is_usual(0.5) is (usual[0] is None)


def test_settings_that_have_no_effect():
    lora = LoraConfig(rank=0, alpha=64)
    [one] = without_effect(lora, {"model.lora.alpha", "model.lora.rank"}, "model.lora.")
    assert (one.where, one.what, one.fatal) == ("model.lora.alpha", "has no effect with model.lora.rank=0", False)
    assert list(without_effect(lora, {"model.lora.rank"}, "model.lora.")) == []
    assert list(without_effect(dataclasses.replace(lora, rank=8), {"model.lora.alpha"}, "model.lora.")) == []


def test_what_makes_a_setting_idle_is_a_field_beside_it_with_a_value_that_it_may_have():
    stated = [
        (cls, one.name) for cls in CLASSES for one in dataclasses.fields(cls) if statement(cls, one.name).unused_if
    ]
    assert len(stated) > 10
    for cls, name in stated:
        reason = statement(cls, name).unused_if
        other = reason.partition("=")[0].rstrip("!")
        assert other in {one.name for one in dataclasses.fields(cls)}, f"{cls.__name__}.{name}: {reason}"


def test_values_are_written_as_the_command_line_has_them():
    assert [written(one) for one in (None, True, 0, 0.5, 1e-6)] == ["null", "true", "0", "0.5", "1e-06"]
