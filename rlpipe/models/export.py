"""Models on disk: what a run starts from and what it leaves.

    model/              config, generation config, safetensors, tokenizer with its chat template, README.md
    model/adapter/      under LoRA, the adapter alone; model/ then holds base and adapter merged

The merged copy costs disk and makes `model/` loadable by anything that reads transformers models; the
adapter is small, and exact where merging rounds.
"""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from rlpipe.core.errors import RecordError
from rlpipe.core.files import explained, move, remove

if TYPE_CHECKING:
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
        _publish(model, loaded.tokenizer, folder, replace=True, card=card)
        return
    adapter = _staging(folder)
    try:
        with explained(folder):
            model.save_pretrained(adapter, save_embedding_layers=False)
        merged = _merge(model, loaded.path, adapter)
        _publish(merged, loaded.tokenizer, folder, replace=True, card=card, adapter=adapter)
    finally:
        shutil.rmtree(adapter, ignore_errors=True)


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
) -> None:
    """Write model and tokenizer beside `folder`, then put them in its place."""
    written = _staging(folder)
    try:
        with explained(folder):
            model.save_pretrained(written)
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
