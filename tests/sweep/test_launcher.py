"""What the command line makes of `-m`, where the jobs themselves are not what is tested: a place that only pretends."""

from __future__ import annotations

import json
import pickle
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import ClassVar

import pytest
from hydra.core.utils import JobReturn
from hydra.core.utils import JobStatus as Returned

from rlpipe.cli import exits
from rlpipe.cli import main as cli
from rlpipe.config.launchers import LocalConfig
from rlpipe.config.overrides import key_of
from rlpipe.config.plugins import Plugin, table
from rlpipe.core.errors import LaunchError, Problem
from rlpipe.launchers.base import JobStatus, Launcher, Phase
from rlpipe.records.sweep import Ended, Job, Kind, Outcome, Sweep, write_outcome
from rlpipe.sweep import extend as extending
from rlpipe.sweep import launching
from rlpipe.sweep import place as place_module
from rlpipe.sweep.place import only_one
from tests.report.recorded import recorded

pytestmark = pytest.mark.slow

SMALL = ("model=blank", "dataset.sample_size=32", "method.max_steps=2", "evaluation=none")
Value = Callable[[Job], float | Exception]


class Pretending(Launcher):
    """Every job is over as soon as it is submitted: a stage is built, an arm has the value that the test says."""

    Config = LocalConfig
    here: ClassVar[bool] = True
    submitted: ClassVar[list[list[str]]] = []
    found: ClassVar[list[Problem]] = []
    value: ClassVar[Value] = lambda job: 1.0

    def problems(self) -> list[Problem]:
        return self.found

    def submit(self, jobs: Sequence[Job]) -> None:
        self.submitted.append([job.key for job in jobs])
        self.sweep.submitted("local", [job.key for job in jobs])
        for job in jobs:
            value = type(self).value(job)
            failed = isinstance(value, Exception)
            status = Returned.FAILED if failed else Returned.COMPLETED
            folder = self.sweep.job_folder(job)
            if job.kind is Kind.arm and not failed:
                recorded(Path(job.run_dir))
            (folder / "return.pkl").write_bytes(pickle.dumps(JobReturn(status=status, _return_value=value)))
            write_outcome(folder, Outcome(Ended.failed if failed else Ended.ok, error=str(value) if failed else None))

    def statuses(self, jobs: Sequence[Job]) -> Mapping[str, JobStatus]:
        return {job.key: JobStatus(Phase.gone, f"id{job.key}") for job in jobs}

    def cancel(self, jobs: Sequence[Job]) -> None:
        raise NotImplementedError


@pytest.fixture(autouse=True)
def place(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> type[Pretending]:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("RLPIPE_STORE", str(tmp_path / "store"))
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.setattr(Pretending, "submitted", [])
    monkeypatch.setattr(Pretending, "found", [])
    monkeypatch.setattr(Pretending, "value", lambda job: 1.0)
    monkeypatch.setitem(table()["launcher"], "local", Plugin("launcher", "local", "tests", Pretending))
    monkeypatch.setattr(launching, "launcher_of", Pretending)
    monkeypatch.setattr(launching, "report", lambda sweep, standings: True)
    return Pretending


def launch(*overrides: str, folder: str = "sweep") -> int:
    named = {key_of(one) for one in overrides}
    usual = [one for one in SMALL if key_of(one) not in named]
    return cli.status(["-m", *overrides, *usual, f"hydra.sweep.dir={folder}"])


def test_the_arms_are_shown_frozen_and_handed_over_together(tmp_path: Path, place, capsys) -> None:
    assert launch("method=dpo,orpo", "seed=range(0,2)") == exits.DONE
    assert place.submitted == [["0", "1", "2", "3"]]
    sweep = Sweep.load("sweep")
    assert [arm.fields for arm in sweep.arms][-1] == {"method": "orpo", "seed": "1"}
    assert [arm.steps for arm in sweep.arms] == [2] * 4
    assert (tmp_path / "sweep" / "3" / "config.yaml").is_file()
    assert (tmp_path / "sweep" / "multirun.yaml").is_file()
    assert sweep.data["cwd"] == str(tmp_path)
    assert sweep.data["command"][-len(SMALL) :] == list(SMALL)
    said = capsys.readouterr().err
    assert "orpo    1     2" in said
    assert "arms: 4" in said
    assert "steps: 8 over all runs" in said


def test_missing_stages_are_jobs_that_arms_need_once(place) -> None:
    assert launch("method=dpo,orpo", "after=[method=sft]") == exits.DONE
    sweep = Sweep.load("sweep")
    [stage] = [job for job in sweep.jobs if job.needs == () and job not in sweep.arms]
    assert [arm.needs for arm in sweep.arms] == [(stage.key,)] * 2
    assert place.submitted == [[stage.key, "0", "1"]]
    assert stage.run_dir.endswith(f"/store/{stage.key}")


def test_a_stage_that_is_being_built_is_not_built_twice(place, monkeypatch) -> None:
    class Building(Pretending):
        def submit(self, jobs: Sequence[Job]) -> None:
            self.submitted.append([job.key for job in jobs])
            self.sweep.submitted("local", [job.key for job in jobs])

        def statuses(self, jobs: Sequence[Job]) -> Mapping[str, JobStatus]:
            return {key: JobStatus(Phase.queued) for keys in self.submitted for key in keys}

    monkeypatch.setattr(launching, "launcher_of", Building)
    assert launch("method=dpo", "after=[method=sft]", "hydra.launcher.wait=false") == exits.DONE
    extending.extend(Sweep.load("sweep"), ["method=orpo"], cli.command)
    [[stage, *first], second] = place.submitted
    assert (first, second) == (["0"], ["1"])
    assert Sweep.load("sweep").arms[1].needs == (stage,)


def test_any_problem_stops_everything(place, capsys, tmp_path: Path) -> None:
    place.found.append(Problem("hydra.launcher.jobs", "is odd", "make it even"))
    assert launch("method=dpo,kti,orpo", "seed=0,x") == exits.FIXABLE
    said = capsys.readouterr().err
    for words in ("is odd", "did you mean 'kto'?", "seed=x"):
        assert words in said
    assert place.submitted == []
    assert not (tmp_path / "sweep").exists()


def test_a_dry_run_shows_the_plan_and_starts_nothing(place, capsys, tmp_path: Path) -> None:
    assert launch("seed=0,1", "until=check") == exits.DONE
    said = capsys.readouterr().err
    assert "arms: 2" in said
    assert "nothing was started" in said
    assert not (tmp_path / "sweep").exists()


def test_a_failed_arm_makes_the_exit_code_1_and_hides_no_other(place, monkeypatch, capsys) -> None:
    monkeypatch.setattr(Pretending, "value", lambda job: ValueError("no luck") if job.key == "1" else 1.0)
    assert launch("seed=0,1,2,3", "hydra.sweeper.max_batch_size=2") == 1
    assert place.submitted == [["0", "1"], ["2", "3"]]
    assert "1 of 4 arms failed" in capsys.readouterr().err


def test_without_waiting_it_says_where_the_jobs_are(place, monkeypatch, capsys, tmp_path: Path) -> None:
    monkeypatch.setattr(launching, "watch", None)
    assert launch("seed=0,1", "hydra.launcher.wait=false") == exits.DONE
    said = capsys.readouterr().err
    assert "handed over: 0 (id0), 1 (id1)" in said
    assert f"rlpipe sweep {tmp_path}/sweep watch" in said


def test_a_folder_that_holds_a_sweep_is_refused_with_what_to_do(place, capsys, tmp_path: Path) -> None:
    assert launch("seed=0,1") == exits.DONE
    assert launch("seed=2,3") == exits.FIXABLE
    assert f"rlpipe sweep {tmp_path}/sweep resume" in capsys.readouterr().err
    assert len(place.submitted) == 1


def test_folders_that_cannot_hold_a_sweep(place, capsys, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    assert launch("seed=0,1", folder="file/sweep") == exits.FIXABLE
    assert f"{tmp_path}/file is a file" in capsys.readouterr().err
    (tmp_path / "used" / "1").mkdir(parents=True)
    (tmp_path / "used" / "1" / "notes.txt").touch()
    assert launch("seed=0,1", folder="used") == exits.FIXABLE
    assert f"{tmp_path}/used/1: not empty (notes.txt)" in capsys.readouterr().err
    assert place.submitted == []


def test_an_unwritable_folder_is_said_before_any_work(monkeypatch, tmp_path: Path) -> None:
    monkeypatch.setattr(place_module.os, "access", lambda path, mode: False)  # the tests may run as root
    with pytest.raises(LaunchError, match=r"hydra.sweep.dir: .* cannot be written"):
        place_module.refuse_taken(tmp_path / "a" / "b")


def test_two_launchers_do_not_write_one_folder(place, capsys, tmp_path: Path) -> None:
    with only_one(tmp_path / "sweep"):
        assert launch("seed=0,1") == exits.FIXABLE
    assert "launching a sweep here" in capsys.readouterr().err
    assert launch("seed=0,1") == exits.DONE


class TestExtend:
    """`rlpipe sweep DIR add …`."""

    @pytest.fixture(autouse=True)
    def sweep(self) -> Sweep:
        assert launch("method=dpo,orpo", "seed=0,1") == exits.DONE
        return Sweep.load("sweep")

    def test_further_values_go_through_the_whole_grid_with_continued_numbers(self, place, sweep: Sweep) -> None:
        fresh = extending.extend(sweep, ["seed=1,2"], cli.command)
        assert [job.key for job in fresh] == ["4", "5"]
        assert [job.fields for job in fresh] == [{"method": m, "seed": "2"} for m in ("dpo", "orpo")]
        assert place.submitted[-1] == ["4", "5"]
        again = Sweep.load("sweep")
        assert [arm.key for arm in again.arms] == ["0", "1", "2", "3", "4", "5"]
        assert (again.folder / "5" / "config.yaml").is_file()

    def test_what_is_there_is_not_added_in_other_words(self, place, sweep: Sweep) -> None:
        assert extending.extend(sweep, ["seed=1", "log.every=10"], cli.command) == []
        assert len(place.submitted) == 1

    def test_a_further_field(self, sweep: Sweep) -> None:
        fresh = extending.extend(sweep, ["method.learning_rate=1e-4", "method=dpo"], cli.command)
        assert [job.fields["method.learning_rate"] for job in fresh] == ["0.0001", "0.0001"]
        assert [job.fields["seed"] for job in fresh] == ["0", "1"]

    def test_problems_are_found_first(self, place, sweep: Sweep) -> None:
        with pytest.raises(Exception, match="seed=x"):
            extending.extend(sweep, ["seed=x,4"], cli.command)
        assert len(Sweep.load("sweep").arms) == 4
        assert extending.extending.get() is None

    def test_only_grids_of_rlpipes_runs(self, sweep: Sweep) -> None:
        for key, value, words in (
            ("task", "__main__:f", "only rlpipe's own"),
            ("sweeper", "a.Other", "Other chooses"),
        ):
            other = Sweep(sweep.folder, json.loads(json.dumps(sweep.data)) | {key: value})
            with pytest.raises(LaunchError, match=words):
                extending.extend(other, ["seed=7"], cli.command)

    def test_a_hidden_secret_must_be_given_again(self, sweep: Sweep) -> None:
        sweep.data["overrides"].append("x.api_key=<hidden>")
        with pytest.raises(LaunchError, match=r"add … x.api_key=VALUE"):
            extending.extend(sweep, ["seed=7"], cli.command)
