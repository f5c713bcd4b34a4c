"""Completions in segments; those with tools stand in `test_toolloop`, beside the policy's own."""

from __future__ import annotations

import math

import pytest

from rlpipe.core.errors import ModelError, TrainingError
from rlpipe.datasets.forms import Prompt
from rlpipe.engines.prompts import prompt_ids
from rlpipe.engines.rollout import Finish, SamplingConfig
from rlpipe.engines.sampler import Sampler
from rlpipe.engines.segments import Segment
from tests.engines.engines import Recited
from tests.engines.families import family

PROMPT = Prompt("train/1", [{"role": "user", "content": "Hi"}])


def recited(ids: list[int], length: int) -> Recited:
    return Recited(ids, len(prompt_ids(PROMPT, family("llama").tokenizer)), length)


@pytest.mark.parametrize("length", [1, 3, 100])
def test_completions_end_where_the_rules_say_however_long_segments_are(length: int) -> None:
    one = family("llama")
    ids = [*range(300, 310), one.tokenizer.eos_token_id, *range(400, 410)]
    for room, finish, count in ((50, Finish.stop, 11), (11, Finish.stop, 11), (10, Finish.length, 10)):
        [[rollout]] = Sampler(one, SamplingConfig(max_tokens=room), engine=recited(ids, length)).sample([PROMPT], 1, 0)
        assert (rollout.ids, rollout.finish) == (ids[:count], finish)
        assert rollout.logps == [-0.5] * count
        assert all(rollout.written)


def test_a_stop_string_that_spans_segments_is_found() -> None:
    one = family("llama")
    ids = list(range(300, 330))
    text = str(one.tokenizer.decode(ids[:8], skip_special_tokens=False))[-4:]
    engine = recited(ids, 1)
    [[rollout]] = Sampler(one, SamplingConfig(max_tokens=30, stop=[text]), engine=engine).sample([PROMPT], 1, 0)
    assert engine.strings == (text,)
    assert rollout.finish is Finish.stop
    assert text in one.tokenizer.decode(rollout.ids)
    assert text not in one.tokenizer.decode(rollout.ids[:-1])


def test_greedy_tokens_have_no_log_probability() -> None:
    one = family("llama")
    [[rollout]] = Sampler(one, SamplingConfig(temperature=0, max_tokens=4), engine=recited([300], 2)).sample(
        [PROMPT], 1, 0
    )
    assert rollout.logps == [0.0] * 4


def test_what_is_drawn_next_depends_on_row_and_place_alone() -> None:
    engine = recited(list(range(300, 400)), 3)
    seeds = []
    engine.submit = lambda requests: (seeds.append([one.seed for one in requests]), engine.requests.extend(requests))
    sampler = Sampler(family("llama"), SamplingConfig(max_tokens=6), engine=engine)
    sampler.sample([PROMPT], 2, 0)
    first, second = seeds[0], [seed for several in seeds[1:] for seed in several]
    assert len({*first, *second}) == 4
    assert all(0 <= seed < 2**63 for seed in [*first, *second])
    again, seeds[:] = list(seeds), []
    sampler.sample([PROMPT], 2, 0)
    assert seeds == again
    seeds.clear()
    sampler.sample([PROMPT], 1, 1)
    assert seeds[0][0] not in first


@pytest.mark.parametrize(
    ("segment", "error", "said"),
    [
        (Segment(0, [300], [math.nan]), TrainingError, "not numbers after 0 tokens of a completion of prompt train/1"),
        (Segment(0, [], []), ModelError, "ended a completion of prompt train/1 without a token"),
    ],
)
def test_what_cannot_be_used_takes_all_requests_back(segment: Segment, error: type[Exception], said: str) -> None:
    engine = recited([300], 1)
    engine.finished = lambda: [segment]
    with pytest.raises(error, match=said):
        Sampler(family("llama"), SamplingConfig(max_tokens=4), engine=engine).sample([PROMPT], 2, 0)
    assert engine.aborted
