"""Ratios of policy to engine, by hand."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import pytest

from rlpipe.datasets.forms import Prompt
from rlpipe.engines.rollout import Finish, Rollout

if TYPE_CHECKING:
    from rlpipe.methods.batch import Batch

RATIOS = (1.0, 4.0, 0.25, 1.5, 0.5)
"""π_old / π_engine of the tokens of a completion of three and one of two; the second token is a tool's."""


@pytest.fixture
def batch() -> Batch:
    import torch

    from rlpipe.methods.batch import Batch

    written = [True, False, True, True, True]
    rollouts = [
        Rollout(Prompt("a", []), [1], [2, 3, 4], [-1.0] * 3, written[:3], "", Finish.stop),
        Rollout(Prompt("b", []), [1], [2, 3], [-1.0] * 2, written[3:], "", Finish.stop),
    ]
    made = Batch(rollouts, 1)
    made.old = torch.tensor([math.log(ratio) - 1 for ratio in RATIOS])
    return made


@pytest.mark.parametrize(
    ("correction", "level", "expected"),
    [
        ("truncate", "token", [1, 1, 0.25, 1.3, 0.5]),
        ("mask", "token", [1, 1, 0, 0, 0]),
        ("truncate", "completion", [0.25, 0.25, 0.25, 0.75, 0.75]),
        ("mask", "completion", [0, 0, 0, 0, 0]),
    ],
)
def test_factors_by_hand(batch: Batch, correction: str, level: str, expected: list[float]) -> None:
    from rlpipe.methods.correction import bounded, factors

    batch.correction = factors(batch, correction, level, 1.3)
    assert batch.correction.tolist() == pytest.approx(expected)
    outside = [value in (0, 1.3) for value, written in zip(expected, batch.written.tolist(), strict=True) if written]
    assert bounded(batch, 1.3) == pytest.approx(sum(outside) / 4)


def test_masks_keep_ratios_within_both_bounds(batch: Batch) -> None:
    from rlpipe.methods.correction import factors

    assert factors(batch, "mask", "token", 2.0).tolist() == pytest.approx([1, 1, 0, 1.5, 0.5])


def test_numbers_by_hand(batch: Batch) -> None:
    from rlpipe.methods.correction import numbers

    ratios = [1.0, 0.25, 1.5, 0.5]
    found = numbers(batch)
    assert found["ratio_mean"] == pytest.approx(sum(ratios) / 4)
    assert found["ratio_outside"] == 0.75
    assert found["kl"] == pytest.approx(sum(ratio - 1 - math.log(ratio) for ratio in ratios) / 4)
    assert found["effective_sample_size"] == pytest.approx(sum(ratios) ** 2 / (4 * sum(r * r for r in ratios)))


def test_an_engine_that_is_the_policy_needs_no_correction(batch: Batch) -> None:
    from rlpipe.methods.correction import factors, numbers

    batch.old = batch.engine
    assert factors(batch, "truncate", "token", 2.0).tolist() == [1.0] * 5
    assert numbers(batch) == {"ratio_mean": 1.0, "ratio_outside": 0.0, "kl": 0.0, "effective_sample_size": 1.0}
