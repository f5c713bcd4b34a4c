"""The same examples side by side, and why not."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rlpipe.core.files import write_lines
from rlpipe.records.runs import find
from rlpipe.report.pairing import fields, matrix, measured, reasons
from tests.report.recorded import PROTOCOL, recorded, rows


def read(folder, key="score"):
    (run,) = find([folder])
    return measured(run, "accuracy", "after", key)


def pair(tmp_path, one, other):
    folders = [recorded(tmp_path / name, **settings) for name, settings in (("one", one), ("other", other))]
    return [read(folder) for folder in folders]


def test_scores_are_read_by_id_with_numbers_that_are_none(tmp_path):
    found = read(recorded(tmp_path / "run", [1.0, None, 0.0], ids=["b", "a", "c"]))
    assert list(found.scores) == ["b", "a", "c"]
    assert math.isnan(found.scores["a"])
    assert found.mean == 0.5
    assert found.unusable == 1


def test_nested_fields_and_those_that_are_not_there(tmp_path):
    recorded(tmp_path / "run", [1.0])
    more = [*rows([1.0], parts={"format": 1.0}, right=True, completion="x"), {"id": "z", "pass": {"8": 0.25}, "a.b": 2}]
    write_lines(tmp_path / "run/evaluations/accuracy.after.jsonl", more)
    (run,) = find([tmp_path])
    assert measured(run, "accuracy", "after", "parts.format").scores["test/0"] == 1.0
    assert measured(run, "accuracy", "after", "pass.8").scores["z"] == 0.25
    assert measured(run, "accuracy", "after", "right").scores["test/0"] == 1.0
    assert measured(run, "accuracy", "after", "a.b").scores["z"] == 2
    assert measured(run, "accuracy", "after", "nothing") is None
    assert measured(run, "accuracy", "after", "completion.x") is None
    assert fields(more) == ["score", "parts.format", "right", "pass.8", "a.b"]


def test_an_id_that_comes_twice_is_two_examples(tmp_path):
    found = read(recorded(tmp_path / "run", [1.0, 0.0, 0.0], ids=["a", "a", "a"]))
    assert list(found.scores) == ["a", "a (2)", "a (3)"]


def test_what_a_run_may_call_is_part_of_what_is_compared(tmp_path):
    one, other = pair(
        tmp_path,
        {"scores": [1.0]},
        {"scores": [0.0], "protocol": {**PROTOCOL, "tool": {"calculator": {"max_calls": 8}}}},
    )
    assert other.protocol["tool"] != one.protocol.get("tool")
    assert reasons(one, other) == []


def test_the_same_protocol_and_prompts_may_be_paired_whatever_the_order(tmp_path):
    one, other = pair(
        tmp_path,
        {"scores": [1.0, 0.0, 1.0], "ids": ["a", "b", "c"]},
        {"scores": [0.5, 1.0, 0.0], "ids": ["c", "x", "a"]},
    )
    assert reasons(one, other) == []
    names, scores = matrix([one, other])
    assert names == ["a", "c"]
    assert scores.tolist() == [[1.0, 1.0], [0.0, 0.5]]


@pytest.mark.parametrize(
    ("change", "word"),
    [
        ({"template": "b"}, "template"),
        ({"verifier": {"name": "gsm8k", "strict": True}}, "verifier"),
        ({"sampling": {"temperature": 0.7}}, "sampling.temperature: 0.0 against 0.7"),
        ({"dataset": {"name": "math"}}, 'dataset.name: "gsm8k" against "math"'),
        ({"tools": ["calculator"]}, "tools: (nothing) against"),
    ],
)
def test_what_differs_in_how_runs_measured_is_named(tmp_path, change, word):
    one, other = pair(tmp_path, {"scores": [1.0]}, {"scores": [1.0], "protocol": PROTOCOL | change})
    assert any(word in reason for reason in reasons(one, other))


def test_many_differences_are_counted(tmp_path):
    settings = {str(place): place for place in range(7)}
    one, other = pair(tmp_path, {"scores": [1.0]}, {"scores": [1.0], "protocol": PROTOCOL | settings})
    assert reasons(one, other)[-1] == "and 3 more settings"


def test_prompts_that_differ_under_the_same_ids_are_refused(tmp_path):
    folders = [recorded(tmp_path / name, [1.0, 0.0, 1.0]) for name in ("one", "other")]
    changed = rows([1.0, 0.0, 1.0])
    changed[1]["prompt"] = [{"role": "user", "content": "else"}]
    changed[2]["prompt"] = "else"
    write_lines(folders[1] / "evaluations/accuracy.after.jsonl", changed)
    one, other = map(read, folders)
    assert reasons(one, other) == ["prompts: that of example test/1 and of 1 more differs"]


def test_no_common_examples_are_refused_with_some_of_both(tmp_path):
    one, other = pair(tmp_path, {"scores": [1.0, 1.0, 0.0]}, {"scores": [1.0], "ids": ["x"]})
    assert reasons(one, other) == ["no common examples: test/0, test/1 … against x"]


def test_a_run_that_does_not_say_how_it_measured_is_refused(tmp_path):
    one, other = pair(tmp_path, {"scores": [1.0]}, {"scores": [1.0], "protocol": None})
    (reason,) = reasons(one, other)
    assert "other: does not say how it measured" in reason


@settings(max_examples=60)
@given(
    st.lists(
        st.dictionaries(st.sampled_from("abcdef"), st.one_of(st.floats(-9, 9), st.just(math.nan))),
        min_size=1,
        max_size=4,
    )
)
def test_the_matrix_holds_exactly_the_common_finite_scores(found):
    class Fake:
        def __init__(self, scores):
            self.scores = scores

    names, scores = matrix([Fake(one) for one in found])
    common = [name for name in found[0] if all(math.isfinite(one.get(name, math.nan)) for one in found)]
    assert names == common
    assert scores.shape == (len(found), len(common))
    assert np.array_equal(scores, np.array([[one[name] for name in common] for one in found]).reshape(scores.shape))
