"""Every option of the group `model` composes and says what it wants."""

from __future__ import annotations

import pytest

from rlpipe.config.kinds import Precision
from rlpipe.core.paths import conf_dir
from tests.composed import compose

TOYS = {"tiny", "blank"}
OPTIONS = sorted(path.stem for path in (conf_dir() / "model").glob("*.yaml"))


def test_all_are_there():
    assert set(OPTIONS) >= {
        *TOYS,
        "hf",
        "qwen2.5-0.5b",
        "qwen2.5-1.5b",
        "smollm2-135m",
        "smollm2-360m",
        "llama-3.2-1b",
        "gpt2",
    }


@pytest.mark.slow
@pytest.mark.parametrize("option", OPTIONS)
def test_option_composes(option):
    model = compose(f"model={option}").model
    assert model.name == ("blank" if option == "blank" else "pretrained")
    assert model.dataset_source == ("sample" if option in TOYS else "hub")
    if option not in TOYS | {"hf"}:
        assert model.precision is Precision.bfloat16
        assert model.source.count("/") == 1
        assert model.parameters > 1e8
        assert model.context >= (1024 if option == "gpt2" else 8192)
