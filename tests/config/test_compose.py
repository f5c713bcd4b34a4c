"""Composing from Python: typed, complete, light, and refusing what no field takes."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import dataclass
from enum import Enum
from pathlib import Path

import pytest
import yaml
from hydra import initialize_config_dir
from omegaconf import OmegaConf

from rlpipe.config.compose import compose, compose_untyped, restore, to_plain, typed
from rlpipe.config.fields import declarations, fields, values
from rlpipe.config.hydra import VERSION_BASE
from rlpipe.config.schema import RunConfig, Until
from rlpipe.core.errors import ConfigError
from rlpipe.core.paths import conf_dir
from rlpipe.methods.kto import KTOConfig
from rlpipe.methods.offline import Overlong


def test_a_run_is_dataclasses_all_the_way_down():
    config = compose("method=kto", "until=check", "reward=length", "model.lora.rank=4")
    assert isinstance(config, RunConfig)
    assert isinstance(config.method, KTOConfig)
    assert config.until is Until.check
    assert config.reward["length"].words == 30
    assert config.model.lora.rank == 4


def test_several_rewards_and_evaluations_stay_apart():
    config = compose("evaluation=[preference,perplexity]", "reward=[length]", "reward.length.weight=0.5")
    assert list(config.evaluation) == ["preference", "perplexity"]
    assert config.reward["length"].weight == 0.5


def test_defaults_follow_the_model():
    assert compose("model=tiny").dataset.source == "sample"
    assert compose("model=qwen2.5-0.5b").dataset.source == "hub"
    assert compose("model=qwen2.5-0.5b").method.max_length == 1024
    assert compose("model=tiny", "model.context=100").method.max_length == 100
    assert compose("model=tiny", "method.max_length=300", "model.context=100").method.max_length == 300


def test_plain_holds_every_value_resolved():
    plain = to_plain(compose("method=dpo"))
    assert plain["until"] == "evaluate"
    assert plain["dataset"]["source"] == "sample"
    assert plain["method"]["extra"] == {}


@pytest.mark.slow
@pytest.mark.parametrize(
    "overrides",
    [
        ["method=kto", "model.lora.rank=4", "after=sft", "seed=3"],
        ["method=grpo", "dataset=countdown", "reward=[countdown,length]", "tool=calculator", "until=train"],
        ["evaluation=[preference,perplexity]", "tracker=wandb", "tracker.tags=[a,b]", "+method.extra.optim=sgd"],
        ["method=rloo", "dataset=episodes", "environment=guessing", "environment.guesses=2", "reward=environment"],
        ["experiment=chat_dpo", "method.beta=0.3", "hardware.device=cpu"],
    ],
)
def test_a_record_restores_the_very_config(overrides):
    """By way of the files: what YAML and JSON keep of it."""
    config = compose(*overrides)
    for written in (yaml.safe_load(yaml.safe_dump(to_plain(config))), json.loads(json.dumps(to_plain(config)))):
        restored = restore(written)
        assert restored == config
        assert type(restored.method) is type(config.method)
        assert to_plain(restored) == to_plain(config)


def test_a_record_of_another_version_is_refused_with_all_that_does_not_fit():
    plain = to_plain(compose("method=dpo", "reward=length"))
    plain["method"]["gone"] = 1
    plain["reward"]["length"]["name"] = "lenght"
    plain["sede"] = 3
    plain["hardware"]["threads"] = "many"
    with pytest.raises(ConfigError) as refused:
        restore(plain)
    assert [problem.where for problem in refused.value.problems] == ["method", "reward", "hardware", "sede"]
    assert "did you mean 'length'?" in str(refused.value)


@pytest.mark.parametrize(
    ("override", "where"),
    [("+method.foo=1", "method.foo"), ("+foo=1", "foo"), ("+model.lora.foo=1", "model.lora.foo")],
)
def test_a_key_that_no_field_takes_is_refused(override, where):
    with pytest.raises(ConfigError) as refused:
        compose(override)
    assert [problem.where for problem in refused.value.problems] == [where]


def test_extra_takes_any_key():
    assert compose("+method.extra.optim=sgd").method.extra == {"optim": "sgd"}


def test_a_primary_config_without_the_schema_is_refused():
    with pytest.raises(ConfigError, match=r"schema/run@_here_"):
        typed(OmegaConf.create({"seed": 1}))


def test_a_running_applications_search_path_counts(tmp_path: Path):
    (tmp_path / "method").mkdir()
    (tmp_path / "method" / "mine.yaml").write_text(
        "# Mine.\ndefaults:\n  - /schema/method/dpo@_here_\n  - _self_\nbeta: 0.7\n"
    )
    with initialize_config_dir(str(tmp_path), version_base=VERSION_BASE):
        assert compose("method=mine").method.beta == 0.7
    with pytest.raises(ConfigError, match="no option 'mine'"):
        compose("method=mine")
    assert (conf_dir() / "config.yaml").is_file()


class Colour(Enum):
    """What light it reflects."""

    red = "red"
    """Of long waves."""
    blue = "blue"


@dataclass
class Base:
    size: int = 1
    """How large."""
    depth: float = 1.0
    """How deep."""


@dataclass
class Derived(Base):
    size: int = 2
    colour: Colour = Colour.red


def test_documentation_is_read_from_under_the_fields():
    told = declarations(Derived)
    assert list(told) == ["size", "depth", "colour"]
    assert (told["size"].doc, told["size"].type, told["size"].owner) == ("How large.", "int", Derived)
    assert told["depth"].owner is Base
    assert told["colour"].doc == ""
    assert values(Colour) == {"red": "Of long waves.", "blue": ""}
    assert list(values(Overlong)) == ["drop", "truncate"]


def test_fields_are_listed_as_the_command_line_names_them():
    config = compose_untyped(["reward=length", "method=kto", "+method.extra.optim=sgd"])
    listed = {field.path: field for field in fields(config)}
    assert listed["reward.length.words"].shown == "30"
    assert listed["method.extra"].value == {"optim": "sgd"}
    assert listed["method.overlong"].shown == "drop"
    assert listed["model.stage"].shown.startswith("[model=blank,")
    assert listed["method.max_steps"].shown == "null"
    assert listed["log.progress"].shown == "true"
    assert listed["method.batch_size"].doc.startswith("Examples per optimiser step")


@pytest.mark.slow
def test_importing_and_composing_is_light():
    program = (
        "import sys, rlpipe, rlpipe.cli.run, rlpipe.run.check.check;"
        "from rlpipe.config.compose import compose;"
        "compose('method=kto', 'dataset=piqa', 'tracker=wandb');"
        "print([name for name in ('wandb', 'numpy', 'rich') if name in sys.modules]);"
        "from rlpipe.testing import HEAVY; print([name for name in HEAVY if name in sys.modules])"
    )
    command = [sys.executable, "-c", program]
    done = subprocess.run(command, capture_output=True, text=True, cwd=Path(__file__).parents[2], check=False)
    assert done.stdout.split() == ["[]", "[]"], done.stderr


@pytest.mark.parametrize("recipe", ["countdown_rloo", "piqa_dpo"])  # one names a preset, one writes its list out
def test_a_run_before_that_is_chosen_replaces_the_recipes_own(recipe):
    assert compose(f"experiment={recipe}").after
    assert compose(f"experiment={recipe}", "after=sft_smoltalk").after == ["method=sft", "dataset=smoltalk"]
    assert compose(f"experiment={recipe}", "after=[method=sft,seed=7]").after == ["method=sft", "seed=7"]
    assert compose(f"experiment={recipe}", "after=none").after == []
