"""The suite: what it computes from turns, what it writes, and that its cases can be named without anything heavy."""

from __future__ import annotations

import json
import subprocess
import sys
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import pytest

from benchmarks import frame, tables
from benchmarks.frame import Case, Machine, Took, cases, check_losses, compare, summary
from rlpipe.testing import HEAVY

MACHINE = Machine("cpu", "float32", 1)


class Counting(Case):
    """A case of two sides, of which nothing is computed."""

    sides = ("own", "other")
    tolerance = 0.01

    def prepare(self, side: str, folder: Path, machine: Machine):
        raise AssertionError("sides work in processes of their own")


class Turns:
    """Stands in for the process of a side."""

    asked: list[str] = []  # noqa: RUF012
    stopped: list[str] = []  # noqa: RUF012

    def __init__(self, case: str, side: str, folder: Path, machine: Machine):
        self.name, self.number = side, 0

    def turn(self) -> Took:
        self.asked.append(self.name)
        self.number += 1
        slow = 100.0 if self.number == 1 else float(self.number)
        return Took(2 * slow, slow if self.name == "own" else 3 * slow, loss=1.0, peak=5.0)

    def stop(self) -> None:
        self.stopped.append(self.name)


@pytest.fixture
def found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict:
    monkeypatch.setattr(frame, "Side", Turns)
    monkeypatch.setattr(Turns, "asked", [])
    monkeypatch.setattr(Turns, "stopped", [])
    return compare(Counting("counting", "a case <for tests>"), MACHINE, 3, tmp_path)


def test_sides_take_turns_in_an_order_that_turns_and_the_first_round_warms_up(found: dict) -> None:
    assert Turns.asked == ["own", "other", "other", "own", "own", "other", "other", "own"]
    assert Turns.stopped == ["own", "other"]
    assert found["sides"]["own"]["cpu"] == 3.0
    assert found["sides"]["other"]["cpu_ratio"] == [3.0, 3.0, 3.0]
    assert found["sides"]["other"]["wall_ratio"] == [1.0, 1.0, 1.0]


def test_ratios_are_of_one_round_each() -> None:
    took = {
        "own": [Took(1.0, 1.0), Took(1.0, 2.0), Took(1.0, 4.0)],
        "other": [Took(1.0, 3.0), Took(1.0, 4.0), Took(1.0, 4.0)],
    }
    assert summary(took)["other"]["cpu_ratio"] == [2.0, 1.0, 3.0]


@pytest.mark.parametrize(("other", "apart"), [(1.009, False), (1.02, True), (None, False)])
def test_sides_that_do_not_do_the_same_end_the_case(other: float | None, apart: bool) -> None:
    turns = {"own": Took(1.0, 1.0, loss=1.0), "other": Took(1.0, 1.0, loss=other)}
    if not apart:
        check_losses(Counting("counting", ""), turns)
        return
    with pytest.raises(SystemExit, match=r"counting: not the same work, by the losses .*1\.02"):
        check_losses(Counting("counting", ""), turns)


def test_what_was_measured_is_written_as_data_table_and_plot(found: dict, tmp_path: Path) -> None:
    where = {"when": "2026", "processor": "2 x Some", "gpu": None, "threads": 1, "precision": "float32", "packages": {}}
    tables.write(tmp_path / "out", [found], where)
    assert json.loads((tmp_path / "out" / "results.json").read_text())["cases"] == [found]
    table = (tmp_path / "out" / "results.md").read_text().splitlines()
    assert table[-1] == "| counting | other | 9.00 | 6.00 | 5 | 1 | 3.00 (3.00 to 3.00) | 1 |"
    assert {line.count("|") for line in table[2:]} == {9}
    assert len(ElementTree.parse(tmp_path / "out" / "results.svg").getroot()) > 4


def test_cases_are_named_once_and_their_names_cost_nothing_heavy() -> None:
    program = (
        f"import sys; from benchmarks.frame import cases; print(len(cases())); print({HEAVY} & sys.modules.keys())"
    )
    program = program.replace(str(HEAVY), f"set({tuple(HEAVY)})")
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    count, heavy = done.stdout.splitlines()
    assert heavy == "set()"
    assert int(count) == len(cases())
    assert all(len(case.sides) > 1 and case.what for case in cases().values())


def test_no_case_hides_another() -> None:
    import importlib

    named = [case.name for family in frame.FAMILIES for case in importlib.import_module(f"benchmarks.{family}").CASES]
    assert len(named) == len(set(named))


def test_a_side_knows_the_frame_that_cases_know() -> None:
    names: dict[str, object] = {}
    exec(frame.SIDE.rpartition(";")[0], names)
    assert names["main"] is frame.main
    assert "__main__" not in Path(frame.__file__).read_text(), "run as a program it would be a second module"
