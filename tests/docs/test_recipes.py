"""The recipes run, all of them, with fewer steps and a quicker toy model; so does README's new method."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from rlpipe.cli import main as cli
from tests.docs.blocks import ROOT, Block, blocks, words
from tests.smoke.conftest import STAGE, limits

RECIPES = blocks(ROOT / "docs" / "recipes.md", "sh")
FIRST = (
    "method=sft,method.max_steps=2,method.batch_size=4,method.micro_batch_size=2,dataset.sample_size=64,evaluation=none"
)


def limited(arguments: list[str]) -> list[str]:
    """The same command on fewer rows, for two steps, after a shorter SFT, on a toy model that is made in a second."""
    small = [override for override in limits(arguments) if not override.startswith("method.max_length")]
    own = [f"after=[{FIRST}]" if argument == "after=sft" else argument for argument in arguments]
    return [*small, *([] if "model=hf" in arguments else [STAGE]), *own]


def execute(recipe: Block) -> None:
    for line in recipe.text.splitlines():
        if "rlpipe" not in words(line):
            subprocess.run(["bash", "-c", line], check=True)
    for arguments in recipe.runs:
        assert cli.status(limited(arguments)) == cli.DONE


@pytest.mark.slow
@pytest.mark.parametrize("recipe", [pytest.param(one, id=one.heading) for one in RECIPES])
def test_a_recipe_runs(recipe, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("WANDB_MODE", "offline")
    execute(recipe)
    results = [json.loads(file.read_text()) for file in Path().glob("*run*/**/result.json")]
    assert all(result["status"] == "ok" for result in results)
    assert bool(results) == ("until=check" not in recipe.text)


def test_the_recipes_are_found():
    assert len(RECIPES) == 11


def installed(site: Path, page: Path, module: str) -> None:
    """Install a page's plugin as its package would be: the page's Python file and its entry points."""
    (code, *_), (toml,) = blocks(page, "python"), blocks(page, "toml")
    info = site / f"{module}-1.0.dist-info"
    info.mkdir(parents=True)
    (site / f"{module}.py").write_text(code.text)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {module}\nVersion: 1.0\n")
    lines = []
    for group, names in tomllib.loads(toml.text)["project"]["entry-points"].items():
        lines += [f"[{group}]", *(f"{name} = {target}" for name, target in names.items())]
    (info / "entry_points.txt").write_text("\n".join(lines) + "\n")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("page", "module", "check"),
    [
        ("README.md", "opening_dpo", "check_method(opening_dpo.OpeningDPO, Path(sys.argv[1]))"),
        ("docs/plugins.md", "halves", "check_dataset(halves.Halves)"),
    ],
)
def test_the_plugins_of_the_pages_pass_the_conformance_checks(tmp_path, page, module, check):
    installed(tmp_path / "site", ROOT / page, module)
    program = f"import sys; from pathlib import Path; from rlpipe.testing import *; import {module}; {check}"
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(map(str, (tmp_path / "site", ROOT)))}
    command = [sys.executable, "-c", program, str(tmp_path / "checked")]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, cwd=tmp_path, check=False)
    assert done.returncode == 0, done.stderr
