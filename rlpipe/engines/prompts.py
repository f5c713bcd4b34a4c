"""Prompts as tokens, laid out as in training: the one place that knows how tools are offered."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from rlpipe.core.errors import DataError
from rlpipe.datasets.forms import Prompt
from rlpipe.models.layout import check_calls, render
from rlpipe.models.tokens import encode
from rlpipe.tools.base import Tool
from rlpipe.tools.protocols import Protocol, choose

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


def prompt_ids(prompt: Prompt, tokenizer: PreTrainedTokenizerBase, tools: Sequence[Tool] = ()) -> list[int]:
    """Return a prompt's tokens, up to the header of the turn that the model is to write."""
    return encode([lay_out(prompt, tokenizer, choose(tools, tokenizer))], tokenizer)[0]


def lay_out(prompt: Prompt, tokenizer: PreTrainedTokenizerBase, protocol: Protocol | None) -> str:
    """Return a prompt as text, with the tools of a protocol, or else those of its own row, offered in it.

    Raises DataError, naming the prompt, where the chat template refuses it, and for tools of both kinds.
    """
    if protocol is not None and prompt.tools:
        what = "the row offers tools of its own, which nothing here runs, beside those of the run"
        raise DataError(f"example {prompt.id}", what, "drop tool=…, or give rows without a column 'tools'")
    offered, schemas = protocol.offer(prompt.prompt) if protocol is not None else (prompt.prompt, prompt.tools)
    texts = render([list(offered)], tokenizer, True, [schemas], [prompt.id])
    check_calls([list(offered)], texts, [prompt.id])
    return texts[0]


def begun(prompts: Sequence[Prompt], answers: Sequence[str], tokenizer: PreTrainedTokenizerBase) -> list[list[int]]:
    """Return the tokens of prompts with the beginnings of their answers, from which a model is to go on."""
    tools, ids = [prompt.tools for prompt in prompts], [prompt.id for prompt in prompts]
    heads = render([prompt.prompt for prompt in prompts], tokenizer, True, tools, ids)
    return encode([f"{head}{answer}" for head, answer in zip(heads, answers, strict=True)], tokenizer)
