from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest
from hydra._internal.hydra import Hydra
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from hydra.core.utils import setup_globals
from hydra.types import HydraContext, RunMode
from omegaconf import OmegaConf

from rlpipe.cli.run import task
from rlpipe.config import plugins
from rlpipe.config.overrides import as_options
from rlpipe.core.errors import ConfigError
from rlpipe.core.paths import conf_dir
from rlpipe.sweep.arms import named
from rlpipe.sweep.composition import Composer
from rlpipe.sweep.discovery import register
from rlpipe.sweep.plan import plan
from rlpipe.sweep.rehearse import App, Rehearsal, rehearse

pytestmark = pytest.mark.slow

SMALL = ("model=blank", "dataset.sample_size=32", "method.max_steps=2", "evaluation=none")
Rehearse = Callable[..., Rehearsal]


@pytest.fixture
def rehearsed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Rehearse]:
    """Rehearse arms, each a list of overrides, of a command line (`given`)."""
    monkeypatch.setenv("RLPIPE_STORE", str(tmp_path / "store"))
    register()
    setup_globals()

    def go(*arms: Sequence[str], given: Sequence[str] = (), config: Path | None = None, **how: bool) -> Rehearsal:
        GlobalHydra.instance().clear()
        hydra = Hydra.create_main_hydra_file_or_module(__file__, None, str(config or conf_dir()), "rlpipe")
        lines = [*as_options(given), f"hydra.sweep.dir={tmp_path}/sweep"]
        master = hydra.compose_config("config", lines, RunMode.MULTIRUN, with_log_configuration=False)
        app = App(HydraContext(hydra.config_loader, None), task if config is None else print, master)  # type: ignore[arg-type]
        batch = [as_options(arm) for arm in arms]
        return rehearse(app, batch, 0, Composer(hydra.config_loader, master), **how)

    yield go
    GlobalHydra.instance().clear()


def problems(error: pytest.ExceptionInfo[ConfigError]) -> dict[str, str]:
    return {problem.where: problem.what for problem in error.value.problems}


def test_every_arm_has_its_folder_number_fields_and_config(rehearsed: Rehearse, tmp_path: Path) -> None:
    given = ("method=dpo,orpo", "seed=0,1", *SMALL)
    arms = [[f"method={m}", f"seed={s}", *SMALL] for m in ("dpo", "orpo") for s in (0, 1)]
    found = rehearsed(*arms, given=given).arms
    assert [arm.run_dir for arm in found] == [tmp_path / "sweep" / str(i) for i in range(4)]
    assert [arm.fields for arm in found][2] == {"method": "orpo", "seed": "0"}
    assert [(arm.run.method.name, arm.run.seed) for arm in found] == [("dpo", 0), ("dpo", 1), ("orpo", 0), ("orpo", 1)]
    assert [arm.hydra.job.num for arm in found] == [0, 1, 2, 3]
    assert found[1].hydra.overrides.task == list(found[1].overrides)


def test_the_problems_of_all_arms_are_said_together_each_once(rehearsed: Rehearse) -> None:
    arms = [
        ["method=kti"],
        ["seed=x"],
        ["method.learning_rate=-1"],
        ["method.learning_rate=-1", "seed=1"],
        ["method.lerning_rate=1"],
        ["method=dpo"],
    ]
    with pytest.raises(ConfigError) as error:
        rehearsed(*([*arm, *SMALL] for arm in arms))
    found = problems(error)
    assert "there is no option 'kti'" in found["method=kti (arm 0 of 6)"]
    assert "seed=x (arm 1 of 6)" in found
    assert [where for where in found if where.startswith("method.learning_rate")] == [
        "method.learning_rate (arms 2-3 of 6)"
    ]
    assert "method.lerning_rate=1 (arm 4 of 6)" in found
    assert len(found) == 4


def test_a_problem_that_all_arms_have_needs_no_numbers(rehearsed: Rehearse) -> None:
    with pytest.raises(ConfigError) as error:
        rehearsed(*([f"seed={i}", "reward=length", *SMALL] for i in range(3)))
    assert list(problems(error)) == ["reward"]


def test_a_stage_that_does_not_compose_is_a_problem_of_its_arms(rehearsed: Rehearse) -> None:
    with pytest.raises(ConfigError) as error:
        rehearsed(["after=[method=sft,method.x=1]", *SMALL], ["seed=1", *SMALL])
    [(where, _)] = problems(error).items()
    assert where.startswith("after: ")
    assert where.endswith("(arm 0 of 2)")


def test_the_same_run_twice_is_a_slip(rehearsed: Rehearse) -> None:
    arms = [["seed=0", *SMALL], ["seed=1", *SMALL], ["method=dpo", *SMALL]]
    with pytest.raises(ConfigError) as error:
        rehearsed(*arms)
    assert problems(error) == {"arms 0, 2": "are one and the same run"}
    found = rehearsed(*arms, repeats=True)
    assert [note.where for note in found.notes] == ["arms 0, 2"]


def test_two_arms_in_one_folder_are_refused(rehearsed: Rehearse, tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as error:
        rehearsed(*([f"seed={i}", f"run_dir={tmp_path}/here", *SMALL] for i in range(2)))
    assert problems(error)[f"{tmp_path}/here"] == "arms 0-1 would work in this one folder"


def test_stages_are_found_once_with_their_parents_first(rehearsed: Rehearse) -> None:
    after = "after=[method=sft,method.max_steps=2,after=[method=sft,method.max_steps=1]]"
    found = rehearsed(*([f"method={m}", after, *SMALL] for m in ("dpo", "orpo")))
    assert [stage.config.method.max_steps for stage in found.stages] == [1, 2]
    assert [[stage.name for stage in arm.stages] for arm in found.arms] == [[s.name for s in found.stages]] * 2


def test_what_a_cluster_has_is_not_looked_for_here(rehearsed: Rehearse, monkeypatch: pytest.MonkeyPatch) -> None:
    from rlpipe.run.check import capacity

    monkeypatch.setattr(capacity, "gpu_memory", lambda: None)
    arm = ["hardware.device=cuda", *SMALL]
    with pytest.raises(ConfigError, match="nvidia-smi finds no GPU"):
        rehearsed(arm)
    assert len(rehearsed(arm, here=False).arms) == 1


def test_interpolations_are_settled_when_it_is_rehearsed(
    rehearsed: Rehearse, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "conf"
    folder.mkdir()
    (folder / "config.yaml").write_text(
        "home: ${oc.env:SOME_PLACE}\nwhen: ${now:%f}\nplace: ${hydra:runtime.output_dir}\nnum: ${hydra:job.num}\n"
        "inner: {again: '${home}', list: ['${num}']}\nlater: ???\n"
    )
    monkeypatch.setenv("SOME_PLACE", "here")
    [_, arm] = rehearsed([], ["+x=1"], config=folder).arms
    monkeypatch.setenv("SOME_PLACE", "there")
    plain = OmegaConf.to_container(arm.config, resolve=False)
    assert isinstance(plain, dict)
    assert plain["home"] == plain["inner"]["again"] == "here"
    assert plain["when"].isdigit()
    assert (plain["place"], plain["num"], plain["inner"]["list"]) == (str(tmp_path / "sweep" / "1"), 1, [1])
    assert plain["later"] == "???"
    assert arm.run is None


def test_an_interpolation_that_leads_nowhere_is_found_before_anything_starts(
    rehearsed: Rehearse, tmp_path: Path
) -> None:
    folder = tmp_path / "conf"
    folder.mkdir()
    (folder / "config.yaml").write_text("a: ${nothing}\n")
    with pytest.raises(ConfigError, match="nothing"):
        rehearsed([], config=folder)


def test_hydras_own_config_is_as_it_was(rehearsed: Rehearse) -> None:
    before = HydraConfig.instance().cfg
    rehearsed([*SMALL])
    assert HydraConfig.instance().cfg is before


@pytest.mark.parametrize(("numbers", "said"), [([3], "arm 3"), ([5, 0, 1, 2, 7], "arms 0-2, 5, 7")])
def test_arms_are_named_shortly(numbers: list[int], said: str) -> None:
    assert named(numbers) == said


@pytest.mark.slow
def test_200_arms_are_rehearsed_together(rehearsed: Rehearse) -> None:
    given = ["after=sft", "dataset=ultrafeedback"]
    arms = [
        [f"method={method}", f"seed={seed}", f"method.learning_rate={rate}", *given]
        for method in ("dpo", "kto", "orpo", "simpo")
        for seed in range(10)
        for rate in ("1e-5", "2e-5", "3e-5", "4e-5", "5e-5")
    ]
    found = rehearsed(*arms)
    assert len(found.arms) == 200
    assert len(found.stages) == 11


def test_an_arms_plugins_are_made_once_for_check_and_plan(rehearsed: Rehearse, tmp_path: Path, monkeypatch) -> None:
    made: list[str] = []
    make = plugins.make
    monkeypatch.setattr(plugins, "make", lambda kind, config: made.append(kind) or make(kind, config))
    found = rehearsed([*SMALL, "seed=1"], [*SMALL, "seed=2"])
    plan(found, tmp_path, None, 0)
    assert sorted(made).count("method") == 2
    assert sorted(made).count("model") == 2


def test_one_bad_value_among_many_names_its_arm(rehearsed: Rehearse) -> None:
    with pytest.raises(ConfigError) as stopped:
        rehearsed(*([*SMALL, f"method.beta={beta}"] for beta in ("0.1", "0.2", "0", "0.4")))
    assert problems(stopped) == {"method.beta (arm 2 of 4)": "0.0 is out of range"}
    with pytest.raises(ConfigError) as stopped:
        rehearsed(*([*SMALL, f"+method.extra.optim={optim}"] for optim in ("sgd", "sgdd")))
    assert list(problems(stopped)) == ["method.extra.optim (arm 1 of 2)"]
