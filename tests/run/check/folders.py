"""Small model folders, right ones and ones with one fault each: a config, the headers of weights, a tokenizer."""

from __future__ import annotations

import json
import shutil
import struct
from collections.abc import Mapping
from pathlib import Path
from typing import Any

CONFIG = {
    "architectures": ["LlamaForCausalLM"],
    "model_type": "llama",
    "max_position_embeddings": 512,
    "vocab_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "num_key_value_heads": 1,
    "hidden_size": 8,
    "intermediate_size": 12,
    "tie_word_embeddings": True,
}
CHATML = (
    "{% for m in messages %}{{ '<|im_start|>' + m['role'] + '\\n' }}{% generation %}"
    "{{ m['content'] + '<|im_end|>\\n' }}{% endgeneration %}{% endfor %}"
)


def shapes(config: Mapping[str, Any]) -> dict[str, tuple[int, ...]]:
    """Return the weights of a Llama of these sizes, by name."""
    hidden, inner = config["hidden_size"], config["intermediate_size"]
    grouped = hidden // config["num_attention_heads"] * config["num_key_value_heads"]
    block = {
        **{f"self_attn.{name}_proj.weight": (hidden, hidden) for name in "qo"},
        **{f"self_attn.{name}_proj.weight": (grouped, hidden) for name in "kv"},
        **{f"mlp.{name}_proj.weight": (inner, hidden) for name in ("gate", "up")},
        "mlp.down_proj.weight": (hidden, inner),
        "input_layernorm.weight": (hidden,),
    }
    layers = range(config["num_hidden_layers"])
    named = {f"model.layers.{number}.{name}": shape for number in layers for name, shape in block.items()}
    return {"model.embed_tokens.weight": (config["vocab_size"], hidden), **named, "model.norm.weight": (hidden,)}


def write_weights(file: Path, weights: Mapping[str, tuple[int, ...]]) -> None:
    """Write a safetensors file of zeros."""
    header, end = {}, 0
    for name, shape in weights.items():
        size = 4
        for length in shape:
            size *= length
        header[name] = {"dtype": "F32", "shape": list(shape), "data_offsets": [end, end + size]}
        end += size
    text = json.dumps(header).encode()
    file.write_bytes(struct.pack("<Q", len(text)) + text + bytes(end))


def tokenizer(tokens: int, first: str = "t") -> dict[str, Any]:
    """Return a tokenizer.json of so many whole words."""
    words = {f"{first}{number}": number for number in range(tokens)}
    return {
        "version": "1.0",
        "added_tokens": [],
        "model": {"type": "WordLevel", "vocab": words, "unk_token": f"{first}0"},
    }


def model(
    folder: Path,
    *,
    weights: Mapping[str, tuple[int, ...]] | None = None,
    tokens: int = 16,
    template: str | None = CHATML,
    **config: Any,
) -> Path:
    """Write a model folder whose parts belong together but for what is said."""
    folder.mkdir(parents=True)
    known = CONFIG | config
    known = {name: value for name, value in known.items() if value is not None}
    (folder / "config.json").write_text(json.dumps(known))
    write_weights(folder / "model.safetensors", shapes(CONFIG | config) if weights is None else weights)
    (folder / "tokenizer.json").write_text(json.dumps(tokenizer(tokens)))
    words = {"bos_token": "<s>", "eos_token": "</s>"} | ({} if template is None else {"chat_template": template})
    (folder / "tokenizer_config.json").write_text(json.dumps(words))
    return folder


def reward_model(folder: Path, labels: int) -> Path:
    """Write a model that ends in so many numbers."""
    weights = shapes(CONFIG) | {"score.weight": (labels, CONFIG["hidden_size"])}
    return model(folder, architectures=["LlamaForSequenceClassification"], weights=weights)


def spoilt(folder: Path, source: Path, name: str, content: bytes | None) -> None:
    """Copy a model with one file replaced, or without it."""
    shutil.copytree(source, folder)
    if content is None:
        (folder / name).unlink()
    else:
        (folder / name).write_bytes(content)


def make_all(root: Path) -> None:
    """Make every folder that the table of mistakes names."""
    good = model(root / "good")
    weights = shapes(CONFIG)
    model(root / "plain", template=None)
    model(root / "long", max_position_embeddings=4096)
    model(root / "untied", tie_word_embeddings=False)
    model(root / "encoder", model_type="bert", architectures=["BertForMaskedLM"])
    model(root / "t5", model_type="t5", architectures=["T5ForConditionalGeneration"], is_encoder_decoder=True)
    model(root / "unknown", model_type="lama", architectures=["LamaForCausalLM"])
    model(root / "own_code", model_type="lama9", auto_map={"AutoModelForCausalLM": "modeling.Lama9"})
    model(root / "typeless", model_type=None)
    reward_model(root / "reward", 1)
    reward_model(root / "three_labels", 3)
    model(root / "layers", num_hidden_layers=3, weights=weights)
    model(root / "width", hidden_size=16, weights=weights)
    model(root / "rows", vocab_size=32, weights=weights)
    short = dict(weights)
    del short["model.layers.1.mlp.up_proj.weight"]
    model(root / "lacks_one", weights=short)
    model(root / "other_words", tokens=4000)
    model(root / "more_words", tokens=20)
    another = model(root / "other_tokenizer")
    (another / "tokenizer.json").write_text(json.dumps(tokenizer(16, "u")))
    model(root / "raises", template="{{ raise_exception('no system') }}")
    model(root / "unclosed", template="{% for m in messages %}{{ m.content }}")
    model(root / "silent", template="{% for m in messages if m.role == 'user' %}{{ m.content }}{% endfor %}")
    spoilt(root / "no_tokenizer", good, "tokenizer.json", None)
    spoilt(root / "bad_tokenizer", good, "tokenizer.json", b'{"version": "1.0"')
    spoilt(root / "odd_tokenizer", good, "tokenizer.json", b'{"version": "1.0"}')
    spoilt(root / "bad_tokenizer_config", good, "tokenizer_config.json", b"{")
    spoilt(root / "no_config", good, "config.json", None)
    spoilt(root / "empty_config", good, "config.json", b"")
    spoilt(root / "list_config", good, "config.json", b"[]")
    spoilt(root / "no_weights", good, "model.safetensors", None)
    spoilt(root / "empty_weights", good, "model.safetensors", b"")
    spoilt(root / "cut_off", good, "model.safetensors", (good / "model.safetensors").read_bytes()[:-9])
    spoilt(root / "pickled", good, "model.safetensors", None)
    (root / "pickled" / "pytorch_model.bin").write_bytes(b"\x80")
    index = json.dumps({"weight_map": {"a": "model.safetensors", "b": "model-00002-of-00002.safetensors"}})
    spoilt(root / "no_shard", good, "model.safetensors.index.json", index.encode())
    index = json.dumps({"weight_map": {"nowhere": "model.safetensors"}})
    spoilt(root / "lies", good, "model.safetensors.index.json", index.encode())
    (root / "run").mkdir()
    (root / "run" / "manifest.json").write_text("{}")
    (root / "a_file").write_text("x")
    (root / "good.jinja").write_text(CHATML)
    (root / "bad.jinja").write_text("{% if %}")
    (root / "latin.jinja").write_bytes("{{ 'ä' }}".encode("latin-1"))
