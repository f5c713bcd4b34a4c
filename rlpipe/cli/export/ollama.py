"""`--to ollama`: the Modelfile beside a GGUF file, with the chat template in Go's form, the stops and the sampling.

A chat template is a program, and Ollama wants it in another language. So it is not translated: it is compared, on
conversations of several kinds, with layouts that can be written in both, and refused where it writes another text.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rlpipe.core.errors import ModelError
from rlpipe.datasets.forms import Message
from rlpipe.engines.rollout import SamplingConfig
from rlpipe.models.layout import template_errors
from rlpipe.models.special_tokens import adds_bos

_USER: Message = {"role": "user", "content": "What is 3 × 12?"}
_ASSISTANT: Message = {"role": "assistant", "content": "<think>\nThree dozen.\n</think>\n\n36"}
_SYSTEM: Message = {"role": "system", "content": "Be kind.\nBe brief."}
PROBES = {
    "a question": [_USER],
    "a system message": [_SYSTEM, _USER],
    "several turns": [_SYSTEM, _USER, _ASSISTANT, _USER, {"role": "assistant", "content": "Yes: “36”."}, _USER],
    "several turns without a system message": [_USER, _ASSISTANT, _USER],
    "a system message in between": [_USER, _ASSISTANT, _SYSTEM, _USER],
}
"""Conversations that a layout must write as the model's own template does."""
EDGES: list[Message] = [{"role": "user", "content": " \n Hello. \n "}]
INSTEAD = "export it with --to gguf for llama.cpp, which reads the template itself, or serve it with --to vllm"


@dataclass(frozen=True)
class Layout:
    """A chat template in which each message stands between a header with its role and a footer, and nothing else is."""

    name: str
    header: str
    """`{role}` stands for the role."""
    footer: str
    """`{end}` stands for the token that ends a turn."""

    def expected(self, messages: Sequence[Message], end: str) -> str:
        """Return the text of a conversation with the header of the assistant's next turn."""
        texts = [
            self.header.format(role=one["role"]) + one["content"] + self.footer.format(end=end) for one in messages
        ]
        return "".join([*texts, self.header.format(role="assistant")])

    def template(self, end: str) -> str:
        """Return it as Go's text/template has it, over Ollama's `.Messages`."""
        each = self.header.format(role="{{ .Role }}") + "{{ .Content }}" + self.footer.format(end=end)
        return "{{ range .Messages }}" + each + "{{ end }}" + self.header.format(role="assistant")


LAYOUTS = (
    Layout("ChatML", "<|im_start|>{role}\n", "{end}\n"),
    Layout("Llama 3", "<|start_header_id|>{role}<|end_header_id|>\n\n", "{end}"),
)


def template_of(where: Path, tokenizer: Any) -> tuple[str, list[str]]:
    """Return a model's chat template in Go's form, and what that cannot keep. Raises ModelError where there is none.

    Ollama puts the token that begins a text in front by itself, if the tokenizer does; other beginnings are written.
    """
    end, bos = str(tokenizer.eos_token), str(tokenizer.bos_token or "")
    first = _written(tokenizer, PROBES["a question"])
    start = bos if bos and first is not None and first.startswith(bos) else ""
    if adds_bos(tokenizer) and not start:
        what = f"its tokenizer begins each text with {bos} and its chat template does not; Ollama knows one of them"
        raise ModelError(where, what, INSTEAD)
    layout = next((one for one in LAYOUTS if first == start + one.expected(PROBES["a question"], end)), None)
    if layout is None:
        known = " nor ".join(one.name for one in LAYOUTS)
        raise ModelError(where, f"its chat template is neither {known}, which Ollama could be given", INSTEAD)
    texts = {kind: start + layout.expected(messages, end) for kind, messages in PROBES.items()}
    if other := [kind for kind, messages in PROBES.items() if _written(tokenizer, messages) != texts[kind]]:
        what = f"its chat template is not quite {layout.name}: it writes {', '.join(other)} in another way"
        raise ModelError(where, what, INSTEAD)
    notes = ["tools: the template offers none"]
    if _written(tokenizer, EDGES) != start + layout.expected(EDGES, end):
        notes.append("the model's template leaves out white space around a message; Ollama keeps it")
    return ("" if adds_bos(tokenizer) else start) + layout.template(end), notes


def _written(tokenizer: Any, messages: Sequence[Message]) -> str | None:
    """Return a conversation by the model's own template; None where it refuses it."""
    try:
        return str(tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True))
    except template_errors():
        return None


def modelfile(
    model: str, template: str, stops: Sequence[str], sampling: SamplingConfig, context: int | None, licence: str | None
) -> str:
    """Return a Modelfile (https://github.com/ollama/ollama/blob/main/docs/modelfile.md); `context` is in tokens.

    What training has not, such as a penalty for repetition, is turned off, for Ollama has it on.
    """
    parameters: list[tuple[str, object]] = [("stop", _quoted(stop)) for stop in stops]
    parameters += [
        ("temperature", f"{sampling.temperature:g}"),
        ("top_p", f"{sampling.top_p:g}"),
        ("top_k", sampling.top_k),
        ("min_p", f"{sampling.min_p:g}"),
        ("repeat_penalty", 1),
        ("num_predict", sampling.max_tokens),
    ]
    parameters += [("num_ctx", context)] if context else []
    lines = [f"FROM ./{model}", f'TEMPLATE """{template}"""']
    lines += [f"PARAMETER {name} {value}" for name, value in parameters]
    return "\n".join([*lines, *([f"LICENSE {licence}"] if licence else [])]) + "\n"


def _quoted(text: str) -> str:
    """Return a value in quotes. Modelfiles have no escapes; three quotes may hold one."""
    marks = '"""' if '"' in text else '"'
    if '"""' in text or text.endswith('"'):
        raise ModelError("method.sampling.stop", f"a Modelfile cannot hold {text!r}", "export it with --to gguf")
    return f"{marks}{text}{marks}"
