"""The wall time of rlpipe's training against TRL's own trainer: same model, same rows, in turns in one process.

    python benchmarks/training_overhead.py                       # sft and dpo on a small random model
    python benchmarks/training_overhead.py --methods dpo --rounds 5 model=hf model.source=FOLDER

Further arguments are overrides of rlpipe's run. Two comparisons:

same      same settings, same batches in the same order, no logits of prompt tokens on either side: what rlpipe itself
          adds (records, checkpoints, progress, checks of the loss). Only the training is timed.
defaults  rlpipe's defaults against TRL's, at the same batch size, rate and precision, for one epoch: tokenising, the
          reference's pass and the training are timed together.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest.mock import patch

DATASETS = {"sft": "gsm8k", "dpo": "ultrafeedback"}
SIZES = ("model=blank", "model.hidden_size=256", "model.layers=6", "model.intermediate_size=768")
QUIET = ("evaluation=none", "log.progress=false", "hardware.device=cpu")
SAME = {"sft": (), "dpo": ("method.precompute_reference=false",)}


@dataclass
class Timed:
    """What one training took, each part in seconds of the wall clock and of the processor, and where it ended."""

    building: Seconds
    training: Seconds
    losses: list[float]


@dataclass
class Seconds:
    """A stretch of time; on a machine that others use too, the processor's is the steadier measure."""

    wall: float
    cpu: float

    def __add__(self, other: Seconds) -> Seconds:
        return Seconds(self.wall + other.wall, self.cpu + other.cpu)


class Clock:
    """Starts when it is made."""

    def __init__(self) -> None:
        self.wall, self.cpu = time.perf_counter(), time.process_time()

    def seconds(self) -> Seconds:
        return Seconds(time.perf_counter() - self.wall, time.process_time() - self.cpu)


def rlpipe_run(overrides: list[str], folder: Path) -> tuple[Timed, Any]:
    """Run rlpipe as a person would; time the building of the trainer and the training."""
    from rlpipe.config.compose import compose
    from rlpipe.run import build
    from rlpipe.run.run import run
    from rlpipe.training import train as training

    spent, kept = {}, []

    def timed(name: str, call: Any) -> Any:
        def timing(*args: Any, **kwargs: Any) -> Any:
            clock = Clock()
            result = call(*args, **kwargs)
            spent[name] = clock.seconds()
            kept.append(result)
            return result

        return timing

    asked = [*overrides, f"run_dir='{folder}'"]
    with (
        patch.object(build, "trainer", timed("building", build.trainer)),
        patch.object(training, "train", timed("training", training.train)),
    ):
        run(compose(*asked), asked)
    trainer = kept[0]
    return Timed(spent["building"], spent["training"], _losses(trainer)), trainer


def trl_run(theirs: Any, rows: list[dict[str, Any]], settings: dict[str, Any], folder: Path, compact: Any) -> Timed:
    """Train with TRL's trainer alone, from the weights that rlpipe's run started from."""
    from datasets import Dataset
    from transformers import AutoModelForCausalLM, AutoTokenizer, PrinterCallback, set_seed

    path = theirs.model.name_or_path
    tokenizer, model = AutoTokenizer.from_pretrained(path), AutoModelForCausalLM.from_pretrained(path)
    config, cls = theirs.method.library_config(), theirs.method.library_trainer()
    data = Dataset.from_list(rows)
    set_seed(0)
    clock = Clock()
    trainer = cls(
        model=model,
        args=config(output_dir=str(folder), report_to="none", disable_tqdm=True, use_cpu=True, bf16=False, **settings),
        train_dataset=data,
        processing_class=tokenizer,
    )
    trainer.remove_callback(PrinterCallback)
    building, clock = clock.seconds(), Clock()
    with compact():
        trainer.train()
    return Timed(building, clock.seconds(), _losses(trainer))


def _losses(trainer: Any) -> list[float]:
    return [row["loss"] for row in trainer.state.log_history if "loss" in row]


def _rows(trainer: Any, in_order: bool) -> list[dict[str, Any]]:
    """The examples that rlpipe trained on as TRL reads conversations, in the order of its batches if asked for."""
    examples = trainer.tokenized.examples
    trainer.order.set_epoch(0)
    chosen = [examples[place] for place in trainer.order] if in_order else examples
    names = ("prompt", "completion") if trainer.method.config.name == "sft" else ("prompt", "chosen", "rejected")
    return [{name: getattr(example, name) for name in names} for example in chosen]


def _settings(trainer: Any, same: bool) -> dict[str, Any]:
    """TRL's arguments: rlpipe's own for `same`; batch size, rate and epochs alone for its defaults."""
    names = ["per_device_train_batch_size", "gradient_accumulation_steps", "learning_rate", "num_train_epochs"]
    if same:
        names += ["max_steps", "lr_scheduler_type", "warmup_steps", "weight_decay", "max_grad_norm", "logging_steps"]
        names += ["save_strategy", "save_steps", "gradient_checkpointing", "max_length"]
        return {"train_sampling_strategy": "sequential"} | {name: getattr(trainer.args, name) for name in names}
    return {name: getattr(trainer.args, name) for name in names}


def compare(method: str, same: bool, overrides: list[str], rounds: int) -> None:
    """Train in turns and print the ratio of the medians."""
    from rlpipe.training.offline.compaction import compact

    sizes = () if any(override.startswith("model=") for override in overrides) else SIZES
    own = [*sizes, *QUIET, f"method={method}", f"dataset={DATASETS[method]}", *overrides]
    if same:
        own += ["method.group_by_length=false", *SAME[method]]
    ours: list[Timed] = []
    theirs: list[Timed] = []
    with tempfile.TemporaryDirectory() as scratch, _quiet():
        for number in range(rounds + 1):
            folder = Path(scratch) / str(number)
            mine, trainer = rlpipe_run(own, folder / "rlpipe")
            rows, settings = _rows(trainer, same), _settings(trainer, same)
            other = trl_run(trainer, rows, settings, folder / "trl", compact if same else nullcontext)
            if same and abs(mine.losses[-1] - other.losses[-1]) > 2e-3 * abs(other.losses[-1]):
                raise SystemExit(f"not the same training: losses {mine.losses} and {other.losses}")
            if number > 0:  # the first round warms caches up
                ours.append(mine)
                theirs.append(other)
    _report(method, "same" if same else "defaults", ours, theirs)


def _report(method: str, kind: str, ours: list[Timed], theirs: list[Timed]) -> None:
    parts = [(one.training if kind == "same" else one.building + one.training) for one in (*ours, *theirs)]
    a, b = parts[: len(ours)], parts[len(ours) :]
    words = [f"{method:4} {kind:8} rlpipe {_median(a):6.2f} s  TRL {_median(b):6.2f} s  rlpipe / TRL"]
    for clock in ("wall", "cpu"):
        ratios = sorted(getattr(x, clock) / getattr(y, clock) for x, y in zip(a, b, strict=True))
        words.append(f"{clock} {statistics.median(ratios):.3f} ({ratios[0]:.3f} to {ratios[-1]:.3f})")
    print("  ".join(words), f" {len(a)} rounds", flush=True)


def _median(times: list[Seconds]) -> float:
    return statistics.median(one.wall for one in times)


@contextmanager
def _quiet() -> Iterator[None]:
    import datasets
    import transformers

    from rlpipe.core import terminal as display

    datasets.disable_progress_bars()
    transformers.logging.set_verbosity_error()
    with (
        patch.object(display, "say", lambda text: None),
        patch.object(display, "show", lambda text: None),
        patch.object(display, "summary", lambda *args, **kwargs: None),
    ):
        yield


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--methods", nargs="+", default=list(DATASETS), choices=list(DATASETS))
    parser.add_argument("--kinds", nargs="+", default=["same", "defaults"], choices=["same", "defaults"])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("overrides", nargs="*")
    arguments = parser.parse_intermixed_args()
    for method in arguments.methods:
        for kind in arguments.kinds:
            compare(method, kind == "same", arguments.overrides, arguments.rounds)


if __name__ == "__main__":
    main()
