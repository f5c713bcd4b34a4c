"""What is wrong with a model's folder, by its config, the headers of its weights and its tokenizer: no torch."""

from __future__ import annotations

import functools
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rlpipe.core.errors import ModelError, Problem, guess
from rlpipe.hub import architectures
from rlpipe.hub.facts import check_tokenizer, read_config, read_tensors, weights_folder

if TYPE_CHECKING:
    from tokenizers import Tokenizer

EMBEDDINGS = ("embed_tokens.weight", "wte.weight", "word_embeddings.weight", "embed_in.weight")
"""How the names of a token embedding end."""
BLOCK = re.compile(r"(?:^|\.)(?:layers|h|blocks|block)\.(\d+)\.(.+)")
"""A weight of one of the equal blocks that a decoder is a stack of."""
EQUAL_BLOCKS = ("llama", "mistral", "qwen2", "qwen3", "gemma", "gemma2", "phi3", "smollm3", "olmo2", "granite", "gpt2")
"""Model types whose blocks all have the same weights."""
OTHER_HEADS = ("ForMaskedLM", "ForPreTraining", "ForTokenClassification", "ForQuestionAnswering", "ForMultipleChoice")
"""What the names of models end in that write no text."""
ROOM = 256
"""Tokens beyond the embedding's rows for which rows are added; more belong to another model's tokenizer."""


@dataclass(frozen=True)
class Wanted:
    """What a model is to be used for."""

    scores: bool = False
    """Whether it gives a number for a text, rather than the next token."""
    grows: bool = False
    """Whether a language model will do for one that scores, because it is given a new head and trained."""


def problems(source: str, wanted: Wanted, where: str) -> Iterator[Problem]:
    """Yield what is wrong with a local model folder, or with a run's model; `where` is the config's field."""
    try:
        folder = weights_folder(Path(source).expanduser())
        config = read_config(folder)
    except ModelError as error:
        yield error.at(where)
        return
    kind = _kind(config, folder, wanted)
    if kind is not None:
        yield kind.at(where)
    tensors: dict[str, tuple[int, ...]] = {}
    try:
        tensors = read_tensors(folder)
        check_tokenizer(folder)
        words = vocabulary(folder)
    except ModelError as error:
        yield error.at(where)
        words = None
    if tensors and kind is None:
        yield from (error.at(where) for error in _misfits(folder, config, tensors, wanted))
    if words is not None and tensors:
        yield from (error.at(where) for error in _other_vocabulary(folder, words, tensors))


def _kind(config: Mapping[str, Any], folder: Path, wanted: Wanted) -> ModelError | None:
    """Return the error of a model of the wrong kind, None for one that can be what is wanted."""
    file, kind = folder / "config.json", config.get("model_type")
    if not isinstance(kind, str):
        return ModelError(file, "names no model_type", "give the folder that save_pretrained or the hub wrote")
    known = architectures.model_types()
    if known and kind not in known:
        if "auto_map" in config:
            what = f"'{kind}' is defined by code in the model's own repository, which rlpipe never runs"
            return ModelError(file, what, f"choose a model that {architectures.library()} knows itself")
        what = f"{architectures.library()} knows no model type '{kind}'"
        return ModelError(file, what, guess(kind, known))
    named = (config.get("architectures") or [""])[0]
    if "SequenceClassification" in named:
        if not wanted.scores and not wanted.grows:
            what = f"holds a reward model ({named}), and one that writes text is needed"
            return ModelError(folder, what, "give the model that the reward model was trained from")
        return None
    decoders = architectures.decoders()
    is_encoder = bool(config.get("is_encoder_decoder")) or named.endswith(OTHER_HEADS)
    is_encoder |= kind in architectures.encoders() and not config.get("is_decoder")
    if (
        config.get("is_encoder_decoder")
        or (decoders and kind not in decoders)
        or named.endswith(OTHER_HEADS)
        or is_encoder
    ):
        what = f"holds {named or kind}, which is no decoder that writes text token by token"
        return ModelError(folder, what, "give a causal language model (its architecture ends in ForCausalLM)")
    if wanted.scores and not wanted.grows:
        what = f"holds a language model without a reward head ({named or kind}): its numbers would be made up"
        return ModelError(
            folder, what, "give a reward model, or the run that trains one: stage=['method=reward_model']"
        )
    return None


def _misfits(
    folder: Path, config: Mapping[str, Any], tensors: Mapping[str, tuple[int, ...]], wanted: Wanted
) -> Iterator[ModelError]:
    """Yield how weights, by their names and shapes, contradict the config; those of quantised files are not read."""
    if "quantization_config" in config:
        return
    for what in (_missing(config, tensors), *_wrong_shapes(config.get("text_config", config), tensors)):
        if what is not None:
            fix = "fetch the folder again: config.json belongs to other weights, or some are missing"
            yield ModelError(folder, what, fix)
    labels = next((shape[0] for name, shape in tensors.items() if name.endswith("score.weight")), None)
    if (wanted.scores or wanted.grows) and labels not in (None, 1):
        what = f"gives {labels} numbers for a text, and a reward model gives one"
        yield ModelError(folder, what, "give a model with one label (num_labels=1)")


def _missing(config: Mapping[str, Any], tensors: Mapping[str, tuple[int, ...]]) -> str | None:
    """Return which layers or weights the config speaks of and the files lack."""
    text = config.get("text_config", config)
    found = {(int(match[1]), match[2]) for name in tensors if (match := BLOCK.search(name))}
    numbers, layers = {number for number, _ in found}, text.get("num_hidden_layers") or text.get("n_layer")
    if numbers and isinstance(layers, int) and numbers != set(range(layers)):
        lacking = sorted(set(range(layers)) - numbers)
        which = f" (layer {lacking[0]} is missing)" if lacking else ""
        return f"config.json has {layers} layers, the weights have {len(numbers)}{which}"
    if config.get("model_type") in EQUAL_BLOCKS:
        parts = {part for _, part in found}
        absent = sorted((number, part) for number in numbers for part in parts if (number, part) not in found)
        if absent:
            return f"its weights lack {len(absent)} tensors (layer {absent[0][0]}: {absent[0][1]} …)"
    named = (config.get("architectures") or [""])[0]
    is_untied = config.get("tie_word_embeddings") is False and named.endswith("ForCausalLM")
    if is_untied and not any(name.endswith(("lm_head.weight", "embed_out.weight")) for name in tensors):
        return "its weights lack the output head (lm_head.weight)"
    return None


def _wrong_shapes(text: Mapping[str, Any], tensors: Mapping[str, tuple[int, ...]]) -> Iterator[str]:
    """Yield the first weight of each kind whose shape is not the config's, where that says it in numbers."""
    sizes = {name: value for name, value in text.items() if isinstance(value, int) and value > 0}
    hidden, heads = sizes.get("hidden_size") or sizes.get("n_embd"), sizes.get("num_attention_heads")
    width = sizes.get("head_dim") or (hidden // heads if hidden and heads else None)
    groups, inner = sizes.get("num_key_value_heads", heads), sizes.get("intermediate_size")
    query, key = (count * width if count and width else None for count in (heads, groups))
    shapes: dict[tuple[str, ...], tuple[int | None, int | None]] = {
        EMBEDDINGS: (sizes.get("vocab_size"), hidden),
        ("self_attn.q_proj.weight",): (query, hidden),
        ("self_attn.k_proj.weight", "self_attn.v_proj.weight"): (key, hidden),
        ("mlp.up_proj.weight", "mlp.gate_proj.weight"): (inner, hidden),
        ("mlp.down_proj.weight",): (hidden, inner),
    }
    for endings, wanted in shapes.items():
        named = [(name, shape) for name, shape in tensors.items() if name.endswith(endings) and len(shape) == 2]
        wrong = [(name, shape) for name, shape in named if not all(map(_agrees, wanted, shape))]
        if wrong:
            name, shape = wrong[0]
            yield f"{name} is {_times(shape)}, and config.json makes it {_times(wanted)}"


def _agrees(wanted: int | None, size: int) -> bool:
    return wanted is None or wanted == size


def _times(shape: Sequence[int | None]) -> str:
    return "×".join("?" if size is None else str(size) for size in shape)


def _other_vocabulary(
    folder: Path, words: Mapping[str, int], tensors: Mapping[str, tuple[int, ...]]
) -> Iterator[ModelError]:
    rows = next((shape[0] for name, shape in tensors.items() if name.endswith(EMBEDDINGS)), None)
    needed = max(words.values(), default=-1) + 1
    if rows is not None and needed > rows + ROOM:
        what = f"its tokenizer has {needed} tokens, and the model has embeddings for {rows}: they belong to two models"
        yield ModelError(folder, what, "copy the tokenizer's files of this very model into the folder")


def vocabulary(folder: Path) -> Mapping[str, int] | None:
    """Return the tokens of a folder's tokenizer.json with their ids, None where it has no such file.

    Raises ModelError for one that cannot be read.
    """
    found = tokenizer(folder)
    return None if found is None else found.get_vocab(with_added_tokens=True)


def tokenizer(folder: Path) -> Tokenizer | None:
    """Return a folder's tokenizer.json as it splits text, None where there is no such file. Raises ModelError."""
    file = folder / "tokenizer.json"
    if not file.is_file():
        return None
    state = file.stat()
    return _tokenizer(file, state.st_size, state.st_mtime_ns)


@functools.lru_cache(maxsize=8)
def _tokenizer(file: Path, size: int, time: int) -> Tokenizer:
    from tokenizers import Tokenizer

    try:
        return Tokenizer.from_file(str(file))
    except Exception as error:  # the tokenizers library raises bare Exception for a damaged file
        raise ModelError(file, f"is damaged: {error}", "fetch or copy the tokenizer's files again") from error


def chat_template(folder: Path) -> str | None:
    """Return the chat template that a folder brings, the default one of several; None for none."""
    file = folder / "chat_template.jinja"
    if file.is_file():
        return file.read_text(encoding="utf-8", errors="replace")
    found = tokenizer_config(folder).get("chat_template")
    if isinstance(found, list):
        return next((one.get("template") for one in found if one.get("name") == "default"), None)
    return found if isinstance(found, str) else None


def tokenizer_config(folder: Path) -> dict[str, Any]:
    """Return a folder's tokenizer_config.json, empty where there is none. Raises ModelError for a damaged one."""
    file = folder / "tokenizer_config.json"
    if not file.is_file():
        return {}
    try:
        read = json.loads(file.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ModelError(file, f"is damaged: {error}", "fetch or copy the tokenizer's files again") from error
    if not isinstance(read, dict):
        raise ModelError(file, "should hold a JSON object", "fetch or copy the tokenizer's files again")
    return read
