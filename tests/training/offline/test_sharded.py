"""Weights in shards: two processes train what one trains, exactly again after an interruption, and save it whole."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from rlpipe.core.files import hashes
from tests import warm
from tests.training.offline.train_hybrid import CASE
from tests.training.offline.train_sharded import AGAIN, CASES, keep, train

SCRIPT = "tests.training.offline.train_sharded"


def difference(one: Path, other: Path) -> float:
    """Return the largest difference of two files' weights."""
    from safetensors.torch import load_file

    weights, others = load_file(one), load_file(other)
    assert weights.keys() == others.keys()
    return max(float((weights[name] - others[name]).abs().max()) for name in weights)


@pytest.mark.slow
def test_two_processes_with_their_weights_in_shards_train_and_save_what_one_does(small_model, tmp_path):
    from transformers import AutoModelForCausalLM

    two, one = tmp_path / "two", tmp_path / "one"
    for count, folders in ((1, [one]), (2, [two, one])):
        processes = warm.ranks(count, SCRIPT, str(small_model), *map(str, folders))
        assert [process.wait() for process in processes] == [0] * count, processes[0].stderr[-3000:]
    for case in CASES:
        rounded = "bfloat16" in case
        losses, expected = (json.loads((folder / case / "losses.json").read_text()) for folder in (two, one))
        assert losses == pytest.approx(expected, rel=1e-4 if rounded else 3e-6), case
        weights = two / case / "weights.safetensors"
        assert difference(weights, one / case / "weights.safetensors") < (2e-4 if rounded else 1e-6), case
    for case in AGAIN:
        weights, alone = two / case / "weights.safetensors", tmp_path / f"{case}.safetensors"
        assert (two / case / "again.safetensors").read_bytes() == weights.read_bytes()
        keep(train(case, small_model, tmp_path / case, start=two / case), alone)
        for other in (two / case / "other.safetensors", alone):  # from 1 process to 2, from 2 to 1
            assert difference(other, weights) < 1e-6, other
    saved = AutoModelForCausalLM.from_pretrained(two / "sft" / "model")
    saved.save_pretrained(tmp_path / "again")
    assert len(list((two / "sft" / "model").glob("model-*.safetensors"))) > 1
    assert difference(tmp_path / "again" / "model.safetensors", two / "sft" / "weights.safetensors") == 0
    assert json.loads((two / "sft" / "model" / "config.json").read_text())["architectures"] == ["LlamaForCausalLM"]
    whole, broken = (
        {name: digest for name, digest in hashes(two / run / "model").items() if name.endswith(".safetensors")}
        for run in ("run", "broken")
    )
    assert whole == broken, "the same weights again"
    assert set(whole) == {"model.safetensors", "adapter/adapter_model.safetensors"}
    sealed = json.loads((two / "broken" / "checkpoints" / "checkpoint-2" / "whole.json").read_text())["files"]
    assert {"shards/__0_0.distcp", "shards/__1_0.distcp", "shards/.metadata"} <= set(sealed)


@pytest.mark.slow
def test_two_nodes_that_hold_the_same_shards_train_what_one_process_does(small_model, tmp_path):
    """Four processes, two on each node; one process goes on from their checkpoint to the same weights."""
    from safetensors.torch import load_file

    four, one, went_on = (tmp_path / name for name in ("four", "one", "went_on"))
    processes = warm.ranks(4, "tests.training.offline.train_hybrid", str(small_model), str(four), nodes=2)
    assert [process.wait() for process in processes] == [0] * 4, processes[0].stderr[-3000:]
    for folder, start in ((one, None), (went_on, four)):
        keep(train(CASE, small_model, folder, start=start), folder / "weights.safetensors")
        assert difference(four / "weights.safetensors", folder / "weights.safetensors") < 1e-6
    held = [int((four / f"held.{rank}").read_text()) for rank in range(4)]
    whole = sum(weight.numel() for weight in load_file(one / "weights.safetensors").values())
    assert held[0] + held[1] == held[2] + held[3] == whole
    assert max(held) < 0.6 * whole
