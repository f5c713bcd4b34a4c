"""Tokenizers in GGUF: which splits have a name there, and chat templates without what only transformers knows."""

from __future__ import annotations

import copy
import json
from typing import Any

import pytest

from rlpipe.cli.export.vocabulary import LLAMA3, QWEN2, _unsupported, split_name, without_generation
from rlpipe.models.blank import TOKENIZER
from rlpipe.models.chat_template import built_in

BYTES = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": False}
WORDS = {**BYTES, "use_regex": True}
DIGITS = {"type": "Digits", "individual_digits": True}


def split(pattern: str) -> dict[str, Any]:
    return {"type": "Split", "pattern": {"Regex": pattern}, "behavior": "Isolated", "invert": False}


def steps(*several: dict[str, Any]) -> dict[str, Any]:
    return {"type": "Sequence", "pretokenizers": list(several)}


@pytest.fixture
def toy() -> dict[str, Any]:
    return json.loads((TOKENIZER / "tokenizer.json").read_text(encoding="utf-8"))


@pytest.mark.parametrize(
    ("step", "name"),
    [
        (WORDS, "gpt-2"),
        (steps(DIGITS, WORDS), "smollm"),
        (steps(split(QWEN2), BYTES), "qwen2"),
        (steps(split(LLAMA3), BYTES), "llama-bpe"),
        (steps(split(r"\s+"), BYTES), None),
        (steps({**DIGITS, "individual_digits": False}, WORDS), None),
        (steps({**split(QWEN2), "behavior": "Removed"}, BYTES), None),
        ({**WORDS, "add_prefix_space": True}, None),
        ({"type": "Metaspace"}, None),
        (None, None),
    ],
)
def test_a_split_is_known_by_its_steps(step, name):
    assert split_name({"pre_tokenizer": step, "model": {"merges": []}}) == name


def test_the_toys_split_is_smollms_while_no_white_space_merges(toy):
    assert split_name(toy) == "smollm"
    assert not list(_unsupported(toy, "smollm"))
    toy["model"]["merges"].append(["Ċ", "Ċ"])
    assert split_name(toy) is None


def test_real_tokenizers_are_known(shared_dir):
    qwen = json.loads((shared_dir / "models/qwen2.5-tokenizer/tokenizer.json").read_text(encoding="utf-8"))
    assert split_name(qwen) == "qwen2"
    assert not list(_unsupported(qwen, "qwen2"))
    pieces = json.loads((shared_dir / "models/stories260k/tokenizer.json").read_text(encoding="utf-8"))
    assert "no byte-level BPE" in next(_unsupported(pieces, split_name(pieces)))


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"model": {"type": "Unigram"}}, "no byte-level BPE"),
        ({"normalizer": {"type": "Lowercase"}}, "does not normalise"),
        ({"model": {"ignore_merges": True}}, "merges are not applied"),
    ],
)
def test_what_llama_cpp_would_do_otherwise_is_a_reason(toy, change, reason):
    changed = copy.deepcopy(toy)
    for key, value in change.items():
        changed[key] = {**changed[key], **value} if isinstance(changed[key], dict) else value
    assert [one for one in _unsupported(changed, "smollm") if reason in one]


def test_templates_lose_their_marks_and_write_the_same():
    from jinja2.sandbox import ImmutableSandboxedEnvironment

    from rlpipe.models.chat_template import _generation_tag

    plain = without_generation(built_in())
    assert "generation -%}" not in plain
    environment = ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True)
    marked = ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True, extensions=[_generation_tag()])
    messages = [{"role": role, "content": f" {role}\n"} for role in ("system", "user", "assistant", "user")]
    for text in (
        built_in(),
        "{% for m in messages %}\n{%+ generation -%}\n {{ m.content }}\n{%endgeneration%}\n x{% endfor %}",
    ):
        expected = marked.from_string(text).render(messages=messages, add_generation_prompt=True)
        got = environment.from_string(without_generation(text)).render(messages=messages, add_generation_prompt=True)
        assert got == expected
