"""Reference log-probabilities of a trainer's rows: the run's own, else the store's, else computed for both.

Importing this module imports torch.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from rlpipe.config.schema import RunConfig
from rlpipe.core import distributed
from rlpipe.core.files import write_atomic
from rlpipe.engines.decoder import causal_lm
from rlpipe.models.sharding import part
from rlpipe.stages.entries import Entry, entry, lent
from rlpipe.training.offline.store import folder_of

if TYPE_CHECKING:
    from datasets import Dataset

FILE = "logps.safetensors"
"""The file of an entry's product: one column a name, float32 [rows], in the order of the rows."""
_NO_NUMBER = ("_name_or_path", "transformers_version")
"""Fields of a model's config that say where it came from."""


class References:
    """Where one run's reference log-probabilities come from."""

    def __init__(self, config: RunConfig, run_dir: Path, sharded: bool = False):
        """`sharded` weights lie on several processes, and none of them can name them for others: nothing is stored."""
        self.config, self.run_dir, self.sharded = config, run_dir, sharded
        self.notes: list[str] = []
        """How they came about, for the record."""

    def add(self, trainer: Any, rows: Dataset, batch_size: int, compute: Callable[[], Dataset]) -> Dataset:
        """Return the rows with the columns that `compute`, TRL's own pass over them, would add.

        The run keeps a copy beside its rows, so that a resume goes on with the same numbers.
        """
        inputs = _inputs(trainer, rows, batch_size) if distributed.is_main() else {}
        needed = entry("reference", self.config, distributed.broadcast(inputs))
        kept = folder_of(rows) / f"{needed.name}.safetensors"

        def write(path: Path) -> None:
            columns = _new_columns(rows, compute())
            if distributed.is_main():
                _save(columns, path)

        if distributed.broadcast(kept.exists()):
            return _joined(rows, kept)
        if self.sharded or not distributed.broadcast(needed.usable):
            why = "the weights are in shards" if self.sharded else f"the store {needed.folder.parent} cannot be written"
            self.notes.append(f"computed for this run alone: {why}")
            write(kept)
        else:
            self._from_store(needed, kept, write)
        distributed.barrier()
        return _joined(rows, kept)

    def _from_store(self, needed: Entry, kept: Path, write: Callable[[Path], None]) -> None:
        with lent(needed, self.run_dir, lambda folder: write(folder / FILE)) as (folder, notes):
            self.notes += notes
            if distributed.is_main():
                write_atomic(kept, (folder / FILE).read_bytes())


@contextmanager
def named_by_part() -> Iterator[None]:
    """Have TRL name a model in shards by what this process holds of it.

    It hashes all weights to name the file of the reference's log-probabilities, takes the main process's hash, and
    cannot hash shards. The file lies in the run's own folder, for this model alone.
    """
    from trl.trainer import dpo_trainer, kto_trainer

    def hash_module(module: torch.nn.Module) -> str:
        parts = torch.nn.Module()
        for place, weight in enumerate(module.parameters()):
            parts.register_buffer(str(place), part(weight))
        return str(original(parts))

    original = dpo_trainer.hash_module
    try:
        dpo_trainer.hash_module = kto_trainer.hash_module = hash_module
        yield
    finally:
        dpo_trainer.hash_module = kto_trainer.hash_module = original


def _inputs(trainer: Any, rows: Dataset, batch_size: int) -> dict[str, Any]:
    """Return all that the numbers depend on, how they are rounded included."""
    model, arguments = trainer.ref_model or trainer.model, trainer.args
    config = causal_lm(model).config
    described = {name: value for name, value in config.to_dict().items() if name not in _NO_NUMBER}
    device = arguments.device
    return {
        "weights": _base_weights(model) if hasattr(model, "peft_config") else trainer._precompute_model_hash,
        "architecture": hashlib.sha256(json.dumps(described, sort_keys=True, default=str).encode()).hexdigest(),
        "attention": config.get_text_config()._attn_implementation,
        "autocast": "bfloat16" if arguments.bf16 else "none",
        "rows": folder_of(rows).name,
        "batch": [batch_size, distributed.world_size(), arguments.pad_to_multiple_of or 1],
        "share_prompt": trainer.shares,
        "ld_alpha": getattr(trainer, "ld_alpha", None),
        "mismatched": getattr(trainer, "calculate_KL", False),
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else device.type,
    }


def _base_weights(model: Any) -> str:
    """Hash what this process has of the weights under adapters, which say nothing of the reference."""
    digest = hashlib.sha256()
    for name, weight in sorted(causal_lm(model).state_dict().items()):
        if "lora_" not in name:
            digest.update(f"{name} {weight.dtype} {tuple(weight.shape)}".encode())
            digest.update(part(weight).cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


def _new_columns(rows: Dataset, more: Dataset) -> dict[str, torch.Tensor]:
    added = [name for name in more.column_names if name not in rows.column_names]
    return {name: torch.tensor(list(more[name]), dtype=torch.float32) for name in added}


def _save(columns: dict[str, torch.Tensor], path: Path) -> None:
    from safetensors.torch import save

    write_atomic(path, save(columns))


def _joined(rows: Dataset, path: Path) -> Dataset:
    from datasets import Dataset, concatenate_datasets
    from safetensors.torch import load_file

    columns = {name: column.numpy() for name, column in load_file(str(path)).items()}
    return concatenate_datasets([rows, Dataset.from_dict(columns)], axis=1)
