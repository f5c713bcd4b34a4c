"""Weights in shards on-policy: two processes draw and train in step, and do what one does."""

from __future__ import annotations

import json

import pytest

from tests import warm
from tests.training.offline.test_sharded import difference
from tests.training.online.train_sharded import AGAIN, CASES

SCRIPT = "tests.training.online.train_sharded"


@pytest.mark.slow
def test_two_processes_with_their_weights_in_shards_draw_and_train_as_one_does(small_model, tmp_path):
    two, one = tmp_path / "two", tmp_path / "one"
    for count, folders in ((1, [one]), (2, [two, one])):
        processes = warm.ranks(count, SCRIPT, str(small_model), *map(str, folders))
        assert [process.wait() for process in processes] == [0] * count, processes[0].stderr[-3000:]
    for case in CASES:
        numbers, expected = (json.loads((folder / case / "losses.json").read_text()) for folder in (two, one))
        for name, values in expected.items():
            assert numbers[name] == pytest.approx(values, rel=1e-3, abs=1e-6), (case, name)
        weights = two / case / "weights.safetensors"
        assert difference(weights, one / case / "weights.safetensors") < 1e-6, case
    for case in AGAIN:
        assert (two / case / "again.safetensors").read_bytes() == (two / case / "weights.safetensors").read_bytes()
        assert difference(two / case / "other.safetensors", two / case / "weights.safetensors") < 1e-6
    assert json.loads((two / "run" / "result.json").read_text())["stage"] == "evaluate"
    assert (two / "run" / "model" / "model.safetensors").exists()
    measured = (two / "run" / "evaluations" / "accuracy.after.jsonl").read_text().splitlines()
    assert len({json.loads(row)["id"] for row in measured}) == len(measured) == 3
