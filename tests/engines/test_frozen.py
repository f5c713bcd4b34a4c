"""A frozen model is loaded once a process for all that ask for the same, and let go of with the last of them."""

from __future__ import annotations

import gc
import weakref

import pytest

from rlpipe.config.kinds import Head, ModelConfig, Precision
from rlpipe.engines.frozen import load_frozen


@pytest.fixture
def frozen(small_model, tmp_path):
    def call(precision: Precision = Precision.float32, head: Head = Head.causal_lm, shared: bool = True):
        settings = ModelConfig(name="pretrained", precision=precision)
        return load_frozen(str(small_model), settings, head, "cpu", tmp_path / "scratch", shared)

    return call


def test_whoever_asks_for_the_same_gets_the_same_weights(frozen):
    first, second = frozen(), frozen()
    assert second.model is first.model
    assert second.path == first.path
    assert second.tokenizer is first.tokenizer
    assert not first.model.training
    assert not any(weight.requires_grad for weight in first.model.parameters())


def test_another_precision_or_head_is_another_model(frozen):
    first = frozen()
    assert frozen(Precision.pure_bfloat16).model is not first.model
    assert frozen(head=Head.reward).model is not first.model


def test_weights_that_will_be_changed_are_nobody_elses(frozen):
    first, moving = frozen(), frozen(shared=False)
    assert moving.model is not first.model
    assert frozen().model is first.model


def test_nothing_is_held_that_nobody_holds(frozen):
    loaded = frozen()
    gone = weakref.ref(loaded.model)
    del loaded
    gc.collect()
    assert gone() is None
    assert frozen().model is not None
