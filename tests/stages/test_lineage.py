"""Which runs a run needs, what they inherit, and what is wrong with them before anything starts."""

from __future__ import annotations

import json

import pytest
from hydra.core.config_store import ConfigStore

from rlpipe.config.compose import compose
from rlpipe.core.paths import conf_dir
from rlpipe.run.check.check import problems
from rlpipe.stages import lineage
from rlpipe.stages.fingerprint import describe
from rlpipe.stages.lineage import origin, other_parents, parent_config, parent_overrides, start_parent
from rlpipe.stages.store import plan

pytestmark = pytest.mark.slow

OWN = ("model=blank", "model.layers=1", "dataset=ultrafeedback", "dataset.sample_size=40", "seed=3")


def test_the_start_inherits_model_dataset_and_seed():
    run = start_parent(compose(*OWN, "method=dpo", "after=sft", "log.every=7", "checkpoint.every=5", "tracker=wandb"))
    assert (run.model.layers, run.dataset.sample_size, run.seed, run.log.every) == (1, 40, 3, 7)
    assert run.checkpoint.every == 5
    assert run.tracker.name == "none"
    run = start_parent(compose(*OWN, "method=dpo", "after=[method=sft,seed=5,dataset=smoltalk,model.layers=2]"))
    assert (run.model.layers, run.dataset.name, run.seed) == (2, "smoltalk", 5)
    assert run.model.name == "blank"


def test_a_teacher_belongs_to_the_policy_and_counts_by_its_fingerprint():
    own = (*OWN, "method=distill")
    config, other = (
        compose(*own, f"method.teacher.stage=[method=sft,dataset=warmstart,method.max_steps={steps}]")
        for steps in (1, 2)
    )
    teacher = parent_config(config, "method.teacher.stage")
    assert (teacher.seed, teacher.model.layers, teacher.method.max_steps) == (3, 1, 1)
    assert list(other_parents(config)) == ["method.teacher.stage"]
    assert describe(config).fingerprint != describe(other).fingerprint


def test_a_reference_belongs_to_the_policy_and_rows_do_not():
    config = compose(
        *OWN,
        "method=dpo",
        "method.reference.stage=[method=sft]",
        "dataset.stage=[method=ai_feedback,reward=length]",
        "evaluation.preference.limit=3",
    )
    reference, rows = parent_config(config, "method.reference.stage"), parent_config(config, "dataset.stage")
    assert (reference.seed, reference.dataset.stage) == (3, config.dataset.stage)
    assert (rows.seed, rows.model.layers, rows.dataset.stage) == (0, 1, [])
    assert list(other_parents(config)) == ["dataset.stage", "method.reference.stage"]
    assert parent_overrides(compose(*OWN, "method=dpo", "dataset.stage=[a=b]", "dataset.source=/some/folder")) == {}


@pytest.mark.parametrize(
    ("after", "tools"),
    [
        ("sft_warmstart", ["calculator"]),
        ("[method=sft,dataset=gsm8k]", ["calculator"]),
        ("sft_smoltalk", []),  # conversations have no answers to work out
        ("[method=sft,dataset=warmstart,tool=none]", []),
        ("[method=dpo,dataset=ultrafeedback]", []),  # DPO trains on no calls
    ],
)
def test_the_start_learns_the_calls_that_the_run_makes(after, tools):
    config = compose("model=blank", "method=rloo", "dataset=countdown", "tool=calculator", f"after={after}")
    assert list(start_parent(config).tool) == tools


def test_a_plan_has_everything_once_and_parents_first():
    config = compose(*OWN[:-1], "method=ppo", "after=sft", "reward=reward_model_after_sft")
    stages = plan(config)
    assert [stage.config.method.name for stage in stages] == ["sft", "reward_model"]
    assert start_parent(stages[1].config).seed == 0
    assert stages[0].fingerprint == describe(start_parent(config)).fingerprint == stages[1].inputs["model"]
    assert [stage.config.run_dir for stage in stages] == [str(stage.folder) for stage in stages]
    assert len(plan(compose(*OWN, "method=ppo", "after=sft", "reward=reward_model_after_sft"))) == 3, "seeds 3 and 0"
    deep = compose(*OWN, "method=rloo", "after=dpo", "reward=length")
    assert [stage.config.method.name for stage in plan(deep)] == ["sft", "dpo"]
    assert plan(compose(*OWN, "method=sft")) == []


@pytest.mark.parametrize("preset", sorted(file.stem for file in (conf_dir() / "after").glob("*.yaml")))
def test_every_preset_passes_the_checks(preset, tmp_path):
    data = ("dataset=piqa",)
    if preset == "sft_warmstart_solver":  # of puzzles that are anybody's own
        rows = [json.dumps({"nums": [one, one + 1, 2], "target": 2 * one + 3}) for one in range(40)]
        (tmp_path / "puzzles.jsonl").write_text("\n".join(rows))
        data = ("dataset=countdown", f"dataset.source={tmp_path / 'puzzles.jsonl'}")
    config = compose("method=rloo", *data, "reward=length", "evaluation=none", f"after={preset}")
    assert [str(problem) for problem in problems(config) if problem.fatal] == []
    assert bool(config.after) is (preset != "none")


@pytest.fixture
def circle():
    store = ConfigStore.instance()
    options = {
        "ring": ["method=sft", "after=ring"],
        "ping": ["method=dpo", "after=pong"],
        "pong": ["method=sft", "after=ping"],
    }
    for name, after in options.items():
        store.store(group="after", name=name, node={"after": after}, package="_global_")
    yield
    for name in options:
        del store.repo["after"][f"{name}.yaml"]


def test_a_circle_is_named_with_what_leads_back(circle):
    [problem] = problems(compose(*OWN, "method=dpo", "after=ring"))
    assert problem.where == "after: after: a circle"
    assert problem.what == (
        "after=[method=sft,after=ring] → after=[method=sft,after=ring] leads back to where it began"
    )
    [problem] = problems(compose(*OWN, "method=kto", "after=ping"))
    assert problem.what == (
        "after=[method=dpo,after=pong] → after=[method=sft,after=ping] → after=[method=dpo,after=pong] "
        "leads back to where it began"
    )


def test_a_long_chain_is_no_circle():
    after = "after=[method=sft,seed=0]"
    for seed in range(1, 12):
        after = f"after=[method=sft,seed={seed},{after}]"
    config = compose(*OWN, "method=dpo", after)
    assert [problem for problem in problems(config) if problem.fatal] == []
    assert len(plan(config)) == 12


@pytest.mark.parametrize(
    ("overrides", "where", "what"),
    [
        (["after=[method=reward_model]"], "after: method=reward_model", "a reward head, and one with a causal_lm head"),
        (["after=[method=none]"], "after: method=none", "makes nothing, and a model is needed"),
        (
            ["after=[method=ai_feedback,reward=length]"],
            "after: method=ai_feedback",
            "makes rows, and a model is needed",
        ),
        (["dataset.stage=[method=sft]"], "dataset.stage: method=sft", "makes a model, and rows is needed"),
        (["model.stage=[method=none]"], "model.stage: method=none", "makes nothing"),
        (
            ["method=ppo", "reward=reward_model", "reward.reward_model.stage=[method=sft]"],
            "reward.reward_model.stage: method=sft",
            "a causal_lm head, and one with a reward head",
        ),
        (["method.reference.stage=[method=reward_model]"], "method.reference.stage: method=reward_model", "causal_lm"),
        (["method.reference.model=/no/such/folder"], "method.reference.model", "there is no folder"),
        (
            ["method.reference.model=a/b", "method.reference.stage=[method=sft]"],
            "method.reference",
            "both a model and the run",
        ),
        (["method.reference_free=true", "method.reference.model=a/b"], "method.reference", "has no reference"),
        (
            ["dataset=mixture", "method=sft", "dataset.stage=[method=ai_feedback,reward=length]"],
            "dataset.stage",
            "itself",
        ),
    ],
)
def test_what_a_run_does_not_make_is_found_before_anything_starts(overrides, where, what):
    found = problems(
        compose(*OWN, "evaluation=none", *(["method=dpo"] if "method=" not in str(overrides[0]) else []), *overrides)
    )
    fatal = [problem for problem in found if problem.fatal and "the local cache has no copy" not in problem.what]
    assert [(problem.where, what in problem.what) for problem in fatal] == [(where, True)], found


def test_a_judge_takes_no_stage_and_says_what_to_do():
    from rlpipe.core.errors import ConfigError

    with pytest.raises(ConfigError, match=r"reward\.judge\.stage.*(?s:.*)serve"):
        compose(*OWN, "method=rloo", "reward=judge", "reward.judge.stage=[method=sft]")


def test_a_store_that_cannot_be_made_is_found_before_anything_starts(tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    needing = (*OWN, "method=dpo", "after=sft")
    [problem] = problems(compose(*needing, f"store={tmp_path}/file"))
    assert (problem.where, problem.what) == ("store", f"{tmp_path}/file is a file")
    assert problems(compose(*OWN, "method=sft", f"store={tmp_path}/file")) == []
    # the superuser, who may run these tests, can write anywhere
    monkeypatch.setattr("os.access", lambda path, mode: False)
    [problem] = problems(compose(*needing, f"store={tmp_path}/new"))
    assert problem.what == f"{tmp_path}/new cannot be made, for {tmp_path} cannot be written"
    [problem] = problems(compose(*needing, f"store={tmp_path}"))
    assert not problem.fatal


def test_the_origin_is_the_run_whose_weights_are_loaded_or_made(monkeypatch):
    alone = compose(*OWN, "method=dpo")
    assert origin(alone) is alone
    second = compose(*OWN, "method=dpo", "after=[method=sft,seed=5]")
    assert (origin(second).method.name, origin(second).seed) == ("sft", 5)
    monkeypatch.setattr(lineage, "start_parent", lambda config: second if config is alone else alone)
    assert origin(alone) is None, "two runs that need each other"
