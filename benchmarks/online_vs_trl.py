"""Rollouts per second of rlpipe's on-policy loop against TRL's RLOO and GRPO trainers: whole optimiser steps.

    python benchmarks/online_vs_trl.py                                  # rloo and grpo, both shapes, five rounds
    python benchmarks/online_vs_trl.py --methods rloo --shapes 96,64,8 --rounds 9 --kl 0
    python benchmarks/online_vs_trl.py --profile rloo --shapes 400,64,8

A step samples K completions of L tokens for each of `--groups` prompts of P tokens, scores them, computes reference
log-probabilities, and makes one optimiser step. Both sides have the same random Llama of five million weights in
float32, the same prompts, the same reward, one CPU thread, no gradient checkpointing, and all completions in one
optimiser step; a forward pass has the tokens of `--micro` completions with their prompts (the whole batch unless
given). Each side runs in a process of its own, and the two take turns step by step. Seconds are the processor's (the
machine may be shared), and the wall's; memory is the most that a process ever held.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

os.environ.update(OMP_NUM_THREADS="1", HF_HUB_OFFLINE="1", TOKENIZERS_PARALLELISM="false")
SHAPES = "96,64,8 400,64,8"
WORDS = 4096
TEMPLATE = "{% for message in messages %}{{ message['content'] }}{% endfor %}"


@dataclass
class Work:
    """What a side works on."""

    method: str
    prompt: int
    length: int
    size: int
    groups: int
    kl: float
    micro: int


def make_model(folder: Path) -> None:
    """Write the model and a tokenizer of one token a word."""
    import torch
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    words = {f"w{number}": number for number in range(WORDS - 2)} | {"<end>": WORDS - 2, "<pad>": WORDS - 1}
    plain = Tokenizer(models.WordLevel(words, unk_token="w0"))
    plain.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=plain, eos_token="<end>", pad_token="<pad>")
    tokenizer.chat_template = TEMPLATE
    tokenizer.save_pretrained(folder)
    torch.manual_seed(0)
    sizes = {"hidden_size": 256, "intermediate_size": 688, "num_hidden_layers": 6, "num_attention_heads": 4}
    ids = {"eos_token_id": WORDS - 2, "pad_token_id": WORDS - 1, "bos_token_id": None}
    model = LlamaForCausalLM(LlamaConfig(vocab_size=WORDS, max_position_embeddings=1024, **sizes, **ids))
    model.save_pretrained(folder)


def build(work: Work, folder: Path, run_dir: Path, callbacks: Sequence[Any]) -> Any:
    """Build the trainer of one side through rlpipe's method plugins."""
    import random

    from transformers import AutoModelForCausalLM, AutoTokenizer

    from rlpipe.config import plugins
    from rlpipe.config.kinds import DatasetConfig, ModelConfig, RewardConfig, TrackerConfig
    from rlpipe.config.resolved import resolve
    from rlpipe.config.schema import CheckpointConfig, Device, HardwareConfig, LogConfig, RunConfig
    from rlpipe.datasets.base import LoadReport, Split, Splits
    from rlpipe.datasets.forms import Prompt
    from rlpipe.engines.rollout import SamplingConfig, Score
    from rlpipe.models.base import Loaded
    from rlpipe.rewards.base import Reward
    from rlpipe.training.base import Parts, trainer_module

    class EvenShare(Reward):
        def score(self, rollouts: Sequence[Any]) -> list[Score]:
            return [Score(sum(token % 2 == 0 for token in one.ids) / len(one.ids)) for one in rollouts]

    plugins.table()["reward"]["even"] = plugins.Plugin("reward", "even", "benchmark", cls=EvenShare)
    cls = plugins.load("method", work.method)
    shared = {"batch_size": work.groups * work.size, "group_size": work.size, "kl_coef": work.kl, "max_steps": 10**6}
    rest = {"max_length": 1024, "sampling": SamplingConfig(max_tokens=work.length), "learning_rate": 1e-5}
    # The same tokens per forward pass on both sides; rlpipe's rows hold several completions of a prompt.
    tokens = {"micro_batch_tokens": work.micro * (work.prompt + work.length), "samples_every": 0}
    own = {"micro_batch_size": work.micro} if work.method.startswith("trl_") else tokens
    method = cls(cls.Config(name=work.method, **shared, **rest, **own))
    rng = random.Random(0)
    prompts: list[Any] = [
        Prompt(
            f"train/{row}",
            [{"role": "user", "content": " ".join(f"w{rng.randrange(4000)}" for _ in range(work.prompt))}],
        )
        for row in range(256)
    ]
    split = Split(prompts, LoadReport("train", "made up", "none"))
    config = RunConfig(
        model=ModelConfig(name="pretrained"),
        dataset=DatasetConfig(name="files"),
        method=method.config,
        reward={"even": RewardConfig(name="even")},
        tracker=TrackerConfig(name="none"),
        hardware=HardwareConfig(device=Device.cpu),
        checkpoint=CheckpointConfig(every=10**9),
        log=LogConfig(every=10**9, progress=False),
    )
    loaded = Loaded(AutoModelForCausalLM.from_pretrained(folder), AutoTokenizer.from_pretrained(folder), str(folder))
    return trainer_module(method).build(
        method, Parts(resolve(config), loaded, Splits(split, split), run_dir, list(callbacks))
    )


def worker(work: Work, folder: Path) -> None:
    """Make one optimiser step for each line on stdin, and answer with what it took."""
    import torch
    from transformers import TrainerCallback

    torch.set_num_threads(1)

    class Turns(TrainerCallback):
        def on_step_begin(self, *args: Any, **kwargs: Any) -> None:
            if not sys.stdin.readline():
                os._exit(0)
            self.started = time.perf_counter(), time.process_time()

        def on_step_end(self, *args: Any, **kwargs: Any) -> None:
            wall, cpu = self.started
            peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10
            took = {"wall": time.perf_counter() - wall, "cpu": time.process_time() - cpu, "peak": peak}
            print(json.dumps(took), flush=True)

    with tempfile.TemporaryDirectory() as run_dir:
        trainer = build(work, folder, Path(run_dir), [Turns()])
        print(json.dumps({"built": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10}), flush=True)
        trainer.train()


class Side:
    """One side's process."""

    def __init__(self, work: Work, folder: Path):
        given = [json.dumps(vars(work)), str(folder)]
        command = [sys.executable, __file__, "--worker", *given]
        self.process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
        )
        self.built = self._answer()["built"]

    def step(self) -> dict[str, float]:
        assert self.process.stdin is not None
        print(file=self.process.stdin, flush=True)
        return self._answer()

    def stop(self) -> None:
        assert self.process.stdin is not None
        self.process.stdin.close()
        self.process.wait()

    def _answer(self) -> dict[str, float]:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            if line.startswith("{"):
                return json.loads(line)
        raise SystemExit(f"a side ended with code {self.process.wait()}: run it with --profile to see why")


def compare(ours: Work, theirs: Work, folder: Path, rounds: int) -> None:
    """Take turns, and print a row of the table."""
    sides = [Side(ours, folder), Side(theirs, folder)]
    took: list[list[dict[str, float]]] = [[], []]
    for number in range(rounds + 1):
        for side, rows in zip(sides, took, strict=True):
            answer = side.step()
            if number:  # the first warms up
                rows.append(answer)
    for side in sides:
        side.stop()
    count = ours.groups * ours.size
    rates = [count / statistics.median(row["cpu"] for row in rows) for rows in took]
    ratios = [his["cpu"] / mine["cpu"] for mine, his in zip(*took, strict=True)]
    walls = [his["wall"] / mine["wall"] for mine, his in zip(*took, strict=True)]
    peaks = [rows[-1]["peak"] for rows in took]
    more = [peak - side.built for peak, side in zip(peaks, sides, strict=True)]
    print(
        f"| {ours.method} | {ours.prompt}, {ours.length}, {ours.size} | {rates[0]:.1f} | {rates[1]:.1f} "
        f"| {statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f}) | {statistics.median(walls):.2f} "
        f"| {peaks[0]:.0f} ({more[0]:.0f} above building) | {peaks[1]:.0f} ({more[1]:.0f}) |",
        flush=True,
    )


def profile(work: Work, folder: Path, rounds: int) -> None:
    """Make steps under cProfile in this process."""
    import cProfile
    import pstats

    import torch

    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as run_dir:
        trainer = build(work, folder, Path(run_dir), [])
        trainer.args.max_steps = rounds
        profiler = cProfile.Profile()
        profiler.runcall(trainer.train)
        pstats.Stats(profiler).sort_stats("tottime").print_stats(30)


def main() -> None:
    """Read the arguments."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--methods", nargs="+", default=["rloo", "grpo"])
    parser.add_argument("--shapes", nargs="+", default=SHAPES.split(), help="P,L,K")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--groups", type=int, default=4)
    parser.add_argument("--kl", type=float, default=0.05)
    parser.add_argument("--micro", type=int, default=0, help="completions per forward pass; 0 for all")
    parser.add_argument("--profile", help="a method to profile instead")
    parser.add_argument("--worker", nargs=2, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.worker:
        worker(Work(**json.loads(given.worker[0])), Path(given.worker[1]))
        return
    with tempfile.TemporaryDirectory() as folder:
        make_model(Path(folder))
        if not given.profile:
            print("| method | P, L, K | rlpipe, rollouts/s | TRL | ratio, processor | wall | rlpipe, peak MB | TRL |")
            print("| --- | --- | --- | --- | --- | --- | --- | --- |")
        for method in [given.profile] if given.profile else given.methods:
            for shape in given.shapes:
                prompt, length, size = map(int, shape.split(","))
                micro = given.micro or given.groups * size
                ours = Work(method, prompt, length, size, given.groups, given.kl, micro)
                if given.profile:
                    profile(ours, Path(folder), given.rounds)
                else:
                    compare(ours, Work(**{**vars(ours), "method": f"trl_{method}"}), Path(folder), given.rounds)


if __name__ == "__main__":
    main()
