"""Out of memory says what to lower and by how much, and the run goes on with that."""

from __future__ import annotations

from collections.abc import Sequence
from types import FunctionType
from typing import Any

import pytest

from rlpipe.core.errors import TrainingError
from rlpipe.run.memory import ON_CPU, PROCESS, forget_peak, out_of_memory, peak_memory
from tests.composed import compose

SAYS = "CUDA out of memory. Tried to allocate 2.00 GiB."
SFT = ("method=sft", "dataset=smoltalk", "method.batch_size=24", "evaluation=[perplexity,preference]")
BODY = """
def call(self, inner):
    if inner:
        enter(inner)
    raise error
"""
GRPO = ("method=grpo", "dataset=countdown", "reward=countdown", "evaluation=accuracy")


def raised(error: BaseException, *frames: tuple[str, Any]) -> BaseException:
    """Return an error that was raised in these modules, from the outermost in, each with an object as `self`."""

    def enter(frames: Sequence[tuple[str, Any]]) -> None:
        (module, mine), *inner = frames
        names = {"__name__": module, "enter": enter, "error": error}
        FunctionType(compile(BODY, module, "exec").co_consts[0], names)(mine, inner)

    with pytest.raises(type(error)) as found:
        enter(frames)
    return found.value


class Plugin:
    def __init__(self, config: Any):
        self.config = config


@pytest.mark.parametrize(
    ("overrides", "where", "fix"),
    [
        (("method.micro_batch_size=8",), "method.micro_batch_size", "set it to 4 (8 now)"),
        (("method.micro_batch_size=6",), "method.micro_batch_size", "set it to 3 (6 now)"),
        (("method.micro_batch_size=1",), "model.gradient_checkpointing", "set it to true"),
        (("method.micro_batch_size=1", "model.gradient_checkpointing=true"), "method.max_length", "512 now"),
        (("method=kto", "dataset=ultrafeedback", "method.micro_batch_size=3"), "model.gradient_checkpointing", "true"),
        ((*GRPO, "method.micro_batch_tokens=4096"), "method.micro_batch_tokens", "set it to 2048 (4096 now)"),
        ((*GRPO, "method.micro_batch_tokens=600"), "method.micro_batch_tokens", "set it to 512 (600 now)"),
    ],
    ids=str,
)
def test_a_step_that_does_not_fit_is_cut_smaller(overrides, where, fix):
    import torch

    config = compose("model=blank", *SFT, *overrides)
    error = raised(torch.OutOfMemoryError(SAYS), ("rlpipe.training.offline.trainer", None), ("torch.nn", None))
    told = out_of_memory(error, config, "training")
    assert isinstance(told, TrainingError)
    assert told.where == where
    assert told.what == f"out of memory while training: {SAYS}"
    assert fix in told.fix


def test_what_measures_or_draws_is_named_before_the_training_around_it():
    import torch

    config = compose("model=blank", *SFT, "evaluation.preference.batch_tokens=600")
    around = ("rlpipe.training.watching", None)
    chosen = {name: Plugin(one) for name, one in config.evaluation.items()}
    scoring = ("rlpipe.engines.scoring", None)
    for innermost, where, fix in (
        ([("rlpipe.evaluations.preference", chosen["preference"]), scoring], "evaluation.preference.batch_tokens", 300),
        (
            [("rlpipe.evaluations.perplexity", chosen["perplexity"]), scoring],
            "evaluation.perplexity.batch_tokens",
            4096,
        ),
        ([("rlpipe.engines.transformers", None), ("torch.nn", None)], "engine.cache_tokens", 2**15),
    ):
        told = out_of_memory(raised(torch.OutOfMemoryError(SAYS), around, *innermost), config, "training")
        assert told is not None
        assert told.where == where
        assert f"set it to {fix} (" in told.fix


def test_a_model_that_does_not_fit_and_what_is_no_lack_of_memory():
    config = compose("model=blank", *SFT)
    alone = RuntimeError(f"DefaultCPUAllocator: {ON_CPU}: you tried to allocate 400 bytes.")
    told = out_of_memory(raised(alone, ("rlpipe.models.pretrained", None)), config, "loading the model")
    assert told is not None
    assert told.where == "model"
    assert "smaller model" in told.fix
    wrapped = ValueError("a plugin failed")
    wrapped.__cause__ = MemoryError()
    assert "MemoryError" in str(out_of_memory(wrapped, config, "training"))
    assert out_of_memory(ValueError("no"), config, "training") is None


def test_the_peak_is_counted_from_where_it_was_forgotten():
    import numpy

    forget_peak()
    before = peak_memory()
    held = numpy.ones(40 * 2**20, dtype=numpy.uint8)
    assert peak_memory() >= before + held.nbytes * 0.9
    del held
    if not (PROCESS / "clear_refs").exists():
        pytest.skip("this system cannot forget its peak")
    forget_peak()
    assert peak_memory() < before + 30 * 2**20


@pytest.mark.slow
def test_a_run_goes_on_with_smaller_micro_batches(tmp_path, monkeypatch):
    """The error stands in the record, and the weights are those of a run that had memory, up to rounding."""
    import json

    import torch
    from safetensors.torch import load_file

    from rlpipe.run.run import run
    from rlpipe.training.offline import trainer

    def overrides(folder: str, size: int) -> list[str]:
        small = ("method.max_steps=4", "method.batch_size=4", "method.max_length=128", "checkpoint.every=2")
        shown = ("dataset.sample_size=32", "evaluation=none", "log.progress=false", "hardware.device=cpu")
        chosen = ("model=blank", "method=sft", "dataset=smoltalk", f"method.micro_batch_size={size}")
        return [*chosen, *small, *shown, f"run_dir='{tmp_path / folder}'"]

    def go(folder: str, size: int) -> dict[str, torch.Tensor]:
        given = overrides(folder, size)
        run(compose(*given), given)
        return load_file(tmp_path / folder / "model" / "model.safetensors")

    whole, compute = go("whole", 4), trainer.OfflineTrainer.compute_loss

    def too_large(self, model, inputs, *args, **kwargs):
        if self.state.global_step == 3 and len(inputs["input_ids"]) > 2:
            raise torch.OutOfMemoryError(SAYS)
        return compute(self, model, inputs, *args, **kwargs)

    monkeypatch.setattr(trainer.OfflineTrainer, "compute_loss", too_large)
    with pytest.raises(TrainingError, match=r"set it to 2 \(4 now\)"):
        go("part", 4)
    assert "in too_large" in (tmp_path / "part" / "error.txt").read_text(), "the traceback is kept"
    for name, weights in go("part", 2).items():
        torch.testing.assert_close(weights, whole[name], atol=1e-5, rtol=0)
    manifest = json.loads((tmp_path / "part" / "manifest.json").read_text())
    assert "from step 2 on method.micro_batch_size is 2 in place of 4, which is rounding" in manifest["notes"]
    assert [attempt["outcome"] for attempt in manifest["attempts"]] == ["failed", "ok"]
    result = json.loads((tmp_path / "part" / "result.json").read_text())
    peaks = [attempt["peak_memory"] for attempt in manifest["attempts"]]
    assert result["cost"]["peak_memory"] == max(peaks) > 10**8
