"""Drawing and scoring text: rlpipe's sampler and evaluations against what transformers alone does.

Both sides have the same model and prompts. `generate` gets them as a trainer or an evaluation would: each prompt as
often as it is to be completed, padded on the left to the longest. Lengths: `fixed` draws the same number of tokens on
both sides; with `natural` every token ends its completion with probability 1/16, each side draws its own lengths, and
what is counted is the time for as many tokens. `pass8` and `greedy` are the whole of an evaluation on Countdown prompts
with worked examples: drawing, verifying, rows. `scoring` is preference and perplexity of the same held-out pairs,
against eight rows a batch in the order of the data with logits of every position, the chosen answers twice.
"""

from __future__ import annotations

import dataclasses
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks.frame import Case, Clock, Machine, Took, Turn
from benchmarks.training import Shape, rows

VOCABULARY, COUNT, TOKENS = 4096, 8, 64
PREFERENCES, PLAIN_ROWS = 32, 8


class Drawing(Case):
    """A side is a function of the loaded model, which returns its turn."""

    def __init__(
        self, name: str, what: str, prepared: dict[str, Callable[[Any], Turn]], tolerance: float | None = None
    ):
        """Take the sides."""
        super().__init__(name, what)
        self.prepared, self.sides, self.tolerance = prepared, tuple(prepared), tolerance

    def make(self, folder: Path, machine: Machine) -> None:
        """Write the model, whose embeddings are stretched to a vocabulary of 4096."""
        from rlpipe.config.kinds import Head
        from rlpipe.models.blank import Blank

        config = Blank.Config(name="blank", hidden_size=256, layers=6, intermediate_size=768, context=2048)
        loaded = Blank(config).load(None, Head.causal_lm, 0, "cpu", folder / "start")
        loaded.model.resize_token_embeddings(VOCABULARY, mean_resizing=False)
        loaded.model.save_pretrained(folder / "model")
        loaded.tokenizer.save_pretrained(folder / "model")

    def prepare(self, side: str, folder: Path, machine: Machine) -> Turn:
        """Load the model."""
        import torch

        from rlpipe.config.kinds import Head, ModelConfig, Precision
        from rlpipe.models.pretrained import Pretrained

        torch.set_num_threads(machine.threads)
        config = ModelConfig(name="pretrained", precision=Precision(machine.precision))
        source, scratch = str(folder / "model"), Path(tempfile.mkdtemp(dir=folder))
        loaded = Pretrained(config).load(source, Head.causal_lm, 0, machine.device, scratch / "start")
        return self.prepared[side](loaded)


def exact_prompts(loaded: Any, number: int, tokens: int) -> list[Any]:
    """Make prompts of exactly so many tokens, so that nothing is padded."""
    from rlpipe.datasets.forms import Prompt
    from rlpipe.engines.prompts import prompt_ids

    def prompt(index: int, words: int) -> Prompt:
        return Prompt(str(index), [{"role": "user", "content": str(index % 10) + "a 1" * words}])

    words = 1
    while len(prompt_ids(prompt(0, words + 1), loaded.tokenizer)) <= tokens:
        words += 1
    return [prompt(index, words) for index in range(number)]


def sampled(number: int, tokens: int, ends: list[int]) -> dict[str, Callable[[Any], Turn]]:
    """Return the sides that draw COUNT completions of so many prompts."""

    def ours(loaded: Any) -> Turn:
        from rlpipe.engines.rollout import SamplingConfig
        from rlpipe.engines.sampler import Sampler

        asked = exact_prompts(loaded, number, tokens)
        sampler = Sampler(loaded, SamplingConfig(max_tokens=TOKENS))
        sampler.endings.tokens = frozenset(ends)

        def turn() -> Took:
            clock = Clock()
            written = sum(len(one.ids) for group in sampler.sample(asked, COUNT, seed=0) for one in group)
            return per_token(clock.took(), written)

        return turn

    def theirs(loaded: Any) -> Turn:
        import torch

        asked = exact_prompts(loaded, number, tokens)
        loaded.model.generation_config.eos_token_id = None

        def turn() -> Took:
            clock = Clock()
            end = {"eos_token_id": ends, "pad_token_id": ends[0]} if ends else {}
            written = generate(loaded, asked, do_sample=True, top_k=0, num_return_sequences=COUNT, **end)
            found = torch.isin(written, torch.tensor(ends, dtype=torch.long, device=written.device))
            lengths = torch.where(found.any(1), found.int().argmax(1) + 1, written.shape[1])
            return per_token(clock.took(), int(lengths.sum()))

        return turn

    return {"rlpipe": ours, "generate": theirs}


def per_token(took: Took, written: int) -> Took:
    """Return what a thousand tokens took."""
    return Took(took.wall * 1000 / written, took.cpu * 1000 / written)


def generate(loaded: Any, asked: list[Any], **how: Any) -> Any:
    """Return the tokens that transformers draws after prompts that are padded on the left."""
    import torch

    from rlpipe.engines.prompts import prompt_ids

    prompts = [prompt_ids(prompt, loaded.tokenizer) for prompt in asked]
    longest, end = max(map(len, prompts)), loaded.tokenizer.eos_token_id
    device = loaded.model.device
    ids = torch.tensor([[end] * (longest - len(row)) + row for row in prompts], device=device)
    mask = torch.tensor([[0] * (longest - len(row)) + [1] * len(row) for row in prompts], device=device)
    with torch.inference_mode():
        written = loaded.model.generate(input_ids=ids, attention_mask=mask, max_new_tokens=TOKENS, **how)
    return written[:, longest:]


def puzzles(number: int, worked: int) -> list[Any]:
    """Return Countdown prompts, each after some worked ones, so that prompts are as long as few-shot ones are."""
    from rlpipe.config import plugins
    from rlpipe.config.compose import compose
    from rlpipe.datasets.forms import Prompt
    from rlpipe.datasets.load import load

    dataset = plugins.make("dataset", compose("dataset=countdown", "method=none").dataset)
    found = [one for one in load(dataset, (Prompt,), 0).test.examples if isinstance(one, Prompt)]
    made = []
    for index in range(number):
        shown = found[(index + 1) % len(found) :][: worked + index % 2]
        turns = [
            turn for one in shown for turn in (*one.prompt, {"role": "assistant", "content": "<answer>1</answer>"})
        ]
        made.append(Prompt(f"test/{index}", [*turns, *found[index].prompt], found[index].columns))
    return made


def evaluated(greedy: bool) -> dict[str, Callable[[Any], Turn]]:
    """Return the sides of an evaluation that draws and verifies."""

    def ours(loaded: Any) -> Turn:
        from rlpipe.config.compose import compose
        from rlpipe.evaluations.accuracy import Accuracy, AccuracyConfig
        from rlpipe.evaluations.base import EvaluationContext
        from rlpipe.evaluations.completions import DrawConfig

        drawn = {"greedy": True} if greedy else {"greedy": False, "samples": COUNT}
        one = Accuracy(AccuracyConfig(name="accuracy", sampling=DrawConfig(max_tokens=TOKENS), **drawn))
        run = compose("method=none", "dataset=countdown", "evaluation=accuracy")
        one.start(EvaluationContext(run, Path(tempfile.mkdtemp()), "accuracy"))
        asked = puzzles(16, 2)
        return lambda: one.rows(loaded, asked) and None

    def theirs(loaded: Any) -> Turn:
        from rlpipe.config.compose import compose
        from rlpipe.config.resolved import resolve
        from rlpipe.engines.rollout import Finish, Rollout
        from rlpipe.rewards.combine import Rewards

        run = compose("method=none", "dataset=countdown", "reward=countdown")
        rewards = Rewards(resolve(run).make_rewards())
        rewards.start(run, loaded.path, str(loaded.model.device), Path(tempfile.mkdtemp()))
        how = {"do_sample": False} if greedy else {"do_sample": True, "top_k": 0, "num_return_sequences": COUNT}
        end = loaded.tokenizer.eos_token_id
        asked = puzzles(16, 2)

        def turn() -> None:
            written = generate(loaded, asked, eos_token_id=end, pad_token_id=end, **how)
            texts = loaded.tokenizer.batch_decode(written, skip_special_tokens=True)
            each = len(texts) // len(asked)
            rewards.score(
                [Rollout(asked[at // each], [], [], [], [], text, Finish.stop) for at, text in enumerate(texts)]
            )

        return turn

    return {"rlpipe": ours, "generate": theirs}


def our_scores(loaded: Any) -> Turn:
    """Return preference and perplexity as a run measures them."""
    from rlpipe.config.kinds import EvaluationConfig
    from rlpipe.datasets.forms import Completion
    from rlpipe.evaluations.perplexity import Perplexity, PerplexityConfig
    from rlpipe.evaluations.preference import PreferenceAccuracy

    held_out = preferences()
    preference = PreferenceAccuracy(EvaluationConfig(name="preference"))
    perplexity = Perplexity(PerplexityConfig(name="perplexity"))
    chosen = [Completion(one.id, one.prompt, one.chosen) for one in held_out]

    def turn() -> float:
        sharing = dataclasses.replace(loaded, scored={})
        compared = preference.rows(sharing, held_out)
        predicted = perplexity.rows(sharing, chosen)
        scores = [row["parts"][part] for row in compared for part in ("chosen", "rejected")]
        return sum(scores) + sum(row["parts"]["logp"] for row in predicted)

    return turn


def plain_scores(loaded: Any) -> Turn:
    """Return the same by the model's own forward."""
    from rlpipe.models.tokens import tokenize

    held_out = preferences()

    def turn() -> float:
        tokens = tokenize(held_out, loaded.tokenizer)
        texts = [(one.prompt + answer, len(answer)) for one in tokens for answer in one.answers]
        texts += [(one.prompt + one.answers[0], len(one.answers[0])) for one in tokens]
        return sum(batch_score(loaded, texts[at : at + PLAIN_ROWS]) for at in range(0, len(texts), PLAIN_ROWS))

    return turn


def batch_score(loaded: Any, batch: list[tuple[list[int], int]]) -> float:
    """Return the sum of the log-probabilities of the last tokens of each row."""
    import torch

    longest = max(len(row) for row, _ in batch)
    device = loaded.model.device
    ids = torch.tensor(
        [row + [loaded.tokenizer.pad_token_id] * (longest - len(row)) for row, _ in batch], device=device
    )
    mask = torch.tensor([[1] * len(row) + [0] * (longest - len(row)) for row, _ in batch], device=device)
    with torch.inference_mode():
        logps = loaded.model(input_ids=ids, attention_mask=mask, use_cache=False).logits[:, :-1].log_softmax(-1)
    logps = logps.gather(-1, ids[:, 1:, None])[..., 0]
    ends = [(len(row), scored) for row, scored in batch]
    return sum(logps[at, end - 1 - scored : end - 1].sum().item() for at, (end, scored) in enumerate(ends))


def preferences() -> list[Any]:
    """Make pairs of some 120 tokens."""
    from rlpipe.datasets.forms import Preference

    made = rows("dpo", Shape(40, 60), PREFERENCES, seed="held out")
    return [Preference(str(at), row["prompt"], row["chosen"], row["rejected"]) for at, row in enumerate(made)]


ENDS = list(range(VOCABULARY // 16))
CASES = (
    Drawing("sampling", "8 prompts of 96 tokens, 8 completions of 64 each; for 1,000 tokens", sampled(8, 96, [])),
    Drawing("sampling-natural", "the same, completions ending at random", sampled(8, 96, ENDS)),
    Drawing("sampling-long", "4 prompts of 400 tokens, 8 completions of 64 each", sampled(4, 400, [])),
    Drawing("pass8", "an evaluation of 16 Countdown prompts, 8 samples each", evaluated(greedy=False)),
    Drawing("greedy", "the same with one greedy completion each", evaluated(greedy=True)),
    Drawing("scoring", "preference and perplexity of 32 pairs", {"rlpipe": our_scores, "plain": plain_scores}, 1e-4),
)
