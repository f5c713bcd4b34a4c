"""A tokenizer in GGUF: tokens, merges, special tokens, the chat template, and how text is split before merging.

GGUF has only a name for the last, out of those that llama.cpp knows, so that other ways of splitting cannot be written.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rlpipe.core.errors import ModelError
from rlpipe.models import special_tokens
from rlpipe.models.train_tokenizer import SPLIT as TOY

_WORDS = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+"
_REST = r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
LLAMA3 = _WORDS + r"|\p{N}{1,3}" + _REST
QWEN2 = _WORDS + r"|\p{N}" + _REST
BYTES, GPT2, DIGITS = "bytes", "GPT-2's words", "single digits"
SPLITS = {
    (GPT2,): "gpt-2",
    (DIGITS, GPT2): "smollm",
    (QWEN2, BYTES): "qwen2",
    (LLAMA3, BYTES): "llama-bpe",
    (TOY, BYTES): "smollm",
}
"""What llama.cpp calls a way of splitting text, by the steps of `tokenizers` that do the same.

The toy's differs from SmolLM's in how it cuts white space before a digit, which makes no difference while no two
pieces of white space merge.
"""
KEPT_WHOLE = "llama-bpe"
"""The split with which llama.cpp takes a word that is a token as that token, whatever the merges say."""
STOPS = ("eos", "eot", "eom")
"""What GGUF calls tokens that end a text: end of sequence, of turn, of message."""


@dataclass(frozen=True)
class Vocabulary:
    """A tokenizer that GGUF can hold."""

    folder: Path
    tokenizer: Any
    stops: tuple[int, ...]
    """The tokens that end a completion, the end of turn first."""
    split: str
    notes: tuple[str, ...]
    """What of it GGUF cannot keep."""

    def write(self, writer: Any, rows: int) -> None:
        """Add it to a `gguf.GGUFWriter`; `rows` are those of the embedding, which may be more than there are tokens."""
        from gguf import SpecialVocab, TokenType

        tokens, types = [f"[PAD{id}]" for id in range(rows)], [TokenType.UNUSED] * rows
        for token, id in self.tokenizer.get_vocab().items():
            tokens[id], types[id] = token, TokenType.NORMAL
        for id, added in self.tokenizer.added_tokens_decoder.items():
            types[id] = TokenType.CONTROL if added.special else TokenType.USER_DEFINED
        writer.add_vocab_size(rows)
        writer.add_tokenizer_model("gpt2")
        writer.add_tokenizer_pre(self.split)
        writer.add_token_list(tokens)
        writer.add_token_types(types)
        special = SpecialVocab(self.folder, load_merges=True, special_token_types=("bos", "unk", "pad"), n_vocab=rows)
        for name, id in zip(STOPS, self.stops, strict=False):
            special.special_token_ids[name] = id
        special.add_special_token = {"bos": special_tokens.adds_bos(self.tokenizer), "eos": False}
        special.chat_template = self.tokenizer.chat_template and without_generation(self.tokenizer.chat_template)
        special.add_to_gguf(writer, quiet=True)


def read(folder: Path, tokenizer: Any) -> Vocabulary:
    """Return a folder's tokenizer as GGUF can hold it. Raises ModelError, with all reasons, where it cannot."""
    data = json.loads((folder / "tokenizer.json").read_text(encoding="utf-8"))
    split = split_name(data)
    reasons = list(_unsupported(data, split))
    ids = tokenizer("a").input_ids
    if ids[-1:] == [tokenizer.eos_token_id]:
        reasons.append("it ends each text with the end-of-turn token")
    if reasons or split is None:
        raise ModelError(folder, f"GGUF cannot hold its tokenizer: {'; '.join(reasons)}", "serve it with --to vllm")
    stops = stop_tokens(folder, tokenizer)
    return Vocabulary(folder, tokenizer, stops, split, tuple(_lost(data, tokenizer, stops)))


def stop_tokens(folder: Path, tokenizer: Any) -> tuple[int, ...]:
    """Return the tokens at which generation ends, the tokenizer's own first."""
    file = folder / "generation_config.json"
    generation = json.loads(file.read_text(encoding="utf-8")) if file.is_file() else {}
    ids = generation.get("eos_token_id")
    several = ids if isinstance(ids, list) else [ids]
    return tuple(dict.fromkeys(id for id in (tokenizer.eos_token_id, *several) if id is not None))


def split_name(data: dict[str, Any]) -> str | None:
    """Return what llama.cpp calls the way in which a tokenizer.json splits text; None where it has no such way."""
    step = data["pre_tokenizer"] or {"type": "none"}
    steps = step["pretokenizers"] if step["type"] == "Sequence" else [step]
    name = SPLITS.get(tuple(_key(one) for one in steps))
    joins_spaces = any(not "".join(pair).strip("ĠĊĉč ") for pair in data["model"].get("merges", ()))
    return None if _key(steps[0]) == TOY and joins_spaces else name


def _key(step: dict[str, Any]) -> str:
    match step:
        case {"type": "ByteLevel", "add_prefix_space": False, "use_regex": bool(words)}:
            return GPT2 if words else BYTES
        case {"type": "Digits", "individual_digits": True}:
            return DIGITS
        case {"type": "Split", "pattern": {"Regex": str(pattern)}, "behavior": "Isolated", "invert": False}:
            return pattern
    return f"unknown: {step['type']}"


def _unsupported(data: dict[str, Any], split: str | None) -> Iterator[str]:
    model = data["model"]
    if model["type"] != "BPE" or model.get("byte_fallback") or (data["decoder"] or {}).get("type") != "ByteLevel":
        yield f"it is no byte-level BPE ({model['type']})"
    elif split is None:
        yield "llama.cpp knows no way of splitting text like this one's"
    elif bool(model.get("ignore_merges")) != (split == KEPT_WHOLE):
        yield f"its merges are not applied as llama.cpp does with the split {split}"
    if data["normalizer"] is not None and data["normalizer"]["type"] != "NFC":
        yield f"llama.cpp does not normalise text ({data['normalizer']['type']})"


def _lost(data: dict[str, Any], tokenizer: Any, stops: tuple[int, ...]) -> Iterator[str]:
    if data["normalizer"] is not None:
        yield "llama.cpp does not bring text into its composed form (NFC): accents written apart give other tokens"
    stripping = [added.content for added in tokenizer.added_tokens_decoder.values() if added.lstrip or added.rstrip]
    if stripping:
        yield f"white space beside these tokens is kept: {', '.join(stripping)}"
    if stops[len(STOPS) :]:
        dropped = ", ".join(map(str, tokenizer.convert_ids_to_tokens(list(stops[len(STOPS) :]))))
        yield f"GGUF names three tokens that end a text; these do not fit: {dropped}"
    if tokenizer.chat_template is None:
        yield "there is no chat template"


def without_generation(template: str) -> str:
    """Return a chat template without transformers' marks of what is trained; what it writes stays the same.

    Only transformers knows the tag. In its place stands a condition that always holds, for it trims white space alike.
    """
    opened = re.sub(r"\{%([-+]?)\s*generation\s*([-+]?)%\}", r"{%\1 if true \2%}", template)
    return re.sub(r"\{%([-+]?)\s*endgeneration\s*([-+]?)%\}", r"{%\1 endif \2%}", opened)
