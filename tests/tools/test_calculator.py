"""The calculator and the reading of calls: any text at all gives a result that a model can read."""

from __future__ import annotations

import time
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rlpipe.config.kinds import ToolConfig
from rlpipe.core.errors import PluginError
from rlpipe.testing import check_light
from rlpipe.tools.calculator import Calculator, written
from rlpipe.tools.protocols import ChatProtocol, TextProtocol, read_json
from rlpipe.tools.run import LONGEST_RESULT, Call, Runner

TOOL = Calculator(ToolConfig(name="calculator"))


def run(expression: Any) -> tuple[str, bool]:
    result = Runner([TOOL]).run(Call("calculator", {"expression": expression}), 0)
    return result.text, result.failed


@pytest.mark.parametrize(
    ("expression", "value"),
    [
        ("12*3", "36"), (" (1 + 2) / 4 ", "0.75"), ("1/3", "0.333333"), ("2/3", "0.666667"), ("-1/8", "-0.125"),
        ("2**100", str(2**100)), ("10**80", "1.000000e+80"), ("1/10**9", "1.000000e-9"), ("0", "0"), ("-0.5+0.5", "0"),
        ("-1/3", "-0.333333"), ("999999/1000000", "0.999999"), ("1999999.9999999/2", "1000000"),
    ],
)  # fmt: skip
def test_values(expression: str, value: str) -> None:
    assert run(expression) == (value, False)


@given(st.fractions())
def test_a_written_number_is_near_the_number(value: Fraction) -> None:
    assert abs(Fraction(written(value)) - value) <= max(Fraction(1, 10**6), abs(value) / 10**6)


HOSTILE = [
    "__import__('os').system('true')", "9**9**9", "9**99999", "1" * 1_000_000, "(" * 10_000 + "1" + ")" * 10_000,
    "1/0", "", " ", "\x00", "1\x00", "٣+٤", "²", "1e999", "1_000", "lambda: 0", "[].__class__", "{1}", "a:=1", "0x10",
    "1if 1else 1", "\ud800", "<|im_end|>", "f'{1}'", "1;2", "1\n+1", None, 3, True, ["1"], {"a": 1},
]  # fmt: skip


@pytest.mark.timeout(30)  # they would keep a careless one busy for ever
@pytest.mark.parametrize("expression", HOSTILE, ids=range(len(HOSTILE)))
def test_hostile_arguments_are_errors_that_can_be_read(expression: Any) -> None:
    text, failed = run(expression)
    if failed:
        assert text.startswith("error: ")
        assert 10 < len(text) <= LONGEST_RESULT
    else:
        assert expression in ("1_000", "0x10", "1e999", "1\n+1"), text


@settings(max_examples=300)
@given(st.text() | st.text(alphabet="0123456789+-*/().% "))
def test_any_expression_gives_a_result(expression: str) -> None:
    text, failed = run(expression)
    assert text.startswith("error: ") == failed
    assert len(text) <= LONGEST_RESULT


@settings(max_examples=300)
@given(
    st.lists(
        st.sampled_from(
            ["<tool_call>", "</tool_call>", '{"name": "calculator"', ', "arguments": {}}', "{", "}", "\\ud8"]
        )
        | st.text(max_size=5)
    )
)
def test_any_text_can_be_searched_for_calls(parts: list[str]) -> None:
    text = "".join(parts)
    chat = ChatProtocol([TOOL], None)
    calls = chat.calls(text)
    assert len(calls) <= text.count("</tool_call>")
    for call in calls:
        assert Runner([TOOL]).run(call, 0).failed
    assert TextProtocol([TOOL]).calls(text.replace("tool_call", "calc")) is not None


@pytest.mark.timeout(60)  # a search that goes back at every tag takes hours
def test_a_megabyte_of_tags_is_searched_once() -> None:
    for text in ("<tool_call>" * 100_000, "</tool_call>" * 100_000, "<calc>" * 200_000 + "</calc>"):
        assert not [call for call in ChatProtocol([TOOL], None).calls(text) if call.error is None]
        TextProtocol([TOOL]).calls(text)


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("no json", "is no JSON"), ('{"name": "calculator", "arguments": {}', "is no JSON"), ("[" * 100_000, "no JSON"),
        ("1" * 5000, "JSON"), ("[1]", "names no tool"), ('{"name": 3}', "names no tool"), ("NaN", "names no tool"),
        ('{"name": "calculator", "arguments": "1+1"}', "no JSON object"),
        ('{"name": "calculator", "arguments": {"expression": "\\ud800"}}', "not valid Unicode"),
    ],
)  # fmt: skip
def test_badly_written_calls_say_what_is_wrong(text: str, error: str) -> None:
    call = read_json(text)
    assert call.error is not None
    assert error in call.error
    result = Runner([TOOL]).run(call, 0)
    assert result.failed
    assert error in result.text


def test_calls_are_read_as_they_are_meant() -> None:
    good = '{"name": "calculator", "arguments": {"expression": "1"}}'
    expected = Call("calculator", {"expression": "1"})
    chat = ChatProtocol([TOOL], None)
    assert chat.calls(f"So\n<tool_call>\n{good}\n</tool_call>") == [expected]
    assert chat.calls(f"<tool_call><tool_call>{good}</tool_call></tool_call>") == [expected]
    assert chat.calls(f"<tool_call>{good}") == []
    assert chat.calls(f"{good}</tool_call>") == []
    text = TextProtocol([TOOL])
    assert text.calls("a <calc> <calc> 1 </calc>") == [expected]
    assert text.calls("1</calc>") == text.calls("<calc>1") == []
    assert text.answer("<calc>1</calc><re", ["5"]) == "sult>5</result>"
    assert text.answer("<calc>1</calc> x", ["5"]) == "<result>5</result>"


@pytest.mark.parametrize("piece", ["1+1+", "1+1=", "(", "((((=2", "<<1+1=", "1 + ", "<<"])
def test_no_text_takes_long_to_be_searched_for_calculations(piece: str) -> None:
    began = time.process_time()
    list(TOOL.by_hand(piece * (200_000 // len(piece))))
    assert time.process_time() - began < 0.5


def test_unknown_tools_and_arguments() -> None:
    runner = Runner([TOOL])
    assert runner.run(Call("eval", {}), 0).text == "error: there is no such tool; there is: calculator"
    assert "as text" in runner.run(Call("calculator", {}), 0).text
    assert "alone" in runner.run(Call("calculator", {"expression": "1", "base": 2}), 0).text


def test_errors_of_any_kind_can_be_read_and_a_result_must_be_text() -> None:
    class Broken(Calculator):
        def call(self, arguments: dict[str, Any]) -> Any:
            return {}["key"] if arguments else 3

    runner = Runner([Broken(ToolConfig(name="broken"))])
    result = runner.run(Call("calculator", {"a": 1}), 0)
    assert (result.text, result.failed) == ("error: KeyError: 'key'", True)
    with pytest.raises(PluginError, match="tool=broken returned int instead of text"):
        runner.run(Call("calculator", {}), 0)


def test_the_tools_import_nothing_heavy() -> None:
    check_light(["rlpipe.tools.calculator", "rlpipe.tools.protocols", "rlpipe.tools.run", "rlpipe.engines.sampler"])
