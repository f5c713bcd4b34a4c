"""A search goes on from any moment at which its driver was killed: nothing twice, no trial lost."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any, ClassVar

import pytest
from omegaconf import OmegaConf

from rlpipe.config.launchers import TpeConfig
from rlpipe.core.errors import ConfigError, Problem, SweepFailed
from rlpipe.launchers.base import JobStatus, Launcher, Phase
from rlpipe.records import driving
from rlpipe.records.sweep import Ended, Job, Kind, Outcome, Sweep, cancelled, write_outcome
from rlpipe.sweep.arms import Arm
from rlpipe.sweep.criterion import Criterion, Result
from rlpipe.sweep.rehearse import Rehearsal
from rlpipe.sweep.space import Space
from tests.sweep.test_space import space_of

Value = float | Ended
SPACE = ("method=dpo", "rate=tag(log,interval(1e-6,1e-2))")


class Killed(BaseException):
    """The driver's process is gone."""


class Instant(Launcher):
    """Every arm is over as soon as it is submitted, as `value` says by its overrides; those in `held` wait."""

    value: ClassVar[Callable[[Mapping[str, str]], Value]]
    submitted: ClassVar[list[str]]
    held: ClassVar[set[str]]

    def problems(self) -> list[Problem]:
        return []

    def submit(self, jobs: Sequence[Job]) -> None:
        self.sweep.submitted("instant", [job.key for job in jobs])
        self.submitted.extend(job.key for job in jobs)
        for job in jobs:
            if job.key not in self.held:
                self.finish(job)

    def finish(self, job: Job) -> None:
        value = type(self).value(dict(one.split("=") for one in job.overrides))
        folder = Path(job.run_dir)
        folder.mkdir(parents=True, exist_ok=True)
        if isinstance(value, float):
            (folder / "result.json").write_text(json.dumps({"status": "ok", "metrics": {"score": value}}))
        write_outcome(self.sweep.job_folder(job), Outcome(value if isinstance(value, Ended) else Ended.ok))

    def statuses(self, jobs: Sequence[Job]) -> Mapping[str, JobStatus]:
        over = {job.key for job in jobs if self.sweep.outcome(job) is not None}
        known = {key for row in self.sweep.submissions for key in row["keys"]}
        return {key: JobStatus(Phase.gone if key in over else Phase.queued) for key in known}

    def cancel(self, jobs: Sequence[Job]) -> None:
        for job in jobs:
            cancelled(self.sweep, job, "by hand")


@pytest.fixture(autouse=True)
def place(monkeypatch: pytest.MonkeyPatch) -> type[Instant]:
    play(monkeypatch)
    return Instant


def play(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("optuna", "5")
    from rlpipe.sweep import driver

    monkeypatch.setattr(Instant, "value", lambda chosen: score(chosen), raising=False)
    monkeypatch.setattr(Instant, "submitted", [], raising=False)
    monkeypatch.setattr(Instant, "held", set(), raising=False)
    monkeypatch.setattr(driver, "INTERVAL", 0.0)
    monkeypatch.setattr(driver, "rehearse", rehearsed)


def score(chosen: Mapping[str, str]) -> float:
    return -((math.log10(float(chosen["rate"])) + 3.5) ** 2)


def rehearsed(app: Any, batch: Sequence[Sequence[str]], first: int, *_: Any, **__: Any) -> Rehearsal:
    nothing = OmegaConf.create({})
    return Rehearsal([Arm(n, tuple(one), nothing, nothing, app / str(n)) for n, one in enumerate(batch, first)], [])


def hand_over(sweep: Sweep, launcher: Launcher, rehearsal: Rehearsal) -> list[Job]:
    jobs = [Job(str(arm.number), Kind.arm, arm.overrides, str(arm.run_dir)) for arm in rehearsal.arms]
    for job in jobs:
        sweep.job_folder(job).mkdir(parents=True, exist_ok=True)
    sweep.add(jobs)
    launcher.submit(jobs)
    return jobs


def sweep_in(folder: Path) -> Sweep:
    return Sweep.load(folder) if (folder / "sweep.json").exists() else Sweep.create(folder, launcher="instant")


def driver_of(folder: Path, space: Space | None = None, **settings: Any) -> Any:
    """Begin to drive, or go on, as a process of its own does."""
    from rlpipe.sweep.driver import Driver

    sweep = sweep_in(folder)
    launching: Any = SimpleNamespace(app=folder, composer=None, hand_over=hand_over)
    config = TpeConfig(**{"trials": 4, "batch": 2, "random": 2, **settings})
    criterion = Criterion("score", "score", more_is_better=True, held_out=False)
    return Driver(launching, sweep, Instant(sweep), space or space_of(*SPACE), config, criterion)


def drive(folder: Path, space: Space | None = None, **settings: Any) -> Any:
    driver = driver_of(folder, space, **settings)
    driver.drive(lambda: None)
    return driver


def rates(folder: Path) -> list[str]:
    return [arm.overrides[1] for arm in Sweep.load(folder).arms]


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """The rates that a search tries that nobody kills."""
    folder = tmp_path_factory.mktemp("whole")
    with pytest.MonkeyPatch.context() as context:
        play(context)
        drive(folder)
    return rates(folder)


def test_all_settings_are_run_once_and_told(tmp_path: Path, place: type[Instant]) -> None:
    driver = drive(tmp_path)
    assert (driver.trials.count, driver.trials.told(Result.value)) == (4, 4)
    assert sorted(place.submitted) == [str(number) for number in range(4)]
    assert len(set(rates(tmp_path))) == 4
    _, value = driver.trials.best()
    assert value == max(score({"rate": one.partition("=")[2]}) for one in rates(tmp_path))
    driver.conclude()


def at_call(number: int, function: Callable[..., Any], after: bool = False) -> Callable[..., Any]:
    """Return a function during whose n-th call the process is killed: before what it does, or after."""
    calls: Iterator[int] = iter(range(1, 1000))

    def wrapped(*arguments: Any, **named: Any) -> Any:
        is_last = next(calls) == number
        if is_last and not after:
            raise Killed
        result = function(*arguments, **named)
        if is_last:
            raise Killed
        return result

    return wrapped


@pytest.mark.parametrize(
    ("target", "name", "number", "after"),
    [
        ("rlpipe.sweep.trials.Trials", "ask", 2, True),  # drawn, and nothing launched
        ("optuna.Trial", "suggest_float", 3, False),  # in the midst of a draw
        ("rlpipe.records.sweep.Sweep", "add", 2, True),  # frozen, and not handed over
        ("tests.sweep.test_driver.Instant", "submit", 2, True),  # handed over, and not told
        ("rlpipe.sweep.trials.Trials", "tell", 2, False),  # one of two is told
        ("rlpipe.sweep.trials.Trials", "tell", 4, True),  # all is told, and nothing said
    ],
)
def test_a_killed_driver_s_search_goes_on(target, name, number, after, tmp_path, place, monkeypatch, whole) -> None:
    import importlib

    module, _, cls = target.rpartition(".")
    owner = getattr(importlib.import_module(module), cls)
    with monkeypatch.context() as context:
        context.setattr(owner, name, at_call(number, getattr(owner, name), after))
        with pytest.raises(Killed):
            drive(tmp_path / "killed")
    launcher = Instant(sweep_in(tmp_path / "killed"))
    if left := [job for job in launcher.sweep.jobs if launcher.sweep.outcome(job) is None]:
        launcher.submit(left)  # as resume does
    driver = drive(tmp_path / "killed")
    assert sorted(place.submitted) == [str(number) for number in range(4)]
    assert (driver.trials.count, driver.trials.told(Result.value)) == (4, 4)
    assert rates(tmp_path / "killed") == whole


def test_whoever_ends_first_makes_room_for_the_next(tmp_path: Path, place, monkeypatch) -> None:
    place.held |= {"0", "2"}
    driver = driver_of(tmp_path, batch=2, trials=4)
    from rlpipe.sweep.watch import look

    def tick() -> list[str]:
        now = look(driver.sweep, driver.launcher)
        driver.tell(now)
        return [job.key for job in driver.ask(now)]

    assert [tick(), tick(), tick()] == [["0", "1"], ["2"], []]
    driver.launcher.finish(driver.sweep.jobs[2])
    assert [tick(), tick()] == [["3"], []]
    assert [trial.number for trial in driver.trials.pending()] == [0]


@pytest.mark.parametrize(
    ("values", "result"),
    [
        ({"0": 1.0, "1": 3.0}, Result.value),
        ({"0": 1.0, "1": Ended.failed}, Result.failed),
        ({"0": 1.0, "1": Ended.pruned}, Result.pruned),
        ({"0": 1.0, "1": math.nan}, Result.failed),
    ],
)
def test_seeds_of_a_setting_are_told_together(values, result, tmp_path: Path, place, monkeypatch) -> None:
    monkeypatch.setattr(place, "value", lambda chosen: values[chosen["seed"]])
    driver = drive(tmp_path, space_of(*SPACE, "seed=0,1"), trials=1)
    assert driver.trials.told(result) == 1
    if result is Result.value:
        assert driver.trials.best()[1] == 2.0


def test_a_setting_that_is_drawn_again_is_not_run_again(tmp_path: Path, place, monkeypatch) -> None:
    monkeypatch.setattr(place, "value", lambda chosen: float(chosen["a"]))
    driver = drive(tmp_path, space_of("a=1,2"), trials=6)
    assert sorted(place.submitted) == ["0", "1"]
    assert driver.trials.told(Result.value) == 6


def test_what_failed_is_told_anew_where_it_has_run_again(tmp_path: Path, place, monkeypatch) -> None:
    with monkeypatch.context() as context:
        context.setattr(place, "value", lambda chosen: Ended.failed)
        driver = drive(tmp_path, trials=4)
        assert driver.trials.told(Result.failed) == 4
        with pytest.raises(SweepFailed, match="none of 4 settings"):
            driver.conclude()
    driver.launcher.submit(driver.sweep.jobs[:2])
    driver = drive(tmp_path, trials=5)
    assert driver.trials.count == 5
    assert driver.trials.told(Result.value) == 3


def test_nothing_more_is_drawn_where_everything_fails(tmp_path: Path, place, monkeypatch) -> None:
    monkeypatch.setattr(place, "value", lambda chosen: Ended.failed)
    assert drive(tmp_path, trials=50).trials.count == 6


def test_a_search_that_was_ended_tells_nothing_and_goes_on_later(tmp_path: Path, place, monkeypatch) -> None:
    place.held |= {"0", "1"}
    driver = driver_of(tmp_path)
    driver.ask([])
    driving.end(driver.sweep)
    driver.launcher.cancel(driver.sweep.jobs[:1])
    driver.drive(lambda: None)
    assert [driver.sweep.outcome(job).ended for job in driver.sweep.jobs] == [Ended.cancelled] * 2
    assert len(driver.trials.pending()) == 2
    driving.go_on(driver.sweep)
    place.held.clear()
    driver.launcher.submit(driver.sweep.jobs)
    assert drive(tmp_path).trials.told(Result.value) == 4


def test_a_setting_that_cannot_run_has_failed(tmp_path: Path, monkeypatch, capsys) -> None:
    from rlpipe.sweep import driver as module

    def refuse(app: Any, batch: Sequence[Sequence[str]], first: int, *more: Any, **named: Any) -> Rehearsal:
        if first == 0:
            monkeypatch.setattr(module, "rehearse", rehearsed)
            raise ConfigError([Problem("rate", "is odd", "make it even")])
        return rehearsed(app, batch, first)

    monkeypatch.setattr(module, "rehearse", refuse)
    driver = drive(tmp_path, batch=1)
    assert (driver.trials.told(Result.value), driver.trials.told(Result.failed)) == (3, 1)
    assert "cannot run: rate: is odd" in capsys.readouterr().err


def test_what_pruned_arms_measured_at_rungs_is_told(tmp_path: Path, place, monkeypatch) -> None:
    monkeypatch.setattr(place, "value", lambda chosen: Ended.pruned)
    from rlpipe.records.rungs import Rungs, measured
    from rlpipe.sweep.watch import look

    place.held.add("0")
    driver = driver_of(tmp_path, batch=1, trials=1)
    [job] = driver.ask([])
    rungs = Rungs(tmp_path / ".launch" / "rungs", job.key, job.setting, 3)
    rungs.judge(2, 0.5, True)
    rungs.judge(6, 0.25, True)
    driver.launcher.finish(job)
    assert measured(driver.sweep, job.setting) == {2: 0.5, 6: 0.25}
    driver.tell(look(driver.sweep, driver.launcher))
    assert driver.trials.told(Result.pruned) == 1
