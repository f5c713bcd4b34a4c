"""What a run builds from its config."""

from __future__ import annotations

import json

import pytest

from rlpipe.core.errors import ConfigError
from rlpipe.run.run import run
from tests.composed import compose

pytestmark = pytest.mark.slow


def test_which_weights_train_when_is_in_the_audit(tmp_path):
    def build(name: str, freeze: str) -> dict:
        overrides = [
            *("model=blank", "method=sft", "dataset=smoltalk", "dataset.sample_size=64", "evaluation=none"),
            *("method.batch_size=4", "method.max_steps=9", "log.progress=false", "hardware.device=cpu", "until=build"),
            *(f"run_dir={tmp_path / name}", f"method.freeze={freeze}"),
        ]
        run(compose(*overrides), overrides)
        return json.loads((tmp_path / name / "audit.json").read_text())

    first, second = build("run", "['top:1@0',all@5]")["thawing"]
    assert first.startswith("from step 1: ")
    assert second.startswith("from step 6: ")
    assert second.endswith("weights train (100%)")
    with pytest.raises(ConfigError, match="names no weight"):
        build("other", "['*.layer.1.*@0',all@5]")
