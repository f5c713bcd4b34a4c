"""math-verify behind its guard: right, wrong, never installed, hanging and dying."""

from __future__ import annotations

import importlib.util

import pytest

from rlpipe.core.errors import PluginError
from rlpipe.rewards import math as module
from rlpipe.rewards.combine import prove
from rlpipe.rewards.guard import Guard
from rlpipe.rewards.math import MathReward

installed = pytest.mark.skipif(
    importlib.util.find_spec("math_verify") is None, reason="math-verify is not installed (pip install 'rlpipe[math]')"
)


@pytest.fixture(scope="module")
def reward():
    made = MathReward(MathReward.Config(name="math", timeout=2.0))
    yield made
    made.guard.close()


@pytest.mark.slow
@installed
def test_it_scores_its_own_cases(reward):
    assert reward.problems() == []
    prove("math", reward)


@pytest.mark.slow
@pytest.mark.timeout(60)  # left alone, the parser works on it for ever
@installed
def test_text_that_keeps_the_parser_busy_is_cut_off_and_the_next_is_scored(reward, finished, monkeypatch):
    monkeypatch.setattr("rlpipe.rewards.math.PATIENCE", 100)  # whatever else the machine has to do
    monkeypatch.setattr(reward.config, "timeout", 0.5)
    reward.score([finished("$1$", reference="1")])
    before = reward.guard.process
    busy = "$\\int_0^1 " + "+".join(f"x^{{{n}}} e^x \\sin({n} x)" for n in range(1, 40)) + " dx$"
    scores = reward.score([finished(busy, reference="\\pi"), finished("$1$", reference="1")])
    assert [(score.value, score.parsed) for score in scores] == [(0.0, False), (1.0, True)]
    assert [score.parts for score in scores] == [{"timed_out": 1.0}, {"timed_out": 0.0}]
    assert reward.guard.process is before  # it keeps its own time, and need not be replaced


@installed
def test_what_took_too_long_is_not_asked_again(reward, finished, monkeypatch):
    reward.hopeless.add(("1", "$2$"))
    monkeypatch.setattr(reward.guard, "ask", None)
    (score,) = reward.score([finished("$2$", reference="1")])
    assert (score.value, score.parsed, score.parts) == (0.0, False, {"timed_out": 1.0})


@pytest.mark.parametrize(
    ("text", "answer"),
    [("\\boxed{1} or \\boxed{\\frac{1}{2}}", "\\frac{1}{2}"), ("$1$ and $2$", "2"), ("\\boxed{1", None), ("3", None)],
)
def test_where_the_answer_stands(text, answer):
    from rlpipe.rewards.math_worker import answer_in

    assert answer_in(text) == answer


@pytest.mark.parametrize("text", ["9^{9^{9^9}}", "2^2^2^2", "2^{99999}", "(9!)!", "9!!"])
def test_numbers_that_cannot_be_written_down_are_not_worked_out(text):
    from rlpipe.rewards.math_worker import TOWER

    assert TOWER.search(text)
    assert not TOWER.search("x^2 + 2^{10} - 5! = 10^{3}")


@installed
def test_a_right_answer_that_cannot_be_read_is_an_error(reward, finished):
    with pytest.raises(ValueError, match="cannot read the right answer"):
        reward.score([finished("$1$", reference="")])


def test_without_the_library_it_is_said_at_check_time_and_at_the_latest_when_scoring(monkeypatch, finished):
    monkeypatch.setattr(module.importlib.util, "find_spec", lambda name: None)
    reward = MathReward(MathReward.Config(name="math"))
    assert [(one.where, one.fix) for one in reward.problems()] == [
        ("name", "pip install 'rlpipe[math]'"),
    ]
    with pytest.raises(PluginError, match="math-verify is not installed"):
        reward.score([finished("$1$", reference="1")])


ECHO = """
import json, os, sys, time
print("{}", flush=True)
for line in sys.stdin:
    question = json.loads(line)
    if question.get("die"): os._exit(1)
    time.sleep(question.get("sleep", 0))
    print(json.dumps(question), flush=True)
"""


@pytest.fixture
def guard(tmp_path, monkeypatch):
    (tmp_path / "echo_worker.py").write_text(ECHO)
    monkeypatch.syspath_prepend(tmp_path)
    made = Guard("echo_worker")
    yield made
    made.close()


def test_a_guard_outlives_hanging_and_dying(guard):
    assert guard.ask({"n": "naïve\n\x00"}, 10) == {"n": "naïve\n\x00"}
    first = guard.process.pid
    assert guard.ask({"sleep": 60}, 0.1) is None
    assert guard.ask({"n": 2}, 10) == {"n": 2}
    assert guard.ask({"die": 1}, 10) is None
    assert guard.ask({"n": 3}, 10) == {"n": 3}
    assert guard.process.pid != first


@pytest.mark.slow
def test_a_guard_that_cannot_start_says_how_to_see_why():
    with pytest.raises(PluginError, match=r"python -m rlpipe\.nowhere"):
        Guard("rlpipe.nowhere").ask({}, 1)
