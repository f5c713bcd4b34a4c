"""What a search may choose from, in Hydra's own syntax: intervals, ranges and choices, some only under a condition.

    method.learning_rate=tag(log,interval(1e-6,1e-3))         a number, drawn on a logarithmic scale
    model.lora.rank=int(interval(4,64))                       a whole number
    method=dpo,simpo                                          one of several, options of groups too
    method.gamma_ratio=tag("method=simpo",interval(0.3,0.8))  only where another field has one of some values

A condition is a tag: `"KEY=VALUE"` or `"KEY=VALUE,VALUE"`, of a field that is chosen from values itself.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra.core.override_parser.types import Glob, IntervalSweep, Override, RangeSweep

from rlpipe.config.overrides import as_typed
from rlpipe.core.errors import Problem

LOG = "log"
"""The tag of a logarithmic scale."""
SEED = "seed"
"""The field whose values repeat a setting."""


@dataclass(frozen=True)
class Condition:
    """A field that must have one of some values."""

    key: str
    values: tuple[str, ...]

    @classmethod
    def of(cls, tag: str) -> Condition:
        """Read a tag."""
        key, _, values = tag.partition("=")
        return cls(key.strip(), tuple(value.strip() for value in values.split(",") if value.strip()))

    def holds(self, setting: Mapping[str, str]) -> bool:
        """Whether a setting fulfils it."""
        return self.key in setting and typed(self.key, setting[self.key]) in self.values


@dataclass(frozen=True)
class Choice:
    """A field that has one of some values."""

    key: str
    values: tuple[str, ...]
    """As Hydra writes them."""
    conditions: tuple[Condition, ...] = ()

    @property
    def ends(self) -> tuple[str, ...]:
        """The values that are rehearsed: all."""
        return self.values


@dataclass(frozen=True)
class Interval:
    """A field that has a number between two others, both included."""

    key: str
    low: float
    high: float
    log: bool = False
    whole: bool = False
    """Whether only whole numbers count."""
    step: float | None = None
    conditions: tuple[Condition, ...] = ()

    @property
    def ends(self) -> tuple[str, ...]:
        """The values that are rehearsed: the least and the greatest."""
        return self.written(self.low), self.written(self.high)

    def written(self, value: float) -> str:
        """Return a number as the command line takes it: whole, or with four digits that lie in the interval."""
        if self.whole:
            return str(int(value))
        if value in (self.low, self.high):
            return repr(float(value))
        return repr(min(max(float(f"{value:.4g}"), self.low), self.high))


Dimension = Choice | Interval
Setting = dict[str, str]
"""A value, as Hydra writes it, for each field that is searched."""


@dataclass(frozen=True)
class Space:
    """What a search may choose from."""

    fixed: tuple[str, ...]
    """The overrides that all arms have."""
    dimensions: tuple[Dimension, ...]
    """Behind those that their conditions name."""
    seeds: tuple[str, ...] = ()
    """The seeds that each setting is run with; none: the one that the config has."""

    def open(self, setting: Mapping[str, str]) -> Iterator[Dimension]:
        """Yield the dimensions whose conditions hold, while the caller enters their values into the setting."""
        for one in self.dimensions:
            if all(condition.holds(setting) for condition in one.conditions):
                yield one

    def arms(self, setting: Mapping[str, str]) -> list[list[str]]:
        """Return the overrides of a setting's arms: one for each seed."""
        chosen = [*self.fixed, *(f"{key}={value}" for key, value in setting.items())]
        return [[*chosen, f"{SEED}={seed}"] for seed in self.seeds] or [chosen]

    def corners(self) -> list[Setting]:
        """Return settings in which every choice and both ends of every interval occur, as few as come easily."""
        left = dict.fromkeys((one.key, value) for one in self.dimensions for value in one.ends)
        found: list[Setting] = []
        while left:
            target = next(iter(left))
            wanted = self._with_conditions(*target)
            setting: Setting = {}
            for one in self.open(setting):
                fresh = next((value for value in one.ends if (one.key, value) in left), one.ends[0])
                setting[one.key] = wanted.get(one.key, fresh)
            for pair in (target, *setting.items()):
                left.pop(pair, None)
            found.append(setting)
        return found or [{}]

    def never(self) -> list[str]:
        """Return the fields that no setting has, for their conditions exclude each other."""
        reached = {key for setting in self.corners() for key in setting}
        return [one.key for one in self.dimensions if one.key not in reached]

    def _with_conditions(self, key: str, value: str) -> Setting:
        """Return what must be chosen for a field to have a value."""
        found = {key: value}
        for condition in next(one for one in self.dimensions if one.key == key).conditions:
            parent = next(one for one in self.dimensions if one.key == condition.key)
            fitting = next(end for end in parent.ends if typed(parent.key, end) in condition.values)
            found |= self._with_conditions(parent.key, fitting)
        return found


def typed(key: str, value: str) -> str:
    """Return a value as it was typed."""
    return as_typed([f"{key}={value}"])[0].partition("=")[2].strip("'\"")


def read(overrides: Sequence[Override]) -> tuple[Space, list[Problem]]:
    """Return what parsed overrides let a search choose from, and what is wrong with them: such fields are left out."""
    last = {one.get_key_element(): one for one in overrides}
    problems: list[Problem] = []
    dimensions: list[Dimension] = []
    seeds: tuple[str, ...] = ()
    for key, one in last.items():
        if not one.is_sweep_override():
            continue
        try:
            found = _dimension(key, one)
        except _Unfit as unfit:
            problems.append(Problem(str(one.input_line), *unfit.args))
            continue
        if key != SEED:
            dimensions.append(found)
        elif isinstance(found, Interval) and not found.step:
            fix = f"name the seeds that each setting is run with: {SEED}=0,1,2"
            problems.append(Problem(str(one.input_line), "is not searched: seeds repeat a setting", fix))
        else:
            seeds = tuple(one.sweep_string_iterator())
    [[fixed]] = BasicSweeper.split_arguments([one for one in last.values() if not one.is_sweep_override()], None)
    ordered, faults = _ordered(dimensions)
    space = Space(tuple(fixed), tuple(ordered), seeds)
    problems += faults
    if not dimensions and not problems:
        fix = "give a field several values: method.learning_rate='tag(log,interval(1e-6,1e-3))'"
        problems.append(Problem("hydra/sweeper=tpe", "there is nothing to search", fix))
    what = "is never searched: its conditions exclude each other"
    problems += [Problem(key, what, "drop one of them") for key in space.never()]
    return space, problems


_TRUTH = {"True": "true", "False": "false"}
"""How truth is typed, by how Hydra lists it."""


class _Unfit(Exception):
    """What is wrong with a field's values, and what to do."""


def _dimension(key: str, override: Override) -> Dimension:
    swept: Any = override.value()
    tags = set() if isinstance(swept, Glob) else set(swept.tags)
    conditions = tuple(Condition.of(tag) for tag in sorted(tags) if "=" in tag)
    unknown = sorted(tag for tag in tags if tag != LOG and "=" not in tag)
    if unknown:
        raise _Unfit(f"the tag '{unknown[0]}' says nothing", f'known are {LOG} and conditions: tag("method=dpo",…)')
    log = LOG in tags
    if isinstance(swept, IntervalSweep):
        whole = isinstance(swept.start, int)
        return _checked(Interval(key, swept.start or 0, swept.end or 0, log, whole, conditions=conditions))
    values = tuple(dict.fromkeys(_TRUTH.get(value, value) for value in override.sweep_string_iterator()))
    if isinstance(swept, RangeSweep) and len(values) > 1:
        low, high = sorted((float(values[0]), float(values[-1])))
        step = abs(swept.step or 1)
        if log and step != 1:
            raise _Unfit("a logarithmic range has no steps", f"{key}=tag({LOG},int(interval({low:g},{high:g})))")
        whole = all(isinstance(one, int) for one in (swept.start, step))
        return _checked(Interval(key, low, high, log, whole, None if log else step, conditions))
    if log:
        raise _Unfit("only intervals and ranges can be logarithmic", f"{key}=tag({LOG},interval(LOW,HIGH))")
    if not values:
        raise _Unfit("stands for no value", "name at least two")
    return Choice(key, values if not getattr(swept, "shuffle", False) else tuple(sorted(values)), conditions)


def _checked(one: Interval) -> Interval:
    if one.low >= one.high:
        raise _Unfit("is no interval", f"name the lower end first: interval({one.high:g},{one.low:g})")
    if one.log and one.low <= 0:
        raise _Unfit(f"has no logarithm at {one.low:g}", f"begin above 0, or drop the tag {LOG}")
    return one


def _ordered(dimensions: Sequence[Dimension]) -> tuple[list[Dimension], list[Problem]]:
    """Put dimensions behind those that their conditions name; those that cannot be are left out and named."""
    problems: list[Problem] = []
    sound: list[Dimension] = []
    known = {one.key: one for one in dimensions}
    for one in dimensions:
        faults = [Problem(one.key, *fault) for condition in one.conditions if (fault := _fault(condition, known))]
        problems += faults
        sound += [] if faults else [one]
    placed: list[Dimension] = []
    while True:
        there = {one.key for one in placed}
        ready = [one for one in sound if one not in placed and {each.key for each in one.conditions} <= there]
        if not ready:
            break
        placed += ready
    what = "waits for a field that waits for it, or for one that is not searched"
    problems += [Problem(one.key, what, "drop a condition") for one in sound if one not in placed]
    return placed, problems


def _fault(condition: Condition, known: Mapping[str, Dimension]) -> tuple[str, str] | None:
    """Say why a condition can never be judged, and what to do."""
    parent = known.get(condition.key)
    if not isinstance(parent, Choice):
        what = f"its condition names {condition.key}, which has no choice of values"
        return what, f"name a field with a choice: {condition.key}=a,b; or drop the condition"
    offered = [typed(parent.key, value) for value in parent.values]
    missing = [value for value in condition.values if value not in offered]
    if missing or not condition.values:
        what = f"its condition waits for {condition.key}={','.join(missing)}, which is never chosen"
        return what, f"name some of {', '.join(offered)}"
    return None
