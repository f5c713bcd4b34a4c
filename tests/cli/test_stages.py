"""`rlpipe stages`: what it says of a store, and what it deletes."""

from __future__ import annotations

import dataclasses
import json
import os
from pathlib import Path

import pytest

from rlpipe.cli import main as cli
from rlpipe.cli.exits import DONE, FIXABLE, UNWELL
from rlpipe.stages import store, upkeep
from rlpipe.stages.fingerprint import describe
from rlpipe.stages.lineage import parent_config
from rlpipe.stages.measurements import measurement
from rlpipe.stages.stored import State, Stored
from rlpipe.stages.users import users, using
from tests.composed import compose

pytestmark = pytest.mark.slow


@pytest.fixture
def stages(capsys, config):
    """Run the command on the test's store; returns its exit code and what it printed."""

    def run(*arguments: str) -> tuple[int, str]:
        capsys.readouterr()
        try:
            code = cli.status(["stages", "--store", config.store, *arguments])
        except SystemExit as left:
            code = left.code
        printed = capsys.readouterr()
        return code, printed.out + printed.err

    return run


ASKING = ("model=blank", "dataset.sample_size=40", "evaluation=none", "hardware.device=cpu")


@pytest.fixture
def chain(config, build):
    """An SFT and the reward model that was made from it."""
    run = compose(*ASKING, "method=reward_model", "dataset=ultrafeedback", "after=sft", f"store={config.store}")
    first, second = describe(parent_config(run, "after")), describe(run)
    for one in (first, second):
        store.ensure(one, build)
    return first, second


def old(stage, days: float) -> None:
    for name in (".users", "result.json", "."):
        if (stage.folder / name).exists():
            os.utime(stage.folder / name, times=(os.stat(stage.folder).st_ctime - days * 86400,) * 2)


def test_the_list_is_a_tree(stages, chain, build, stage):
    build.during = lambda _: (_ for _ in ()).throw(KeyError("x"))
    with pytest.raises(KeyError):
        store.ensure(stage, build)
    code, printed = stages("list")
    lines = printed.splitlines()
    assert code == DONE
    assert lines[0].split() == ["stage", "makes", "dataset", "status", "age", "size", "used", "by"]
    named = {line.split()[0] if not line.startswith("└") else line.split()[1]: line for line in lines[1:4]}
    assert "1 stage made from it" in named[chain[0].name]
    assert named[chain[1].name].startswith("└ ")
    assert lines.index(named[chain[1].name]) == lines.index(named[chain[0].name]) + 1
    assert "failed, step 1" in named[stage.name]
    assert lines[4].startswith("3 stages, ")


def test_it_says_who_builds_and_who_uses(stages, stage, build):
    def look(_):
        _, printed = stages()
        assert f"building by process {os.getpid()} on" in printed
        assert ", step 1" in printed
        _, printed = stages("prune", "--older-than", "0s")
        assert f"kept {stage.name}: it is being built by process {os.getpid()}" in printed

    build.during = look
    with store.in_use(stage, "/runs/a", build):
        _, printed = stages()
        assert "using it for /runs/a" in printed


def test_damage_is_found_and_moved_aside(stages, chain, build):
    assert stages("verify") == (DONE, "2 of 2 stages are whole or unfinished, 0 damaged\n")
    (chain[0].product / "weights").write_text("other")
    code, printed = stages("verify")
    assert code == UNWELL
    assert f"{chain[0].name}: model/weights has another content" in printed
    assert f"rlpipe stages --store {chain[0].folder.parent} verify --repair" in printed
    code, printed = stages("verify", "--repair")
    assert code == DONE
    assert f"moved to {chain[0].folder.parent}/.damaged/{chain[0].name}-" in printed
    assert Stored(chain[0].folder).state() is State.missing
    store.ensure(chain[0], build)
    assert build.built.count(chain[0].name) == 2
    assert stages("verify")[0] == DONE


def test_a_record_that_cannot_be_read_is_damage(stages, chain):
    for name in ("manifest.json", "manifest.copy.json"):
        (chain[1].folder / name).write_text("{")
    code, printed = stages("verify")
    assert code == UNWELL
    assert "manifest.json: damaged" in printed
    assert "damaged: " in stages("list")[1]
    assert stages("prune", "--older-than", "30d")[0] == DONE


def test_prune_by_age(stages, chain, stage, build):
    store.ensure(stage, build)
    old(chain[0], days=40)
    code, printed = stages("prune", "--older-than", "30d")
    assert code == DONE
    assert f"kept {chain[0].name}: {chain[1].name} was made from it" in printed
    assert chain[0].folder.exists()
    old(chain[1], days=35)
    _, printed = stages("prune", "--older-than", "30d", "--dry-run")
    assert f"would delete {chain[0].name}" in printed
    assert chain[0].folder.exists()
    _, printed = stages("prune", "--older-than", "30d")
    assert printed.count("deleted") == 2
    assert [path.name for path in stage.folder.parent.iterdir()] == [stage.name]


def test_prune_by_size_takes_the_longest_unused(stages, chain, stage, build):
    store.ensure(stage, build)
    old(chain[1], days=3)
    old(stage, days=2)
    total = sum(Stored(one.folder).size for one in (*chain, stage))
    _, printed = stages("prune", "--larger-than", f"{total - 1}B")
    assert f"deleted {chain[1].name}" in printed
    assert printed.count("deleted") == 1
    _, printed = stages("prune", "--larger-than", "0B")
    assert printed.count("deleted") == 2
    assert stages("list")[1].endswith(f"0 stages, 0 bytes, in {stage.folder.parent}\n")


def test_prune_leaves_what_is_used(stages, stage, build, monkeypatch):
    with store.in_use(stage, "/runs/a", build):
        _, printed = stages("prune", "--larger-than", "0B")
        assert f"kept {stage.name}: it is used by process {os.getpid()}" in printed
        assert stage.folder.exists()
    # A run that begins to use it between the choice and the deletion is seen too.
    with using(stage.folder, "/runs/b"):
        monkeypatch.setattr(upkeep, "_stays", lambda *_: None)
        _, printed = stages("prune", "--older-than", "0s")
        assert f"kept {stage.name}: it is used by" in printed
        assert len(users(stage.folder)) == 1
    assert store.is_built(stage)


def test_explain_says_what_differs(stages, chain, config, build, monkeypatch):
    asked = (*ASKING, "method=dpo", "dataset=ultrafeedback", "after=sft")
    code, printed = stages("explain", *asked)
    assert code == DONE
    assert printed == f"after: {chain[0].name} is there (0 s old) and will be reused\n" or "will be reused" in printed
    monkeypatch.setattr("rlpipe.stages.fingerprint._version", lambda package: "99")
    after = "after=[method=sft,method.learning_rate=0.5,dataset.sample_size=48]"
    _, printed = stages("explain", *asked[:-1], after)
    lines = printed.splitlines()
    assert lines[0].endswith("differs in")
    assert chain[0].name in lines[0]
    told = "\n".join(lines[1:])
    manifest = json.loads((chain[0].folder / "manifest.json").read_text())
    before = manifest["fingerprint_inputs"]
    assert f"method.learning_rate: {before['config']['method']['learning_rate']} → 0.5" in told
    assert f"package torch: {before['versions']['torch']} → 99" in told
    assert "dataset.sample_size: 40 → 48" in told
    assert f"({before['data'][:12]}) → 48 (" in told
    assert "model.layers" not in told


def test_explain_names_every_need(stages, stage, build):
    _, printed = stages(
        "explain", *ASKING, "method=ppo", "dataset=ultrafeedback", "after=sft", "reward=reward_model_after_sft"
    )
    assert [line.split()[0] + line.split()[1] for line in printed.splitlines()] == [
        f"after:{printed.split()[1]}",
        "reward.reward_model.stage:after:",
        f"reward.reward_model.stage:{printed.splitlines()[2].split()[1]}",
    ]
    assert ", as for after" in printed.splitlines()[1]
    assert stages("explain", *ASKING, "method=sft", "dataset=smoltalk")[1] == "this run needs no stage\n"
    build.during = lambda _: (_ for _ in ()).throw(KeyError("lost"))
    with pytest.raises(KeyError):
        store.ensure(stage, build)
    _, printed = stages(
        "explain", "model=blank", "method=dpo", "after=[method=sft,dataset=smoltalk,dataset.sample_size=40]"
    )
    assert f"{stage.name} has failed at its last attempt: 'lost'" in printed


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("prune",), "say --older-than 30d"),
        (("prune", "--older-than", "soon"), "'soon' is none; give a number with a unit"),
        (("prune", "--larger-than", "3"), "such as 50GB"),
        (("explain", "method=dpoo"), "did you mean 'dpo'"),
        (("explain", "method=dpo", "method.beta=x"), "method.beta"),
        (("verify",), "there is no such store"),
    ],
)
def test_what_can_be_fixed_is_said(stages, arguments, told):
    code, printed = stages(*arguments)
    assert code == FIXABLE
    assert told in printed


def test_units():
    from rlpipe.cli.stages import _duration, _size

    assert [_duration(text) for text in ("30d", "12h", "90min", "2w", "1.5 h")] == [2592000, 43200, 5400, 1209600, 5400]
    assert [_size(text) for text in ("50GB", "500MB", "1kb", "2TB")] == [50e9, 500e6, 1e3, 2e12]


def test_stages_of_one_config_with_another_seed_are_others(config):
    assert describe(config).name != describe(dataclasses.replace(config, seed=1)).name


def test_measurements_are_listed_verified_and_deleted_by_age(stages, config):
    kept = measurement(Path(config.store), {"weights": "a"})
    kept.write([{"id": "test/0", "score": 1.0}], Path("/runs/a"), {})
    assert "1 measurements of models before training" in stages("list")[1]
    kept.file.write_bytes(kept.file.read_bytes() + b"x")
    code, printed = stages("verify")
    assert code == UNWELL
    assert f"{kept.name}: damaged" in printed
    assert stages("verify", "--repair")[0] == DONE
    assert stages("verify")[0] == DONE
    kept.write([], Path("/runs/a"), {})
    assert "would delete 1 measurement" in stages("prune", "--older-than", "0s", "--dry-run")[1]
    assert kept.file.exists()
    stages("prune", "--older-than", "0s")
    assert not kept.file.exists()
