import pytest
from hypothesis import given
from hypothesis import strategies as st

from rlpipe.training.offline.order import BatchOrder

lengths = st.lists(st.integers(1, 500), min_size=1, max_size=300)


def orders(values: list[int], batch: int, seed: int, epoch: int, grouped: bool = True) -> list[int]:
    order = BatchOrder(len(values), batch, seed, values if grouped else None)
    order.set_epoch(epoch)
    return list(order)


@given(lengths, st.integers(1, 20), st.integers(0, 5), st.integers(0, 3), st.booleans())
def test_every_epoch_gives_whole_batches_of_distinct_rows(values, batch, seed, epoch, grouped):
    if len(values) < batch:
        with pytest.raises(ValueError, match="do not fill"):
            BatchOrder(len(values), batch, seed)
        return
    order = orders(values, batch, seed, epoch, grouped)
    assert len(order) == len(values) // batch * batch
    assert len(set(order)) == len(order)
    assert set(order) <= set(range(len(values)))
    if batch == 1:
        assert sorted(order) == list(range(len(values)))


@given(lengths, st.integers(1, 20), st.integers(0, 5))
def test_longest_row_comes_first_of_all(values, batch, seed):
    if len(values) >= batch:
        assert values[orders(values, batch, seed, 0)[0]] == max(values)


def test_order_depends_on_seed_and_epoch_alone():
    values = [row * 7 % 101 for row in range(400)]
    assert orders(values, 8, 3, 2) == orders(values, 8, 3, 2)
    assert orders(values, 8, 3, 2) != orders(values, 8, 3, 1)
    assert orders(values, 8, 3, 2) != orders(values, 8, 4, 2)


def test_rows_left_over_differ_between_epochs():
    values = [row * 7 % 101 for row in range(95)]
    left = [set(range(95)) - set(orders(values, 32, 0, epoch)) for epoch in range(3)]
    assert left[0] != left[1] != left[2]


def test_batches_hold_rows_of_similar_length():
    values = [row * 37 % 1009 for row in range(1000)]

    def padded(order: list[int]) -> int:
        batches = [order[start : start + 8] for start in range(0, len(order), 8)]
        return sum(8 * max(values[row] for row in batch) for batch in batches)

    assert padded(orders(values, 8, 0, 1)) < 0.65 * padded(orders(values, 8, 0, 1, grouped=False))


def test_fixed_batches_stay_together_and_move_as_a_whole():
    order = BatchOrder(25, 4, 0, fixed_batches=True)
    assert list(order) == list(range(24))
    order.set_epoch(1)
    batches = [tuple(list(order)[start : start + 4]) for start in range(0, 24, 4)]
    assert batches != sorted(batches)
    assert sorted(batches) == [tuple(range(start, start + 4)) for start in range(0, 24, 4)]
