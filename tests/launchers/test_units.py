"""Times and memory as SLURM writes them, which every launcher reads."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rlpipe.launchers.units import megabytes, seconds


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("90", 5400),  # the six forms of sbatch's manual, under --time
        ("90:30", 5430),
        ("1:30:30", 5430),
        ("2-12", 216000),
        ("2-12:30", 217800),
        ("2-12:30:30", 217830),
        ("UNLIMITED", None),
        ("infinite", None),
    ],
)
def test_times(text, expected):
    assert seconds(text) == expected


@given(st.integers(0, 400), st.integers(0, 23), st.integers(0, 59), st.integers(0, 59))
def test_a_time_that_scontrol_prints_is_read_as_what_it_is(days, hours, minutes, rest):
    expected = ((days * 24 + hours) * 60 + minutes) * 60 + rest
    assert seconds(f"{days}-{hours:02}:{minutes:02}:{rest:02}") == expected


@pytest.mark.parametrize("text", ["", "soon", "1h", "-5", "1:2:3:4", "1.5", "2-"])
def test_what_is_no_time_is_refused(text):
    with pytest.raises(ValueError, match="is no time limit"):
        seconds(text)


@pytest.mark.parametrize(
    ("text", "expected"), [("500", 500), ("500M", 500), ("1.5G", 1536), ("2T", 2 * 1024**2), ("16gb", 16384)]
)
def test_memory(text, expected):
    assert megabytes(text) == expected


@pytest.mark.parametrize("text", ["", "G", "much", "16 G", "16X"])
def test_what_is_no_memory_is_refused(text):
    with pytest.raises(ValueError, match="is no amount of memory"):
        megabytes(text)
