"""Several turns: what the model reads is what was said, token by token, and what it writes is the sampler's."""

from __future__ import annotations

import pytest

from rlpipe.cli.chat.conversation import Conversation, cut_by
from rlpipe.cli.chat.main import parser, run
from rlpipe.config.kinds import ProtocolName, ToolConfig
from rlpipe.core.errors import DataError, PluginError
from rlpipe.datasets.forms import Prompt
from rlpipe.engines.base import drawn_by
from rlpipe.engines.prompts import prompt_ids
from rlpipe.engines.rollout import Rollout, SamplingConfig, ToolCall
from rlpipe.engines.sampler import Sampler
from rlpipe.models.base import Loaded
from rlpipe.models.tokens import encode
from rlpipe.tools.calculator import Calculator
from tests.engines.engines import Copied
from tests.engines.families import config_of, loaded
from tests.engines.scripted import script

DRAWN = SamplingConfig(temperature=0.8, max_tokens=12)
CALL = 'So\n<tool_call>\n{"name": "calculator", "arguments": {"expression": "12*3"}}\n</tool_call><|im_end|>'


@pytest.fixture(scope="module")
def one() -> Loaded:
    config = config_of("llama")
    config.max_position_embeddings = 1024
    return loaded(config)


def calculator(protocol: ProtocolName) -> Calculator:
    return Calculator(ToolConfig(name="calculator", protocol=protocol))


def said(conversation: Conversation, text: str) -> tuple[Rollout, str, list[ToolCall]]:
    pieces: list[str] = []
    calls: list[ToolCall] = []
    rollout = conversation.say(text, pieces.append, calls.append)
    return rollout, "".join(pieces), calls


def read_next(conversation: Conversation, text: str) -> list[int]:
    """Return the tokens that the model would read next."""
    asked = [*conversation.messages, {"role": "user", "content": text}]
    return prompt_ids(Prompt("next", asked), conversation.loaded.tokenizer, conversation.tools)


def test_an_answer_is_the_samplers_and_is_streamed_whole(one):
    conversation = Conversation(one, DRAWN, system="Be kind.", seed=3)
    rollout, streamed, calls = said(conversation, "Hello")
    prompt = Prompt("chat/0", [{"role": "system", "content": "Be kind."}, {"role": "user", "content": "Hello"}])
    [[expected]] = Sampler(one, DRAWN).sample([prompt], 1, 3)
    assert rollout.ids == expected.ids
    assert streamed == expected.text
    assert calls == []
    assert cut_by(rollout, DRAWN) == "cut after 12 tokens (--max-tokens)"


def test_another_engine_answers_where_one_is_named(one):
    engine = Copied()
    with drawn_by(engine, one) as loaded:
        rollout, streamed, _ = said(Conversation(loaded, DRAWN, seed=3), "Hello")
    assert engine.events == ["start", "wake", "sync", "sleep", "close"]
    assert rollout.ids == said(Conversation(one, DRAWN, seed=3), "Hello")[0].ids
    assert streamed == rollout.text


def test_the_next_prompt_goes_on_from_what_was_written(one):
    conversation = Conversation(one, SamplingConfig(max_tokens=50))
    first = read_next(conversation, "Hi")
    with script(one, first, encode(["Good day to you.<|im_end|>"], one.tokenizer)[0]):
        rollout, streamed, _ = said(conversation, "Hi")
    assert streamed == "Good day to you."
    assert cut_by(rollout, conversation.sampling) is None
    read = read_next(conversation, "And now?")
    assert read[: len(first) + len(rollout.ids)] == first + rollout.ids


def test_tool_turns_are_read_again_as_they_were_written(one):
    conversation = Conversation(one, SamplingConfig(max_tokens=200), [calculator(ProtocolName.chat)])
    first = read_next(conversation, "What is 12*3?")
    answer = "\n<|im_start|>user\n<tool_response>\n36\n</tool_response><|im_end|>\n<|im_start|>assistant\n"
    whole = encode([CALL + answer + "It is 36.<|im_end|>"], one.tokenizer)[0]
    with script(one, first, whole):
        rollout, streamed, [call] = said(conversation, "What is 12*3?")
    assert rollout.ids == whole
    assert (call.arguments, call.result) == ({"expression": "12*3"}, "36")
    assert "tool_response" not in streamed
    assert streamed.endswith("It is 36.")
    assert [message["role"] for message in conversation.messages] == ["user", "assistant", "tool", "assistant"]
    assert read_next(conversation, "Sure?")[: len(first) + len(whole)] == first + whole


def test_results_within_a_turn_stay_in_it(one):
    conversation = Conversation(one, SamplingConfig(max_tokens=200), [calculator(ProtocolName.text)])
    first = read_next(conversation, "What is 12*3?")
    with script(one, first, encode(["<calc>12*3</calc><result>36</result> so 36.<|im_end|>"], one.tokenizer)[0]):
        _, streamed, [call] = said(conversation, "What is 12*3?")
    assert call.result == "36"
    assert streamed == "<calc>12*3</calc> so 36."
    [_, answer] = conversation.messages
    assert answer == {"role": "assistant", "content": "<calc>12*3</calc><result>36</result> so 36."}


def test_a_full_context_is_said_and_the_conversation_can_begin_anew(one):
    conversation = Conversation(one, DRAWN, system="Be kind.")
    said(conversation, "Hi")
    before = list(conversation.messages)
    with pytest.raises(DataError, match=r"the conversation has \d+ tokens, and the model takes 1024 .*\n.*/reset"):
        said(conversation, "word " * 1100)
    assert conversation.messages == before
    conversation.reset()
    assert conversation.messages == [{"role": "system", "content": "Be kind."}]
    said(conversation, "Hi")


def test_an_answer_that_the_context_cuts_says_so(one):
    conversation = Conversation(one, SamplingConfig(max_tokens=500))
    room = one.model.config.max_position_embeddings - len(read_next(conversation, ""))
    text = one.tokenizer.decode([one.tokenizer.convert_tokens_to_ids("a")] * (room - 5))
    with script(one, read_next(conversation, text), encode(["b" * 300], one.tokenizer)[0]):
        rollout, _, _ = said(conversation, text)
    assert cut_by(rollout, conversation.sampling) == "cut: the model's context is full (/reset begins anew)"


def test_an_interrupted_answer_leaves_the_conversation_as_it_was(one):
    conversation = Conversation(one, DRAWN)
    said(conversation, "Hi")
    before = list(conversation.messages)

    def interrupt(text: str) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        conversation.say("Go on", interrupt, lambda call: None)
    assert conversation.messages == before
    assert said(conversation, "Go on")[0].ids


def test_the_same_question_gets_another_answer_and_the_same_conversation_the_same(one):
    answers = []
    for _ in range(2):
        conversation = Conversation(one, DRAWN, seed=1)
        twice = []
        for _ in range(2):
            twice.append(said(conversation, "Tell me something")[0].ids)
            conversation.reset()
        answers.append(twice)
    assert answers[0] == answers[1]
    assert answers[0][0] != answers[0][1]


def test_an_engine_that_is_not_there_is_named(small_model):
    arguments = parser().parse_args([str(small_model), "--prompt", "Hi", "--engine", "vlm"])
    with pytest.raises(PluginError, match=r"there is no engine plugin 'vlm'(.|\n)*did you mean 'vllm'"):
        run(arguments)
