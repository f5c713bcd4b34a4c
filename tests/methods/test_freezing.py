"""What `method.freeze` means, and what is wrong with it, before any model is there."""

from __future__ import annotations

import pytest

from rlpipe.methods.freezing import Thaw, first_step, freeze_problems, schedule


@pytest.mark.parametrize(
    ("freeze", "wanted"),
    [
        ([], [None, None, None]),
        (["all@0"], [0, 0, 0]),
        (["top:1@0", "top:2@50"], [0, 50, None]),
        (["top:0@0", "*.layers.0.*@7", "all@9"], [9, 7, 9]),
    ],
)
def test_the_earliest_step_of_the_parts_that_have_a_weight_counts(freeze, wanted):
    weights = {"model.layers.1.mlp": 1, "model.layers.0.mlp": 2, "model.embed": 3}
    assert [first_step(name, height, schedule(freeze)) for name, height in weights.items()] == wanted


def test_it_is_read_as_it_is_written():
    assert schedule(["top:2@0", "a@b@3", "*@x"]) == [Thaw("top:2", 0)]


@pytest.mark.parametrize(
    ("freeze", "words"),
    [
        (["top:1"], ["is no part with a step"]),
        (["top:1@-1", "all@0"], ["is no part with a step"]),
        (["top:1@5", "all@9"], ["nothing trains before step 5"]),
        (["top:9@0"], ["more than the 4 layers"]),
        (["top:1@0", "all@100"], ["after the last of 100 steps"]),
        (["top:1@0", "all@99"], []),
    ],
)
def test_what_makes_no_sense_is_told(freeze, words):
    found = list(freeze_problems(freeze, max_steps=100, layers=4))
    assert len(found) == len(words)
    assert all(word in problem.what for word, problem in zip(words, found, strict=True))
    assert all(problem.where == "method.freeze" for problem in found)
