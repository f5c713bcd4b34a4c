"""A DPO step on pairs with short and long prompts: TRL's trainer as it is, with flags, patched, and rlpipe's forward.

    python benchmarks/pairs.py                            # three shapes, five rounds
    python benchmarks/pairs.py --shapes 400,64 --rounds 3

The forward and backward pass of one micro-batch of `--pairs` pairs, prompts of P tokens and answers of L (each varies
by a quarter), in turns in one process on one CPU thread, on a random Llama of five million weights. The optimiser, and
what rlpipe adds around a step (see `training_overhead.py`), are the same for all and left out.

defaults  TRL's defaults: activations are computed again, and the reference is asked in the step
flags     no gradient checkpointing, the reference's log-probabilities computed before
patched   the same, with no logits of prompt tokens (TRL computes them on a CPU)
rlpipe    the same, with the prompts of a pair once

`reference` is the pass that computes a reference's log-probabilities, patched and as rlpipe makes it: once a run, and
in rlpipe once for all runs that share the store.
"""

from __future__ import annotations

import argparse
import os
import random
import statistics
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")
SHAPES = "32,64 96,64 400,64"
VOCABULARY = 4096


def pairs(prompt: int, answer: int, count: int) -> dict[str, list[str]]:
    """Make texts whose words are numbers, a token each."""
    draw = random.Random(0)

    def text(mean: int) -> str:
        return "".join(f" {draw.randrange(3, VOCABULARY)}" for _ in range(draw.randint(mean * 3 // 4, mean * 5 // 4)))

    means = {"prompt": prompt, "chosen": answer, "rejected": answer}
    return {name: [text(mean) for _ in range(count)] for name, mean in means.items()}


def trainer(rows: dict[str, list[str]], folder: str, best: bool) -> Any:
    """Make TRL's DPO trainer."""
    import torch
    from datasets import Dataset
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast
    from trl import DPOConfig, DPOTrainer

    torch.manual_seed(0)
    sizes = {"hidden_size": 256, "intermediate_size": 688, "num_hidden_layers": 6, "num_attention_heads": 4}
    model = LlamaForCausalLM(LlamaConfig(vocab_size=VOCABULARY, max_position_embeddings=4096, **sizes))
    words = Tokenizer(models.WordLevel({str(number): number for number in range(VOCABULARY)}, unk_token="0"))
    words.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=words, pad_token="1", eos_token="2", unk_token="0")
    flags = {"gradient_checkpointing": False, "precompute_ref_log_probs": True} if best else {}
    count = len(rows["prompt"])
    arguments = DPOConfig(
        output_dir=folder, report_to="none", use_cpu=True, bf16=False, max_length=None, disable_tqdm=True,
        per_device_train_batch_size=count, **flags,
    )  # fmt: skip
    data = Dataset.from_dict(rows)
    return DPOTrainer(
        model=model, ref_model=None if best else _copy(model), args=arguments, train_dataset=data,
        processing_class=tokenizer,
    )  # fmt: skip


def _copy(model: Any) -> Any:
    import copy

    return copy.deepcopy(model)


def step(trained: Any, patched: bool, share: bool) -> tuple[float, float]:
    """Compute the loss and its gradient; return it with the seconds of processor time."""
    from rlpipe.engines.shared_prompts import shared
    from rlpipe.training.offline.compaction import compact

    batch = trained.data_collator([trained.train_dataset[row] for row in range(len(trained.train_dataset))])
    trained.model.zero_grad()
    trained.model.train()
    if trained.args.gradient_checkpointing:
        trained.model.gradient_checkpointing_enable({"use_reentrant": False})
    start = time.process_time()
    with ExitStack() as context:
        if patched:
            context.enter_context(compact())
        context.enter_context(shared(*[trained.model] * share))
        loss = trained.compute_loss(trained.model, batch)
    loss.backward()
    return loss.item(), time.process_time() - start


def reference(trained: Any, share: bool) -> tuple[float, float]:
    """Compute the reference's log-probabilities; return their sum with the seconds of processor time."""
    from rlpipe.engines.shared_prompts import shared
    from rlpipe.training.offline.compaction import compact

    batch = trained.data_collator([trained.train_dataset[row] for row in range(len(trained.train_dataset))])
    start = time.process_time()
    with compact(), shared(*[trained.model] * share):
        chosen, rejected = trained.compute_ref_log_probs(trained.model, batch)
    return (chosen.sum() + rejected.sum()).item(), time.process_time() - start


def compare(shape: tuple[int, int], arguments: argparse.Namespace, folder: str) -> None:
    rows = pairs(*shape, arguments.pairs)
    plain, best = trainer(rows, folder, best=False), trainer(rows, folder, best=True)
    ways: dict[str, Callable[[], tuple[float, float]]] = {
        "defaults": lambda: step(plain, False, False),
        "flags": lambda: step(best, False, False),
        "patched": lambda: step(best, True, False),
        "rlpipe": lambda: step(best, True, True),
        "reference, patched": lambda: reference(best, False),
        "reference, rlpipe": lambda: reference(best, True),
    }
    ways = {name: run for name, run in ways.items() if name in (*arguments.ways, "rlpipe", "reference, rlpipe")}
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    for turn in range(arguments.rounds + 1):
        values = {}
        for name, run in ways.items():
            values[name], spent = run()
            if turn:  # the first one warms up
                seconds[name].append(spent)
        losses = [value for name, value in values.items() if not name.startswith("reference")]
        assert max(losses) - min(losses) <= 1e-4 * abs(losses[0]), f"not the same loss: {values}"
    print(f"P={shape[0]} L={shape[1]}, {arguments.pairs} pairs")
    for name, spent in seconds.items():
        base = seconds["reference, rlpipe" if name.startswith("reference") else "rlpipe"]
        ratios = [theirs / ours for theirs, ours in zip(spent, base, strict=True)]
        median, spread = statistics.median(ratios), f"[{min(ratios):.2f}, {max(ratios):.2f}]"
        print(f"  {name:19} {statistics.median(spent):6.2f} s  {median:5.2f} x rlpipe {spread}", flush=True)


def main() -> None:
    import torch
    import transformers

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shapes", nargs="+", default=SHAPES.split(), help="P,L")
    parser.add_argument("--pairs", type=int, default=8)
    parser.add_argument("--ways", nargs="+", default=["defaults", "flags", "patched", "reference, patched"])
    parser.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    transformers.logging.set_verbosity_error()
    with tempfile.TemporaryDirectory() as folder:
        for shape in arguments.shapes:
            prompt, answer = map(int, shape.split(","))
            compare((prompt, answer), arguments, folder)


if __name__ == "__main__":
    main()
