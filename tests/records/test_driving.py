"""One process at a time drives a search, and anyone may end it."""

from __future__ import annotations

from pathlib import Path

import pytest

from rlpipe.core.errors import LaunchError
from rlpipe.records import driving
from rlpipe.records.sweep import Sweep


def test_one_process_at_a_time_drives(tmp_path: Path) -> None:
    sweep = Sweep(tmp_path, {"sweeper": driving.SEARCH})
    assert driving.is_search(sweep)
    with driving.driving(sweep):
        assert driving.is_driven(sweep)
        with pytest.raises(LaunchError, match="is driving the search"), driving.driving(sweep):
            pass
    assert not driving.is_driven(sweep)


def test_a_search_that_was_ended_goes_on_when_somebody_says_so(tmp_path: Path) -> None:
    sweep = Sweep(tmp_path, {"sweeper": "a.Grid"})
    assert not driving.is_search(sweep)
    driving.end(sweep)
    assert driving.is_ended(sweep)
    driving.go_on(sweep)
    driving.go_on(sweep)
    assert not driving.is_ended(sweep)
