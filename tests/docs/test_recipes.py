"""The recipes run, all of them, with fewer steps and a quicker toy model; so does README's new method."""

from __future__ import annotations

import json
import os
import re
import subprocess
import tomllib
from pathlib import Path

import pytest

import rlpipe
from rlpipe.cli import main as cli
from rlpipe.config import plugins
from tests import warm
from tests.composed import once
from tests.docs.blocks import ROOT, Block, blocks, words
from tests.smoke.conftest import STAGE, limits

PLUGINS = ROOT / "docs" / "plugins.md"
RECIPES = blocks(ROOT / "docs" / "recipes.md", "sh")
FIRST = (
    "method=sft,method.max_steps=2,method.batch_size=4,method.micro_batch_size=2,dataset.sample_size=64,evaluation=none"
)


def limited(arguments: list[str]) -> list[str]:
    """The same command on fewer rows, for two steps and one seed, after a shorter SFT, on a toy made in a second."""
    small = [override for override in limits(arguments) if not override.startswith("method.max_length")]
    shorter = {"after=sft": f"after=[{FIRST}]", "seed=0,1": "seed=0"}
    own = [shorter.get(argument, argument) for argument in arguments]
    return once(*small, *([] if "model=hf" in arguments else [STAGE]), *own)


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
    assert len(RECIPES) == 15


def modules(page: Path) -> dict[str, str]:
    """Return the Python files of a page: blocks that begin with their own name."""
    named = ((re.match(r'"""(\w+)\.py"""\n', block.text), block.text) for block in blocks(page, "python"))
    return {found[1]: text for found, text in named if found}


def installed(site: Path, page: Path) -> None:
    """Install a page's plugins as their package would be: the page's Python files and entry points."""
    info = site / "outside-1.0.dist-info"
    info.mkdir(parents=True)
    for name, text in modules(page).items():
        (site / f"{name}.py").write_text(text)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: outside\nVersion: 1.0\n")
    lines = []
    for block in blocks(page, "toml"):
        for group, names in tomllib.loads(block.text)["project"]["entry-points"].items():
            lines += [f"[{group}]", *(f"{name} = {target}" for name, target in names.items())]
    (info / "entry_points.txt").write_text("\n".join(lines) + "\n")


def python(site: Path, module: str, *arguments: str) -> None:
    """Run a module where a page's plugins are installed; it must succeed."""
    done = warm.run(module, *arguments, env={"PYTHONPATH": os.pathsep.join(map(str, (site, ROOT)))}, cwd=site)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.slow
def test_readmes_method_passes_the_conformance_check(tmp_path):
    site = tmp_path / "site"
    installed(site, ROOT / "README.md")
    program = "import sys, opening_dpo; from pathlib import Path; from rlpipe.testing import check_method"
    (site / "program.py").write_text(f"{program}\ncheck_method(opening_dpo.OpeningDPO, Path(sys.argv[1]))\n")
    python(site, "program", str(tmp_path))


@pytest.mark.slow
def test_the_plugins_page_passes_its_own_tests(tmp_path):
    installed(tmp_path / "site", PLUGINS)
    python(tmp_path / "site", "pytest", "-q", "-p", "no:cacheprovider", "test_plugins.py")


@pytest.mark.slow
def test_the_plugins_of_the_page_train_and_measure_together(tmp_path):
    installed(tmp_path / "site", PLUGINS)
    chosen = ["method=raft", "dataset=halves", "reward=brief", "tool=letters", "evaluation=brevity", "model=blank"]
    small = ["max_steps=2", "batch_size=4", "group_size=2", "max_length=512", "sampling.max_tokens=8"]
    limits = ["dataset.sample_size=64", "evaluation.brevity.limit=4", "hardware.device=cpu", "log.progress=false"]
    asked = [*chosen, *(f"method.{one}" for one in small), *limits, f"run_dir={tmp_path / 'run'}"]
    python(tmp_path / "site", "rlpipe", *asked)
    result = json.loads((tmp_path / "run" / "result.json").read_text())
    assert result["status"] == "ok"
    assert result["cost"]["steps"] == 2
    assert {"before/brevity/short", "after/brevity/short"} <= set(result["metrics"])


def test_the_plugins_of_the_page_are_short_and_take_all_from_the_package_itself():
    found = modules(PLUGINS)
    lengths = {name: sum(bool(line.strip()) for line in text.splitlines()) for name, text in found.items()}
    most = {"raft": 25, "brief": 20, "letters": 15, "brevity": 25}
    assert {name: lengths[name] for name in most if lengths[name] > most[name]} == {}
    text = PLUGINS.read_text(encoding="utf-8")
    assert set(re.findall(r"(?:from|import) (rlpipe[\w.]*)", text)) == {"rlpipe", "rlpipe.testing"}
    for names in re.findall(r"from rlpipe import (.+)", text):
        assert set(names.split(", ")) <= set(rlpipe.__all__)
    groups = {f"rlpipe.{kind}" for kind in (*plugins.KINDS, "conf")}
    deeper = set(re.findall(r"rlpipe\.[\w.]+", text)) - groups - {"rlpipe.testing", "rlpipe.Problem", "rlpipe.__all__"}
    assert not deeper
