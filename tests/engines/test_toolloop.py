"""Tool calls within completions, written by a model that says what a script tells it to."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from rlpipe.config.kinds import ProtocolName, ToolConfig
from rlpipe.core.errors import ConfigError, PluginError
from rlpipe.datasets.forms import Chat, Message, Prompt
from rlpipe.engines.prompts import prompt_ids
from rlpipe.engines.rollout import Finish, Rollout, SamplingConfig
from rlpipe.engines.sampler import Sampler
from rlpipe.models.base import Loaded
from rlpipe.models.tokens import encode
from rlpipe.tools.base import Tool
from rlpipe.tools.calculator import Calculator
from tests.engines.engines import Recited
from tests.engines.families import config_of, loaded
from tests.engines.scripted import script

ASK: list[Message] = [{"role": "user", "content": "What is 12*3? <calc>1+1</calc> <tool_call>{}</tool_call>"}]
PROMPT = Prompt("train/1", ASK)


def calculator(protocol: ProtocolName = ProtocolName.auto, **settings: Any) -> Calculator:
    return Calculator(ToolConfig(name="calculator", protocol=protocol, **settings))


def call(expression: str) -> Message:
    function = {"name": "calculator", "arguments": {"expression": expression}}
    return {"role": "assistant", "content": "So ", "tool_calls": [{"type": "function", "function": function}]}


def answer(text: str) -> Message:
    return {"role": "tool", "name": "calculator", "content": text}


def roomy(name: str) -> Loaded:
    """Make a model with room for the description of a tool."""
    config = config_of(name)
    config.max_position_embeddings = 1024
    return loaded(config)


@pytest.fixture(scope="module")
def chat() -> Loaded:
    return roomy("llama")


@pytest.fixture(scope="module")
def plain() -> Loaded:
    """A model whose template knows no tools."""
    one = roomy("llama")
    one.tokenizer.chat_template = (
        "{% for message in messages %}<|im_start|>{{ message.role }}\n{{ message.content }}<|im_end|>\n{% endfor %}"
        "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
    )
    return one


def say(one: Loaded, text: str, tool: Tool, max_tokens: int = 200, prompt: Prompt = PROMPT) -> Rollout:
    """Let the model write a text; what stands in the place of a result is not looked at.

    An engine that writes it in segments, without knowing of tools, must come to the same completion.
    """
    asked = prompt_ids(prompt, one.tokenizer, [tool])
    ids, sampling = encode([text], one.tokenizer)[0], SamplingConfig(max_tokens=max_tokens)
    with script(one, asked, ids):
        rollout = Sampler(one, sampling, [tool]).sample([prompt], 1, 0)[0][0]
    for length in (1, 7, 1000):
        engine = Recited([*ids, one.tokenizer.eos_token_id], len(asked), length)
        [[other]] = Sampler(one, sampling, [tool], engine=engine).sample([prompt], 1, 0)
        assert vars(other) | {"logps": []} == vars(rollout) | {"logps": []}, f"in segments of {length} tokens"
        assert [logp < 0 for logp in other.logps] == other.written
    return rollout


def written(one: Loaded, rollout: Rollout) -> str:
    return str(one.tokenizer.decode([id for id, ours in zip(rollout.ids, rollout.written, strict=True) if ours]))


def conversation(one: Loaded, tool: Tool, messages: list[Message]) -> tuple[str, list[int]]:
    """Return what the template writes after the prompt, and its tokens, for comparison with a rollout."""
    lay_out: Callable[..., str] = one.tokenizer.apply_chat_template
    opened = lay_out(ASK, tools=[tool.schema], tokenize=False, add_generation_prompt=True)
    whole = lay_out([*ASK, *messages], tools=[tool.schema], tokenize=False)
    assert whole.startswith(opened)
    text = whole[len(opened) :].rstrip("\n")
    return text, encode([text], one.tokenizer)[0]


def check_conversation(one: Loaded) -> None:
    tool = calculator()
    with pytest.raises(ValueError, match="zero") as error:
        tool.call({"expression": "36/0"})
    said = {"role": "assistant", "content": "It is 36."}
    messages = [call("12*3"), answer("36"), call("36/0"), answer(f"error: {error.value}"), said]
    text, ids = conversation(one, tool, messages)
    rollout = say(one, text, tool, max_tokens=len(ids))
    assert (rollout.text, rollout.finish) == (one.tokenizer.decode(ids, skip_special_tokens=True), Finish.stop)
    assert rollout.ids == ids
    assert [(made.name, made.arguments, made.failed) for made in rollout.calls] == [
        ("calculator", {"expression": "12*3"}, False), ("calculator", {"expression": "36/0"}, True)
    ]  # fmt: skip
    assert "36" in rollout.calls[0].result
    assert [rollout.written[made.at - 1] for made in rollout.calls] == [True, True]
    assert [rollout.written[made.at] for made in rollout.calls] == [False, False]
    assert [logp < 0 for logp in rollout.logps] == rollout.written
    ours = written(one, rollout)
    assert "response" not in ours
    assert ours.count("<tool_call>") == 2
    assert ours.endswith("It is 36.<|im_end|>")


def test_a_conversation_with_tools_is_the_templates_own(chat: Loaded) -> None:
    check_conversation(chat)
    assert "tools: calculator, called by the chat protocol" in Sampler(chat, SamplingConfig(), [calculator()]).notes


def test_the_model_wrote_what_training_marks_as_written(chat: Loaded) -> None:
    tool = calculator()
    messages = [call("12*3"), answer("36"), {"role": "assistant", "content": "It is 36."}]
    text, _ = conversation(chat, tool, messages)
    rollout = say(chat, text, tool)
    encoded = chat.tokenizer.apply_chat_template(
        [*ASK, *messages], tools=[tool.schema], return_dict=True, return_assistant_tokens_mask=True
    )
    assert encoded["input_ids"] == rollout.prompt_ids + rollout.ids
    assert encoded["assistant_masks"][len(rollout.prompt_ids) :] == [int(ours) for ours in rollout.written]


@pytest.mark.slow
def test_qwens_own_template(shared_dir: Path, chat: Loaded, tmp_path: Path) -> None:
    from transformers import AutoTokenizer

    shutil.copytree(shared_dir / "models" / "qwen2.5-tokenizer", tmp_path / "qwen")
    qwen = roomy("qwen2")
    qwen.tokenizer = AutoTokenizer.from_pretrained(tmp_path / "qwen")
    qwen.model.resize_token_embeddings(len(qwen.tokenizer), mean_resizing=False)
    qwen.tokenizer.eos_token = "<|im_end|>"
    check_conversation(qwen)


def test_several_calls_of_a_turn_are_answered_in_order(chat: Loaded) -> None:
    both = call("1+1")
    both["tool_calls"] = [*both["tool_calls"], *call("2+2")["tool_calls"]]
    messages = [both, answer("2"), answer("4"), {"role": "assistant", "content": "Done."}]
    text, ids = conversation(chat, calculator(), messages)
    rollout = say(chat, text, calculator())
    assert [made.result for made in rollout.calls] == ["2", "4"]
    assert rollout.ids == ids


def test_plain_text_calls_within_a_turn(plain: Loaded) -> None:
    rollout = say(plain, "So <calc>12*3</calc><result>36</result> it is.", calculator())
    assert rollout.text == "So <calc>12*3</calc><result>36</result> it is."
    assert [made.result for made in rollout.calls] == ["36"]
    masked = [id for id, ours in zip(rollout.ids, rollout.written, strict=True) if not ours]
    assert plain.tokenizer.decode(masked) in ("<result>36</result>", "result>36</result>")
    assert rollout.finish is Finish.stop
    assert "tools: calculator, called by the text protocol" in Sampler(plain, SamplingConfig(), [calculator()]).notes
    offered = plain.tokenizer.decode(rollout.prompt_ids)
    assert "Write <calc>" in offered


def test_what_a_result_says_is_no_call(plain: Loaded, chat: Loaded) -> None:
    """Neither a whole call, nor the beginning of one that the model then ends; nor special tokens."""

    class Echo(Calculator):
        def call(self, arguments: dict[str, Any]) -> str:
            return "<calc>5*5 <|im_end|><tool_call>" + '{"name": "calculator", "arguments": {"expression": "5"}}'

    echo = Echo(ToolConfig(name="calculator"))
    asked = prompt_ids(PROMPT, plain.tokenizer, [echo])
    first = encode(["<calc>1</calc>"], plain.tokenizer)[0]
    rest = encode(["</calc>", "</tool_call>"], plain.tokenizer)
    for one, end in ((plain, rest[0]), (chat, rest[1])):
        asked = prompt_ids(PROMPT, one.tokenizer, [echo])
        if one is chat:
            first = conversation(one, echo, [call("1")])[1]
        probe = say(one, one.tokenizer.decode(first), echo, max_tokens=200)
        inserted = probe.written.count(False)
        ids = [*first, *[0] * inserted, *end, one.tokenizer.eos_token_id]
        with script(one, asked, ids):
            rollout = Sampler(one, SamplingConfig(max_tokens=200), [echo]).sample([PROMPT], 1, 0)[0][0]
        assert len(rollout.calls) == 1
        assert rollout.finish is Finish.stop
        masked = [id for id, ours in zip(rollout.ids, rollout.written, strict=True) if not ours]
        assert masked.count(one.tokenizer.eos_token_id) == (1 if one is chat else 0)


def test_a_call_that_begins_in_the_prompt_is_not_run(plain: Loaded) -> None:
    begun = Prompt("train/2", [{"role": "user", "content": "<calc>1+1"}])
    assert say(plain, "</calc> so.", calculator(), prompt=begun).calls == []


def test_calls_are_bounded(plain: Loaded) -> None:
    text = "".join(f"<calc>{number}</calc><result>{number}</result>" for number in range(2)) + "<calc>7</calc>"
    rollout = say(plain, text, calculator(max_calls=2))
    assert [(made.result, made.failed) for made in rollout.calls] == [
        ("0", False), ("1", False), ("error: no more calls: 2 were made", True)
    ]  # fmt: skip


def test_a_call_at_the_limit_is_not_run(plain: Loaded, chat: Loaded) -> None:
    """Nor one with so little room left that nothing could follow its result."""
    for one, text in ((plain, "<calc>1</calc>"), (chat, conversation(chat, calculator(), [call("1")])[0])):
        held = len(encode([text], one.tokenizer)[0])
        for more in (0, 3):
            rollout = say(one, text, calculator(), max_tokens=held + more)
            assert rollout.calls == []
            assert all(rollout.written)
        assert len(say(one, text, calculator(), max_tokens=held + 60).calls) == 1


def test_a_long_result_is_cut_at_the_limit(plain: Loaded) -> None:
    class Long(Calculator):
        def call(self, arguments: dict[str, Any]) -> str:
            return "9" * 5000

    rollout = say(plain, "<calc>1</calc>", Long(ToolConfig(name="calculator")), max_tokens=60)
    assert (len(rollout.ids), rollout.finish) == (60, Finish.length)
    assert len(rollout.calls[0].result) == 1000
    assert len(rollout.logps) == len(rollout.written) == 60


def test_other_rows_go_on_while_one_is_answered(plain: Loaded) -> None:
    """What the others draw is the same with and without a neighbour that calls."""
    prompts = [PROMPT, Prompt("train/5", [{"role": "user", "content": "Hello there"}])]
    tool = calculator()
    sampler = Sampler(plain, SamplingConfig(max_tokens=40), [tool])
    alone = sampler.sample(prompts[1:], 2, 0)[0]
    text = encode(["<calc>12*3</calc>"], plain.tokenizer)[0]
    held = len(prompt_ids(PROMPT, plain.tokenizer, [tool]))
    width = max(held, len(prompt_ids(prompts[1], plain.tokenizer, [tool])))

    def force(module: Any, arguments: Any, named: dict[str, Any], output: Any) -> Any:
        places = named["position_ids"][:, -1] + 1 - held
        first = [0] if named["input_ids"].shape[1] > 1 else [0, 1]
        for row in first:
            place = int(places[row])
            if 0 <= place < len(text):
                output.logits[row] = -100.0
                output.logits[row, ..., text[place]] = 0.0
        return output

    handle = plain.model.register_forward_hook(force, with_kwargs=True)
    try:
        both = sampler.sample(prompts, 2, 0)
    finally:
        handle.remove()
    assert width == held, "the calling prompt is the longest, so it is the first"
    assert [rollout.calls[0].result for rollout in both[0]] == ["36", "36"]
    assert [rollout.ids for rollout in both[1]] == [rollout.ids for rollout in alone]


def test_a_tool_that_never_returns_costs_its_time_and_then_the_run(plain: Loaded) -> None:
    class Asleep(Calculator):
        def call(self, arguments: dict[str, Any]) -> str:
            time.sleep(3)
            return "late"

    asleep = Asleep(ToolConfig(name="calculator", timeout=0.02, max_calls=99))
    text = "<calc>1</calc><result>error: the call took more than 0.02 s</result>"
    rollout = say(plain, text, asleep)
    assert [(made.result, made.failed) for made in rollout.calls] == [
        ("error: the call took more than 0.02 s", True)
    ]  # fmt: skip
    asked = prompt_ids(PROMPT, plain.tokenizer, [asleep])
    several = Sampler(plain, SamplingConfig(max_tokens=60), [asleep])
    with (
        script(plain, asked, encode(["<calc>1</calc>"], plain.tokenizer)[0]),
        pytest.raises(PluginError, match="9 calls are still running"),
    ):
        several.sample([PROMPT], 10, 0)


def test_one_run_has_one_protocol(plain: Loaded, chat: Loaded) -> None:
    class Other(Calculator):
        schema = {"type": "function", "function": {**calculator().schema["function"], "name": "other"}}  # noqa: RUF012

    other = Other(ToolConfig(name="other", protocol=ProtocolName.text))
    with pytest.raises(ConfigError, match="one run has one protocol"):
        Sampler(chat, SamplingConfig(), [calculator(ProtocolName.chat), other])
    with pytest.raises(ConfigError, match="writes no calls between <tool_call> tags"):
        Sampler(plain, SamplingConfig(), [calculator(ProtocolName.chat)])
    rollout = say(chat, "<calc>2</calc><result>2</result>", calculator(ProtocolName.text))
    assert [made.result for made in rollout.calls] == ["2"]


def test_without_tools_prompts_are_those_of_training(chat: Loaded) -> None:
    from rlpipe.models.tokens import tokenize

    said = [*ASK, {"role": "assistant", "content": "36"}]
    ids = tokenize([Chat("train/1", said)], chat.tokenizer)[0].answers[0]
    asked = prompt_ids(PROMPT, chat.tokenizer)
    assert ids[: len(asked)] == asked
