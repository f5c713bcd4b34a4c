"""A package from outside: one file and two lines of TOML add a method and a dataset.

The distribution is made as an installer leaves it, on a path of its own; rlpipe runs in a fresh
interpreter, which finds it there.
"""

from __future__ import annotations

import os
import subprocess
import textwrap
from pathlib import Path

import pytest

from tests import warm

pytestmark = pytest.mark.slow

MODULE = '''
"""Halving: a method and a dataset in one file."""

from dataclasses import dataclass

from rlpipe.datasets.base import Dataset, DatasetConfig
from rlpipe.datasets.forms import Completion
from rlpipe.methods.sft import SFT, SFTConfig


@dataclass
class HalvingConfig(SFTConfig):
    """How it halves."""

    share: float = 0.5
    """The share that stays."""


class Halving(SFT):
    """SFT on a share of what the examples say."""

    Config = HalvingConfig


@dataclass
class HalvesConfig(DatasetConfig):
    """Which halves."""

    largest: int = 1000
    """The largest half."""


class Halves(Dataset):
    """Sums to halve: made up, every number once."""

    Config = HalvesConfig
    form = Completion
    columns = ("whole", "half")

    def example(self, row, id):
        """Ask for the half of a number."""
        prompt = [{"role": "user", "content": f"Half of {row['whole']}?"}]
        return Completion(id, prompt, [{"role": "assistant", "content": str(row["half"])}])

    def sample(self, split, count, seed):
        """Even halves train, odd ones test."""
        for number in range(count):
            half = 2 * number + (split == "test")
            yield {"whole": 2 * half, "half": half}
'''

ENTRY_POINTS = """
[rlpipe.method]
halving = halving:Halving
[rlpipe.dataset]
halves = halving:Halves
"""


def distribution(site: Path, name: str, entries: str, **modules: str) -> None:
    """Write a distribution as an installer leaves it: modules beside a `.dist-info` folder."""
    info = site / f"{name.replace('-', '_')}-1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(textwrap.dedent(entries))
    for module, text in modules.items():
        (site / f"{module}.py").write_text(text)


@pytest.fixture
def site(tmp_path: Path) -> Path:
    return tmp_path / "site"


def python(site: Path, module: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run a module where the distributions of `site` are installed."""
    root = Path(__file__).parents[2]
    return warm.run(module, *arguments, env={"PYTHONPATH": os.pathsep.join(map(str, (site, root)))}, cwd=site)


def program(site: Path, text: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run a program where the distributions of `site` are installed."""
    (site / "program.py").write_text(text)
    return python(site, "program", *arguments)


def rlpipe(site: Path, *arguments: str) -> str:
    """Run the command line and return what it prints; it must succeed."""
    done = python(site, "rlpipe", *arguments)
    assert done.returncode == 0, done.stderr
    return done.stdout + done.stderr


def test_a_package_adds_a_method_and_a_dataset_without_yaml(site):
    distribution(site, "halving", ENTRY_POINTS, halving=MODULE)
    config = rlpipe(site, "method=halving", "method.share=0.25", "dataset=halves", "--cfg", "job", "--resolve")
    assert "share: 0.25" in config
    assert "largest: 1000" in config
    rlpipe(site, "method=halving", "dataset=halves", "model=blank", "until=check")
    assert "SFT on a share of what the examples say." in rlpipe(site, "--help")
    told = rlpipe(site, "method=halving", "--help")
    assert "method.share: float = 0.5\n      The share that stays." in told
    done = python(site, "rlpipe", "method=halving", "method.shar=1")
    assert "did you mean method.share?" in done.stderr


def test_its_own_tests_can_run_the_conformance_checks(site):
    distribution(site, "halving", ENTRY_POINTS, halving=MODULE)
    text = "from rlpipe.testing import check_dataset; import halving; check_dataset(halving.Halves); print('fine')"
    done = program(site, text)
    assert done.stdout == "fine\n", done.stderr


@pytest.mark.slow
def test_its_method_trains(site, tmp_path):
    distribution(site, "halving", ENTRY_POINTS, halving=MODULE)
    text = (
        "import sys; from pathlib import Path; from rlpipe.testing import check_method; import halving;"
        "print(check_method(halving.Halving, Path(sys.argv[1]), 'dataset=halves')['status'])"
    )
    done = program(site, text, str(tmp_path / "checked"))
    assert done.stdout.splitlines()[-1:] == ["ok"], done.stderr


def test_one_that_fails_to_import_matters_only_if_it_is_chosen(site):
    distribution(site, "broken-halves", "[rlpipe.method]\nbroken = broken:Broken\n", broken="import not_there\n")
    rlpipe(site, "model=blank", "until=check")
    assert "cannot be used: ModuleNotFoundError: No module named 'not_there'" in rlpipe(site, "--help")
    done = python(site, "rlpipe", "model=blank", "method=broken", "until=check")
    assert done.returncode == 2
    assert "Traceback" not in done.stderr
    for fragment in ("method=broken", "'broken-halves'", "No module named 'not_there'", "reinstall 'broken-halves'"):
        assert fragment in done.stderr


def test_two_of_the_same_name_are_refused_when_the_name_is_chosen(site):
    distribution(site, "halving", "[rlpipe.method]\ndpo = halving:Halving\n", halving=MODULE)
    rlpipe(site, "model=blank", "method=kto", "until=check")
    done = python(site, "rlpipe", "model=blank", "method=dpo", "until=check")
    assert done.returncode == 2
    assert "'rlpipe' and 'halving' both bring the method 'dpo'" in done.stderr
    assert "Traceback" not in done.stderr


def test_one_that_bears_the_name_of_a_yaml_option_is_said(site):
    distribution(site, "halving", "[rlpipe.dataset]\nsmall = halving:Halves\n[rlpipe.model]\ntiny = halving:Halves\n")
    printed = rlpipe(site, "--cfg", "job", "-p", "model.name")
    assert "package 'halving' brings a model 'tiny', which is an option of rlpipe's own" in printed
    assert "\npretrained\n" in f"\n{printed}"


def test_a_package_may_bring_yaml_options(site):
    distribution(site, "halving", ENTRY_POINTS + "[rlpipe.conf]\nhalving = halving_conf\n", halving=MODULE)
    option = site / "halving_conf" / "method" / "quarter.yaml"
    option.parent.mkdir(parents=True)
    (site / "halving_conf" / "__init__.py").touch()
    option.write_text("# A quarter stays.\ndefaults:\n  - /schema/method/halving@_here_\n  - _self_\nshare: 0.25\n")
    assert "share: 0.25" in rlpipe(site, "method=quarter", "--cfg", "job")
    assert "A quarter stays." in rlpipe(site, "--help")


def test_a_config_folder_that_is_not_there_is_said_and_left_out(site):
    distribution(site, "halving", ENTRY_POINTS + "[rlpipe.conf]\nhalving = halving_conf\n", halving=MODULE)
    printed = rlpipe(site, "method=halving", "--cfg", "job", "-p", "method.share")
    assert "package 'halving' names the config folder 'halving_conf', which cannot be imported: left out" in printed
    assert "0.5" in printed
