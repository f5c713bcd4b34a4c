"""An engine with weights of its own is brought up to date when it must be, and refused when it is not."""

from __future__ import annotations

import copy
import dataclasses
import math

import pytest

from rlpipe.core.errors import TrainingError
from rlpipe.datasets.forms import Prompt
from rlpipe.engines.base import Gap, SeparateConfig, drawn_by
from rlpipe.engines.freshness import BOUNDS, SEQUENCES, TOKENS, bound_of, measure, refuse_stale
from rlpipe.engines.rollout import SamplingConfig
from rlpipe.engines.sampler import Sampler
from rlpipe.engines.transformers import Transformers, TransformersConfig
from rlpipe.models.base import Loaded
from tests.engines.engines import Copied
from tests.engines.families import family

PROMPTS = [Prompt(f"train/{number}", [{"role": "user", "content": "Hi" * number}]) for number in range(1, 7)]
SHORT = SamplingConfig(max_tokens=5)


@pytest.fixture
def policy() -> Loaded:
    one = family("llama")
    return dataclasses.replace(one, model=copy.deepcopy(one.model))


def move(policy: Loaded, by: float = 0.05) -> None:
    import torch

    with torch.no_grad():
        for weight in policy.model.parameters():
            weight.add_(by * torch.randn_like(weight))


def test_a_run_starts_syncs_and_closes_its_engine(policy: Loaded) -> None:
    engine = Copied()
    with drawn_by(engine, policy) as loaded:
        sampler = Sampler(loaded, SHORT)
        assert engine.events == []
        sampler.sample(PROMPTS, 1, 0)
        assert engine.events == ["start", "wake", "sync", "sleep"]
        sampler.sample(PROMPTS, 1, 1)
        assert engine.events[4:] == ["wake", "sleep"], "the policy has not changed"
        engine.policy_changed()
        sampler.sample(PROMPTS, 1, 1)
        assert engine.events[6:] == ["wake", "sync", "sleep"]
        sampler.sample([], 1, 1)
        assert len(engine.events) == 9
    assert engine.events[9:] == ["close"]


def test_a_model_draws_for_itself_where_nothing_else_does(policy: Loaded) -> None:
    assert isinstance(Sampler(policy, SHORT).engine, Transformers)
    with drawn_by(Transformers(TransformersConfig(cache_tokens=7)), policy) as loaded:
        assert Sampler(loaded, SHORT).engine.config.cache_tokens == 7


def test_what_rounding_explains_is_let_pass(policy: Loaded) -> None:
    engine = Copied()
    sampler = Sampler(policy, SHORT, engine=engine)
    for _ in range(2):
        sampler.sample(PROMPTS, 1, 0)
        assert engine.gap.mean <= engine.gap.largest < 1e-4
        assert engine.gap.engine == pytest.approx(engine.gap.policy, abs=1e-4)
        assert engine.gap.policy < 0
        move(policy)
        engine.policy_changed()


def test_an_engine_that_keeps_old_weights_is_refused_at_once(policy: Loaded) -> None:
    engine = Copied(stuck_after=1)
    sampler = Sampler(policy, SHORT, engine=engine)
    sampler.sample(PROMPTS, 1, 0)
    move(policy)
    engine.policy_changed()
    with pytest.raises(TrainingError, match="draws with other weights than the policy's") as error:
        sampler.sample(PROMPTS, 1, 0)
    for number in (f"{engine.gap.engine:.4f}", f"{engine.gap.policy:.4f}", f"{engine.gap.mean:.3g}", "0.001"):
        assert number in error.value.what
    assert error.value.where == "engine=copied"
    assert "raise engine.max_gap" in error.value.fix
    with pytest.raises(TrainingError):
        sampler.sample(PROMPTS, 1, 0)
    assert engine.events[-1] == "sleep"


def test_the_tokens_drawn_last_are_what_is_continued(policy: Loaded) -> None:
    """Keys of old weights that a cache holds are found only by prefixes that were drawn before."""
    engine = Copied()
    groups = Sampler(policy, SHORT, engine=engine).sample(PROMPTS, 2, 0)
    drawn = [rollout.prompt_ids + rollout.ids for group in groups for rollout in group]
    assert engine.recent == drawn[:SEQUENCES]
    seen = []
    write = engine.write
    engine.write = lambda loaded, rows, *rest: (seen.extend(row.prompt_ids for row in rows), write(loaded, rows, *rest))
    measure(engine, policy)
    assert seen == engine.recent
    engine.recent = [list(range(300, 300 + 256))]
    measure(engine, policy)
    assert len(seen[-1]) == 256 - TOKENS, "the model's context is kept to"


@pytest.mark.parametrize(("autocast", "bound"), [(False, BOUNDS["float32"]), (True, BOUNDS["bfloat16"])])
def test_the_bound_goes_by_precision_unless_it_is_given(policy: Loaded, autocast: bool, bound: float) -> None:
    policy.autocast = autocast
    assert bound_of(Copied(), policy) == bound
    assert bound_of(Copied(SeparateConfig(name="copied", max_gap=0.5)), policy) == 0.5


@pytest.mark.parametrize("mean", [math.nan, math.inf, 0.0011])
def test_a_gap_that_is_no_number_is_no_small_one(policy: Loaded, mean: float) -> None:
    engine = Copied()
    engine.gap = Gap(mean, mean, -1.0, -1.0)
    with pytest.raises(TrainingError):
        refuse_stale(engine, policy)
