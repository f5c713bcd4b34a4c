"""What is asked of an engine: that it draws what the policy would, says so exactly, and knows when it does not."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rlpipe.config.kinds import EngineConfig, EnvironmentConfig, Head, LoraConfig, ModelConfig, ToolConfig
from rlpipe.core.errors import TrainingError
from rlpipe.datasets.forms import Message, Prompt
from rlpipe.engines.base import Engine, SeparateEngine, drawn_by
from rlpipe.engines.freshness import fresh
from rlpipe.engines.rollout import Finish, Rollout, SamplingConfig
from rlpipe.engines.rows import Endings, Row
from rlpipe.engines.sampler import Sampler
from rlpipe.environments.base import Environment, Step
from rlpipe.models.base import Loaded
from rlpipe.testing.config import check_config, check_light
from rlpipe.tools.base import Tool
from rlpipe.tools.protocols import TextProtocol
from rlpipe.tools.run import Call

TEXTS = ("Make 24 of 3 and 8.", "Hi", "Say yes or no, and then say why that is so, in a few words.", "Who?")
PROMPTS = [Prompt(f"checked/{number}", [{"role": "user", "content": text}]) for number, text in enumerate(TEXTS)]
DRAWN = SamplingConfig(temperature=0.8, max_tokens=24)
TIE = 1e-3
"""Logits that are no further apart count as equal."""
ANSWER = " 36 and so on "
"""What the tool of the check answers."""


def check_engine(
    cls: type[Engine], folder: Path, *, tied: bool = False, rank: int = 0, gap: float = 1e-4, **settings: Any
) -> None:
    """Check an engine class on a small random model, which is written to `folder`.

    `tied` gives it a head that is tied to its embeddings, `rank` adapters to train; `gap` is the largest distance
    between log-probabilities, in float32, that counts as rounding. `settings` are fields of the engine's Config.
    Greedy draws must be those of a plain forward pass, log-probabilities its own, with and without top-k; draws must
    depend on seed, prompt and number alone; stop strings, end tokens, tools and environments end or interrupt a
    completion where they should. An engine with weights of its own must follow the policy's, and be refused where it
    does not.
    """
    assert issubclass(cls, Engine), f"{cls.__name__} is no subclass of rlpipe.engines.base.Engine"
    check_light([cls.__module__])
    check_config(cls, EngineConfig)
    with drawn_by(cls(cls.Config(**{"name": "checked", **settings})), small_model(folder, tied, rank)) as loaded:
        _check_policy(loaded, gap)
        _check_seeds(loaded)
        _check_ends(loaded)
        _check_tools(loaded, gap)
        _check_turns(loaded, gap)
        if rank:
            import peft

            loaded.model = peft.get_peft_model(loaded.model, loaded.peft)
        for _ in range(2):
            move(loaded)
            _check_policy(loaded, gap)
        if isinstance(loaded.engine, SeparateEngine):
            _check_refusal(loaded)


def small_model(folder: Path, tied: bool, rank: int) -> Loaded:
    """Write a Llama of random weights, and load it as a run does."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    from rlpipe.models.blank import TOKENIZER
    from rlpipe.models.pretrained import Pretrained, load_tokenizer

    tokenizer = load_tokenizer(TOKENIZER)
    sizes: dict[str, Any] = {
        "hidden_size": 64,
        "intermediate_size": 128,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
    }
    ids: dict[str, Any] = {
        "bos_token_id": None,
        "eos_token_id": tokenizer.eos_token_id,
        "pad_token_id": tokenizer.pad_token_id,
    }
    shape = LlamaConfig(
        vocab_size=len(tokenizer), max_position_embeddings=256, tie_word_embeddings=tied, **sizes, **ids
    )
    torch.manual_seed(0)
    model: Any = LlamaForCausalLM(shape)
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if weight.dim() > 1:  # so that what comes next depends on what was said
                weight.mul_(4 if "embed" in name else 8)
    source = folder / "model"
    model.save_pretrained(source)
    tokenizer.save_pretrained(source)
    config = ModelConfig(name="pretrained", lora=LoraConfig(rank=rank))
    return Pretrained(config).load(str(source), Head.causal_lm, 0, "cpu", folder / "scratch")


def move(loaded: Loaded) -> None:
    """Change the policy's trained weights, as training does but more."""
    import torch

    with torch.no_grad():
        for weight in loaded.model.parameters():
            if weight.requires_grad:
                weight.add_(0.05 * torch.randn_like(weight))
    loaded.engine.policy_changed()


def _check_policy(loaded: Loaded, gap: float) -> None:
    """What is drawn has the policy's own log-probabilities, and greedy draws are its likeliest tokens."""
    name = loaded.engine.config.name
    for sampling in (DRAWN, SamplingConfig(temperature=0.8, top_k=20, max_tokens=24)):
        for rollout in _flat(Sampler(loaded, sampling).sample(PROMPTS, 2, seed=1)):
            _check_logps(loaded, rollout, sampling, gap)
    for rollout in _flat(Sampler(loaded, SamplingConfig(temperature=0, max_tokens=8)).sample(PROMPTS, 1, seed=0)):
        likeliest = _logits(loaded, rollout).argmax(-1).tolist()
        assert rollout.ids == likeliest, f"{name}: greedy draws {rollout.ids}, and the policy {likeliest}"
        assert set(rollout.logps) == {0.0}, f"{name}: greedy tokens have the log-probability 0, not {rollout.logps}"


def _check_logps(loaded: Loaded, rollout: Rollout, sampling: SamplingConfig, gap: float) -> None:
    from rlpipe.engines.draw import keep

    logits = _logits(loaded, rollout)
    logps = keep(logits / sampling.temperature, sampling).log_softmax(-1)
    best = logits.topk(sampling.top_k + 1, dim=-1).values
    # Where the last token that is kept is as likely as the next one, rounding decides which it is.
    tied = best[:, -2] - best[:, -1] < TIE if sampling.top_k else [False] * len(rollout.ids)
    for place, (token, written, logp) in enumerate(zip(rollout.ids, rollout.written, rollout.logps, strict=True)):
        wanted = float(logps[place, token]) if written else 0.0
        close = math.isfinite(logp) if tied[place] else abs(logp - wanted) <= gap
        name, where = loaded.engine.config.name, f"token {place} of a completion"
        assert close, f"{name}: {where} has the log-probability {logp} with the engine and {wanted} with the policy"


def _logits(loaded: Loaded, rollout: Rollout) -> Any:
    """Return the policy's logits for each token of a rollout [n, V], by one forward pass."""
    import torch

    with torch.no_grad():
        ids = torch.tensor([rollout.prompt_ids + rollout.ids])
        logits = loaded.model(input_ids=ids, use_cache=False).logits
    return logits[0, len(rollout.prompt_ids) - 1 : -1].float()


def _check_seeds(loaded: Loaded) -> None:
    """Draws depend on seed, prompt and number, and on nothing beside them."""
    name, sampler = loaded.engine.config.name, Sampler(loaded, DRAWN)
    whole = _ids(sampler.sample(PROMPTS, 3, seed=5))
    assert _ids(sampler.sample(PROMPTS, 3, seed=5)) == whole, f"{name}: the same seed draws something else"
    part = _ids(sampler.sample(PROMPTS[1:3], 2, seed=5))
    assert part == [group[:2] for group in whole[1:3]], f"{name}: a draw depends on the ones beside it"
    assert _ids(sampler.sample(PROMPTS, 3, seed=6)) != whole, f"{name}: another seed draws the same"
    assert len({tuple(ids) for group in whole for ids in group}) > len(PROMPTS), f"{name}: completions are all the same"


def _check_ends(loaded: Loaded) -> None:
    """Stop strings and end tokens end a completion right there, and count as what the model wrote."""
    name = loaded.engine.config.name
    [[free]] = Sampler(loaded, DRAWN).sample(PROMPTS[:1], 1, seed=0)
    place = next(place for place in range(4, len(free.ids)) if free.ids[place] not in free.ids[:place])
    until = free.ids[: place + 1]
    sampler = Sampler(loaded, DRAWN)
    sampler.endings.tokens = frozenset([free.ids[place]])
    [[ended]] = sampler.sample(PROMPTS[:1], 1, seed=0)
    assert (ended.ids, ended.finish) == (until, Finish.stop), f"{name}: an end token does not end a completion: {ended}"
    text = str(loaded.tokenizer.decode(until, skip_special_tokens=False))[-3:]
    sampler = Sampler(loaded, SamplingConfig(temperature=0.8, max_tokens=24, stop=[text]))
    [[stopped]] = sampler.sample(PROMPTS[:1], 1, seed=0)
    written = str(loaded.tokenizer.decode(stopped.ids, skip_special_tokens=False))
    assert stopped.finish is Finish.stop, f"{name}: a stop string does not end a completion"
    assert stopped.ids == free.ids[: len(stopped.ids)], f"{name}: a stop string changes what is drawn before it"
    assert text in written, f"{name}: a completion ends before its stop string is complete"
    before = str(loaded.tokenizer.decode(stopped.ids[:-1], skip_special_tokens=False))
    assert text not in before, f"{name}: a completion goes on behind its stop string"


class _Answers(Tool):
    """Answers whatever it is asked."""

    schema = {"type": "function", "function": {"name": "checked", "parameters": {"properties": {"text": {}}}}}  # noqa: RUF012

    def call(self, arguments: dict[str, Any]) -> str:
        """Return always the same."""
        return ANSWER


class _Anything(TextProtocol):
    """Takes a string that the model happens to write for a call: a random model writes no real one."""

    closing = ""

    @property
    def closings(self) -> tuple[str, ...]:
        return (self.closing,)

    def calls(self, written: str) -> list[Call]:
        return [Call("checked", {"text": "."})] if self.closing in written else []

    def answer(self, written: str, results: Sequence[str]) -> str:
        return "".join(results)

    def offer(self, messages: Sequence[Message]) -> tuple[list[Message], list[dict[str, Any]]]:
        return list(messages), []


def _check_tools(loaded: Loaded, gap: float) -> None:
    """A call interrupts a completion; its answer is taken as tokens that the model did not write, and is read."""
    from rlpipe.engines.prompts import prompt_ids

    name, engine = loaded.engine.config.name, loaded.engine
    [[free]] = Sampler(loaded, DRAWN).sample(PROMPTS[:1], 1, seed=0)
    protocol = _Anything([_Answers(ToolConfig(name="checked", max_calls=1))])
    protocol.closing = str(loaded.tokenizer.decode(free.ids[:6], skip_special_tokens=False))[-3:]
    endings = Endings(loaded, DRAWN, protocol.tools, protocol=protocol)
    row = Row(0, 0, 64, prompt_ids(PROMPTS[0], loaded.tokenizer), PROMPTS[0].id)
    with fresh(engine, loaded, [row]):
        engine.write(loaded, [row], DRAWN, endings)
    assert row.finish is not None, f"{name}: a completion with a call has no end"
    assert row.calls, f"{name}: a call is not run"
    at = row.calls[0].at
    assert row.ids[:at] == free.ids[:at], f"{name}: what stands before a call is drawn otherwise than without a tool"
    assert row.written[at - 1], f"{name}: a call does not count as written by the model"
    assert not row.written[at], f"{name}: an answer counts as written by the model"
    assert any(row.written[at:]), f"{name}: nothing is drawn behind an answer"
    rollout = Rollout(PROMPTS[0], row.prompt_ids, row.ids, row.logps, row.written, "", row.finish)
    _check_logps(loaded, rollout, DRAWN, gap)


class _GoesOn(Environment):
    """Answers every turn alike, without an end."""

    def reset(self, row: Mapping[str, Any], seed: int) -> Sequence[Message]:
        return []

    def step(self, text: str) -> Step:
        return Step([{"role": "user", "content": "Go on."}], 0.0, False, {})


def _check_turns(loaded: Loaded, gap: float) -> None:
    """The end of a turn interrupts an episode; the environment's answer is taken as a tool's is, and is read."""
    name = loaded.engine.config.name
    [[free]] = Sampler(loaded, DRAWN).sample(PROMPTS[:1], 1, seed=0)
    text = str(loaded.tokenizer.decode(free.ids[:6], skip_special_tokens=False))[-3:]
    sampling = SamplingConfig(temperature=0.8, max_tokens=64, stop=[text])
    sampler = Sampler(loaded, sampling, environments=lambda: _GoesOn(EnvironmentConfig(name="checked")))
    [[rollout]] = sampler.sample(PROMPTS[:1], 1, seed=0)
    assert rollout.turns, f"{name}: the end of a turn is not answered"
    at = rollout.turns[0].at
    assert rollout.ids[:at] == free.ids[:at], f"{name}: a first turn is drawn otherwise than without an environment"
    assert rollout.written[at - 1], f"{name}: the end of a turn does not count as written by the model"
    assert not rollout.written[at], f"{name}: what an environment says counts as written by the model"
    assert any(rollout.written[at:]), f"{name}: nothing is drawn behind what an environment says"
    _check_logps(loaded, rollout, sampling, gap)


def _check_refusal(loaded: Loaded) -> None:
    """An engine that does not follow the policy is refused at the next drawing."""
    engine = loaded.engine
    move(loaded)
    engine.sync = lambda loaded: None
    try:
        Sampler(loaded, DRAWN).sample(PROMPTS, 1, seed=0)
    except TrainingError:
        return
    finally:
        del engine.sync
    raise AssertionError(f"{engine.config.name}: draws from older weights, and nobody is told (gap {engine.gap})")


def _flat(groups: Sequence[Sequence[Rollout]]) -> list[Rollout]:
    return [rollout for group in groups for rollout in group]


def _ids(groups: Sequence[Sequence[Rollout]]) -> list[list[list[int]]]:
    return [[rollout.ids for rollout in group] for group in groups]
