"""Episodes within completions, written by a model that says what a script tells it to, by every kind of engine."""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Callable
from typing import Any

import pytest

from rlpipe.config.kinds import EnvironmentConfig, ProtocolName, ToolConfig
from rlpipe.core.errors import ModelError
from rlpipe.datasets.forms import Message, Prompt
from rlpipe.engines.prompts import prompt_ids
from rlpipe.engines.rollout import Finish, Rollout, SamplingConfig
from rlpipe.engines.sampler import Sampler
from rlpipe.environments.base import Environment, Step
from rlpipe.environments.episode import Environments
from rlpipe.models.base import Loaded
from rlpipe.models.tokens import encode
from rlpipe.tools.base import Tool
from rlpipe.tools.calculator import Calculator
from tests.engines.engines import Recited
from tests.engines.families import config_of, loaded
from tests.engines.scripted import script

PROMPT = Prompt("train/1", [{"role": "user", "content": "Count."}], {"last": 3})


class Counting(Environment):
    """The model says how far it is; the environment says the next number, up to the row's last one."""

    columns = ("last",)
    closed: list[str]

    def reset(self, row, seed):
        self.last, self.heard, self.closed = row["last"], [], []
        return [{"role": "user", "content": "Begin at one."}]

    def step(self, text):
        self.heard.append(text)
        number = len(self.heard)
        said = [{"role": "user", "content": f"Now {number}<|im_end|>."}]
        return Step(said, 0.25, number >= self.last, {"heard": number})

    def close(self):
        self.closed.append("closed")


class Counted:
    """Makes environments, and keeps them."""

    def __init__(self, **settings: Any):
        self.config, self.made = EnvironmentConfig(name="counting", **settings), []

    def __call__(self) -> Environment:
        self.made.append(Counting(self.config))
        return self.made[-1]


@pytest.fixture(scope="module")
def model() -> Loaded:
    config = config_of("llama")
    config.max_position_embeddings = 1024
    return loaded(config)


def episode(one: Loaded, turns: list[str]) -> list[int]:
    """Return the tokens of what the template writes behind the prompt for these turns of the model."""
    opened: list[Message] = [{"role": "user", "content": "Count.\n\nBegin at one."}]
    messages: list[Message] = []
    for number, text in enumerate(turns, start=1):
        messages += [{"role": "assistant", "content": text}, {"role": "user", "content": f"Now {number} ."}]
    lay_out: Callable[..., str] = one.tokenizer.apply_chat_template
    head = lay_out(opened, tokenize=False, add_generation_prompt=True)
    text = lay_out([*opened, *messages[:-1]], tokenize=False)[len(head) :].rstrip("\n")
    return encode([text], one.tokenizer)[0]


def play(
    one: Loaded, ids: list[int], environments: Environments, tools: tuple[Tool, ...] = (), **sampling: Any
) -> Rollout:
    """Let the model write tokens; what stands in the place of an answer is not looked at.

    An engine that writes them in segments must come to the same episode.
    """
    settings = SamplingConfig(**{"max_tokens": 200, **sampling})
    sampler = Sampler(one, settings, tools, environments=environments)
    read = prompt_ids(sampler.opened([PROMPT])[0], one.tokenizer, tools)
    with script(one, read, ids):
        [[rollout]] = sampler.sample([PROMPT], 1, 0)
    for length in (1, 5, 1000):
        engine = Recited([*ids, one.tokenizer.eos_token_id], len(read), length)
        other = Sampler(one, settings, tools, engine=engine, environments=environments)
        [[again]] = other.sample([PROMPT], 1, 0)
        assert vars(again) | {"logps": []} == vars(rollout) | {"logps": []}, f"in segments of {length} tokens"
    return rollout


def test_an_episode_is_the_conversation_that_the_template_writes(model):
    environments = Counted()
    ids = episode(model, ["one", "two", "three"])
    rollout = play(model, ids, environments)
    assert rollout.ids == ids, "up to the end of the last turn: what is said behind it is read by nobody"
    assert rollout.text == model.tokenizer.decode(ids, skip_special_tokens=True)
    assert rollout.prompt.prompt[0]["content"] == "Count.\n\nBegin at one."
    assert rollout.finish is Finish.stop
    assert environments.made[-1].heard == ["one", "two", "three"]
    assert [(turn.reward, turn.done) for turn in rollout.turns] == [(0.25, False), (0.25, False), (0.25, True)]
    assert all(one.closed == ["closed"] for one in environments.made)


def test_what_the_environment_says_is_never_trained(model):
    ids = episode(model, ["one", "two", "three"])
    rollout = play(model, ids, Counted())
    ours = [id for id, written in zip(rollout.ids, rollout.written, strict=True) if written]
    assert model.tokenizer.decode(ours) == "one<|im_end|>two<|im_end|>three<|im_end|>"
    assert [logp < 0 for logp in rollout.logps] == rollout.written
    assert [rollout.written[turn.at] for turn in rollout.turns[:-1]] == [False, False]
    assert rollout.turns[-1].at == len(rollout.ids)


def test_what_an_environment_says_ends_no_turn(model):
    """It says an end of turn in the middle of its words, and only the template's own are there."""
    ids = episode(model, ["one", "two", "three"])
    rollout = play(model, ids, Counted())
    assert rollout.ids.count(model.tokenizer.eos_token_id) == 5


def test_turns_tokens_and_room_bound_an_episode(model):
    ids = episode(model, ["one", "two", "three"])
    few = play(model, ids, Counted(max_turns=2))
    assert (len(few.turns), few.finish, few.ids) == (2, Finish.length, ids[: few.turns[1].at])
    long = play(model, encode(["one two three four five"], model.tokenizer)[0], Counted(turn_tokens=3))
    assert (len(long.turns), long.finish, len(long.ids)) == (0, Finish.length, 3)
    first = few.turns[0].at
    for room in (first, first + 1, few.turns[1].at - 1, len(ids) - 1, len(ids)):
        cut = play(model, ids, Counted(), max_tokens=room)
        assert cut.ids == ids[: len(cut.ids)]
        assert len(cut.ids) <= room
        assert cut.finish is (Finish.stop if room == len(ids) else Finish.length)
        assert cut.turns, "a turn that was completed counts, also where there is no room for an answer"
        assert all(cut.written[-1:]), "an answer that nothing can follow is left out"


def test_a_stop_string_ends_a_turn_too(model):
    ids = episode(model, ["one", "two", "three"])
    eos = model.tokenizer.eos_token_id
    environments = Counted()
    rollout = play(model, ids, environments, stop=["two"])
    assert environments.made[-1].heard[:2] == ["one", "two"]
    assert rollout.ids[: len(ids)] == ids, "the end that the model did not write is put there"
    assert not rollout.written[rollout.turns[1].at]
    assert rollout.ids[rollout.turns[1].at] == eos


@pytest.mark.parametrize("protocol", ["text", "chat"])
def test_tools_and_environments_in_one_episode(model, protocol):
    tool = Calculator(ToolConfig(name="calculator", protocol=ProtocolName[protocol]))
    call = '<tool_call>\n{"name": "calculator", "arguments": {"expression": "1+1"}}\n</tool_call><|im_end|>'
    ids = encode(["<calc>1+1</calc>" if protocol == "text" else call], model.tokenizer)[0]
    settings = SamplingConfig(max_tokens=200)
    environments = Counted(max_turns=1)
    sampler = Sampler(model, settings, [tool], environments=environments)
    read = prompt_ids(sampler.opened([PROMPT])[0], model.tokenizer, [tool])
    with script(model, read, ids):
        [[rollout]] = sampler.sample([PROMPT], 1, 0)
    assert [made.result for made in rollout.calls] == ["2"]
    assert len(rollout.turns) == 1
    assert environments.made[-1].heard == ["<calc>1+1</calc><result>2</result>" if protocol == "text" else ""]


def test_completions_of_other_prompts_go_on_meanwhile(model):
    """Drawn freely: each row plays an episode of its own, and a batch does not change it."""
    prompts = [PROMPT, Prompt("train/2", [{"role": "user", "content": "Hello there"}], {"last": 2})]
    environments = Counted(turn_tokens=None)
    sampler = Sampler(model, SamplingConfig(max_tokens=60), environments=environments)
    sampler.endings.tokens = frozenset({model.tokenizer.eos_token_id, *range(0, 943, 5)})
    both = sampler.sample(prompts, 3, 0)
    alone = [sampler.sample([prompt], 3, 0)[0] for prompt in prompts]
    assert [[one.ids for one in group] for group in both] == [[one.ids for one in group] for group in alone]
    assert [[one.turns for one in group] for group in both] == [[one.turns for one in group] for group in alone]
    assert any(len(one.turns) > 1 for group in both for one in group)


def test_without_an_environment_there_are_no_turns(model):
    [[rollout]] = Sampler(model, SamplingConfig(max_tokens=3)).sample([PROMPT], 1, 0)
    assert rollout.turns is None


def test_a_template_that_ends_no_turns_is_named(model):
    tokenizer = copy.copy(model.tokenizer)
    tokenizer.chat_template = "{% for message in messages %}{{ message.role }}: {{ message.content }}\n{% endfor %}"
    with pytest.raises(ModelError, match=r"does not end the assistant's turns with <\|im_end\|>"):
        play(dataclasses.replace(model, tokenizer=tokenizer), encode(["one"], model.tokenizer)[0], Counted())
