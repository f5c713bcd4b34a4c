"""Losses against numbers worked out by hand."""

from __future__ import annotations

import math

import pytest


def tensor(values, **options):
    import torch

    return torch.tensor(values, dtype=torch.float64, **options)


@pytest.mark.parametrize(
    ("aggregate", "wanted"),
    [
        ("token", [1 / 3, 0, 1 / 3, 1 / 3]),
        ("completion", [1 / 2, 0, 1 / 4, 1 / 4]),
        ("constant", [1 / 20, 0, 1 / 20, 1 / 20]),
        ("sum", [1 / 2, 0, 1 / 2, 1 / 2]),
    ],
)
def test_weights_by_hand(aggregate, wanted):
    """Two completions of two tokens each; the second token of the first is a tool's."""
    from rlpipe.methods.losses import token_weights

    found = token_weights(tensor([1, 0, 1, 1]).bool(), tensor([2, 2]).long(), aggregate, constant=10)
    assert found.tolist() == pytest.approx(wanted)


def test_clip_by_hand():
    """Ratios 2, 2, 0.5, 0.5 with advantages 1, −1, 1, −1 at clip 0.2: −1.2, +2, −0.5, +0.8, a quarter each."""
    from rlpipe.methods.losses import clipped_tokens

    logps = tensor([math.log(2), math.log(2), math.log(0.5), math.log(0.5)], requires_grad=True)
    loss = clipped_tokens(logps, tensor([0.0] * 4), tensor([1.0, -1, 1, -1]), tensor([0.25] * 4), 0.2)
    assert float(loss.value.detach()) == pytest.approx((-1.2 + 2 - 0.5 + 0.8) / 4)
    assert loss.clipped.tolist() == [1, 0, 0, 1]
    loss.value.backward()
    assert logps.grad.tolist() == pytest.approx([0, 0.5, -0.125, 0])


def test_upper_clip_has_a_bound_of_its_own():
    from rlpipe.methods.losses import clipped_tokens

    given = tensor([math.log(1.25)]), tensor([0.0]), tensor([1.0]), tensor([1.0])
    assert float(clipped_tokens(*given, 0.2).value) == pytest.approx(-1.2)
    assert float(clipped_tokens(*given, 0.2, 0.3).value) == pytest.approx(-1.25)


def test_completion_ratio_by_hand():
    """One completion of ratios 2 and 0.6 (1.2 in all) and a tool's token between; one of ratio 3, clipped at 1.5."""
    from rlpipe.methods.losses import clipped_completions

    logps = tensor([math.log(2), 5.0, math.log(0.6), math.log(3)], requires_grad=True)
    weights, rollout = tensor([0.5, 0, 0.5, 0.5]), tensor([0, 0, 0, 1]).long()
    loss = clipped_completions(logps, tensor([0.0] * 4), tensor([2.0, 2, 2, 1]), weights, rollout, 0.5)
    assert float(loss.value.detach()) == pytest.approx(-(1.2 * 2 + 1.5) / 2)
    loss.value.backward()
    assert logps.grad.tolist() == pytest.approx([-1.2, 0, -1.2, 0])


def test_kl_estimators_by_hand():
    from rlpipe.methods.losses import kl_estimate

    far = tensor([math.log(2)]), tensor([0.0])
    assert float(kl_estimate(*far, "k1")) == pytest.approx(math.log(2))
    assert float(kl_estimate(*far, "k2")) == pytest.approx(math.log(2) ** 2 / 2)
    assert float(kl_estimate(*far, "k3")) == pytest.approx(0.5 - 1 + math.log(2))


@pytest.mark.parametrize("estimator", ["k1", "k2", "k3"])
def test_kl_in_the_loss_has_the_gradient_of_the_kl(estimator):
    """On-policy, summed over all tokens with their probabilities: no sampling, so equal but for rounding."""
    import torch

    from rlpipe.methods.losses import kl_loss

    logits = tensor([0.3, -0.2, 1.0, 0.1], requires_grad=True)
    reference = tensor([0.0, 0.5, -0.5, 1.0]).log_softmax(-1)
    policy = logits.log_softmax(-1)
    exact = torch.autograd.grad((policy.exp() * (policy - reference)).sum(), logits, retain_graph=True)[0]
    loss = kl_loss(policy, policy.detach(), reference, policy.detach().exp(), estimator)
    found = torch.autograd.grad(loss, logits)[0]
    assert found.tolist() == pytest.approx(exact.tolist(), abs=1e-12)


def test_value_loss_by_hand():
    """Errors of 1 and −2; the first moved 0.5 and is held to 0.2 (error 1.3), the second is held too (−1.7 < 2)."""
    from rlpipe.methods.losses import clipped_values

    values, old, returns = tensor([1.0, 3.0], requires_grad=True), tensor([0.5, 2.5]), tensor([2.0, 1.0])
    weights = tensor([0.5, 0.5])
    plain = clipped_values(values, old, returns, weights, None)
    assert float(plain.value) == pytest.approx((0.5 * 1 + 0.5 * 4) / 2)
    bounded = clipped_values(values, old, returns, weights, 0.2)
    assert float(bounded.value) == pytest.approx((0.5 * 1.3**2 + 0.5 * 4) / 2)
    assert bounded.clipped.tolist() == [1, 0]


def test_policy_gradient_by_hand():
    from rlpipe.methods.losses import policy_gradient

    logps = tensor([-1.0, -2.0], requires_grad=True)
    policy_gradient(logps, logps.detach(), tensor([3.0, -1.0]), tensor([0.5, 0.5])).value.backward()
    assert logps.grad.tolist() == pytest.approx([-1.5, 0.5])


def test_a_sequences_ratio_by_hand():
    """One completion of ratios 8 and 0.5, whose geometric mean is 2, with a tool's token between; one of ratio 3."""
    from rlpipe.methods.losses import sequence_ratios

    logps, weights = tensor([math.log(8), 5.0, math.log(0.5), math.log(3)]), tensor([0.5, 0, 0.5, 0.5])
    found = sequence_ratios(logps, tensor([0.0] * 4), weights, tensor([0, 0, 0, 1]).long())
    assert found.tolist() == pytest.approx([2, 2, 2, 3])


def test_clipped_weights_by_hand():
    """Ratios 2, 0.5 and 6 with weights of at most 5: no token loses its gradient."""
    from rlpipe.methods.losses import clipped_weights

    logps = tensor([math.log(2), math.log(0.5), math.log(6)], requires_grad=True)
    loss = clipped_weights(logps, logps.exp(), tensor([1.0, -1, 1]), tensor([1.0, 1, 1]), 1.0, 4.0)
    loss.value.backward()
    assert logps.grad.tolist() == pytest.approx([-2, 0.5, -5])
    assert loss.clipped.tolist() == [0, 0, 1]


def test_preference_by_hand():
    """Groups of three: of the first the second is chosen and the third rejected; the second group has no pair."""
    from rlpipe.methods.losses import preference

    logps = tensor([-1.0, -1.0, -2.0, -4.0, -3.0, -3.0, -3.0], requires_grad=True)
    choices = tensor([0.0, 1, 1, -1, 0, 0, 0])
    weights, rollout = tensor([1 / 6] * 7), tensor([0, 1, 1, 2, 3, 4, 5]).long()
    loss = preference(logps, tensor([-1.5] * 7), choices, weights, rollout, 3, 0.5)
    margin = (-1.0 - 2.0 + 3.0) - (-4.0 + 1.5)
    assert float(loss.value.detach()) == pytest.approx(math.log1p(math.exp(-0.5 * margin)) / 2)
    loss.value.backward()
    slope = 0.5 / (1 + math.exp(0.5 * margin)) / 2
    assert logps.grad.tolist() == pytest.approx([0, -slope, -slope, slope, 0, 0, 0])
    squared = preference(logps, tensor([-1.5] * 7), choices, weights, rollout, 3, 0.5, ipo=True)
    assert float(squared.value.detach()) == pytest.approx((margin - 1) ** 2 / 2)


@pytest.mark.slow
def test_distillation_has_the_gradient_of_the_whole_reverse_kl():
    """Every token of the vocabulary once, counted by its probability, against TRL's loss over all of it."""
    import torch
    from trl.experimental.gkd import GKDTrainer

    from rlpipe.methods.batch import Tokens
    from rlpipe.methods.distill import Distill, DistillConfig

    student = tensor([0.3, -0.2, 1.0, 0.1], requires_grad=True)
    teacher = tensor([0.0, 0.5, -0.5, 1.0])
    whole = GKDTrainer.generalized_jsd_loss(student[None, None], teacher[None, None], beta=1)
    exact = torch.autograd.grad(whole, student)[0]
    logps = student.log_softmax(-1)
    old = logps.detach()
    tokens = Tokens(logps, old, teacher.log_softmax(-1) - old, old.exp(), torch.arange(4))
    found = torch.autograd.grad(Distill(DistillConfig(name="distill")).policy_loss(tokens).value, student)[0]
    assert found.tolist() == pytest.approx(exact.tolist(), abs=1e-12)
