"""Estimators against numbers worked out by hand, and against what must hold for all numbers."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

numbers = st.floats(-10, 10, allow_nan=False, width=32)


def groups(size: int, most: int = 5):
    return st.lists(st.lists(numbers, min_size=size, max_size=size), min_size=1, max_size=most)


def tensor(values):
    import torch

    return torch.tensor(values, dtype=torch.float64)


def test_leave_one_out_by_hand():
    from rlpipe.methods.advantages import leave_one_out

    # 1 - (2 + 6)/2 = -3, 2 - (1 + 6)/2 = -1.5, 6 - (1 + 2)/2 = 4.5
    assert leave_one_out(tensor([1.0, 2, 6, 5, 5, 5]), 3).tolist() == [-3, -1.5, 4.5, 0, 0, 0]


def test_best_and_worst_by_hand():
    from rlpipe.methods.advantages import best_and_worst

    assert best_and_worst(tensor([1.0, 3, 3, 2, 2, 2, 0, -1, 5]), 3).tolist() == [-1, 1, 0, 0, 0, 0, 0, -1, 1]


def test_each_reward_is_normalised_by_itself():
    """Rewards of 0 and 1 and of 0 and 100 count alike, where their sum would be all but the second."""
    from rlpipe.methods.advantages import each_normalised

    scores = tensor([[1.0, 0], [0, 0], [1, 100], [0, 100]])
    far = (3 / 2) ** 0.5
    assert each_normalised(scores, tensor([1.0, 1]), 4).tolist() == pytest.approx([0, -far, far, 0], abs=1e-3)
    near = (3 / 4) ** 0.5
    assert each_normalised(scores, tensor([1.0, 0]), 4).tolist() == pytest.approx([near, -near] * 2, abs=1e-3)


@given(groups(4))
@settings(max_examples=50)
def test_leave_one_out_is_the_centred_reward_stretched(rewards):
    from rlpipe.methods.advantages import leave_one_out

    found = leave_one_out(tensor(rewards).view(-1), 4).view(-1, 4)
    mean = tensor(rewards).mean(1, keepdim=True)
    wanted = (tensor(rewards) - mean) * 4 / 3
    assert found.view(-1).tolist() == pytest.approx(wanted.view(-1).tolist(), abs=1e-9)


def test_leave_one_out_of_one_is_refused():
    from rlpipe.methods.advantages import leave_one_out

    with pytest.raises(ValueError, match="two or more"):
        leave_one_out(tensor([1.0, 2.0]), 1)


def test_group_normalised_by_hand():
    from rlpipe.methods.advantages import group_normalised

    rewards = tensor([0.0, 2, 4, 1, 1, 1])
    # Group 1: mean 2, unbiased deviation 2; group 2 has none, and gives 0 for it.
    assert group_normalised(rewards, 3, "group").tolist() == pytest.approx([-2 / 2.0001, 0, 2 / 2.0001, 0, 0, 0])
    assert group_normalised(rewards, 3, "none").tolist() == [-2, 0, 2, 0, 0, 0]
    # All six: mean 1.5, squares 2.25 + 0.25 + 6.25 + 3 · 0.25 = 9.5, unbiased variance 1.9.
    assert group_normalised(rewards, 3, "batch").tolist()[0] == pytest.approx(-2 / (1.9**0.5 + 1e-4))


@given(groups(3), st.floats(0.5, 5), numbers)
@settings(max_examples=50)
def test_group_normalised_forgets_shift_and_scale(rewards, factor, shift):
    from rlpipe.methods.advantages import group_normalised

    plain = group_normalised(tensor(rewards).view(-1), 3, epsilon=0.0)
    moved = group_normalised(tensor(rewards).view(-1) * factor + shift, 3, epsilon=0.0)
    spread = tensor(rewards).std(1).repeat_interleave(3)
    far = spread > 1e-3
    assert moved[far].tolist() == pytest.approx(plain[far].tolist(), abs=1e-4)


def test_batch_baseline_and_whitening_by_hand():
    from rlpipe.methods.advantages import batch_baseline, whiten

    assert batch_baseline(tensor([1.0, 2, 6])).tolist() == [-2, -1, 3]
    whitened = whiten(tensor([1.0, 100, 3]), tensor([1, 0, 1]).bool())
    assert whitened.tolist() == pytest.approx([-1, 0, 1])
    assert whiten(tensor([5.0, 1]), tensor([1, 0]).bool()).tolist() == [0, 0]


def test_reward_stands_on_the_last_written_token():
    from rlpipe.methods.advantages import completion_sums, token_rewards

    written, lengths = tensor([1, 1, 0, 1, 0, 1]).bool(), tensor([3, 3]).long()
    penalty = tensor([0.1, 0.2, 9, 0.3, 9, 0.4])
    found = token_rewards(tensor([1.0, 2.0]), written, lengths, penalty)
    assert found.tolist() == pytest.approx([-0.1, 0.8, 0, -0.3, 0, 1.6])
    assert completion_sums(found, lengths).tolist() == pytest.approx([0.7, 1.3])


def test_gae_by_hand():
    """γ = 0.9, λ = 0.5. δ: 1 + 0.9·2 − 1 = 1.8, 0 + 0.9·3 − 2 = 0.7, 4 − 3 = 1; A: 1, 0.7 + 0.45, 1.8 + 0.45·1.15."""
    from rlpipe.methods.advantages import generalised

    rewards, values = tensor([1.0, 0, 4]), tensor([1.0, 2, 3])
    advantages, returns = generalised(rewards, values, tensor([1, 1, 1]).bool(), tensor([3]).long(), 0.9, 0.5)
    assert advantages.tolist() == pytest.approx([2.3175, 1.15, 1.0])
    assert returns.tolist() == pytest.approx([3.3175, 3.15, 4.0])


def test_gae_passes_over_tokens_of_tools():
    from rlpipe.methods.advantages import generalised

    whole = generalised(tensor([1.0, 4]), tensor([1.0, 3]), tensor([1, 1]).bool(), tensor([2]).long(), 0.9, 0.5)
    holed = generalised(
        tensor([1.0, 0, 4]), tensor([1.0, 77, 3]), tensor([1, 0, 1]).bool(), tensor([3]).long(), 0.9, 0.5
    )
    for one, other in zip(whole, holed, strict=True):
        assert other.tolist() == pytest.approx([float(one[0]), 0, float(one[1])])


completions = st.lists(st.lists(st.tuples(numbers, numbers), min_size=1, max_size=6), min_size=1, max_size=4)


@given(completions, st.floats(0, 1))
@settings(max_examples=50)
def test_gae_with_lambda_one_is_return_less_value_and_with_zero_one_step(given_completions, gamma):
    import torch

    from rlpipe.methods.advantages import generalised

    lengths = torch.tensor([len(one) for one in given_completions])
    rewards, values = tensor([pair for one in given_completions for pair in one]).unbind(1)
    written = torch.ones(len(rewards), dtype=torch.bool)
    full, returns = generalised(rewards, values, written, lengths, gamma, 1.0)
    short, _ = generalised(rewards, values, written, lengths, gamma, 0.0)
    start = 0
    for one in given_completions:
        later, following = 0.0, 0.0
        for step in reversed(range(len(one))):
            reward, value = one[step]
            later = reward + gamma * later
            assert float(full[start + step]) == pytest.approx(later - value, abs=1e-6)
            assert float(returns[start + step]) == pytest.approx(later, abs=1e-6)
            assert float(short[start + step]) == pytest.approx(reward + gamma * following - value, abs=1e-6)
            following = value
        start += len(one)
