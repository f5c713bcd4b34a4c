"""Evaluations against what transformers alone does: completions of Countdown drawn and verified, pairs scored.

`pass@8` and `greedy` are rlpipe's accuracy against `generate`.

Both sides get the same prompts in the same batch, draw as many completions of at most the same length, and verify them
with the same reward. transformers pads prompts of different lengths on the left and reads each prompt once per
completion; rlpipe's evaluation is the whole of it, rows included. Sides take turns, processor time is measured (other
programs may use the machine too), and greedy completions are compared token by token in float32.

`scoring` is preference and perplexity of the same held-out pairs against plain passes: eight rows a batch in the order
of the data, padded to the longest, logits of every position, and the chosen answers once for each evaluation.

    python benchmarks/evaluation_throughput.py
    python benchmarks/evaluation_throughput.py --source path/to/model --prompts 16 --tokens 64
    python benchmarks/evaluation_throughput.py --source path/to/model --pairs 24 --rows path/to/pairs --only scoring
"""

from __future__ import annotations

import argparse
import dataclasses
import resource
import statistics
import tempfile
from collections.abc import Callable
from pathlib import Path

import torch
from sampling import load as random_model

from rlpipe.config import plugins
from rlpipe.config.compose import compose
from rlpipe.config.kinds import EvaluationConfig, Head, ModelConfig
from rlpipe.config.resolved import resolve
from rlpipe.datasets.forms import Completion, Preference, Prompt
from rlpipe.datasets.load import load as load_data
from rlpipe.engines.prompts import prompt_ids
from rlpipe.engines.rollout import Finish, Rollout
from rlpipe.evaluations.accuracy import Accuracy, AccuracyConfig
from rlpipe.evaluations.base import EvaluationContext
from rlpipe.evaluations.completions import DrawConfig
from rlpipe.evaluations.perplexity import Perplexity, PerplexityConfig
from rlpipe.evaluations.preference import PreferenceAccuracy
from rlpipe.models.base import Loaded
from rlpipe.models.pretrained import Pretrained
from rlpipe.models.tokens import tokenize
from rlpipe.rewards.combine import Rewards

COUNT = 8
ROWS = 8
"""Rows of a plain batch."""


def puzzles(number: int, worked: int) -> list[Prompt]:
    """Return Countdown prompts, each after some worked ones, so that prompts are as long as few-shot ones are."""
    dataset = plugins.make("dataset", compose("dataset=countdown", "method=none").dataset)
    found = [one for one in load_data(dataset, (Prompt,), 0).test.examples if isinstance(one, Prompt)]
    made = []
    for index in range(number):
        shown = found[(index + 1) % len(found) :][: worked + index % 2]
        turns = [
            turn for one in shown for turn in (*one.prompt, {"role": "assistant", "content": "<answer>1</answer>"})
        ]
        made.append(Prompt(f"test/{index}", [*turns, *found[index].prompt], found[index].columns))
    return made


def ours(loaded: Loaded, asked: list[Prompt], tokens: int, greedy: bool) -> Callable[[], list[list[str]]]:
    """Return rlpipe's evaluation, ready to measure."""
    drawn = {"greedy": True} if greedy else {"greedy": False, "samples": COUNT}
    one = Accuracy(AccuracyConfig(name="accuracy", sampling=DrawConfig(max_tokens=tokens), **drawn))
    run = compose("method=none", "dataset=countdown", "evaluation=accuracy")
    one.start(EvaluationContext(run, Path(tempfile.mkdtemp()), "accuracy"))

    def measure() -> list[list[str]]:
        rows = one.rows(loaded, asked)
        return [[row["completion"]] if greedy else [drawn["completion"] for drawn in row["samples"]] for row in rows]

    return measure


def theirs(loaded: Loaded, asked: list[Prompt], tokens: int, greedy: bool) -> Callable[[], list[list[str]]]:
    """Return the same by `generate`: a batch padded on the left, then the same verifier."""
    run = compose("method=none", "dataset=countdown", "reward=countdown")
    rewards = Rewards(resolve(run).make_rewards())
    rewards.start(run, loaded.path, "cpu", Path(tempfile.mkdtemp()))
    how = {"do_sample": False} if greedy else {"do_sample": True, "top_k": 0, "num_return_sequences": COUNT}

    def measure() -> list[list[str]]:
        rows = [prompt_ids(prompt, loaded.tokenizer) for prompt in asked]
        longest, end = max(map(len, rows)), loaded.tokenizer.eos_token_id
        ids = torch.tensor([[end] * (longest - len(row)) + row for row in rows])
        mask = torch.tensor([[0] * (longest - len(row)) + [1] * len(row) for row in rows])
        with torch.inference_mode():
            written = loaded.model.generate(
                input_ids=ids, attention_mask=mask, max_new_tokens=tokens, eos_token_id=end, pad_token_id=end, **how
            )
        texts = loaded.tokenizer.batch_decode(written[:, longest:], skip_special_tokens=True)
        each = len(texts) // len(asked)
        groups = [texts[number * each : (number + 1) * each] for number in range(len(asked))]
        rewards.score(
            [
                Rollout(prompt, [], [], [], [], text, Finish.stop)
                for prompt, group in zip(asked, groups, strict=True)
                for text in group
            ]
        )
        return groups

    return measure


def pairs(number: int, source: str) -> list[Preference]:
    """Return held-out pairs: made-up ones, or those of a folder."""
    run = compose("dataset=ultrafeedback", "method=none", f"dataset.source={source}")
    found = load_data(plugins.make("dataset", run.dataset), (Preference,), 0).test.examples
    return [one for one in found if isinstance(one, Preference)][:number]


def our_scores(loaded: Loaded, held_out: list[Preference]) -> Callable[[], list[float]]:
    """Return preference and perplexity as a run measures them, ready to measure."""
    preference = PreferenceAccuracy(EvaluationConfig(name="preference"))
    perplexity = Perplexity(PerplexityConfig(name="perplexity"))
    chosen = [Completion(one.id, one.prompt, one.chosen) for one in held_out]

    def measure() -> list[float]:
        sharing = dataclasses.replace(loaded, scored={})
        compared = preference.rows(sharing, held_out)
        predicted = perplexity.rows(sharing, chosen)
        scores = [row["parts"][part] for row in compared for part in ("chosen", "rejected")]
        return scores + [row["parts"]["logp"] for row in predicted]

    return measure


def plain_scores(loaded: Loaded, held_out: list[Preference]) -> Callable[[], list[float]]:
    """Return the same by the model's own forward."""

    def measure() -> list[float]:
        tokens = tokenize(held_out, loaded.tokenizer)
        rows = [(one.prompt + answer, len(answer)) for one in tokens for answer in one.answers]
        rows += [(one.prompt + one.answers[0], len(one.answers[0])) for one in tokens]
        return [score for at in range(0, len(rows), ROWS) for score in batch_scores(loaded, rows[at : at + ROWS])]

    return measure


def batch_scores(loaded: Loaded, batch: list[tuple[list[int], int]]) -> list[float]:
    """Return the log-probabilities of the last tokens of each row; what the context does not hold is cut in front."""
    context = loaded.model.config.max_position_embeddings
    rows = [ids[-context:] for ids, _ in batch]
    longest = max(map(len, rows))
    ids = torch.tensor([row + [loaded.tokenizer.pad_token_id] * (longest - len(row)) for row in rows])
    mask = torch.tensor([[1] * len(row) + [0] * (longest - len(row)) for row in rows])
    with torch.inference_mode():
        logps = loaded.model(input_ids=ids, attention_mask=mask, use_cache=False).logits[:, :-1].log_softmax(-1)
    logps = logps.gather(-1, ids[:, 1:, None])[..., 0]
    ends = [(len(row), min(scored, len(row) - 1)) for row, (_, scored) in zip(rows, batch, strict=True)]
    return [logps[i, end - 1 - scored : end - 1].sum().item() for i, (end, scored) in enumerate(ends)]


def compare_scoring(loaded: Loaded, held_out: list[Preference], rounds: int) -> None:
    """Print both sides' seconds, and how far their scores are apart."""
    sides = [our_scores(loaded, held_out), plain_scores(loaded, held_out)]
    found = [side() for side in sides]  # the first round warms up
    apart = max(abs(one - other) / abs(other) for one, other in zip(*found, strict=True))
    times = [[system_seconds(side) for side in sides] for _ in range(rounds)]
    for name, index in {"rlpipe": 0, "plain": 1}.items():
        whole, system = (statistics.median(one[index][part] for one in times) for part in (0, 1))
        print(f"scoring  {name:6} {whole:6.2f} s, of them {system:.2f} s the system's")
    ratios = [other[0] / own[0] for own, other in times]
    print(f"scoring  {statistics.median(ratios):.2f} times as fast [{min(ratios):.2f}, {max(ratios):.2f}], "
          f"{len(held_out)} pairs, scores at most {apart:.1e} of their size apart")  # fmt: skip


def system_seconds(measure: Callable[[], object]) -> tuple[float, float]:
    """Return processor time, and the system's part of it."""
    begun = resource.getrusage(resource.RUSAGE_SELF)
    measure()
    ended = resource.getrusage(resource.RUSAGE_SELF)
    system = ended.ru_stime - begun.ru_stime
    return ended.ru_utime - begun.ru_utime + system, system


def seconds(measure: Callable[[], object]) -> float:
    return system_seconds(measure)[0]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--source", help="a model's folder (default: a random Llama of 5.8 million weights)")
    parser.add_argument("--rows", default="sample", help="a folder of preference pairs (default: made-up ones)")
    parser.add_argument("--only", choices=["drawing", "scoring"], help="default: both")
    for name, default in {"prompts": 16, "worked": 2, "tokens": 64, "pairs": 64, "rounds": 5}.items():
        parser.add_argument(f"--{name}", type=int, default=default)
    given = parser.parse_args()
    torch.set_num_threads(1)
    scratch = Path(tempfile.mkdtemp()) / "start"
    pretrained = Pretrained(ModelConfig(name="pretrained"))
    loaded = pretrained.load(given.source, Head.causal_lm, 0, "cpu", scratch) if given.source else random_model()
    if given.only != "drawing":
        compare_scoring(loaded, pairs(given.pairs, given.rows), given.rounds)
    if given.only != "scoring":
        compare_drawing(loaded, given)


def compare_drawing(loaded: Loaded, given: argparse.Namespace) -> None:
    """Print both sides' seconds, sampled and greedy."""
    asked = puzzles(given.prompts, given.worked)
    lengths = [len(prompt_ids(prompt, loaded.tokenizer)) for prompt in asked]
    print(f"{loaded.model.num_parameters() / 1e6:.1f} M weights, {given.prompts} prompts of {min(lengths)} to "
          f"{max(lengths)} tokens, completions of up to {given.tokens} tokens, 1 thread, float32")  # fmt: skip
    for name, greedy in {f"pass@{COUNT}": False, "greedy": True}.items():
        sides = [side(loaded, asked, given.tokens, greedy) for side in (ours, theirs)]
        times = [[seconds(side) for side in sides] for _ in range(given.rounds + 1)][1:]  # the first one warms up
        ratios = [other / own for own, other in times]
        print(f"{name:8} rlpipe {statistics.median(own for own, _ in times):6.2f} s   "
              f"generate {statistics.median(other for _, other in times):6.2f} s   "
              f"{statistics.median(ratios):.2f} times as fast [{min(ratios):.2f}, {max(ratios):.2f}]")  # fmt: skip
        if greedy:
            alike = sum(one == other for one, other in zip(*(side() for side in sides), strict=True))
            print(f"{alike} of {len(asked)} greedy completions are the same text as generate's, from a padded batch")


if __name__ == "__main__":
    main()
