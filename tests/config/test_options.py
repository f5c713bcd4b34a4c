"""Everything in conf/: every option composes, is short, says what it is, and names no code."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from rlpipe.config import plugins
from rlpipe.config.compose import compose
from rlpipe.config.options import ORDER, chosen_options, named_options, options
from rlpipe.core.paths import conf_dir

CHOICES = [(group, name) for group, known in options().items() for name in known]
FILES = sorted(conf_dir().rglob("*.yaml"))
LONGEST = 40


def test_no_option_and_no_file_is_left_out():
    """Counted apart from `options`, so that a folder that it overlooks is seen."""
    in_files = {(group_of(file), file.stem) for file in FILES if file.parent not in (conf_dir(), *hydras_own())}
    without_yaml = {(plugins.GROUPS[kind], name) for kind, known in plugins.table().items() for name in known}
    assert set(CHOICES) == in_files | without_yaml
    assert len(CHOICES) >= 40
    assert {group_of(file) for file in FILES if file.parent != conf_dir()} - {"hydra/sweeper"} <= set(ORDER)


def group_of(file: Path) -> str:
    return str(file.parent.relative_to(conf_dir()))


def hydras_own() -> list[Path]:
    folders = [folder for folder in (conf_dir() / "hydra").rglob("*") if folder.is_dir()]
    return [folder for folder in folders if str(folder.relative_to(conf_dir())) not in plugins.GROUPS.values()]


@pytest.mark.slow
@pytest.mark.parametrize(("group", "name"), CHOICES, ids=lambda part: part)
def test_every_option_composes(group, name):
    config = compose(f"{group}={name}")
    chosen = getattr(config, group, None)
    if group in plugins.SEVERAL and name in plugins.table()[group]:
        assert chosen[name].name == name
    elif group in plugins.KINDS and name in plugins.table()[group]:
        assert chosen.name == name
    elif group in plugins.KINDS and name != "none" and group not in plugins.SEVERAL:
        assert chosen.name in plugins.table()[group]


@pytest.mark.parametrize("file", FILES, ids=lambda file: str(file.relative_to(conf_dir())))
def test_every_file_is_short_and_says_what_it_is(file):
    text = file.read_text(encoding="utf-8")
    lines = text.splitlines()
    assert len(lines) < LONGEST
    comments = [line for line in lines if line.startswith("# ") and not line.startswith("# @package")]
    assert lines[0].startswith("# ")
    assert comments, "a line beginning with '# ' must say what the option is: --help shows it"
    assert "_target_" not in text, "names in YAML, code in Python"
    yaml.safe_load(text)


@pytest.mark.parametrize("kind", plugins.SEVERAL)
def test_options_of_several_choice_groups_keep_to_their_own_name(kind):
    for file in (conf_dir() / kind).glob("*.yaml"):
        if file.stem in plugins.table()[kind]:
            assert file.read_text(encoding="utf-8").startswith(f"# @package {kind}.{file.stem}\n")


def test_what_each_group_is_set_to_is_told():
    def chosen_by(*overrides):
        return chosen_options(compose(*overrides), overrides)

    chosen = chosen_by("model=blank", "reward=[gsm8k,length]", "after=[method=sft,seed=7]", "method=grpo")
    assert chosen["model"] == "blank"
    assert chosen["dataset"] == "ultrafeedback", "the default"
    assert chosen["reward"] == ["gsm8k", "length"]
    assert chosen["after"] == "[method=sft,seed=7]"
    assert "experiment" not in chosen
    assert chosen_by("experiment=chat_dpo").items() >= {"experiment": "chat_dpo", "method": "dpo"}.items()
    assert chosen_by() == {}


def test_a_stage_tells_the_options_that_it_names_itself():
    assert named_options(["method=sft", "dataset=smoltalk", "method.epochs=2"]) == {
        "method": "sft",
        "dataset": "smoltalk",
    }
