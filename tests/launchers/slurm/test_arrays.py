"""Which jobs go together, how large, and how many of them at once."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from rlpipe.launchers.slurm.arrays import arrays, shares
from rlpipe.records.sweep import Job, Kind


def stage(key: str, *needs: str) -> Job:
    return Job(key, Kind.stage, (), f"/store/{key}", needs)


def arm(key: int, *needs: str) -> Job:
    return Job(str(key), Kind.arm, (), f"/sweep/{key}", needs)


def keys(jobs, **how):
    return [[job.key for job in one.jobs] for one in arrays(jobs, how.get("largest", 1001), how.get("throttle"))]


def test_arms_that_need_the_same_stages_are_one_array_after_them():
    jobs = [stage("sft"), stage("rm", "sft"), stage("other"), arm(0, "sft"), arm(1, "sft", "rm"), arm(2, "sft"), arm(3)]
    assert keys(jobs) == [["sft", "other"], ["rm"], ["0", "2"], ["1"], ["3"]]


def test_no_array_is_larger_than_the_cluster_allows():
    assert keys([arm(number) for number in range(7)], largest=3) == [["0", "1", "2"], ["3", "4", "5"], ["6"]]


@st.composite
def sweeps(draw):
    stages = [
        stage(f"s{place}", *(f"s{place - 1}",) * draw(st.integers(0, min(place, 1))))
        for place in range(draw(st.integers(0, 4)))
    ]
    needs = st.lists(st.sampled_from([one.key for one in stages]), unique=True).map(sorted) if stages else st.just([])
    return [*stages, *(arm(number, *draw(needs)) for number in range(draw(st.integers(0, 30))))]


@given(sweeps(), st.integers(1, 9), st.none() | st.integers(1, 9))
def test_every_job_is_in_one_array_after_what_it_needs_and_the_throttle_holds(jobs, largest, throttle):
    made = arrays(jobs, largest, throttle)
    assert sorted(job.key for array in made for job in array.jobs) == sorted(job.key for job in jobs)
    placed: set[str] = set()
    for array in made:
        assert 1 <= len(array.jobs) <= largest
        assert {job.needs for job in array.jobs} == {array.needs}
        assert {job.kind for job in array.jobs} == {array.kind}
        assert set(array.needs) <= placed
        placed |= {job.key for job in array.jobs}
    if throttle is not None:
        # Every array starts as soon as the one it follows is over: at most one of each such chain is at work.
        at_work = [array for array in made if array.kind is Kind.arm and array.follows is None]
        assert sum(array.at_once for array in at_work) <= throttle
        following = [array.follows for array in made if array.follows is not None]
        assert len(following) == len(set(following))
        assert all(array.at_once == 1 for array in made if array.follows is not None)


@given(st.lists(st.integers(1, 20), min_size=1, max_size=8), st.integers(0, 60))
def test_shares_use_the_whole_throttle_and_starve_nobody(sizes, more):
    total = len(sizes) + more
    given_ = shares(sizes, total)
    assert sum(given_) == min(total, sum(sizes))
    assert all(1 <= share <= size for share, size in zip(given_, sizes, strict=True))
