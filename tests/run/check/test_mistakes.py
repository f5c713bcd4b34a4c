"""The table of mistakes (`mistakes.txt`): each is found before anything starts, and what is right passes."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Iterator
from pathlib import Path

import hydra
import pytest
from hydra.core.global_hydra import GlobalHydra
from hydra.types import RunMode
from omegaconf import open_dict

from rlpipe.config.compose import typed
from rlpipe.config.explain import composing
from rlpipe.config.hydra import VERSION_BASE, register
from rlpipe.config.overrides import as_options
from rlpipe.core.errors import ConfigError, Problem
from rlpipe.core.paths import conf_dir
from rlpipe.run.check import capacity
from rlpipe.run.check.check import problems
from rlpipe.sweep.composition import Composer
from tests.run.check import folders

TABLE = Path(__file__).with_name("mistakes.txt")
PASSES = ("passes", "passes with notes")


def rows() -> list[tuple[str, str, str]]:
    lines = [line for line in TABLE.read_text(encoding="utf-8").splitlines() if line and not line.startswith("#")]
    parts = [[part.strip() for part in line.split(" | ", 2)] for line in lines]
    return [(line[0], line[1], "".join(line[2:])) for line in parts]


ROWS = rows()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The small models that the table names."""
    root = tmp_path_factory.mktemp("models")
    folders.make_all(root)
    return root


@pytest.fixture(scope="module")
def found() -> Iterator[Callable[[str], list[Problem]]]:
    """Return what composing and checking a command line find; rows that choose the same options share the work."""
    register()
    with hydra.initialize_config_dir(str(conf_dir()), version_base=VERSION_BASE):
        loader = GlobalHydra.instance().config_loader()
        composer = Composer(loader, loader.load_configuration("config", [], RunMode.MULTIRUN))

        def check(line: str) -> list[Problem]:
            overrides = shlex.split(line)
            if not any(one.startswith(("model=", "experiment=")) for one in overrides):
                overrides = ["model=blank", *overrides]
            try:
                with composing(overrides):
                    config = composer.compose(as_options(overrides))
                    with open_dict(config):
                        config.pop("hydra")
                    return problems(typed(config), overrides)
            except ConfigError as error:
                return error.problems

        yield check


@pytest.fixture(autouse=True)
def _machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine without a GPU, of 16 GB, in an empty folder."""
    monkeypatch.chdir(tmp_path)
    for name in ("WORLD_SIZE", "WANDB_MODE", "WANDB_API_KEY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setattr(capacity, "gpu_memory", lambda: None)
    monkeypatch.setattr(capacity, "main_memory", lambda: 16 * 10**9)


@pytest.mark.parametrize(("line", "where", "words"), ROWS, ids=[line for line, _, _ in ROWS])
def test_each_row_of_the_table(found, folder, line, where, words):
    listed = found(line.replace("{folder}", str(folder)))
    if where in PASSES:
        assert [one for one in listed if one.fatal or where == "passes"] == []
        return
    place = where.removeprefix("note ")
    texts = [f"{one}" for one in listed if one.where == place and one.fatal is not where.startswith("note ")]
    assert any(all(word in text for word in words.split(" & ")) for text in texts), f"at {place}: {listed}"
    assert all(one.fix for one in listed)


def test_the_table_is_long_enough():
    passing = [line for line, where, _ in ROWS if where in PASSES]
    assert len(ROWS) - len(passing) >= 150
    assert len(passing) >= 60
    assert len({line for line, _, _ in ROWS}) == len(ROWS)
