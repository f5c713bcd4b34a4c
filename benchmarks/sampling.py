"""Completions per second of rlpipe's sampler against transformers' `generate`: same model and prompts, in turns.

    python benchmarks/sampling.py                             # a random model of 5 million weights, one thread
    python benchmarks/sampling.py --prompt-tokens 400 --prompts 4
    python benchmarks/sampling.py --profile                   # where the sampler's time goes

`fixed`    every completion has `--tokens` tokens: the same work on both sides.
`natural`  completions end at random (every token ends one with probability 1/16): each side draws its own lengths, so
           the times are divided by the tokens that were written.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import torch

from rlpipe.config.kinds import Head
from rlpipe.datasets.forms import Prompt
from rlpipe.engines.prompts import prompt_ids
from rlpipe.engines.rollout import SamplingConfig
from rlpipe.engines.sampler import Sampler
from rlpipe.models.base import Loaded
from rlpipe.models.blank import Blank

VOCABULARY = 4096


def load() -> Loaded:
    """Make a Llama of five million weights, its embeddings stretched to a vocabulary of 4096."""
    config = Blank.Config(name="blank", hidden_size=256, layers=6, intermediate_size=768, context=2048)
    with tempfile.TemporaryDirectory() as folder:
        loaded = Blank(config).load(None, Head.causal_lm, 0, "cpu", Path(folder) / "start")
    loaded.model.resize_token_embeddings(VOCABULARY, mean_resizing=False)
    loaded.model.generation_config.eos_token_id = None
    loaded.model.generation_config.bos_token_id = None
    return loaded


def prompts(loaded: Loaded, number: int, tokens: int) -> list[Prompt]:
    """Make prompts of exactly so many tokens."""

    def prompt(index: int, words: int) -> Prompt:
        return Prompt(str(index), [{"role": "user", "content": str(index % 10) + "a 1" * words}])

    words = 1
    while len(prompt_ids(prompt(0, words + 1), loaded.tokenizer)) <= tokens:
        words += 1
    return [prompt(index, words) for index in range(number)]


def transformers_generate(loaded: Loaded, asked: list[Prompt], count: int, tokens: int, ends: list[int]) -> int:
    """Sample as a trainer would: every prompt `count` times in the batch. Return the tokens written."""
    rows = [prompt_ids(prompt, loaded.tokenizer) for prompt in asked for _ in range(count)]
    assert len(set(map(len, rows))) == 1, "prompts of one length, so that nothing is padded on either side"
    ids = torch.tensor(rows)
    end = {"eos_token_id": ends, "pad_token_id": ends[0]} if ends else {}
    with torch.inference_mode():
        written = loaded.model.generate(
            input_ids=ids, attention_mask=torch.ones_like(ids), max_new_tokens=tokens, do_sample=True, top_k=0, **end
        )
    found = torch.isin(written[:, ids.shape[1] :], torch.tensor(ends, dtype=torch.long))
    lengths = torch.where(found.any(1), found.int().argmax(1) + 1, written.shape[1] - ids.shape[1])
    return int(lengths.sum())


def rlpipe_sample(loaded: Loaded, asked: list[Prompt], count: int, tokens: int, ends: list[int]) -> int:
    """Sample as rlpipe does. Return the tokens written."""
    sampler = Sampler(loaded, SamplingConfig(max_tokens=tokens))
    sampler.endings.tokens = frozenset(ends)
    return sum(len(rollout.ids) for group in sampler.sample(asked, count, seed=0) for rollout in group)


def rate(sample: Callable[[], int]) -> float:
    """Return tokens per second of processor time: other programs may use the machine too."""
    begun = time.process_time()
    written = sample()
    return written / (time.process_time() - begun)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, default in {"prompts": 8, "count": 8, "prompt-tokens": 96, "tokens": 64, "rounds": 5}.items():
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--profile", action="store_true", help="profile the sampler instead of comparing")
    given = parser.parse_args()
    torch.set_num_threads(1)
    loaded = load()
    asked = prompts(loaded, given.prompts, given.prompt_tokens)
    length = len(prompt_ids(asked[0], loaded.tokenizer))
    print(f"{loaded.model.num_parameters() / 1e6:.1f} M weights, {given.prompts} prompts of {length} tokens, "
          f"{given.count} completions of up to {given.tokens} tokens, 1 thread, float32")  # fmt: skip
    if given.profile:
        rlpipe_sample(loaded, asked, given.count, given.tokens, [])
        with torch.profiler.profile() as profile:
            rlpipe_sample(loaded, asked, given.count, given.tokens, [])
        print(profile.key_averages().table(sort_by="self_cpu_time_total", row_limit=15, max_name_column_width=50))
        return
    for name, ends in {"fixed": [], "natural": list(range(VOCABULARY // 16))}.items():
        arguments = (loaded, asked, given.count, given.tokens, ends)
        sides = {"generate": transformers_generate, "rlpipe": rlpipe_sample}
        rates: dict[str, list[float]] = {side: [] for side in sides}
        for round in range(given.rounds + 1):
            for side, sample in sides.items():
                measured = rate(lambda sample=sample, arguments=arguments: sample(*arguments))
                if round:  # the first one warms up
                    rates[side].append(measured)
        ratios = [ours / theirs for ours, theirs in zip(rates["rlpipe"], rates["generate"], strict=True)]
        print(f"{name:8} generate {statistics.median(rates['generate']):6.0f} tokens/s   "
              f"rlpipe {statistics.median(rates['rlpipe']):6.0f} tokens/s   "
              f"ratio {statistics.median(ratios):.2f} [{min(ratios):.2f}, {max(ratios):.2f}]")  # fmt: skip


if __name__ == "__main__":
    main()
