import pytest
from hypothesis import given
from hypothesis import strategies as st

from rlpipe.methods.cutting import micro_batches
from rlpipe.training.offline.order import BatchOrder, MicroBatches

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


@given(st.integers(0, 200), st.integers(1, 9), st.integers(1, 5), st.integers(1, 2))
def test_a_batch_is_cut_evenly(rows, size, processes, least):
    if size < least:
        return
    sizes = micro_batches(rows, size, processes, least)
    assert all(len(set(sizes[place : place + processes])) == 1 for place in range(0, len(sizes), processes))
    assert all(least <= part <= size for part in sizes)
    assert max(sizes, default=0) - min(sizes, default=0) <= 1
    assert rows - sum(sizes) == rows % processes or least > 1
    assert 0 <= rows - sum(sizes) < processes * least


@given(st.integers(1, 60), st.integers(1, 4), st.integers(1, 3), st.integers(1, 3), st.integers(0, 2), st.booleans())
def test_every_row_of_an_epoch_comes_once_and_counts_the_same(count, size, cuts, processes, epoch, fixed):
    batch = size * cuts * processes
    if count < batch:
        return
    last = sum(micro_batches(count % batch, size, processes))
    order = BatchOrder(count, batch, 0, fixed_batches=fixed, last=last)
    order.set_epoch(epoch)
    ranks = [MicroBatches(order, size, rank, processes) for rank in range(processes)]
    fed = [list(rank) for rank in ranks]
    assert [len(rank) for rank in ranks] == [len(parts) for parts in fed]
    assert len({len(parts) for parts in fed}) == 1
    rows = sorted(row for parts in fed for part in parts for row in part)
    assert len(set(rows)) == len(rows) == count - (count % batch - last)
    for step in range(order.batches):
        weights = [rank.weights(step) for rank in ranks]
        parts = [rank[step * cuts :][: len(weights[0])] for rank in fed]
        each = {
            round(weight / len(part), 9)
            for mine, cut in zip(weights, parts, strict=True)
            for weight, part in zip(mine, cut, strict=True)
        }
        assert len(each) == 1
        assert sum(map(sum, weights)) / sum(map(len, weights)) == pytest.approx(1)
