"""Every command of docs/sources.md passes the checks, as `until=check` does them."""

from __future__ import annotations

import re
import shlex

import pytest
import yaml

from rlpipe.core.paths import conf_dir
from rlpipe.run.check import models
from rlpipe.run.check.check import problems
from tests.composed import compose
from tests.docs.blocks import ROOT

PAGE = (ROOT / "docs" / "sources.md").read_text(encoding="utf-8")
TABLES = [line.strip("| ").split(" | ") for line in PAGE.splitlines() if line.startswith("| ") and "---" not in line]
COMMANDS = sorted(set(re.findall(r"`rlpipe ([^`]+)`", PAGE)))
MACHINE = ("model:", "run_dir:", "model.quantize=nf4: needs a GPU", "model.quantize=nf4: bitsandbytes is not installed")
"""Whether this machine could hold half a billion weights, or quantise them, is not a command's business."""


def arms(words: list[str]) -> list[list[str]]:
    """Return the overrides of the runs that a command makes; of a sweep, each value once, the others at their first."""
    if "-m" not in words:
        return [words]
    given = [word for word in words if word != "-m" and not word.startswith("hydra/")]
    study = next((word.partition("=")[2] for word in given if word.startswith("experiment=study_")), None)
    if study is not None:
        text = (conf_dir() / "experiment" / f"{study}.yaml").read_text(encoding="utf-8")
        params = yaml.safe_load(text)["hydra"]["sweeper"]["params"]
        given = [f"{key}={values}" for key, values in params.items()] + [word for word in given if study not in word]
    swept = {word: word.partition("=")[2].split(",") for word in given if "," in word and "[" not in word}
    first = [f"{word.partition('=')[0]}={swept[word][0]}" if word in swept else word for word in given]
    others = [
        [f"{word.partition('=')[0]}={value}" if one == word else named for one, named in zip(given, first, strict=True)]
        for word, values in swept.items()
        for value in values[1:]
        if not word.startswith("seed=")
    ]
    return [first, *others]


def test_each_claim_has_a_command_and_says_what_differs():
    assert len(COMMANDS) > 30
    assert all(len(cells) == 3 for cells in TABLES)
    assert all(cells[1].startswith("`rlpipe ") for cells in TABLES if cells[0] != "there")


@pytest.mark.slow
@pytest.mark.parametrize("command", COMMANDS)
def test_a_command_passes_the_checks(command, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("NVIDIA_API_KEY", "none")
    monkeypatch.setattr(models, "cannot_be_had", lambda source, revision: None)  # tests have no hub
    (tmp_path / "prompts.jsonl").write_text('{"prompt": "Hi."}\n')
    (tmp_path / "puzzles.jsonl").write_text('{"num": [1, 2, 3], "target": 6}\n')
    for overrides in arms(shlex.split(command)):
        found = [str(problem) for problem in problems(compose(*overrides), overrides) if problem.fatal]
        assert [one for one in found if not one.removeprefix("after: ").startswith(MACHINE)] == [], overrides
