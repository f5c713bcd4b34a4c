"""What would settle a difference: against tables of others, and by simulation."""

import numpy as np
import pytest

from rlpipe.statistics.crossed import one_arm, p_value
from rlpipe.statistics.power import Components, components, settling


def test_components_of_known_variances():
    draw = np.random.default_rng(0)
    found = [
        components(draw.normal(0, 0.5, (4, 1)) + draw.normal(0, 1, (1, 50)) + draw.normal(0, 2, (4, 50)))
        for _ in range(300)
    ]
    assert np.mean([one.seed for one in found]) == pytest.approx(0.25, rel=0.1)
    assert np.mean([one.example for one in found]) == pytest.approx(1, rel=0.1)
    assert np.mean([one.rest for one in found]) == pytest.approx(4, rel=0.05)


@pytest.mark.parametrize(("effect", "needed"), [(0.2, 199), (0.5, 34), (0.8, 15)])
def test_examples_of_a_paired_t_test(effect, needed):
    # Cohen's d at 80 % power and a level of 5 %, two-sided: G*Power 3.1, difference of two dependent means.
    found = settling(effect, Components(0.0, 1.0, 0.0, 1, 5))
    assert abs(found.examples + 5 - needed) <= 2
    assert found.seeds is None


def test_examples_settle_nothing_where_seeds_differ_more_than_the_arms():
    found = settling(0.1, Components(1.0, 0.1, 0.1, 3, 200))
    assert found.examples is None
    # The same table, now for seeds: d = 0.1 needs 787 of them, which is no number to try.
    assert found.seeds is None
    found = settling(0.3, Components(1.0, 0.0, 0.0, 3, 200))
    assert found.examples is None
    assert abs(found.seeds + 3 - 90) <= 2


def test_seeds_settle_nothing_where_examples_are_too_few():
    found = settling(0.1, Components(0.0, 1.0, 0.0, 3, 50))
    assert found.seeds is None
    assert found.examples > 500


def test_a_difference_of_nothing_is_never_settled():
    assert settling(0.0, Components(0.1, 1.0, 1.0, 3, 50)).examples is None
    assert settling(1e-9, Components(0.1, 1.0, 1.0, 3, 50)).seeds is None


def test_a_stricter_level_needs_more():
    parts = Components(0.0, 1.0, 0.5, 2, 50)
    assert settling(0.2, parts, 0.05).examples < settling(0.2, parts, 0.005).examples


def test_where_neither_does_alone_both_grow_in_proportion():
    found = settling(0.35, Components(0.02, 1.0, 1.0, 2, 60))
    assert found.together
    assert found.examples == 30 * found.seeds > 0
    assert not settling(0.001, Components(0.02, 1.0, 1.0, 2, 60)).together


@pytest.mark.slow
@pytest.mark.parametrize(
    ("difference", "seed", "k"),
    [(0.35, 0.02, 5), (0.4, 0.1, 3), (0.35, 0.02, 2), (0.3, 0.0, 1)],
    ids=["examples", "seeds", "both", "one seed"],
)
def test_what_is_said_to_settle_does_so_in_four_of_five_studies(difference, seed, k):
    found = settling(difference, Components(seed, 1.0, 1.0, k, 60))
    plans = [(k + (found.seeds or 0), 60 + (found.examples or 0))]
    if not found.together and found.seeds and found.examples:
        plans = [(k, 60 + found.examples), (k + found.seeds, 60)]
    draw = np.random.default_rng(1)
    for seeds, examples in plans:
        of_seeds = draw.normal(0, np.sqrt(seed), (1500, seeds, 1))
        noise = draw.normal(0, 1, (1500, 1, examples)) + draw.normal(0, 1, (1500, seeds, examples))
        p = p_value(one_arm(difference + of_seeds + noise))
        assert 0.74 < np.mean(p < 0.05) < 0.88
