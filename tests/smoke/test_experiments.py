"""Every experiment: composes and passes the checks at both scales, names its source, and runs."""

from __future__ import annotations

import dataclasses
import itertools
import json
import re

import pytest
import yaml

from rlpipe.config import plugins
from rlpipe.config.compose import compose
from rlpipe.config.resolved import resolve
from rlpipe.config.schema import RunConfig
from rlpipe.core.paths import conf_dir
from rlpipe.methods.online import OnlineMethod
from rlpipe.run.check import models
from rlpipe.run.check.check import problems
from tests.composed import once
from tests.smoke.conftest import STAGE

pytestmark = pytest.mark.slow

FILES = sorted((conf_dir() / "experiment").glob("*.yaml"))
STUDIES = [file.stem for file in FILES if file.stem.startswith("study_")]
NAMES = [file.stem for file in FILES if file.stem not in STUDIES]
FULL_SCALE = "model=qwen2.5-0.5b"


def test_the_experiments_are_counted():
    assert len(NAMES) == 31
    assert len(STUDIES) == 6


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_an_experiment_names_its_source_and_its_full_scale(file):
    text = file.read_text()
    assert text.startswith("# @package _global_\n")
    assert re.search(r"arXiv:\d{4}\.\d{5}", text)
    assert f"add {FULL_SCALE}" in text


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("scale", [(), (FULL_SCALE,)], ids=["embedded", "full"])
def test_an_experiment_passes_the_checks(name, scale, monkeypatch):
    monkeypatch.setattr(models, "cannot_be_had", lambda source, revision: None)  # tests have no hub
    overrides = [f"experiment={name}", *scale]
    config = compose(*overrides)
    fatal = [str(problem) for problem in problems(config, overrides) if problem.fatal]
    # whether this machine could hold half a billion weights, or quantise them, is not the experiment's business
    machine = ("model:", "model.quantize=nf4: needs a GPU", "model.quantize=nf4: bitsandbytes is not installed")
    assert [problem for problem in fatal if not problem.removeprefix("after: ").startswith(machine)] == []
    assert config.dataset.source == ("hub" if scale and not resolve(config).dataset.made else "sample")


@pytest.mark.parametrize("name", STUDIES)
def test_a_study_measures_what_its_arms_make_on_the_same_rows(name):
    params = yaml.safe_load((conf_dir() / "experiment" / f"{name}.yaml").read_text())["hydra"]["sweeper"]["params"]
    assert len(params.pop("seed").split(",")) == 3
    grid = [[f"{key}={value}" for value in values.split(",")] for key, values in params.items()]
    arms = [compose(*overrides) for overrides in itertools.product(*grid)]
    assert len(arms) >= 3
    assert len({repr(arm.dataset) for arm in arms}) == 1
    [first, *others] = [
        {name: repr(dataclasses.replace(node, required=True)) for name, node in arm.evaluation.items()} for arm in arms
    ]
    assert first.items() & set.intersection(*(set(other.items()) for other in others))


def test_chat_models_may_have_another_judge():
    served = ["reward.judge.url=http://127.0.0.1:9/v1", "reward.judge.model=m"]
    overrides = ["experiment=chat_judged", "reward=[reward_model,judge]", "evaluation.win_rate.reward=judge", *served]
    config = compose(*overrides)
    assert config.evaluation["win_rate"].reward == "judge"
    assert [str(problem) for problem in problems(config, overrides) if problem.fatal] == []


def test_learning_rates_follow_the_model():
    small, full = (compose("experiment=chat_simpo", *scale).method for scale in ((), (FULL_SCALE,)))
    assert full.learning_rate == 6e-7
    assert small.learning_rate == pytest.approx(6e-7 * 150)
    assert (small.max_length, full.max_length) == (512, 2048)


def judges_of(config: RunConfig) -> list[str]:
    """Return the overrides that make the runs small which rewards and evaluations ask for, where they do."""
    nodes = {"reward": config.reward, "evaluation": config.evaluation}
    asked = {
        f"{kind}.{name}": getattr(node, "stage", []) for kind, group in nodes.items() for name, node in group.items()
    }
    return [
        f"{path}.stage={json.dumps(once(*own, *STEPS, *ROWS, 'evaluation=none'))}" for path, own in asked.items() if own
    ]


def before(config: RunConfig) -> list[str]:
    """Return the override that makes the runs before small, however many there are."""
    if not config.after:
        return []
    asked = once(*config.after, *STEPS, *ROWS, "evaluation=none", *before(compose(*config.after)))
    return [f"after=[{','.join(asked)}]"]


def short(config: RunConfig) -> list[str]:
    """Return the overrides that make what the evaluations draw short, and what they bring little."""
    fields = {
        name: "max_tokens" if hasattr(node, "max_tokens") else "sampling.max_tokens"
        for name, node in config.evaluation.items()
        if hasattr(node, "max_tokens") or hasattr(node, "sampling")
    }
    tasks = [f"evaluation.{name}.limit=8" for name, node in config.evaluation.items() if node.name == "lm_eval"]
    return [*(f"evaluation.{name}.{field}=16" for name, field in fields.items()), *tasks]


def rows_of(name: str) -> list[str]:
    """Return the override that makes the run small which makes an experiment's rows, where one does."""
    own = compose(f"experiment={name}").dataset.stage
    if not own:
        return []
    judge = next(place for place, override in enumerate(own) if override.startswith("reward.reward_model.stage="))
    steps = "'method.max_steps=1','method.batch_size=4','method.micro_batch_size=2','dataset.sample_size=64'"
    own[judge] = own[judge].replace("]", f",{steps},'evaluation=none']")
    small = ["method.sampling.max_tokens=16", "method.cut=keep", "dataset.sample_size=24"]
    return [f"dataset.stage={json.dumps(once(*own, *small))}"]


ROWS = ["dataset.sample_size=64", "dataset.test_limit=8", "log.every=1", "log.progress=false", "hardware.device=cpu"]
STEPS = ["method.max_steps=1", "method.batch_size=4", "method.micro_batch_size=2"]
DRAWN = ["method.max_steps=1", "method.batch_size=8", "method.sampling.max_tokens=16"]


@pytest.mark.parametrize("name", NAMES)
def test_an_experiment_runs(finished, name):
    config = compose(f"experiment={name}")
    method = plugins.load("method", config.method.name)
    trains = method.makes == "model"
    steps = [] if not trains else DRAWN if issubclass(method, OnlineMethod) else STEPS
    small = [*steps, *ROWS, *before(config), *short(config), *rows_of(name), *judges_of(config)]
    result = finished(f"experiment={name}", STAGE, *small, small=False)
    assert [row["step"] for row in result["rows"] if "loss" in row] == ([1] if trains else [])
    measured = any(key.startswith("after/" if trains else "before/") for key in result["metrics"])
    assert measured == bool(config.evaluation)
