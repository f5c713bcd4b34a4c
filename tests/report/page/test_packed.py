"""Numbers as 24 bits: what the page's script reads back is what was logged, to four digits and a half."""

from __future__ import annotations

import base64
import struct

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from rlpipe.report.page.series import Vectors, packed

NUMBERS = st.floats(width=32, allow_infinity=False, allow_nan=False, allow_subnormal=False).filter(
    lambda value: abs(value) < 3e38
)


def read(text: str) -> list[float]:
    """Read as `decode.js` does: three bytes, then a zero, as a big-endian single."""
    data = base64.b64decode(text)
    return [struct.unpack(">f", data[i : i + 3] + b"\0")[0] for i in range(0, len(data), 3)]


@given(st.lists(NUMBERS, max_size=20))
def test_numbers_come_back_to_within_half_a_unit_of_their_last_digit(values: list[float]):
    for value, found in zip(values, read(packed(np.array(values, dtype=np.float64))), strict=True):
        assert abs(found - value) <= abs(value) * 2**-16


def test_what_is_missing_stays_missing():
    assert np.isnan(read(packed(np.array([np.nan, 1.0])))[0])
    assert read(packed(np.array([1.0, -0.5, 0.0]))) == [1.0, -0.5, 0.0]


def test_a_number_takes_four_characters_and_a_vector_is_stored_once():
    vectors = Vectors()
    places = [vectors.add(np.arange(3.0)), vectors.add(np.ones(3)), vectors.add(np.arange(3.0))]
    assert places == [0, 1, 0]
    assert [len(text) for text in vectors.texts] == [12, 12]
