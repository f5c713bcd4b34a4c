"""Worked solutions with tool calls, as tokens to train on."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from rlpipe.config.kinds import ProtocolName, ToolConfig
from rlpipe.datasets.base import LoadReport, Split
from rlpipe.datasets.forms import Completion, Prompt, Text
from rlpipe.engines.prompts import prompt_ids
from rlpipe.models.base import Loaded
from rlpipe.tools.base import Tool
from rlpipe.tools.calculator import Calculator
from rlpipe.tools.protocols import choose
from rlpipe.tools.tool_calls import with_calls
from rlpipe.training.offline.traces import tokenize_traces
from tests.engines.families import config_of, loaded

GSM8K = "She sold 48/2 = <<48/2=24>>24 clips, and 1/3 = <<1/3=.33>>.33 more.\nSo 48+24=<<48+24=72>>72.\n#### 72"
TRACE = "<think>\n19 + 35 = 54, no.\n(2 + 3) * 4 = 20\n7 = 7, 1 + 1 = 3, x1 + 2 = 3, 6 / 2 = 3 + 0\n</think>"


def completion(text: str) -> Completion:
    return Completion("train/0", [{"role": "user", "content": "How many?"}], [{"role": "assistant", "content": text}])


def traced(text: str, *tools: Tool) -> Completion:
    split = Split([completion(text)], LoadReport("train", "sample", "0"))
    example = with_calls(split, tools).examples[0]
    assert isinstance(example, Completion)
    return example


def tool(**settings: Any) -> Calculator:
    return Calculator(ToolConfig(name="calculator", **settings))


def told(example: Completion) -> list[str]:
    """Return the turns of a completion: `expression → result` for a call."""
    parts = []
    for turn in example.completion:
        parts.append(turn["content"])
        parts += [f"{call['function']['arguments']['expression']} →" for call in turn.get("tool_calls", ())]
    return parts


def test_annotations_become_calls_and_wrong_ones_go() -> None:
    assert told(traced(GSM8K, tool())) == [
        "She sold 48/2 =", "48/2 →", "24", "24 clips, and 1/3 = .33 more.\nSo 48+24=", "48+24 →", "72", "72.\n#### 72"
    ]  # fmt: skip


def test_right_equations_become_calls_and_others_stay() -> None:
    assert told(traced(TRACE, tool())) == [
        "<think>\n19 + 35 =", "19 + 35 →", "54", "54, no.\n(2 + 3) * 4 =", "(2 + 3) * 4 →", "20",
        "20\n7 = 7, 1 + 1 = 3, x1 + 2 = 3, 6 / 2 = 3 + 0\n</think>",
    ]  # fmt: skip


def test_a_trace_makes_no_more_calls_than_it_may() -> None:
    assert told(traced(GSM8K, tool(max_calls=1)))[3:] == ["24 clips, and 1/3 = .33 more.\nSo 48+24=72.\n#### 72"]


def test_what_has_nothing_by_hand_stays_as_it_is() -> None:
    assert traced("Nothing to count.", tool()) == completion("Nothing to count.")
    split = Split([Text("train/0", "1 + 1 = 2")], LoadReport("train", "sample", "0"))
    assert with_calls(split, [tool()]).examples == split.examples
    assert with_calls(split, [tool()]).report.notes == ["tool calls: 0, in 0 of 1 examples"]


@pytest.fixture(scope="module")
def one() -> Loaded:
    return loaded(config_of("llama"))


def check(tokenizer: Any, protocol_name: ProtocolName) -> tuple[str, str]:
    """Return what is trained and what is not of a trace's answer; its prompt must be the sampler's."""
    calculator = tool(protocol=protocol_name)
    example = traced(GSM8K, calculator)
    tokens = tokenize_traces([example], tokenizer, choose([calculator], tokenizer))[0]
    assert tokens.prompt == prompt_ids(Prompt("train/0", example.prompt), tokenizer, [calculator])
    assert tokens.spoken is not None
    (answer,) = tokens.answers
    marked = list(zip(answer, tokens.spoken, strict=True))
    said = tokenizer.decode([id for id, spoken in marked if spoken])
    heard = tokenizer.decode([id for id, spoken in marked if not spoken])
    assert answer[-1] == tokenizer.eos_token_id
    return said, heard


def test_results_carry_no_loss_in_plain_text(one: Loaded) -> None:
    said, heard = check(one.tokenizer, ProtocolName.text)
    assert heard in ("<result>24</result><result>72</result>", "result>24</result>result>72</result>")
    first, second = "She sold 48/2 =<calc>48/2</calc>", "24 clips, and 1/3 = .33 more.\nSo 48+24=<calc>48+24</calc>"
    assert said.replace("</calc><", "</calc>") == f"{first}{second}72.\n#### 72<|im_end|>"


CALL = '\n<tool_call>\n{{"name": "calculator", "arguments": {{"expression": "{}"}}}}\n</tool_call><|im_end|>'
SAID = "She sold 48/2 =" + CALL + "24 clips, and 1/3 = .33 more.\nSo 48+24=" + CALL + "72.\n#### 72<|im_end|>"
HEARD = "\n<|im_start|>user\n<tool_response>\n{}\n</tool_response><|im_end|>\n<|im_start|>assistant\n"


def test_results_carry_no_loss_in_a_conversation(one: Loaded) -> None:
    said, heard = check(one.tokenizer, ProtocolName.chat)
    assert said == SAID.format("48/2", "48+24")
    assert heard == HEARD.format(24) + HEARD.format(72)


@pytest.mark.slow
def test_results_carry_no_loss_in_qwens_own_template(shared_dir: Path) -> None:
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(shared_dir / "models" / "qwen2.5-tokenizer")
    tokenizer.eos_token = "<|im_end|>"
    said, heard = check(tokenizer, ProtocolName.auto)
    assert said == SAID.format("48/2", "48+24")
    assert heard == HEARD.format(24) + HEARD.format(72)
