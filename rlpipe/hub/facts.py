"""What a model folder says about itself, read from its JSON and its safetensors headers: no torch.

A safetensors file starts with the length of its header (8 bytes, little endian), then the header, a
JSON object that gives each tensor's dtype, shape and place; the file ends where the last tensor does
(https://github.com/huggingface/safetensors#format). So a cut-off file is found without reading it.
"""

from __future__ import annotations

import json
import math
import struct
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rlpipe.core.errors import ModelError

CAUSAL_MASKS = (".attn.bias", ".attn.masked_bias", ".attention.bias", ".attention.masked_bias")
"""How the names of tensors end that older models keep beside their weights: who sees whom, which no model learns."""
TRANSPOSED = ("gpt2", "openai-gpt")
"""Model types that keep matrices as (inputs, outputs): transformers' `Conv1D`."""
TOKENIZER_FILES = (("tokenizer.json",), ("tokenizer.model",), ("vocab.json", "merges.txt"), ("vocab.txt",))
"""The sets of files that a tokenizer is read from; one set is enough."""


@dataclass(frozen=True)
class Facts:
    """What is known about a model before it is loaded."""

    parameters: int
    """Number of weights in the files (tied weights count once)."""
    context: int | None
    """Longest sequence in tokens."""
    vocabulary: int | None
    """Rows of the embedding."""
    layers: int | None
    hidden_size: int | None
    intermediate_size: int | None
    reward_head: bool
    """Whether the model ends in a score rather than in next-token logits."""
    linear_modules: dict[str, tuple[int, int]] = field(default_factory=dict)
    """Dotted name of each linear layer inside the blocks to its (outputs, inputs): what LoRA can target."""


def local_facts(source: str | Path) -> Facts | None:
    """Read the facts of a local model folder; None when `source` is not a folder (a hub id, say).

    Raises ModelError when a file is missing or damaged.
    """
    folder = Path(source).expanduser()
    if not folder.is_dir():
        return None
    folder = weights_folder(folder)
    config = read_config(folder)
    text = config.get("text_config", config)
    tensors = {name: shape for name, shape in read_tensors(folder).items() if not name.endswith(CAUSAL_MASKS)}
    architectures = config.get("architectures") or [""]
    return Facts(
        parameters=sum(math.prod(shape) for shape in tensors.values()),
        context=text.get("max_position_embeddings") or text.get("n_positions"),
        vocabulary=text.get("vocab_size"),
        layers=text.get("num_hidden_layers") or text.get("n_layer"),
        hidden_size=text.get("hidden_size") or text.get("n_embd"),
        intermediate_size=text.get("intermediate_size") or text.get("n_inner"),
        reward_head="SequenceClassification" in architectures[0],
        linear_modules=_linear_modules(tensors, config.get("model_type") in TRANSPOSED),
    )


def weights_folder(folder: Path) -> Path:
    """Return the folder, or the `model/` inside it where it is a run's. Raises ModelError for a run without one."""
    run = any((folder / name).is_file() for name in ("manifest.json", "manifest.copy.json"))
    if (folder / "config.json").is_file() or not run:
        return folder
    if not (folder / "model" / "config.json").is_file():
        raise ModelError(
            folder,
            "is the folder of a run that has no trained model (no model/config.json)",
            "give a run that has trained one, or the model that this run looked at",
        )
    return folder / "model"


def _linear_modules(tensors: dict[str, tuple[int, ...]], transposed: bool) -> dict[str, tuple[int, int]]:
    """Return the matrices inside numbered blocks: not embeddings, not heads."""
    modules = {}
    for name, shape in tensors.items():
        in_block = any(part.isdigit() for part in name.split("."))
        if in_block and len(shape) == 2 and name.endswith(".weight"):
            modules[name.removesuffix(".weight")] = (shape[1], shape[0]) if transposed else (shape[0], shape[1])
    return modules


def check_files(folder: Path) -> None:
    """Raise ModelError unless a folder has a config, whole safetensors weights and a tokenizer."""
    read_config(folder)
    read_tensors(folder)
    check_tokenizer(folder)


def check_tokenizer(folder: Path) -> None:
    """Raise ModelError unless a folder has one of the sets of files that a tokenizer is read from."""
    if not any(all((folder / name).is_file() for name in names) for names in TOKENIZER_FILES):
        raise ModelError(
            folder,
            "has no tokenizer (tokenizer.json, tokenizer.model, or vocab.json with merges.txt)",
            "copy the tokenizer's files of the model that this one was made from into the folder",
        )


def read_config(folder: Path) -> dict[str, Any]:
    """Return a folder's config.json. Raises ModelError when it is missing or not JSON."""
    if not (folder / "config.json").is_file():
        raise ModelError(folder, "has no config.json", "give the folder that save_pretrained or the hub wrote")
    return _json(folder / "config.json")


def read_tensors(folder: Path) -> dict[str, tuple[int, ...]]:
    """Return the shape of every tensor in a folder's safetensors files.

    Raises ModelError when there are none, when a shard that the index names is missing, and when a
    file is cut off or its header cannot be read.
    """
    index = folder / "model.safetensors.index.json"
    if index.is_file():
        shards = sorted(set(_json(index).get("weight_map", {}).values()))
        missing = [shard for shard in shards if not (folder / shard).is_file()]
        if missing or not shards:
            raise ModelError(
                index,
                f"names weights that are not there ({', '.join(missing) or 'none at all'})",
                "fetch the missing files again",
            )
        paths = [folder / shard for shard in shards]
    elif (folder / "model.safetensors").is_file():
        paths = [folder / "model.safetensors"]
    else:
        pickled = sorted(path.name for path in folder.glob("*.bin"))
        hint = f" ({pickled[0]} is a pickle, which can run code when read: not loaded)" if pickled else ""
        raise ModelError(
            folder,
            f"has no model.safetensors{hint}",
            "give a folder with safetensors weights, as save_pretrained writes them",
        )
    found = {name: shape for path in paths for name, shape in _header(path).items()}
    listed = set(_json(index).get("weight_map", {})) if index.is_file() else set()
    if absent := sorted(listed - set(found)):
        what = f"names {len(absent)} weights that its files do not hold ({absent[0]} …)"
        raise ModelError(index, what, "fetch the files again")
    return found


def _header(path: Path) -> dict[str, tuple[int, ...]]:
    """Return name to shape of one safetensors file, having checked that the file is as long as it says."""
    size = path.stat().st_size
    try:
        with path.open("rb") as file:
            (length,) = struct.unpack("<Q", file.read(8))
            if length > size - 8:
                raise ValueError(f"its header should have {length} bytes, the file has {size}")
            header = json.loads(file.read(length))
        header.pop("__metadata__", None)
        end = 8 + length + max((entry["data_offsets"][1] for entry in header.values()), default=0)
        if end != size:
            raise ValueError(f"it should have {end} bytes and has {size}")
        return {name: tuple(entry["shape"]) for name, entry in header.items()}
    except (struct.error, ValueError, KeyError, TypeError, AttributeError) as error:
        raise ModelError(path, f"is damaged: {error}", "fetch or copy the file again") from error


def _json(path: Path) -> dict[str, Any]:
    """Read a JSON object."""
    try:
        loaded = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:  # covers UnicodeDecodeError and JSONDecodeError
        raise ModelError(path, f"is damaged: {error}", "fetch or copy the file again") from error
    if not isinstance(loaded, dict):
        raise ModelError(path, "should hold a JSON object", "fetch or copy the file again")
    return loaded
