"""Models on disk: what a run starts from and what it leaves.

    model/              config, generation config, safetensors, tokenizer with its chat template, README.md
    model/adapter/      under LoRA, the adapter alone; model/ then holds base and adapter merged

The merged copy costs disk and makes `model/` loadable by anything that reads transformers models; the
adapter is small, and exact where merging rounds.

Where the weights lie in shards (`models.sharding`), the main process gathers and writes one file's worth at a time, and
all others take part (`help_saving`); an adapter is gathered whole and merged in the main process's memory.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from rlpipe.core.errors import RecordError
from rlpipe.core.files import explained, move, remove

FILE_SIZE = "2GB"
"""The size of one file of weights that lay in shards: what is gathered at once."""

if TYPE_CHECKING:
    import torch
    from huggingface_hub import StateDictSplit
    from peft import PeftModel
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

    from rlpipe.models.base import Loaded


def materialise(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, folder: Path) -> Path:
    """Write a model that stands nowhere on disk, and return its folder; one that is there already is kept.

    Several processes of one run may come here at once: the first to finish wins, and all wrote the same.
    """
    if not folder.exists():
        _publish(model, tokenizer, folder, replace=False)
    return folder


def save(loaded: Loaded, folder: Path, card: str) -> None:
    """Save a trained model so that plain transformers loads it; replaces `folder` whole, or not at all.

    `loaded.model` is the trained model (a PeftModel where LoRA was used), `card` the text of README.md.
    The merged copy is made from the weights in `loaded.path`, so the trained model is left as it is.
    """
    from peft import PeftModel

    model = loaded.model
    if not isinstance(model, PeftModel):
        write = _write_gathered if loaded.sharded else _write
        _publish(model, loaded.tokenizer, folder, replace=True, card=card, write=write)
        return
    adapter = _staging(folder)
    try:
        state = _gathered_adapter(model, kept=True) if loaded.sharded else None
        with explained(folder):
            model.save_pretrained(adapter, save_embedding_layers=False, state_dict=state)
        merged = _merge(model, loaded.path, adapter)
        _publish(merged, loaded.tokenizer, folder, replace=True, card=card, adapter=adapter)
    finally:
        shutil.rmtree(adapter, ignore_errors=True)


def help_saving(loaded: Loaded) -> None:
    """Take part in what `save` does in the main process, where weights lie in shards."""
    from peft import PeftModel

    if isinstance(loaded.model, PeftModel):
        _gathered_adapter(loaded.model, kept=False)
    else:
        for _ in _files(loaded.model, kept=False):
            pass


def _gathered_adapter(model: PeftModel, kept: bool) -> dict[str, torch.Tensor]:
    from rlpipe.models.sharding import gathered

    return gathered(((name, one) for name, one in model.named_parameters() if one.requires_grad), kept)


def _files(model: PreTrainedModel, kept: bool) -> Iterator[tuple[str, dict[str, torch.Tensor], StateDictSplit]]:
    """Yield the name of each file of weights, what belongs into it where that is `kept`, and the plan of all files."""
    import torch
    from huggingface_hub import split_torch_state_dict_into_shards

    from rlpipe.models.sharding import gathered

    tied = {name for name, _ in model.named_parameters(remove_duplicate=False)} - dict(model.named_parameters()).keys()
    state = {name: tensor for name, tensor in model.state_dict().items() if name not in tied}
    sizes = {name: torch.empty(one.shape, dtype=one.dtype, device="meta") for name, one in state.items()}
    plan = split_torch_state_dict_into_shards(sizes, max_shard_size=FILE_SIZE)
    for file, names in plan.filename_to_tensors.items():
        yield file, gathered(((name, state[name]) for name in names), kept), plan


def _write(model: PreTrainedModel, folder: Path) -> None:
    model.save_pretrained(folder)


def _write_gathered(model: PreTrainedModel, folder: Path) -> None:
    """Write a model as its own `save_pretrained` does, one file after the other."""
    from safetensors.torch import save_file

    folder.mkdir(parents=True)
    model.config.architectures = [type(model).__name__.removeprefix("FSDP")]
    model.config.dtype = model.dtype
    model.config.save_pretrained(folder)
    if model.can_generate():
        model.generation_config.save_pretrained(folder)
    for file, tensors, plan in _files(model, kept=True):
        save_file(tensors, folder / file, metadata={"format": "pt"})
        if plan.is_sharded:
            index = {"metadata": plan.metadata, "weight_map": plan.tensor_to_filename}
            (folder / "model.safetensors.index.json").write_text(json.dumps(index, indent=2, sort_keys=True) + "\n")


def _merge(model: PeftModel, path: str, adapter: Path) -> PreTrainedModel:
    """Return a fresh base model with the adapter's weights added in; also where training saw a 4-bit base."""
    import torch
    from peft import PeftModel

    plain: Any = model.get_base_model()
    quantized = getattr(plain, "is_quantized", False)
    dtype = torch.bfloat16 if quantized else plain.dtype
    labels = {"num_labels": 1} if "SequenceClassification" in type(plain).__name__ else {}
    base = type(plain).from_pretrained(path, dtype=dtype, local_files_only=True, **labels)
    if hasattr(plain, "generation_config"):
        base.generation_config = plain.generation_config
    for name in ("eos_token_id", "pad_token_id"):
        setattr(base.config.get_text_config(), name, getattr(plain.config.get_text_config(), name))
    adapted: Any = PeftModel.from_pretrained(base, adapter)
    merged: PreTrainedModel = adapted.merge_and_unload()
    return merged


def _publish(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    folder: Path,
    *,
    replace: bool,
    card: str | None = None,
    adapter: Path | None = None,
    write: Callable[[PreTrainedModel, Path], None] = _write,
) -> None:
    """Write model and tokenizer beside `folder`, then put them in its place."""
    written = _staging(folder)
    try:
        with explained(folder):
            write(model, written)
            tokenizer.save_pretrained(written)
            if card is not None:
                (written / "README.md").write_text(card, encoding="utf-8")
            if adapter is not None:
                adapter.rename(written / "adapter")
        _put(written, folder, replace)
    finally:
        shutil.rmtree(written, ignore_errors=True)


def _put(written: Path, folder: Path, replace: bool) -> None:
    """Rename `written` to `folder`; one that is there is put aside and deleted, or kept."""
    if replace and folder.exists():
        old = _staging(folder)
        move(folder, old)
        move(written, folder)
        remove(old)
        return
    try:
        move(written, folder)
    except RecordError:
        if replace or not folder.exists():
            raise


def _staging(folder: Path) -> Path:
    """Return a new name beside a folder, on the same file system."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    return folder.with_name(f".{folder.name}-{uuid4().hex[:8]}")
