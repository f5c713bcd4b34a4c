"""How tools are offered, called and answered in text.

    chat    the chat template's own tool turns; calls are JSON between <tool_call> tags (Qwen's and rlpipe's templates)
    text    within a turn: <calc>2 * 3</calc><result>6</result>, for models whose template knows no tools

Only what a model wrote since its last result is searched for calls. Nothing here imports torch.
"""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from rlpipe.config.kinds import ProtocolName
from rlpipe.core.errors import ConfigError, Problem
from rlpipe.datasets.forms import Message
from rlpipe.tools.base import Tool
from rlpipe.tools.run import Call

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

OPEN, CLOSE = "<tool_call>", "</tool_call>"
RESULT = "<result>{}</result>"
PROBE = "Zq7"
"""A text that no template contains."""


class Protocol(ABC):
    """One way of writing calls and results."""

    name: ClassVar[ProtocolName]
    ends_turn: ClassVar[bool]
    """Whether calls are answered after the end of the turn, not right where they end."""

    def __init__(self, tools: Sequence[Tool]):
        self.tools = list(tools)

    @abstractmethod
    def offer(self, messages: Sequence[Message]) -> tuple[list[Message], list[dict[str, Any]]]:
        """Return the messages of a prompt, and the schemas for the chat template, so that the model knows the tools."""

    @abstractmethod
    def calls(self, written: str) -> list[Call]:
        """Return the calls in what a model wrote since its last result, badly written ones included."""

    @abstractmethod
    def answer(self, written: str, results: Sequence[str]) -> str:
        """Return what is put behind `written`: the results of its calls, up to where the model goes on."""

    @abstractmethod
    def fold(self, completion: Sequence[Message]) -> tuple[list[Message], list[str]]:
        """Return turns with calls as this protocol writes them, and the texts in them that answer calls, in order."""

    @property
    @abstractmethod
    def closings(self) -> tuple[str, ...]:
        """What closes a call that is answered right there; none where answers wait for the end of the turn."""


class ChatProtocol(Protocol):
    """Tool turns of the chat template."""

    name = ProtocolName.chat
    ends_turn = True
    closings = ()

    def __init__(self, tools: Sequence[Tool], tokenizer: PreTrainedTokenizerBase):
        super().__init__(tools)
        self._tokenizer = tokenizer
        self._schemas = [tool.schema for tool in tools]

    def offer(self, messages: Sequence[Message]) -> tuple[list[Message], list[dict[str, Any]]]:
        """Leave the messages alone: the template writes the schemas."""
        return list(messages), self._schemas

    def calls(self, written: str) -> list[Call]:
        """Read what stands between each closing tag and the last opening one before it."""
        before = [part.rpartition(OPEN) for part in written.split(CLOSE)[:-1]]
        return [read_json(body.strip()) for _, opened, body in before if opened]

    def fold(self, completion: Sequence[Message]) -> tuple[list[Message], list[str]]:
        """Leave the turns alone: the template writes them."""
        answers: list[list[str]] = []
        for before, turn in zip(["", *(one["role"] for one in completion)], completion, strict=False):
            if turn["role"] == "tool":
                if before != "tool":
                    answers.append([])
                answers[-1].append(turn["content"])
        return list(completion), [self.answer("", results) for results in answers]

    def answer(self, written: str, results: Sequence[str]) -> str:
        """Return what the template writes after the end of the calling turn."""
        name = self.tools[0].name
        function = {"name": name, "arguments": {"probe": PROBE}}
        messages: list[Any] = [
            {"role": "user", "content": "."},
            {"role": "assistant", "content": "", "tool_calls": [{"type": "function", "function": function}]},
            *({"role": "tool", "name": name, "content": text} for text in results),
        ]
        tokenizer: Any = self._tokenizer
        text = tokenizer.apply_chat_template(messages, tools=self._schemas, tokenize=False, add_generation_prompt=True)
        end = str(self._tokenizer.eos_token)
        return str(text)[text.index(end, text.index(PROBE)) + len(end) :]


class TextProtocol(Protocol):
    """Calls and results within a turn."""

    name = ProtocolName.text
    ends_turn = False

    @property
    def closings(self) -> tuple[str, ...]:
        """The closing tags."""
        return tuple(f"</{tool.tag}>" for tool in self.tools)

    def offer(self, messages: Sequence[Message]) -> tuple[list[Message], list[dict[str, Any]]]:
        """Put a line for each tool at the end of the last user message."""
        changed = list(messages)
        places = [place for place, message in enumerate(changed) if message["role"] == "user"]
        lines = [_instruction(tool) for tool in self.tools]
        if places:
            last = changed[places[-1]]
            changed[places[-1]] = {**last, "content": "\n\n".join([last["content"], *lines])}
        else:
            changed.append({"role": "user", "content": "\n\n".join(lines)})
        return changed, []

    def calls(self, written: str) -> list[Call]:
        """Read the first call that is closed: completions are looked at whenever one may have been."""
        ends = [(written.find(f"</{tool.tag}>"), tool) for tool in self.tools]
        found = [(place, tool) for place, tool in ends if place >= 0]
        if not found:
            return []
        place, tool = min(found, key=lambda one: one[0])
        _, opened, argument = written[:place].rpartition(f"<{tool.tag}>")
        if not opened:
            return []
        parameter = next(iter(tool.schema["function"]["parameters"]["properties"]))
        return [Call(tool.name, {parameter: argument.strip()})]

    def fold(self, completion: Sequence[Message]) -> tuple[list[Message], list[str]]:
        """Write everything as one turn."""
        tags = {tool.name: tool.tag for tool in self.tools}
        text, answers = "", []
        for turn in completion:
            if turn["role"] == "tool":
                answers.append(RESULT.format(turn["content"]))
                text += answers[-1]
                continue
            text += turn["content"]
            for call in turn.get("tool_calls", ()):
                tag, values = tags[call["function"]["name"]], call["function"]["arguments"].values()
                text += f"<{tag}>{next(iter(values))}</{tag}>"
        return [{"role": "assistant", "content": text}], answers

    def answer(self, written: str, results: Sequence[str]) -> str:
        """Return the result; a token may have run on into it, then the rest of it."""
        text = "".join(RESULT.format(result) for result in results)
        ends = [written.rpartition(f"</{tool.tag}>") for tool in self.tools]
        tail = min((after for _, closed, after in ends if closed), key=len, default="")
        return text.removeprefix(tail) if text.startswith(tail) else text


def _instruction(tool: Tool) -> str:
    function = tool.schema["function"]
    return (
        f"You may use a tool: {function['description']} Write <{tool.tag}>…</{tool.tag}> and its result is put "
        "behind it as <result>…</result>."
    )


def read_json(text: str) -> Call:
    """Read `{"name": …, "arguments": {…}}`; what is wrong with it becomes the call's error."""
    try:
        found = json.loads(text)
        json.dumps(found, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        return Call(error="the call is not valid Unicode")
    except (ValueError, RecursionError):
        return Call(error='the call is no JSON; write {"name": "...", "arguments": {}}')
    if not isinstance(found, dict) or not isinstance(found.get("name"), str):
        return Call(error='the call names no tool; write {"name": "...", "arguments": {}}')
    arguments = found.get("arguments", {})
    if not isinstance(arguments, dict):
        return Call(found["name"], error="the arguments are no JSON object")
    return Call(found["name"], arguments)


def choose(tools: Sequence[Tool], tokenizer: PreTrainedTokenizerBase) -> Protocol | None:
    """Return the protocol for these tools and this model's template; None without tools.

    Raises ConfigError where tools ask for different ones, or for `chat` with a template that cannot do it.
    """
    if not tools:
        return None
    requested = {tool.config.protocol for tool in tools} - {ProtocolName.auto}
    if len(requested) > 1:
        names = ", ".join(f"tool.{tool.config.name}.protocol={tool.config.protocol.value}" for tool in tools)
        raise ConfigError([Problem("tool", f"one run has one protocol ({names})", "give all tools the same")])
    if requested == {ProtocolName.text}:
        return TextProtocol(tools)
    chat = ChatProtocol(tools, tokenizer)
    if knows_tools(chat, tokenizer):
        return chat
    if requested:
        what = f"the chat template of {tokenizer.name_or_path} writes no calls between <tool_call> tags"
        fix = "set the tool's protocol to auto or text, or model.chat_template=chatml"
        raise ConfigError([Problem("tool", what, fix)])
    return TextProtocol(tools)


def knows_tools(chat: ChatProtocol, tokenizer: PreTrainedTokenizerBase) -> bool:
    """Return whether a template offers tools, writes a call so that it can be read back, and answers it."""
    from jinja2 import TemplateError

    lay_out: Any = tokenizer.apply_chat_template
    name = chat.tools[0].name
    call = {"type": "function", "function": {"name": name, "arguments": {"probe": PROBE}}}
    messages = [{"role": "user", "content": "."}, {"role": "assistant", "content": "", "tool_calls": [call]}]
    try:
        offered = lay_out(messages[:1], tools=chat.offer([])[1], tokenize=False)
        called = lay_out(messages, tokenize=False)
        answered = chat.answer("", [PROBE])
    except (TemplateError, TypeError, KeyError, ValueError, AttributeError):
        return False
    return name in offered and Call(name, {"probe": PROBE}) in chat.calls(called) and PROBE in answered
