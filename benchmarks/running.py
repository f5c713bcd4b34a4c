"""What parts of rlpipe cost beside doing without them, and how cost grows.

`forward-…` is the forward and backward pass of an on-policy step over two prompts of P tokens with K completions of L:
`chosen` as `micro_batches` decides with the model's costs, `one row` with all completions of a prompt in one row, `2 a
row` and `4 a row` with so many (to fit the constants of `rlpipe.engines.shared_prefix`), `plain` a row for each with
logits of completion tokens, `padded` with the model's own logits of every position. `watching-…` is a training of 100
steps with and without `watch.every=50`. `report` compares as many runs.
"""

from __future__ import annotations

import random
import shutil
import tempfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest.mock import patch

from benchmarks.frame import Case, Clock, Machine, Took, Turn
from benchmarks.training import run

GROUPS, MOST_TOKENS = 2, 4096


class Forward(Case):
    """Log-probabilities of completions, and their gradient."""

    sides = ("chosen", "one row", "2 a row", "4 a row", "plain", "padded")
    tolerance = 1e-4

    def __init__(self, prompt: int, length: int, size: int):
        """Take P, L and K."""
        super().__init__(f"forward-{prompt}-{length}-{size}", f"forward and backward: P={prompt}, L={length}, K={size}")
        self.prompt, self.length, self.size = prompt, length, size

    def prepare(self, side: str, folder: Path, machine: Machine) -> Turn:
        """Return the pass of a side, on a random Llama of five million weights."""
        import torch
        from transformers import LlamaConfig, LlamaForCausalLM

        from rlpipe.engines.shared_prefix import costs

        torch.set_num_threads(machine.threads)
        torch.manual_seed(0)
        sizes = {"hidden_size": 256, "intermediate_size": 688, "num_hidden_layers": 6, "num_attention_heads": 4}
        net = LlamaForCausalLM(LlamaConfig(vocab_size=4096, max_position_embeddings=4096, **sizes)).to(machine.device)
        rollouts, chosen = self._rollouts(), costs(net)
        ways: dict[str, Callable[[], float]] = {
            "chosen": packed(net, rollouts, chosen),
            "one row": packed(net, rollouts, replace(chosen, masked=0.0)),
            "2 a row": packed(net, parted(rollouts, 2), replace(chosen, masked=0.0)),
            "4 a row": packed(net, parted(rollouts, 4), replace(chosen, masked=0.0)),
            "plain": packed(net, rollouts, replace(chosen, share=False)),
            "padded": padded(net, rollouts),
        }

        def turn() -> float:
            net.zero_grad(set_to_none=True)
            return ways[side]()

        return turn

    def _rollouts(self) -> list[Any]:
        from rlpipe.datasets.forms import Prompt
        from rlpipe.engines.rollout import Finish, Rollout

        draw = random.Random(0)

        def tokens(count: int) -> list[int]:
            return [draw.randrange(4096) for _ in range(count)]

        shared = [(Prompt(str(number), []), tokens(self.prompt)) for number in range(GROUPS)]
        zeros, kept = [0.0] * self.length, [True] * self.length
        return [
            Rollout(source, prompt, tokens(self.length), zeros, kept, "", Finish.length)
            for source, prompt in shared
            for _ in range(self.size)
        ]


def packed(net: Any, rollouts: list[Any], costs: Any) -> Callable[[], float]:
    """Score and back-propagate as rlpipe does."""
    from rlpipe.training.online.forward import forward
    from rlpipe.training.online.packing import micro_batches

    def run() -> float:
        total = 0.0
        for batch in micro_batches(rollouts, MOST_TOKENS, costs):
            loss = forward(net, batch, 1.0).logps.sum()
            loss.backward()
            total += loss.item()
        return total

    return run


def padded(net: Any, rollouts: list[Any]) -> Callable[[], float]:
    """Score and back-propagate with the model's own logits."""
    import torch

    prompt = len(rollouts[0].prompt_ids)
    size = max(1, MOST_TOKENS // (prompt + len(rollouts[0].ids)))

    def run() -> float:
        total = 0.0
        for start in range(0, len(rollouts), size):
            rows = [row.prompt_ids + row.ids for row in rollouts[start : start + size]]
            ids = torch.tensor(rows, device=net.device)
            logps = net(input_ids=ids, use_cache=False).logits[:, :-1].log_softmax(-1)
            loss = logps.gather(-1, ids[:, 1:, None])[:, prompt - 1 :].sum()
            loss.backward()
            total += loss.item()
        return total

    return run


def parted(rollouts: list[Any], count: int) -> list[Any]:
    """Order rollouts of two prompts so that no more than `count` of one stand next to each other."""
    half = len(rollouts) // 2
    return [
        rollouts[place + inner]
        for start in range(0, half, count)
        for place in (start, start + half)
        for inner in range(count)
    ]


class Watching(Case):
    """A training with and without measurements on the way."""

    sides = ("plain", "watched")

    def __init__(self, method: str, dataset: str, evaluation: str):
        """Take what is trained, and what is measured."""
        super().__init__(f"watching-{method}", f"{method}: 100 steps, measured every 50")
        chosen = (f"method={method}", f"dataset={dataset}", f"evaluation={evaluation}", "method.max_steps=100")
        self.overrides = ("model=blank", *chosen, "until=train", "log.progress=false")

    def prepare(self, side: str, folder: Path, machine: Machine) -> Turn:
        """Return a run, with a store that is new each time."""
        watched = ["watch.every=50"] if side == "watched" else []

        def turn() -> Took:
            with tempfile.TemporaryDirectory() as out, patch.dict("os.environ", {"RLPIPE_STORE": f"{out}/store"}):
                clock = Clock()
                run(*self.overrides, f"hardware.device={machine.device}", *watched, f"run_dir='{out}/run'")
                return clock.took()

        return turn


class Report(Case):
    """Comparing runs."""

    sides = ("100 runs", "1,000 runs")

    def make(self, folder: Path, machine: Machine) -> None:
        """Make a small run that was measured before and after, and copies of it."""
        small = ("model=blank", "method=dpo", "method.max_steps=2", "dataset.sample_size=64", "dataset.test_limit=32")
        first = folder / "first"
        with patch.dict("os.environ", {"RLPIPE_STORE": str(folder / "store")}):
            run(
                *small,
                "evaluation=preference",
                "log.progress=false",
                f"hardware.device={machine.device}",
                f"run_dir='{first}'",
            )
        for side in self.sides:
            for number in range(count(side)):
                shutil.copytree(
                    first, folder / side / str(number), ignore=shutil.ignore_patterns("model", "checkpoints", "start")
                )

    def prepare(self, side: str, folder: Path, machine: Machine) -> Turn:
        """Return the writing of a page."""
        from rlpipe.report.write import build

        return lambda: build([folder / side], folder / f"{count(side)}.html") and None


def count(side: str) -> int:
    """Return how many runs a side compares."""
    return int(side.split()[0].replace(",", ""))


CASES = (
    *(Forward(*shape) for shape in ((96, 64, 8), (400, 64, 8), (128, 256, 8), (32, 256, 8))),
    Watching("sft", "smoltalk", "perplexity"),
    Watching("dpo", "ultrafeedback", "preference"),
    Report("report", "a page that compares so many runs"),
)
