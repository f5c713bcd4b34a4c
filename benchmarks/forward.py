"""Forward and backward of completion log-probabilities: shared-prefix rows, plain rows, transformers' own logits.

    python benchmarks/forward.py                         # the four shapes, five rounds
    python benchmarks/forward.py --shapes 96,64,8 --rounds 9 --splits

One prompt batch has `--groups` prompts of P tokens with K completions of L tokens. Four ways, in turns in one process,
on one CPU thread, on a random Llama of five million weights (hidden 256, 6 layers, 4096 tokens):

chosen    what `micro_batches` decides with the model's costs
one row   all completions of a prompt in one row, whatever it costs
plain     one row per rollout, logits of completion tokens only
padded    one row per rollout, the model's own logits of every position, log_softmax, gather

`--splits` also times every number of completions per row, to fit the constants in `shared_prefix`.
"""

from __future__ import annotations

import argparse
import os
import statistics
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")
SHAPES = "96,64,8 400,64,8 128,256,8 32,256,8"


def model(attention: str) -> Any:
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(0)
    sizes = {"hidden_size": 256, "intermediate_size": 688, "num_hidden_layers": 6, "num_attention_heads": 4}
    config = LlamaConfig(vocab_size=4096, max_position_embeddings=4096, attn_implementation=attention, **sizes)
    return LlamaForCausalLM(config)


def rollouts(prompt: int, length: int, count: int, groups: int) -> list[Any]:
    import random

    from rlpipe.datasets.forms import Prompt
    from rlpipe.engines.rollout import Finish, Rollout

    draw = random.Random(0)
    made = []
    for number in range(groups):
        shared = [draw.randrange(4096) for _ in range(prompt)]
        for _ in range(count):
            ids = [draw.randrange(4096) for _ in range(length)]
            source = Prompt(id=str(number), prompt=[])
            made.append(Rollout(source, shared, ids, [0.0] * length, [True] * length, "", Finish.length))
    return made


def packed(net: Any, rows: list[Any], max_tokens: int, costs: Any) -> Callable[[], float]:
    """Score and back-propagate as rlpipe does."""
    from rlpipe.training.online.forward import forward
    from rlpipe.training.online.packing import micro_batches

    def run() -> float:
        total = 0.0
        for batch in micro_batches(rows, max_tokens, costs):
            loss = forward(net, batch, 1.0).logps.sum()
            loss.backward()
            total += loss.item()
        return total

    return run


def padded(net: Any, rows: list[Any], max_tokens: int) -> Callable[[], float]:
    """Score and back-propagate with the model's own logits."""
    import torch

    length = len(rows[0].prompt_ids) + len(rows[0].ids)
    size = max(1, max_tokens // length)
    prompt = len(rows[0].prompt_ids)

    def run() -> float:
        total = 0.0
        for start in range(0, len(rows), size):
            ids = torch.tensor([row.prompt_ids + row.ids for row in rows[start : start + size]])
            logps = net(input_ids=ids, use_cache=False).logits[:, :-1].log_softmax(-1)
            loss = logps.gather(-1, ids[:, 1:, None])[:, prompt - 1 :].sum()
            loss.backward()
            total += loss.item()
        return total

    return run


def timed(run: Callable[[], float], net: Any) -> tuple[float, float]:
    net.zero_grad(set_to_none=True)
    began = time.process_time()
    value = run()
    return time.process_time() - began, value


def peak(run: Callable[[], float], net: Any) -> float:
    """Return how far memory rises above where it stood, in MiB, in a process of its own."""
    import resource

    ready, done = os.pipe()
    child = os.fork()
    if child == 0:
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        timed(run, net)
        rise = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
        os.write(done, str(rise).encode())
        os._exit(0)
    os.waitpid(child, 0)
    os.close(done)
    with os.fdopen(ready) as answer:
        return float(answer.read()) / 1024


def ways(net: Any, shape: tuple[int, int, int], arguments: argparse.Namespace) -> dict[str, Callable[[], float]]:
    from rlpipe.engines.shared_prefix import costs

    rows, most, chosen = rollouts(*shape, arguments.groups), arguments.max_tokens, costs(net)
    found = {
        "chosen": packed(net, rows, most, chosen),
        "one row": packed(net, rows, most, replace(chosen, masked=0.0)),
        "plain": packed(net, rows, most, replace(chosen, share=False)),
        "padded": padded(net, rows, most),
    }
    for count in (2, 4) if arguments.splits else ():
        found[f"{count} a row"] = packed(net, parted(rows, count), most, replace(chosen, masked=0.0))
    return found


def compare(net: Any, shape: tuple[int, int, int], arguments: argparse.Namespace, memory: dict[str, float]) -> None:
    from rlpipe.engines.shared_prefix import costs
    from rlpipe.training.online.packing import micro_batches

    runs = ways(net, shape, arguments)
    seconds: dict[str, list[float]] = {name: [] for name in runs}
    for turn in range(arguments.rounds + 1):
        values = {}
        for name, run in runs.items():
            spent, values[name] = timed(run, net)
            if turn:
                seconds[name].append(spent)
        apart = max(values.values()) - min(values.values())
        assert apart <= 1e-4 * abs(values["plain"]), f"the ways disagree: {values}"
    batches = micro_batches(rollouts(*shape, arguments.groups), arguments.max_tokens, costs(net))
    sizes = sorted({len(row) for batch in batches for row in batch.rows}, reverse=True)
    print(f"P={shape[0]} L={shape[1]} K={shape[2]}: completions per row {sizes}, {len(batches)} micro-batches")
    for name in runs:
        ratios = [plain / own for plain, own in zip(seconds["plain"], seconds[name], strict=True)]
        print(
            f"  {name:8} {statistics.median(seconds[name]):6.2f} s  {statistics.median(ratios):5.2f} x plain "
            f"[{min(ratios):.2f}, {max(ratios):.2f}]  peak +{memory[name]:.0f} MiB",
            flush=True,
        )


def parted(rows: list[Any], count: int) -> list[Any]:
    """Order rollouts so that no more than `count` of a prompt stand next to each other (needs two prompts or more)."""
    return [
        rows[place + inner]
        for start in range(0, len(rows) // 2, count)
        for place in (start, start + len(rows) // 2)
        for inner in range(count)
    ]


def main() -> None:
    import torch

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shapes", nargs="+", default=SHAPES.split(), help="P,L,K")
    parser.add_argument("--groups", type=int, default=2, help="prompts, an even number")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--max-tokens", type=int, default=4096)
    parser.add_argument("--attention", default="sdpa", help="sdpa or eager")
    parser.add_argument("--splits", action="store_true")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    net = model(arguments.attention)
    shapes = [tuple(map(int, shape.split(","))) for shape in arguments.shapes]
    # Before any pass, lest memory that the process already holds is used again and not counted.
    memory = [{name: peak(run, net) for name, run in ways(net, shape, arguments).items()} for shape in shapes]
    for shape, peaks in zip(shapes, memory, strict=True):
        compare(net, shape, arguments, peaks)


if __name__ == "__main__":
    main()
