"""Training on fixed data: rlpipe's whole path from rows to weights against TRL's own trainers.

`make` writes a checkpoint and rows that both read; one epoch over all of them, at the same batch size, rate and
precision, is counted with tokenising and the reference's pass; loading the model is not. Losses, means over the epoch,
are compared: each library batches rows in its own order, unless the case says otherwise.

trl           TRL's defaults
trl flags     its best flags here: no recomputing of activations, the reference first, for SFT like lengths together
trl patched   the same with rlpipe's patch: no logits of prompt tokens (TRL computes them on a processor)
"""

from __future__ import annotations

import json
import os
import random
import tempfile
from collections.abc import Callable
from contextlib import nullcontext, redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from statistics import mean
from typing import Any
from unittest.mock import patch

from benchmarks.frame import Case, Clock, Machine, Took, Turn

WORDS = "Tell me a story about a small dog that finds a red ball near the old house by the sea".split()  # noqa: SIM905
SIZE = ("model=blank", "model.hidden_size=256", "model.layers=6", "model.intermediate_size=768", "model.context=2048")
QUIET = ("evaluation=none", "log.progress=false", "log.every=1")
BATCH, ROWS, RATE = 8, 96, 1e-4


@dataclass(frozen=True)
class Shape:
    """How long rows are, in words, each a quarter more or less."""

    prompt: int
    answer: int


class Training(Case):
    """One epoch of a method."""

    sides = ("rlpipe", "trl", "trl flags", "trl patched")
    tolerance = 0.05

    def __init__(self, name: str, what: str, method: str, shape: Shape, *overrides: str, **theirs: Any):
        """Take the method, the rows' lengths, overrides of rlpipe's run, and what TRL calls the same."""
        super().__init__(name, what)
        self.method, self.shape, self.overrides, self.theirs = method, shape, overrides, theirs

    def make(self, folder: Path, machine: Machine) -> None:
        """Write the rows and the checkpoint."""
        data = folder / "data"
        data.mkdir()
        for split, count in (("train", ROWS), ("test", 2)):
            lines = [json.dumps(row) for row in rows(self.method, self.shape, count, seed=split)]
            (data / f"{split}.jsonl").write_text("\n".join(lines) + "\n")
        with patch.dict("os.environ", {"RLPIPE_STORE": str(folder / "store")}):
            run(*SIZE, *self.given(folder, machine), "until=build", f"run_dir='{folder / 'made'}'")

    def prepare(self, side: str, folder: Path, machine: Machine) -> Turn:
        """Return an epoch of a side."""
        if side == "rlpipe":
            source = f"model.source='{folder / 'made' / 'start'}'"
            return lambda: rlpipe_epoch(["model=hf", source, *self.given(folder, machine), "until=train"])
        return lambda: self._trl_epoch(side, folder, machine)

    def given(self, folder: Path, machine: Machine) -> list[str]:
        """Return the overrides of rlpipe's run but for its model."""
        precision = [] if machine.precision == "float32" else [f"model.precision={machine.precision}"]
        rate = (f"method.learning_rate={RATE}", "method.schedule=constant", "method.warmup=0")
        own = (f"method={self.method}", f"method.batch_size={BATCH}", "method.epochs=1", *rate, *self.overrides)
        data = ("dataset=files", f"dataset.source='{folder / 'data'}'", "dataset.test_split=test")
        return [*QUIET, f"hardware.device={machine.device}", *own, *data, "dataset.deduplicate=false", *precision]

    def _trl_epoch(self, side: str, folder: Path, machine: Machine) -> Took:
        """Train with TRL's trainer from the checkpoint, on the same rows."""
        import torch
        from datasets import load_dataset
        from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification, AutoTokenizer, set_seed

        from rlpipe.config import plugins
        from rlpipe.training.offline.compaction import compact

        torch.set_num_threads(machine.threads)
        start = folder / "made" / "start"
        cls = plugins.load("method", self.method)
        reward = self.method == "reward_model"
        model = (AutoModelForSequenceClassification if reward else AutoModelForCausalLM).from_pretrained(
            start, **({"num_labels": 1} if reward else {})
        )
        data = load_dataset(
            "json", data_files=str(folder / "data" / "train.jsonl"), split="train", cache_dir=str(folder)
        )
        more = dict(self.theirs)
        peft = more.pop("peft", None)
        set_seed(0)
        with tempfile.TemporaryDirectory() as out, compact() if side == "trl patched" else nullcontext():
            clock = Clock()
            trainer = cls.library_trainer()(
                model=model,
                args=cls.library_config()(**self._arguments(side, machine, out), **more),
                train_dataset=data,
                processing_class=AutoTokenizer.from_pretrained(start),
                **({"peft_config": peft()} if peft is not None else {}),
            )
            trainer.train()
            return clock.took(mean(row["loss"] for row in trainer.state.log_history if "loss" in row))

    def _arguments(self, side: str, machine: Machine, out: str) -> dict[str, Any]:
        """Return what TRL is told; of its own choices only what a side's name stands for is not its default."""
        same: dict[str, Any] = {"per_device_train_batch_size": BATCH, "num_train_epochs": 1, "learning_rate": RATE}
        same |= {"lr_scheduler_type": "constant", "output_dir": out, "report_to": "none", "disable_tqdm": True}
        same |= {"use_cpu": machine.device == "cpu", "bf16": machine.precision == "bfloat16", "seed": 0}
        same |= {"logging_steps": 1, "save_strategy": "no"}
        if side == "trl":
            return same
        best: dict[str, Any] = {"gradient_checkpointing": False}
        if self.method in ("dpo", "kto"):
            best["precompute_ref_log_probs"] = True
        if self.method == "sft":  # of rows of pairs it finds no lengths
            best["train_sampling_strategy"] = "group_by_length"
        return same | best


def rows(method: str, shape: Shape, count: int, seed: str) -> list[dict[str, Any]]:
    """Make rows of a method, as conversations."""
    draw = random.Random(seed)

    def said(role: str, mean: int) -> list[dict[str, str]]:
        words = draw.choices(WORDS, k=draw.randint(mean * 3 // 4, mean * 5 // 4))
        return [{"role": role, "content": " ".join(words)}]

    def row(number: int) -> dict[str, Any]:
        prompt = {"prompt": said("user", shape.prompt)}
        if method == "sft":
            return prompt | {"completion": said("assistant", shape.answer)}
        if method == "kto":
            return prompt | {"completion": said("assistant", shape.answer), "label": number % 2 == 0}
        return prompt | {name: said("assistant", shape.answer) for name in ("chosen", "rejected")}

    return [row(number) for number in range(count)]


def run(*overrides: str) -> None:
    """Run rlpipe as a person would, without what it says on the way."""
    from rlpipe.config.compose import compose
    from rlpipe.run.run import run

    with open(os.devnull, "w") as nowhere, redirect_stdout(nowhere), redirect_stderr(nowhere):
        run(compose(*overrides), list(overrides))


def rlpipe_epoch(overrides: list[str]) -> Took:
    """Run rlpipe with a store of its own, and count the building of the trainer and the training."""
    from rlpipe.run import build
    from rlpipe.training import train as training

    spent: list[Took] = []

    def counted(call: Callable[..., Any]) -> Callable[..., Any]:
        def counting(*args: Any, **kwargs: Any) -> Any:
            clock = Clock()
            result = call(*args, **kwargs)
            spent.append(clock.took())
            return result

        return counting

    with (
        tempfile.TemporaryDirectory() as out,
        patch.dict("os.environ", {"RLPIPE_STORE": f"{out}/store"}),
        patch.object(build, "trainer", counted(build.trainer)),
        patch.object(training, "train", counted(training.train)),
    ):
        run(*overrides, f"run_dir='{out}/run'")
        logged = map(json.loads, Path(out, "run", "metrics.jsonl").read_text().splitlines())
        loss = mean(row["loss"] for row in logged if "loss" in row)
    return Took(sum(one.wall for one in spent), sum(one.cpu for one in spent), loss)


def lora() -> Any:
    from peft import LoraConfig

    return LoraConfig(r=8, lora_alpha=32, lora_dropout=0.0, target_modules="all-linear")


PACKED = ("method.packing=bfd", "method.max_length=256")
SHORT, LONG = Shape(20, 24), Shape(200, 24)
CASES = (
    Training("sft", "SFT, one epoch", "sft", Shape(20, 30)),
    Training(
        "sft-packed", "SFT, rows packed into 256 tokens", "sft", Shape(20, 30), *PACKED, packing=True, max_length=256
    ),
    Training("dpo", "DPO, short prompts", "dpo", SHORT),
    Training("dpo-long", "DPO, long prompts", "dpo", LONG),
    Training("dpo-lora", "DPO with LoRA of rank 8", "dpo", SHORT, "model.lora.rank=8", peft=lora),
    Training("kto", "KTO", "kto", SHORT),
    Training("orpo", "ORPO", "orpo", SHORT),
    Training("reward-model", "a reward model", "reward_model", SHORT),
)
