"""What fields say of themselves: every field of the schema and of every built-in plugin says it."""

from __future__ import annotations

import dataclasses
import math
import typing

import pytest

from rlpipe.config import plugins
from rlpipe.config.compose import compose, to_plain
from rlpipe.config.kinds import MethodConfig
from rlpipe.config.relevance import changes, differing, timed
from rlpipe.config.schema import RunConfig
from rlpipe.config.settings import Changes, Range, changing, setting, statement
from rlpipe.testing import unstated


def classes(cls):
    """Yield a config class and those that its fields hold."""
    yield cls
    for hint in typing.get_type_hints(cls).values():
        for inner in (hint, *typing.get_args(hint)):
            if dataclasses.is_dataclass(inner):
                yield from classes(inner)


BUILT_IN = [plugins.table()[kind][name].cls.Config for kind, names in plugins.BUILT_IN.items() for name in names]
CLASSES = {one for cls in (RunConfig, *BUILT_IN) for one in classes(cls)}


def test_every_field_says_what_it_changes_and_every_number_its_range():
    unsaid = [
        f"{cls.__name__}.{field.name}: {unstated(cls, field.name)}"
        for cls in CLASSES
        for field in dataclasses.fields(cls)
        if unstated(cls, field.name)
    ]
    assert not unsaid, "\n".join(unsaid)


def test_a_field_without_a_word_is_found():
    @dataclasses.dataclass
    class Silent(MethodConfig):
        factor: float = 1.0
        label: str = setting("", Changes.nothing)

    assert "say what it changes" in unstated(Silent, "factor")
    assert unstated(Silent, "label") is None
    assert unstated(Silent, "learning_rate") is None, "inherited"
    assert "which numbers" in unstated(changing(Changes.result)(Silent), "factor")


def test_a_default_in_a_subclass_keeps_what_the_field_says():
    grpo = plugins.load("method", "grpo").Config
    assert statement(grpo, "kl_coef") == statement(plugins.load("method", "rloo").Config, "kl_coef")
    assert statement(grpo, "samples_every").changes is Changes.nothing


def test_a_class_may_say_more_of_what_it_inherits():
    assert statement(plugins.load("method", "ai_feedback").Config, "batch_size").changes is Changes.nothing
    assert statement(plugins.load("method", "sft").Config, "batch_size").changes is Changes.result


def test_the_examples_of_ranges_lie_in_them():
    said = {statement(cls, field.name).range for cls in CLASSES for field in dataclasses.fields(cls)} - {None}
    assert len(said) > 10
    assert [one for one in said if not one.holds(float(one.example))] == []


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_what_is_not_finite_lies_in_no_range(value):
    assert not Range().holds(value)


def test_ranges_in_words():
    assert Range(above=0, at_most=1).wanted == "above 0 and at most 1"
    assert Range(at_least=0, below=2**32).wanted == "at least 0 and below 4294967296"
    assert Range(at_least=0, zero="never").wanted == "0 (never) or above"
    assert Range().wanted == "a finite number"


@pytest.mark.parametrize(
    ("key", "expected"),
    [
        ("seed", Changes.seed),
        ("log.every", Changes.nothing),
        ("hardware.threads", Changes.run),
        ("model.source", Changes.indirect),
        ("method.reference.model", Changes.indirect),
        ("method.samples_every", Changes.nothing),
        ("method.beta", Changes.result),
        ("reward.countdown.format_score", Changes.result),
        ("reward.judge.budget", Changes.nothing),
        ("evaluation.accuracy.samples", Changes.rows),
        ("dataset.test_limit", Changes.rows),
        ("no.such.key", Changes.result),
        ("method", Changes.result),
    ],
)
def test_keys_of_a_config_are_found(key, expected):
    node = {"method": {"name": "grpo"}, "reward": {name: {"name": name} for name in ("judge", "countdown")}}
    assert changes(key, node) is expected


def test_attempts_may_differ_in_what_changes_nothing():
    old = to_plain(compose("model=blank", "method=sft"))
    assert differing(old, to_plain(compose("model=blank", "method=sft", "log.every=3", "until=check"))) == []
    assert differing(old, to_plain(compose("model=blank", "method=sft", "hardware.threads=3"))) == ["hardware.threads"]


def test_attempts_may_differ_in_what_has_no_effect_in_either():
    def config(*overrides):
        return to_plain(compose("model=blank", "method=sft", *overrides))

    assert differing(config("watch.limit=128", "model.lora.alpha=8"), config()) == []
    watched = config("watch.limit=128", "watch.every=5")
    assert differing(watched, config("watch.every=5")) == ["watch.limit"]
    assert differing(watched, config()) == ["watch.every", "watch.limit"]


def test_what_changes_a_steps_time_is_read_from_the_fields():
    plain = to_plain(compose("model=blank", "method=grpo", "dataset=gsm8k", "reward=gsm8k"))
    keys = timed(plain).keys()
    assert {"method.batch_size", "method.sampling.max_tokens", "model.layers", "hardware.threads"} <= keys
    assert {"method.name", "model.name", "dataset.name", "reward.gsm8k.name"} <= keys
    assert not keys & {"method.learning_rate", "method.clip", "seed", "method.max_steps", "log.every", "store"}


def test_a_field_that_is_younger_than_a_record_had_its_default_there():
    old = to_plain(compose("model=blank", "method=sft"))
    del old["watch"], old["method"]["warmup"]
    assert differing(old, to_plain(compose("model=blank", "method=sft"))) == []
    assert differing(old, to_plain(compose("model=blank", "method=sft", "watch.every=5"))) == ["watch.every"]
