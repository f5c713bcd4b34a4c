"""Drawing: the right distribution, the right filters, and never a token that must not be drawn."""

from __future__ import annotations

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rlpipe.engines.rollout import SamplingConfig


def test_completions_of_one_prompt_follow_the_distribution() -> None:
    """Chi-square of 20,000 first tokens, one a completion: 7 cells, 6 degrees of freedom, 22.46 at p = 0.001."""
    import torch

    from rlpipe.engines.draw import draw, uniforms

    count = 20_000
    logits = torch.tensor([0.0, 1.0, -1.0, 2.0, 0.5, -3.0, 1.5])
    numbers = torch.tensor([uniforms(0, "train/1", index, 1)[0] for index in range(count)], dtype=torch.float64)
    ids, _ = draw(logits.expand(count, -1), numbers, SamplingConfig(temperature=1.3))
    expected = (logits / 1.3).softmax(0) * count
    assert ((ids.bincount(minlength=7) - expected) ** 2 / expected).sum() < 22.46


def test_a_token_is_the_place_where_the_cumulative_probability_passes_the_number() -> None:
    import torch

    from rlpipe.engines.draw import draw

    logits = torch.tensor([0.1, 0.2, 0.3, 0.4]).log().expand(6, -1)
    numbers = torch.tensor([0.0, 0.05, 0.15, 0.35, 0.65, 1 - 2**-53], dtype=torch.float64)
    ids, logps = draw(logits, numbers, SamplingConfig())
    assert ids.tolist() == [0, 0, 1, 2, 3, 3]
    torch.testing.assert_close(logps.exp(), torch.tensor([0.1, 0.1, 0.2, 0.3, 0.4, 0.4]))


@settings(max_examples=200)
@given(
    logits=st.lists(st.floats(-50, 50, width=32), min_size=1, max_size=12),
    number=st.floats(0, 1, exclude_max=True),
    top_k=st.integers(0, 13),
    top_p=st.floats(0.01, 1),
    min_p=st.floats(0, 1),
    temperature=st.sampled_from([0.0, 0.1, 1.0, 5.0]),
)
def test_a_token_that_was_left_out_is_never_drawn(logits, number, top_k, top_p, min_p, temperature) -> None:
    import torch

    from rlpipe.engines.draw import draw, keep

    sampling = SamplingConfig(temperature=temperature, top_k=top_k, top_p=top_p, min_p=min_p)
    scores = torch.tensor([logits])
    ids, logps = draw(scores, torch.tensor([number], dtype=torch.float64), sampling)
    assert -1e-5 <= -logps.item() < math.inf
    if temperature == 0:
        assert logits[ids.item()] == max(logits)
    else:
        kept = keep(scores / temperature, sampling).log_softmax(-1)
        assert kept[0, ids.item()].item() == pytest.approx(logps.item(), abs=1e-4)
        assert kept[0, ids.item()] > -math.inf


def test_a_first_or_last_token_without_probability_is_not_drawn_at_the_border() -> None:
    import torch

    from rlpipe.engines.draw import draw

    logits = torch.tensor([[-math.inf, 0.0, -math.inf], [-200.0, 0.0, -200.0]])
    for number in (0.0, 1 - 2**-53):
        ids, _ = draw(logits, torch.full((2,), number, dtype=torch.float64), SamplingConfig())
        assert ids.tolist() == [1, 1]


@pytest.mark.parametrize(
    ("sampling", "warper", "bound"),
    [
        (SamplingConfig(top_k=5), "TopKLogitsWarper", 5),
        (SamplingConfig(top_p=0.7), "TopPLogitsWarper", 0.7),
        (SamplingConfig(top_p=0.01), "TopPLogitsWarper", 0.01),
        (SamplingConfig(min_p=0.1), "MinPLogitsWarper", 0.1),
    ],
)
def test_the_filters_are_those_of_transformers(sampling, warper, bound) -> None:
    import torch
    import transformers

    from rlpipe.engines.draw import keep

    scores = torch.randn(16, 50, generator=torch.Generator().manual_seed(0)) * 2
    ours, theirs = keep(scores, sampling), getattr(transformers, warper)(bound)(None, scores.clone())
    assert torch.equal(ours.isinf(), theirs.isinf())
    assert 16 <= (~ours.isinf()).sum() < 800


@pytest.mark.parametrize("sampling", [SamplingConfig(), SamplingConfig(temperature=0), SamplingConfig(top_p=0.5)])
@pytest.mark.parametrize("wrong", [math.nan, math.inf])
def test_logits_that_are_no_numbers_show(sampling, wrong) -> None:
    import torch

    from rlpipe.engines.draw import draw

    logits = torch.tensor([[0.0, wrong, 1.0], [0.0, 0.5, 1.0]])
    _, logps = draw(logits, torch.tensor([0.5, 0.5], dtype=torch.float64), sampling)
    assert logps.isnan().tolist() == [True, False]


def test_numbers_belong_to_a_completion() -> None:
    from rlpipe.engines.draw import uniforms

    one = uniforms(0, "train/1", 0, 4)
    assert one == uniforms(0, "train/1", 0, 8)[:4]
    others = [uniforms(1, "train/1", 0, 4), uniforms(0, "train/2", 0, 4), uniforms(0, "train/1", 1, 4)]
    assert all(0 <= number < 1 for number in one)
    assert not set(one) & {number for other in others for number in other}
