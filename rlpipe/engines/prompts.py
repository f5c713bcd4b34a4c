"""Prompts as tokens, laid out as in training: the one place that knows how tools are offered."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from rlpipe.datasets.forms import Message, Prompt
from rlpipe.models.tokens import encode
from rlpipe.tools.base import Tool
from rlpipe.tools.protocols import Protocol, choose

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


def prompt_ids(prompt: Prompt, tokenizer: PreTrainedTokenizerBase, tools: Sequence[Tool] = ()) -> list[int]:
    """Return a prompt's tokens, up to the header of the turn that the model is to write."""
    return encode([lay_out(prompt.prompt, tokenizer, choose(tools, tokenizer))], tokenizer)[0]


def lay_out(messages: Sequence[Message], tokenizer: PreTrainedTokenizerBase, protocol: Protocol | None) -> str:
    """Return a prompt as text, with the tools of a protocol offered in it."""
    offered, schemas = protocol.offer(messages) if protocol is not None else (list(messages), [])
    template: Any = tokenizer.apply_chat_template
    text = template(offered, tools=schemas or None, tokenize=False, add_generation_prompt=True)
    return str(text)
