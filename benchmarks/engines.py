"""Rollouts per second of rlpipe's engines side by side, and how long new weights take to reach each.

    python benchmarks/engines.py MODEL                                       # on a CPU: transformers and vllm, float32
    python benchmarks/engines.py MODEL --engines vllm_server --python /envs/vllm/bin/python
    python benchmarks/engines.py MODEL --device cuda --precision bfloat16 --prompts 64 --count 16 --tokens 512

MODEL is a folder or a hub id. Every completion is of `--tokens` tokens: end tokens are taken for any others. Engines
take turns, round by round, after a first one that warms up; seconds are the wall's. The gap is that of `engine/gap`.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path

from rlpipe.config.kinds import Head, ModelConfig, Precision
from rlpipe.config.resolved import default
from rlpipe.datasets.forms import Prompt
from rlpipe.engines.base import SeparateEngine, drawn_by
from rlpipe.engines.rollout import SamplingConfig
from rlpipe.engines.sampler import Sampler
from rlpipe.models.pretrained import Pretrained

WORDS = tuple(
    "Tell me a story about a small dog that finds a red ball near the old house by the sea".split()  # noqa: SIM905
)


def prompts(count: int, words: int) -> list[Prompt]:
    """Return prompts of so many words, each another."""
    texts = [" ".join([str(number), *(WORDS * words)[: words - 1]]) for number in range(count)]
    return [Prompt(f"p/{number}", [{"role": "user", "content": text}]) for number, text in enumerate(texts)]


def measured(sampler: Sampler, given: argparse.Namespace, seed: int) -> tuple[float, float]:
    """Return the seconds that a synchronisation with its check takes, and those of a batch."""
    requests = prompts(given.prompts, given.words)
    sampler.engine.policy_changed()
    begun = time.perf_counter()
    Sampler(sampler.loaded, SamplingConfig(max_tokens=1)).sample(requests[:1], 1, seed)
    synced = time.perf_counter()
    rollouts = [one for group in sampler.sample(requests, given.count, seed) for one in group]
    ended = time.perf_counter()
    assert all(len(rollout.ids) == given.tokens for rollout in rollouts)
    return synced - begun, ended - synced


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model")
    parser.add_argument("--engines", default="transformers,vllm")
    parser.add_argument("--python", help="the Python of an environment with vLLM, for vllm_server")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--precision", default="float32", choices=[one.value for one in Precision])
    for name, value in {"prompts": 8, "count": 8, "tokens": 64, "words": 40, "rounds": 3}.items():
        parser.add_argument(f"--{name}", type=int, default=value)
    given = parser.parse_args()
    config = ModelConfig(name="pretrained", precision=Precision(given.precision))
    seconds: dict[str, list[tuple[float, float]]] = {name: [] for name in given.engines.split(",")}
    with tempfile.TemporaryDirectory() as scratch, ExitStack() as running:
        loaded = Pretrained(config).load(given.model, Head.causal_lm, 0, given.device, Path(scratch) / "model")
        samplers = {}
        for name in seconds:
            settings = {"python": given.python} if name == "vllm_server" else {}
            served = running.enter_context(drawn_by(default("engine", name, **settings), loaded))
            samplers[name] = Sampler(served, SamplingConfig(max_tokens=given.tokens))
            samplers[name].endings.tokens = frozenset()
        for round in range(given.rounds + 1):
            for name, sampler in samplers.items():
                found = measured(sampler, given, round)
                if round:
                    seconds[name].append(found)
        rollouts = given.prompts * given.count
        print(f"{loaded.model.num_parameters() / 1e6:.1f} M weights, {given.precision} on {given.device}; {rollouts} "
              f"completions of {given.tokens} tokens, {given.count} a prompt")  # fmt: skip
        for name, rounds in seconds.items():
            engine = samplers[name].engine
            rates = [rollouts / drawing for _, drawing in rounds]
            gap = f"   gap {engine.gap.largest:.1g}" if isinstance(engine, SeparateEngine) and engine.gap else ""
            print(f"{name:12} {statistics.median(rates):7.2f} rollouts/s [{min(rates):.2f}, {max(rates):.2f}]   "
                  f"new weights {statistics.median(sync for sync, _ in rounds):.2f} s{gap}")  # fmt: skip


if __name__ == "__main__":
    main()
