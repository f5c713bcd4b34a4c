"""The table of mistakes (`mistakes.txt`): each is found before anything starts, and what is right passes."""

from __future__ import annotations

import json
import shlex
import shutil
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import hydra
import pytest
from hydra.core.global_hydra import GlobalHydra
from hydra.types import RunMode
from omegaconf import open_dict

from rlpipe.config.compose import to_plain, typed
from rlpipe.config.explain import composing
from rlpipe.config.hydra import VERSION_BASE, register
from rlpipe.config.overrides import as_options
from rlpipe.config.schema import RunConfig
from rlpipe.core.errors import ConfigError, Problem
from rlpipe.core.paths import conf_dir
from rlpipe.run.check.check import problems
from rlpipe.run.summary import next_commands
from rlpipe.sweep.composition import Composer
from tests.run.check import folders

TABLE = Path(__file__).with_name("mistakes.txt")
PASSES = ("passes", "passes with notes")


def rows() -> list[tuple[str, str, str]]:
    lines = [line for line in TABLE.read_text(encoding="utf-8").splitlines() if line and not line.startswith("#")]
    parts = [[part.strip() for part in line.split(" | ", 2)] for line in lines]
    return [(line[0], line[1], "".join(line[2:])) for line in parts]


ROWS = rows()


def in_tiers() -> Iterator[Any]:
    """Yield the rows as parameters: of those of one place every fourth, from the first on, is a fast test."""
    seen: Counter[str] = Counter()
    for line, where, words in ROWS:
        marks = [] if seen[where] % 4 == 0 else pytest.mark.slow
        seen[where] += 1
        yield pytest.param(line, where, words, id=line, marks=marks)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The small models that the table names."""
    root = tmp_path_factory.mktemp("models")
    folders.make_all(root)
    return root


@pytest.fixture(scope="module")
def composed() -> Iterator[Callable[[Sequence[str]], RunConfig]]:
    """Return what overrides compose to; those that choose the same options share the work."""
    register()
    with hydra.initialize_config_dir(str(conf_dir()), version_base=VERSION_BASE):
        loader = GlobalHydra.instance().config_loader()
        composer = Composer(loader, loader.load_configuration("config", [], RunMode.MULTIRUN))

        def compose(overrides: Sequence[str]) -> RunConfig:
            with composing(overrides):
                config = composer.compose(as_options(overrides))
                with open_dict(config):
                    config.pop("hydra")
                return typed(config)

        yield compose


@pytest.fixture(scope="module")
def found(composed) -> Callable[[str], list[Problem]]:
    """Return what composing and checking a command line find."""

    def check(line: str) -> list[Problem]:
        overrides = shlex.split(line)
        if not any(one.startswith(("model=", "experiment=")) for one in overrides):
            overrides = ["model=blank", *overrides]
        try:
            return problems(composed(overrides), overrides)
        except ConfigError as error:
            return error.problems

    return check


@pytest.fixture(autouse=True)
def _home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A home without a key for any tracker."""
    monkeypatch.setenv("HOME", str(tmp_path))


@pytest.mark.parametrize(("line", "where", "words"), list(in_tiers()))
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


def turns(place: int) -> list[dict[str, str]]:
    return [{"role": "user", "content": f"Why {place}?"}, {"role": "assistant", "content": f"So {place}."}]


SUGGESTING = [
    "method=sft dataset=smoltalk",
    "method=reward_model",
    *(
        pytest.param(line, marks=pytest.mark.slow)
        for line in (
            "method=sft dataset=gsm8k",
            "method=dpo",
            "method=kto dataset.sample_size=100",
            "method=orpo dataset=piqa",
            "method=grpo dataset=gsm8k reward=gsm8k",
            "method=rloo dataset=countdown reward=countdown tool=calculator",
            "method=rloo dataset=episodes environment=guessing environment.guesses=2 reward=environment",
            "method=sft dataset=files dataset.form=chat dataset.source={rows}",
        )
    ),
]


@pytest.mark.parametrize("line", SUGGESTING)
def test_every_command_that_rlpipe_suggests_passes_its_own_check(composed, found, folder, tmp_path, line):
    rows = tmp_path / "rows.jsonl"
    rows.write_text("".join(json.dumps({"messages": turns(place)}) + "\n" for place in range(99)))
    overrides = ["model=blank", *shlex.split(line.replace("{rows}", str(rows)))]
    config = to_plain(composed(overrides))
    shutil.copytree(folder / ("reward" if "reward_model" in line else "good"), tmp_path / "run" / "model")
    (tmp_path / "run" / "manifest.json").write_text("{}")
    suggested = next_commands(tmp_path / "run", {"status": "ok"}, {"overrides": overrides, "config": config})
    assert 0 < len(suggested) <= 4
    for name, words in suggested:
        assert str(tmp_path / "run") not in words, "the path from here is shorter"
        if name != "talk to it":
            assert [one for one in found(words.removeprefix("rlpipe ")) if one.fatal] == [], words
