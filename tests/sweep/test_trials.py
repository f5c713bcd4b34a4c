"""Trials are drawn where earlier ones were good, and whoever reads their journal goes on with them."""

from __future__ import annotations

import math
import random
import statistics
from pathlib import Path

import pytest

from rlpipe.core.errors import RecordError
from rlpipe.sweep.criterion import Measured, Result
from rlpipe.sweep.space import Setting, Space
from tests.sweep.test_space import space_of


@pytest.fixture(autouse=True)
def optuna() -> None:
    pytest.importorskip("optuna", "5")


def planted(setting: Setting) -> float:
    """A quadratic whose best lies at a rate of 10⁻³·⁵ and a share of 0.3."""
    return -((math.log10(float(setting["rate"])) + 3.5) ** 2) - 4 * (float(setting["share"]) - 0.3) ** 2


SPACE = ("rate=tag(log,interval(1e-6,1e-2))", "share=interval(0,1)")


def searched(space: Space, seed: int, count: int) -> float:
    from optuna.storages import InMemoryStorage

    from rlpipe.sweep.trials import Trials

    trials = Trials(InMemoryStorage(), space, more_is_better=True, seed=seed)
    for _ in range(count):
        trial = trials.ask()
        trials.tell(trial, Measured(Result.value, planted(trial.setting)))
    best = trials.best()
    assert best is not None
    assert best[1] == max(planted(best[0].setting), best[1])
    return best[1]


def test_a_search_finds_a_planted_best_that_random_draws_miss() -> None:
    draw = random.Random(0)

    def at_random(count: int) -> float:
        drawn = ({"rate": str(10 ** draw.uniform(-6, -2)), "share": str(draw.random())} for _ in range(count))
        return max(map(planted, drawn))

    learned = [searched(space_of(*SPACE), seed, 24) for seed in range(3)]
    assert statistics.mean(learned) > 0.5 * statistics.mean(at_random(24) for _ in range(100))


@pytest.fixture
def journal(tmp_path: Path) -> Path:
    return tmp_path / "optuna.jsonl"


def test_a_trial_that_nobody_told_is_pending_for_the_next_process(journal: Path) -> None:
    from rlpipe.sweep.trials import Trials

    space = space_of(*SPACE)
    first = Trials.journal(journal, space, more_is_better=False)
    asked = [first.ask() for _ in range(3)]
    first.tell(asked[1], Measured(Result.failed, reason="no luck"))
    again = Trials.journal(journal, space, more_is_better=False)
    assert again.pending() == [asked[0], asked[2]]
    assert (again.count, again.told(Result.failed)) == (3, 1)
    again.tell(asked[0], Measured(Result.value, 2.0))
    again.tell(asked[2], Measured(Result.value, 1.0))
    assert again.best() == (asked[2], 1.0)


def test_the_next_process_draws_what_the_killed_one_would_have(journal: Path, tmp_path: Path) -> None:
    from rlpipe.sweep.trials import Trials

    space = space_of(*SPACE)
    whole = Trials.journal(tmp_path / "whole", space, True)
    wanted = [whole.ask().setting for _ in range(3)]
    found = [Trials.journal(journal, space, True).ask().setting for _ in range(3)]
    assert found == wanted
    assert len({setting["rate"] for setting in found}) == 3
    assert Trials.journal(tmp_path / "other", space, True, seed=1).ask().setting != wanted[0]


@pytest.mark.parametrize("left", [1, 2])
def test_a_draw_that_was_torn_is_finished(journal: Path, left: int) -> None:
    from rlpipe.sweep.trials import Trials

    space = space_of(*SPACE)
    whole = Trials.journal(journal, space, True).ask()
    lines = journal.read_text().splitlines(keepends=True)
    journal.write_text("".join(lines[:-left]) + lines[-left][:20])
    (journal.parent / "optuna.jsonl.lock").symlink_to("gone")
    [trial] = Trials.journal(journal, space, True).pending()
    assert trial.number == whole.number
    assert set(trial.setting) == {"rate", "share"}
    if left == 1:
        assert trial.setting["rate"] == whole.setting["rate"]


def test_what_got_its_value_late_is_told_anew_once(journal: Path) -> None:
    from rlpipe.sweep.trials import Trials

    trials = Trials.journal(journal, space_of(*SPACE), True)
    failed, pruned = trials.ask(), trials.ask()
    trials.tell(failed, Measured(Result.failed))
    trials.tell(pruned, Measured(Result.pruned, rungs={20: 0.5, 60: 0.25, 180: math.nan}))
    assert trials.without_value() == [failed, pruned]
    trials.tell_anew(failed, 0.75)
    assert trials.without_value() == [pruned]
    assert trials.count == 2
    assert trials.best()[1] == 0.75


def test_fields_under_a_condition_are_drawn_only_where_it_holds(journal: Path) -> None:
    from rlpipe.sweep.trials import Trials

    space = space_of('gamma=tag("method=simpo",int(interval(1,3)))', "method=dpo,simpo", "share=range(0,1,0.25)")
    trials = Trials.journal(journal, space, True, random=4)
    for _ in range(7):
        trial = trials.ask()
        assert ("gamma" in trial.setting) == (trial.setting["method"] == "simpo")
        assert trial.setting["share"] in ("0.0", "0.25", "0.5", "0.75")
        assert trial.setting.get("gamma", "1") in ("1", "2", "3")
        trials.tell(trial, Measured(Result.value, float(trial.setting["share"])))


def test_what_is_no_journal_says_so(journal: Path) -> None:
    from rlpipe.sweep.trials import Trials

    journal.write_text("hello\n")
    with pytest.raises(RecordError, match="cannot be read as Optuna's journal"):
        Trials.journal(journal, space_of(*SPACE), True)
