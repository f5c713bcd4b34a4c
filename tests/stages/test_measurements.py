"""Measurements in the store: read as they were written, never otherwise."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from rlpipe.core.errors import RecordError
from rlpipe.stages import measurements
from rlpipe.stages.measurements import Measurement, measurement

ROWS = [{"id": "test/0", "score": 0.1}, {"id": "test/1", "score": 1.0, "parts": {"logp": -3.25}}]


@pytest.fixture
def kept(tmp_path: Path) -> Measurement:
    found = measurement(tmp_path, {"weights": "a", "evaluation": {"limit": 2}})
    found.write(ROWS, Path("/runs/first"), {"weights": "a"})
    return found


def test_rows_come_back_with_what_they_came_from(kept: Measurement) -> None:
    found = kept.read()
    assert found is not None
    header, rows = found
    assert rows == ROWS
    assert (header["run"], header["inputs"]) == ("/runs/first", {"weights": "a"})


def test_other_inputs_are_another_measurement(kept: Measurement, tmp_path: Path) -> None:
    assert measurement(tmp_path, {"evaluation": {"limit": 2}, "weights": "a"}) == kept
    assert measurement(tmp_path, {"evaluation": {"limit": 3}, "weights": "a"}).read() is None


@pytest.mark.parametrize(
    "damage", [b"", b"{", b"{}\n", b"[]\n{}\n", None], ids=["empty", "torn", "bare", "list", "row"]
)
def test_damage_is_named(kept: Measurement, tmp_path: Path, damage: bytes | None) -> None:
    whole = kept.file.read_bytes()
    kept.file.write_bytes(whole.replace(b"0.1", b"0.2") if damage is None else damage)
    with pytest.raises(RecordError, match="damaged"):
        kept.read()
    assert list(measurements.damaged(tmp_path)) == [kept]


def test_what_was_taken_lately_is_not_unused(kept: Measurement, tmp_path: Path) -> None:
    os.utime(kept.file, times=(time.time() - 1000,) * 2)
    assert measurements.unused(tmp_path, 900) == [kept]
    kept.read()
    assert measurements.unused(tmp_path, 900) == []
