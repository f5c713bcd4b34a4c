"""Numbers as short text: floats of 24 bits, four characters each, which `decode.js` reads back.

The upper 24 bits of an IEEE 754 single: sign, 8 bits of exponent, 15 of mantissa, hence about 4.5 decimal
digits over the whole range, infinities and NaN included. A drawn curve needs less.
"""

from __future__ import annotations

import base64
from typing import Any

import numpy as np

CHARACTERS = 4
"""Characters that a number takes."""


class Vectors:
    """Vectors of a page, each stored once however often it is used (many arms share a learning rate's schedule)."""

    def __init__(self) -> None:
        self.texts: list[str] = []
        self._known: dict[str, int] = {}

    def add(self, values: np.ndarray[Any, Any]) -> int:
        """Store a vector and return its place."""
        text = packed(values)
        if text not in self._known:
            self._known[text] = len(self.texts)
            self.texts.append(text)
        return self._known[text]


def packed(values: np.ndarray[Any, Any]) -> str:
    """Return numbers as text, rounded to 24 bits."""
    bits = np.ascontiguousarray(values, dtype=np.float32).view(np.uint32)
    finite = np.isfinite(values)
    bits = np.where(finite, bits + 0x80, bits).astype(">u4")
    return base64.b64encode(bits.view(np.uint8).reshape(-1, 4)[:, :3].tobytes()).decode()
