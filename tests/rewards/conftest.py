"""Finished rollouts without a model, and small models with made-up weights."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from rlpipe.config.kinds import Head
from rlpipe.datasets.forms import Prompt
from rlpipe.engines.rollout import Finish, Rollout
from rlpipe.rewards.base import RewardContext

Finished = Callable[..., Rollout]


@pytest.fixture(scope="session")
def finished() -> Finished:
    """Make a rollout with a text, its prompt's question, and the columns that rewards read."""

    def make(text: str, question: str = "Why?", id: str = "train/0", **columns: Any) -> Rollout:
        prompt = Prompt(id, [{"role": "user", "content": question}], columns)
        return Rollout(prompt, [], [], [], [], text, Finish.stop)

    return make


@pytest.fixture(scope="session")
def quick() -> Callable[[Callable[[], Any]], Any]:
    """Call a function and return its result; fails when it takes 50 ms three times in a row."""

    def call(function: Callable[[], Any]) -> Any:
        for _ in range(3):
            began = time.perf_counter()
            result = function()
            taken = time.perf_counter() - began
            if taken < 0.05:
                return result
        pytest.fail(f"took {taken:.3f} s")

    return call


@pytest.fixture
def context(tmp_path: Path) -> RewardContext:
    return RewardContext(SimpleNamespace(), "nowhere", "cpu", tmp_path / "rewards" / "this")  # type: ignore[arg-type]


def blank(folder: Path, head: Head) -> str:
    from rlpipe.models.blank import Blank

    return Blank(Blank.Config(name="blank")).load(None, head, 0, "cpu", folder).path


@pytest.fixture(scope="session")
def language_model(tmp_path_factory: pytest.TempPathFactory) -> str:
    return blank(tmp_path_factory.mktemp("lm") / "start", Head.causal_lm)


@pytest.fixture(scope="session")
def reward_model(tmp_path_factory: pytest.TempPathFactory) -> str:
    return blank(tmp_path_factory.mktemp("rm") / "start", Head.reward)
