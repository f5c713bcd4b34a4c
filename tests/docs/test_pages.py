"""The pages: generated ones are up to date, links lead somewhere, commands compose, and nobody's machine is named."""

from __future__ import annotations

import importlib.util
import re
from types import ModuleType

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser

from rlpipe.cli.commands import COMMANDS, load
from rlpipe.config.compose import compose
from rlpipe.config.options import ORDER
from rlpipe.sweep.space import read
from tests.docs.blocks import PAGES, ROOT, blocks

NAMES = [str(page.relative_to(ROOT)) for page in PAGES]


def generator() -> ModuleType:
    spec = importlib.util.spec_from_file_location("generate", ROOT / "docs" / "generate.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_generated_pages_say_what_the_code_says():
    pages = generator().pages()
    assert set(pages) == {f"{group.removeprefix('hydra/')}.md" for group in ORDER} | {"run.md"}
    stale = [name for name, text in pages.items() if (ROOT / "docs" / name).read_text(encoding="utf-8") != text]
    assert not stale, f"{', '.join(stale)}: run `python docs/generate.py` and commit what it changes"


def test_the_page_shows_which_dataset_serves_which_method():
    page = (ROOT / "docs" / "dataset.md").read_text(encoding="utf-8")
    assert "| dataset | `sft` | `reward_model`, `dpo`, `orpo`, `simpo` | `kto` |" in page
    assert "| `piqa` | choice → completion | choice → preference | choice → preference → labelled |" in page


def anchors(text: str) -> set[str]:
    headings = re.findall(r"^#+ (.+)$", text, flags=re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=NAMES)
def test_links_lead_somewhere(page):
    text = page.read_text(encoding="utf-8")
    for target in re.findall(r"\]\(([^)]+)\)", re.sub(r"```.*?```", "", text, flags=re.DOTALL)):
        if target.startswith("https://"):
            continue
        name, _, anchor = target.partition("#")
        linked = (page.parent / name).resolve() if name else page
        assert linked.exists(), f"{target} leads nowhere"
        assert linked.is_relative_to(ROOT)
        if anchor:
            assert anchor in anchors(linked.read_text(encoding="utf-8")), f"{target}: no such heading"


@pytest.mark.parametrize("page", PAGES, ids=NAMES)
def test_pages_name_nobodys_machine_and_promise_nothing(page):
    text = page.read_text(encoding="utf-8")
    for word in (
        "/work",
        "../shared",
        "/root",
        "/home/",
        "/tmp",
        "pypi",
        "index-url",
        "TODO",
        "coming soon",
        "not yet",
    ):
        assert word not in text, word


RUNS = [
    pytest.param(arguments, id=f"{page.stem}: {' '.join(arguments)[:60]}")
    for page in PAGES
    for block in blocks(page, "sh", "bash")
    for arguments in block.runs
]


@pytest.mark.slow
@pytest.mark.parametrize("arguments", RUNS)
def test_every_command_composes(arguments):
    overrides = [part for part in arguments if part not in ("-m", "--help") and not part.startswith("hydra")]
    if "hydra/sweeper=tpe" in arguments:
        space, problems = read(OverridesParser.create().parse_overrides(overrides))
        assert not problems
        for corner in space.corners():
            compose(*space.arms(corner)[0])
        return
    if "-m" in arguments:
        overrides = [re.sub(r"=([^[,]+),.*", r"=\1", part) for part in overrides]
    compose(*overrides)


OTHERS = [
    pytest.param(words, id=f"{page.stem}: {' '.join(words)[:60]}")
    for page in PAGES
    for block in blocks(page, "sh", "bash")
    for words in block.others
]


@pytest.mark.parametrize("words", OTHERS)
def test_every_other_command_is_understood(words):
    load(words[0]).parser().parse_args(words[1:])


def test_every_other_command_is_shown():
    assert {parameters.values[0][0] for parameters in OTHERS} == set(COMMANDS)


def test_the_commands_are_found():
    assert len(RUNS) >= 18


def test_readmes_first_blocks_are_what_ci_runs():
    first, second, *more = blocks(ROOT / "README.md", "sh")
    assert more == []
    assert first.text.splitlines()[0].endswith("-m venv .venv")
    assert first.runs == [["method=dpo", "dataset=ultrafeedback"]]
    assert "-m rlpipe" in first.text.splitlines()[-1], "what is before the last line installs"
    assert second.text.strip() == ".venv/bin/python -m pytest -q"
