"""On-policy training: whole optimiser steps of rlpipe's loop against TRL's RLOO and GRPO trainers.

A step samples K completions of at most L tokens for each of four prompts of P tokens, scores them, computes reference
log-probabilities, and makes one optimiser step, with all completions in one forward pass on both sides and the same
reward. TRL's trainers are set up through rlpipe's `trl_rloo` and `trl_grpo`, without recomputing of activations: their
best flags. The model is random, so that nearly all completions are L tokens long.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from pathlib import Path
from threading import Semaphore, Thread
from typing import Any

from benchmarks.frame import Case, Clock, Machine, Took, Turn

WORDS, GROUPS = 4096, 4
TEMPLATE = "{% for message in messages %}{{ message['content'] }}{% endfor %}"


class Online(Case):
    """One optimiser step."""

    sides = ("rlpipe", "trl flags")

    def __init__(self, method: str, prompt: int, length: int, size: int):
        """Take the method, P, L and K."""
        super().__init__(f"{method}-{prompt}-{length}-{size}", f"{method}: P={prompt}, L={length}, K={size}")
        self.method, self.prompt, self.length, self.size = method, prompt, length, size

    def make(self, folder: Path, machine: Machine) -> None:
        """Write a random Llama of 5.8 million weights and a tokenizer of one token a word."""
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

    def prepare(self, side: str, folder: Path, machine: Machine) -> Turn:
        """Build a side's trainer, and return its next step."""
        import torch

        torch.set_num_threads(machine.threads)
        turns = Turns()
        trainer = self._trainer(side, folder, machine, turns)
        Thread(target=turns.train, args=(trainer,), daemon=True).start()
        return turns.next

    def _trainer(self, side: str, folder: Path, machine: Machine, turns: Turns) -> Any:
        """Build the trainer of a side through rlpipe's method plugins."""
        from transformers import AutoModelForCausalLM, AutoTokenizer

        from rlpipe.config import plugins
        from rlpipe.config.kinds import DatasetConfig, ModelConfig, Precision, RewardConfig, TrackerConfig
        from rlpipe.config.resolved import resolve
        from rlpipe.config.schema import CheckpointConfig, Device, HardwareConfig, LogConfig, RunConfig
        from rlpipe.datasets.base import LoadReport, Split, Splits
        from rlpipe.engines.rollout import Score
        from rlpipe.models.base import Loaded
        from rlpipe.rewards.base import Reward
        from rlpipe.training.base import Parts, trainer_module

        class EvenShare(Reward):
            def score(self, rollouts: Sequence[Any]) -> list[Score]:
                return [Score(sum(token % 2 == 0 for token in one.ids) / len(one.ids)) for one in rollouts]

        plugins.table()["reward"]["even"] = plugins.Plugin("reward", "even", "benchmark", cls=EvenShare)
        method = self._method(side)
        split = Split(prompts(self.prompt), LoadReport("train", "made up", "none"))
        config = RunConfig(
            model=ModelConfig(name="pretrained", precision=Precision(machine.precision)),
            dataset=DatasetConfig(name="files"),
            method=method.config,
            reward={"even": RewardConfig(name="even")},
            tracker=TrackerConfig(name="none"),
            hardware=HardwareConfig(device=Device(machine.device)),
            checkpoint=CheckpointConfig(every=10**9),
            log=LogConfig(every=10**9, progress=False),
        )
        model = AutoModelForCausalLM.from_pretrained(folder).to(machine.device)
        loaded = Loaded(model, AutoTokenizer.from_pretrained(folder), str(folder))
        run_dir = folder / f"run-{side.replace(' ', '-')}"
        return trainer_module(method).build(
            method, Parts(resolve(config), loaded, Splits(split, split), run_dir, [turns.callback()])
        )

    def _method(self, side: str) -> Any:
        from rlpipe.config import plugins
        from rlpipe.engines.rollout import SamplingConfig

        name = self.method if side == "rlpipe" else f"trl_{self.method}"
        batch = GROUPS * self.size
        shared = {"batch_size": batch, "group_size": self.size, "kl_coef": 0.05, "max_steps": 10**6}
        rest = {"max_length": 1024, "sampling": SamplingConfig(max_tokens=self.length), "learning_rate": 1e-5}
        # The same tokens in a forward pass on both sides; rlpipe's rows hold several completions of a prompt.
        tokens = {"micro_batch_tokens": batch * (self.prompt + self.length), "samples_every": 0}
        own = tokens if side == "rlpipe" else {"micro_batch_size": batch}
        cls = plugins.load("method", name)
        return cls(cls.Config(name=name, **shared, **rest, **own))


class Turns:
    """Steps of a trainer that runs in a thread, each when it is asked for."""

    def __init__(self) -> None:
        self.go, self.done = Semaphore(0), Semaphore(0)
        self.took: Took | None = None

    def next(self) -> Took:
        self.took = None
        self.go.release()
        self.done.acquire()
        if self.took is None:
            raise SystemExit("the training has ended")
        return self.took

    def train(self, trainer: Any) -> None:
        try:
            trainer.train()
        finally:
            self.done.release()

    def callback(self) -> Any:
        from transformers import TrainerCallback

        turns = self

        class Callback(TrainerCallback):
            def on_step_begin(self, *args: Any, **kwargs: Any) -> None:
                turns.go.acquire()
                self.clock = Clock()

            def on_step_end(self, *args: Any, **kwargs: Any) -> None:
                turns.took = self.clock.took()
                turns.done.release()

        return Callback()


def prompts(length: int) -> list[Any]:
    """Make prompts of so many tokens."""
    from rlpipe.datasets.forms import Prompt

    draw = random.Random(0)

    def words() -> str:
        return " ".join(f"w{draw.randrange(WORDS - 96)}" for _ in range(length))

    return [Prompt(f"train/{row}", [{"role": "user", "content": words()}]) for row in range(256)]


SHAPES = ((96, 64, 8), (400, 64, 8))
CASES = tuple(Online(method, *shape) for method in ("rloo", "grpo") for shape in SHAPES)
