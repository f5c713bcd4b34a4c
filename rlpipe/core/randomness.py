"""Random numbers of a library that takes them from the process, seeded for itself and out of everyone else's way."""

from __future__ import annotations

import random
from types import TracebackType


class Randomness:
    """Within `with`, Python's and NumPy's global generators as this object's last `with` left them, first by a seed.

    Afterwards they are as they were before.
    """

    def __init__(self, seed: int):
        import numpy as np

        self._numpy = np.random
        self._state = random.Random(seed).getstate(), np.random.RandomState(seed).get_state()

    def __enter__(self) -> None:
        self._exchange()

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._exchange()

    def _exchange(self) -> None:
        outside = random.getstate(), self._numpy.get_state()
        random.setstate(self._state[0])
        self._numpy.set_state(self._state[1])
        self._state = outside
