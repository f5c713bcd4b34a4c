"""The rungs of a sweep: reports in the order in which they came, and verdicts that nothing changes later."""

from __future__ import annotations

import json
import math
import threading
from pathlib import Path

import pytest

from rlpipe.core import files
from rlpipe.core.errors import RecordError
from rlpipe.records.rungs import Rungs


def arm(folder: Path, name: str, setting: str | None = None, **more) -> Rungs:
    return Rungs(folder, name, setting or name, 3, **more)


def test_an_arm_is_judged_by_what_came_before_it_however_often_it_asks(tmp_path):
    assert arm(tmp_path, "0").judge(10, 0.5, True).goes_on
    second = arm(tmp_path, "1").judge(10, 0.4, True)
    assert (second.goes_on, second.place, second.of) == (False, 2, 2)
    arm(tmp_path, "2").judge(10, 0.1, True)
    arm(tmp_path, "3").judge(10, 0.2, True)
    assert arm(tmp_path, "1").judge(10, 0.9, True) == second
    assert sorted(path.name for path in (tmp_path / "10").iterdir()) == ["1.json", "2.json", "3.json", "4.json"]
    assert arm(tmp_path, "1").judge(30, 0.4, True).of == 1


def test_a_kill_between_report_and_decision_changes_no_decision(tmp_path, monkeypatch):
    from rlpipe.statistics import halving

    judge = halving.judge
    arm(tmp_path, "0").judge(10, 0.5, True)

    def killed(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(halving, "judge", killed)
        with pytest.raises(KeyboardInterrupt):
            arm(tmp_path, "1").judge(10, 0.4, True)
    for number in range(2, 8):
        arm(tmp_path, str(number)).judge(10, 0.1, True)
    assert arm(tmp_path, "1").judge(10, 0.4, True) == judge([("0", 0.5), ("1", 0.4)], 3)


def test_seeds_of_one_setting_count_by_their_mean(tmp_path):
    for name, setting, value in (("0", "a", 0.5), ("1", "b", 0.6), ("2", "a", 0.9)):
        verdict = arm(tmp_path, name, setting).judge(10, value, True)
    assert (verdict.place, verdict.of, verdict.goes_on) == (1, 2, True)


def test_less_is_better_where_it_is_and_no_number_is_worst(tmp_path):
    assert arm(tmp_path, "0").judge(10, 0.5, False).goes_on
    assert arm(tmp_path, "1").judge(10, 0.4, False).goes_on
    assert not arm(tmp_path, "2").judge(10, math.nan, False).goes_on
    assert json.loads((tmp_path / "10" / "3.json").read_text())["value"] is None


def test_arms_that_come_together_get_numbers_of_their_own(tmp_path):
    found = []
    threads = [
        threading.Thread(target=lambda n=n: found.append(arm(tmp_path, str(n)).judge(10, n / 10, True)))
        for n in range(12)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(verdict.of for verdict in found) == list(range(1, 13))
    reports = [json.loads((tmp_path / "10" / f"{n}.json").read_text())["arm"] for n in range(1, 13)]
    assert sorted(reports, key=int) == [str(n) for n in range(12)]


def test_a_report_that_another_was_faster_with_is_read_first(tmp_path, monkeypatch):
    """Another process takes the number between the look and the writing."""
    import rlpipe.records.rungs as rungs

    create = files.create

    def late(path, content):
        monkeypatch.setattr(rungs, "create", create)
        create(path, json.dumps({"arm": "9", "setting": "9", "value": 0.9}))
        return create(path, content)

    monkeypatch.setattr(rungs, "create", late)
    verdict = arm(tmp_path, "0").judge(10, 0.5, True)
    assert (verdict.of, verdict.goes_on) == (2, False)


def test_a_damaged_report_is_named(tmp_path):
    (tmp_path / "10").mkdir()
    (tmp_path / "10" / "1.json").write_text('{"arm": 3}')
    with pytest.raises(RecordError, match=r"10/1.json: damaged"):
        arm(tmp_path, "0").judge(10, 0.5, True)


@pytest.mark.parametrize(
    ("steps", "every", "last", "expected"),
    [(None, 10, 100, [10, 30, 90]), (None, 10, 90, [10, 30]), ((20, 60), 10, 60, [20]), (None, 100, 50, [])],
)
def test_where_rungs_are(tmp_path, steps, every, last, expected):
    assert arm(tmp_path, "0", steps=steps).at(every, last) == expected


def test_a_file_is_made_once_and_whole(tmp_path):
    assert files.create(tmp_path / "a" / "1", "first")
    assert not files.create(tmp_path / "a" / "1", "second")
    assert (tmp_path / "a" / "1").read_text() == "first"
    assert [path.name for path in (tmp_path / "a").iterdir()] == ["1"]
