"""Modelfiles: what Ollama lays out is what the model's own template writes, or nothing is written."""

from __future__ import annotations

import functools
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from rlpipe.cli.export import ollama
from rlpipe.core.errors import ModelError
from rlpipe.engines.rollout import SamplingConfig
from rlpipe.models.chat_template import built_in

LLAMA3 = (
    "{% for m in messages %}{% set text = '<|start_header_id|>' + m['role'] + '<|end_header_id|>\n\n' "
    "+ m['content'] | trim + '<|eot_id|>' %}"
    "{% if loop.first %}{% set text = bos_token + text %}{% endif %}{{ text }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|start_header_id|>assistant<|end_header_id|>\n\n' }}{% endif %}"
)
QUESTIONS = [
    {"role": "system", "content": "Be brief."},
    {"role": "user", "content": "Hi"},
    {"role": "assistant", "content": "Hello"},
    {"role": "user", "content": "12?"},
]
CHATML_TEXT = (
    "<|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\nHello<|im_end|>\n"
    "<|im_start|>user\n12?<|im_end|>\n<|im_start|>assistant\n"
)
LLAMA3_TEXT = (
    "<|start_header_id|>system<|end_header_id|>\n\nBe brief.<|eot_id|><|start_header_id|>user<|end_header_id|>\n\nHi"
    "<|eot_id|><|start_header_id|>assistant<|end_header_id|>\n\nHello<|eot_id|>"
    "<|start_header_id|>user<|end_header_id|>\n\n12?<|eot_id|><|start_header_id|>assistant<|end_header_id|>\n\n"
)


class Tokenizer:
    """As much of one as a chat template needs."""

    def __init__(self, template: str, end: str = "<|im_end|>", bos: str | None = None, adds_bos: bool = False):
        from jinja2.sandbox import ImmutableSandboxedEnvironment

        from rlpipe.models.chat_template import _generation_tag

        environment = ImmutableSandboxedEnvironment(
            trim_blocks=True, lstrip_blocks=True, extensions=[_generation_tag()]
        )
        self._template = environment.from_string(template)
        self.eos_token, self.bos_token, self.bos_token_id = end, bos, 0
        self._adds_bos = adds_bos

    def apply_chat_template(self, messages: Any, **given: Any) -> str:
        return self._template.render(messages=messages, bos_token=self.bos_token, **given)

    def __call__(self, text: str) -> Any:
        ids = [0, 1] if self._adds_bos else [1]
        return type("Encoded", (), {"input_ids": ids})


def rendered(template: str, messages: Sequence[Mapping[str, str]]) -> str:
    """Render the part of Go's text/template that rlpipe writes: one range over messages, and what stands around it."""
    match = re.fullmatch(r"(.*?)\{\{ range \.Messages \}\}(.*?)\{\{ end \}\}(.*)", template, flags=re.DOTALL)
    assert match is not None
    before, each, after = match.groups()
    assert "{{" not in before + after + each.replace("{{ .Role }}", "").replace("{{ .Content }}", "")
    return (
        before
        + "".join(
            each.replace("{{ .Role }}", one["role"]).replace("{{ .Content }}", one["content"]) for one in messages
        )
        + after
    )


@functools.cache
def made(name: str) -> tuple[Tokenizer, str]:
    """Return a tokenizer and the text that Ollama must make of QUESTIONS, written down by hand."""
    match name:
        case "rlpipe's ChatML":
            return Tokenizer(built_in()), CHATML_TEXT
        case "ChatML with another end":
            return Tokenizer(built_in().replace("<|im_end|>", "</s>"), "</s>"), CHATML_TEXT.replace(
                "<|im_end|>", "</s>"
            )
        case "ChatML behind a token that the tokenizer adds":
            return Tokenizer("{{- bos_token -}}" + built_in(), bos="<s>", adds_bos=True), CHATML_TEXT
        case "ChatML behind a token that it does not add":
            return Tokenizer("{{- bos_token -}}" + built_in(), bos="<s>"), "<s>" + CHATML_TEXT
    return Tokenizer(LLAMA3, "<|eot_id|>", "<|begin_of_text|>", adds_bos=True), LLAMA3_TEXT


@pytest.mark.parametrize(
    "name",
    [
        *("rlpipe's ChatML", "ChatML with another end", "ChatML behind a token that the tokenizer adds"),
        *("ChatML behind a token that it does not add", "Llama 3"),
    ],
)
def test_ollama_lays_conversations_out_as_the_model_knows_them(name):
    tokenizer, text = made(name)
    template, notes = ollama.template_of(Path("model"), tokenizer)
    assert rendered(template, QUESTIONS) == text
    own = tokenizer.apply_chat_template(QUESTIONS, add_generation_prompt=True)
    assert own == ("<|begin_of_text|>" if name == "Llama 3" else "<s>" if "adds" in name else "") + text
    assert any("white space" in note for note in notes) == (name == "Llama 3"), "only that template trims"


CLOSE = (
    "{% for m in messages %}{{ '<|im_start|>' + m.role + '\n' + SHOWN + '<|im_end|>\n' }}{% endfor %}"
    "<|im_start|>assistant\n\n"
)


@pytest.mark.parametrize(
    ("template", "reason"),
    [
        pytest.param(
            "{% for m in messages %}[{{ m.role }}]{{ m.content }}{% endfor %}", "neither ChatML nor", id="other"
        ),
        pytest.param(CLOSE.replace("SHOWN", "m.content.split('</think>')[-1]"), "several turns", id="drops thoughts"),
        pytest.param(
            "{% if messages[0].role != 'system' %}{{ '<|im_start|>system\nI am Q.<|im_end|>\n' }}{% endif %}"
            + CLOSE.replace("SHOWN", "m.content"),
            "neither ChatML nor",
            id="a system message of its own",
        ),
        pytest.param(
            "{% for m in messages %}{% if m.role == 'system' %}{{ raise_exception('none') }}{% endif %}{% endfor %}"
            + CLOSE.replace("SHOWN", "m.content"),
            "a system message",
            id="no system message",
        ),
    ],
)
def test_another_template_is_refused_with_the_reason(template, reason):
    with pytest.raises(ModelError, match=reason) as error:
        ollama.template_of(Path("model"), Tokenizer(template))
    assert "--to vllm" in error.value.fix


def test_a_token_that_only_the_tokenizer_puts_in_front_is_refused():
    with pytest.raises(ModelError, match="begins each text with <s>"):
        ollama.template_of(Path("model"), Tokenizer(built_in(), bos="<s>", adds_bos=True))


def read(text: str) -> list[tuple[str, str]]:
    """Read a Modelfile: instructions, with values in one or three quotes that may go over several lines."""
    found = re.findall(
        r'^(FROM|TEMPLATE|LICENSE|PARAMETER \w+) ("""(?:.*?)"""|"(?:[^"]*)"|[^\n"]+)\n', text, re.M | re.S
    )
    assert "".join(f"{name} {value}\n" for name, value in found) == text, "all of it is read"
    return [(name, value.strip('"') if value.startswith('"') else value) for name, value in found]


def test_the_modelfile_has_the_stops_and_the_sampling_of_the_run():
    sampling = SamplingConfig(temperature=0.9, top_p=0.95, top_k=20, max_tokens=64)
    text = ollama.modelfile("model.gguf", "A\n{{ .Content }}\n", ["<|im_end|>", "\n\nQ:"], sampling, 512, "mit")
    assert read(text) == [
        *(("FROM", "./model.gguf"), ("TEMPLATE", "A\n{{ .Content }}\n")),
        *(("PARAMETER stop", "<|im_end|>"), ("PARAMETER stop", "\n\nQ:"), ("PARAMETER temperature", "0.9")),
        *(("PARAMETER top_p", "0.95"), ("PARAMETER top_k", "20"), ("PARAMETER min_p", "0")),
        *(("PARAMETER repeat_penalty", "1"), ("PARAMETER num_predict", "64"), ("PARAMETER num_ctx", "512")),
        ("LICENSE", "mit"),
    ]


def test_stops_with_quotes_are_kept_or_refused():
    assert 'stop """say "no" now"""\n' in ollama.modelfile("m", "", ['say "no" now'], SamplingConfig(), None, None)
    with pytest.raises(ModelError, match="cannot hold"):
        ollama.modelfile("m", "", ['"'], SamplingConfig(), None, None)
