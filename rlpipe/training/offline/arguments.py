"""A run's config as the arguments of the wrapped library's own config class."""

from __future__ import annotations

import dataclasses
import os
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rlpipe.config.kinds import Precision
from rlpipe.config.schema import Device, RunConfig
from rlpipe.core.errors import ConfigError, Problem, guess

if TYPE_CHECKING:
    from rlpipe.methods.library import LibraryMethod

SET_BY_RLPIPE = {
    "output_dir": "run_dir",
    "resume_from_checkpoint": "run_dir",
    "run_name": "tracker",
    "report_to": "tracker",
    "per_device_train_batch_size": "method.micro_batch_size",
    "gradient_accumulation_steps": "method.batch_size",
    "auto_find_batch_size": "method.micro_batch_size",
    "learning_rate": "method.learning_rate",
    "num_train_epochs": "method.epochs",
    "max_steps": "method.max_steps",
    "lr_scheduler_type": "method.schedule",
    "warmup_steps": "method.warmup",
    "warmup_ratio": "method.warmup",
    "weight_decay": "method.weight_decay",
    "max_grad_norm": "method.max_grad_norm",
    "max_length": "method.max_length",
    "truncation_mode": "method.overlong",
    "train_sampling_strategy": "method.group_by_length",
    "group_by_length": "method.group_by_length",
    "shuffle_dataset": "seed",
    "seed": "seed",
    "data_seed": "seed",
    "save_strategy": "checkpoint.every",
    "save_steps": "checkpoint.every",
    "save_total_limit": "checkpoint.keep",
    "save_only_model": "checkpoint.every",
    "load_best_model_at_end": "checkpoint.keep",
    "logging_strategy": "log.every",
    "logging_steps": "log.every",
    "disable_tqdm": "log.progress",
    "logging_nan_inf_filter": "log.every",
    "use_cpu": "hardware.device",
    "bf16": "model.precision",
    "fp16": "model.precision",
    "gradient_checkpointing": "model.gradient_checkpointing",
    "activation_checkpointing": "model.gradient_checkpointing",
    "fsdp": "hardware.sharding",
    "fsdp_config": "hardware.sharding",
    "model_init_kwargs": "model",
    "chat_template_path": "model.chat_template",
    "eval_strategy": "evaluation",
    "eval_steps": "evaluation",
    "dataloader_drop_last": "method.batch_size",
    "remove_unused_columns": "dataset",
    "dataset_kwargs": "dataset",
}
"""The library's fields that rlpipe sets itself, and the config field to use in their place."""


def accumulation(config: RunConfig, world_size: int = 1) -> int:
    """Return the forward passes that one process makes for one optimiser step.

    Raises ConfigError unless batch_size = micro_batch_size x world_size x accumulation.
    """
    method: Any = config.method
    together = method.micro_batch_size * world_size
    for name in ("batch_size", "micro_batch_size"):
        if getattr(method, name) < 1:
            raise ConfigError([Problem(f"method.{name}", f"{getattr(method, name)} examples", "set 1 or more")])
    if method.batch_size % together == 0:
        return method.batch_size // together
    processes = f" on {world_size} processes" if world_size > 1 else ""
    what = f"{method.batch_size} cannot be made up of micro-batches of {method.micro_batch_size}{processes}"
    share = method.batch_size / world_size
    fitting = [size for size in range(1, method.micro_batch_size + 1) if share % size == 0]
    upper = -(-method.batch_size // together) * together
    smaller = f"method.micro_batch_size={fitting[-1]}, or " if fitting else ""
    raise ConfigError([Problem("method.batch_size", what, f"set {smaller}method.batch_size={upper}")])


def set_by_rlpipe(method: LibraryMethod) -> dict[str, str]:
    """Return the library's fields that rlpipe sets for a method, each with the config field to use in its place."""
    return {**SET_BY_RLPIPE, **{key: f"method.{field}" for key, field in method.library_fields.items()}}


def extra_problems(method: LibraryMethod) -> list[Problem]:
    """List what is wrong with `method.extra`: keys that the library does not know or that rlpipe sets itself.

    Imports the library, so it belongs after the checks that need no heavy import.
    """
    library = method.library_config()
    known = {field.name for field in dataclasses.fields(library)}
    taken = set_by_rlpipe(method)
    problems = []
    for key in method.config.extra:
        where = f"method.extra.{key}"
        if key in taken:
            problems.append(Problem(where, "rlpipe sets this itself", f"set {taken[key]} instead"))
        elif key not in known:
            problems.append(
                Problem(where, f"{library.__name__} has no such field", guess(str(key), known - set(taken)))
            )
    return problems


def training_arguments(method: LibraryMethod, config: RunConfig, run_dir: Path, world_size: int = 1) -> Any:
    """Build the library's config for a run.

    Raises ConfigError for settings that do not fit together and for what the library refuses in `method.extra`.
    """
    problems = [one for one in method.problems(config) if one.fatal] + extra_problems(method)
    if problems:
        raise ConfigError(problems)
    library = method.library_config()
    known = {field.name for field in dataclasses.fields(library)}
    arguments = {**_of_run(config, run_dir), **_batches(method, config, world_size), **method.arguments()}
    arguments |= method.config.extra
    try:
        # TRL 1.16 reads the name that transformers 5.23 calls deprecated; remove with TRL's own rename.
        warnings.filterwarnings("ignore", message="`gradient_checkpointing` is deprecated")
        return library(**{key: value for key, value in arguments.items() if key in known})
    except (TypeError, ValueError) as error:
        if not method.config.extra:
            raise
        problem = Problem(
            "method.extra", f"{library.__name__} refuses it: {error}", f"fix or remove {dict(method.config.extra)}"
        )
        raise ConfigError([problem]) from error


def _batches(method: LibraryMethod, config: RunConfig, world_size: int) -> dict[str, Any]:
    if not method.micro_batched:
        return {"per_device_train_batch_size": 1, "gradient_accumulation_steps": 1}
    micro_batch: Any = config.method
    return {
        "per_device_train_batch_size": micro_batch.micro_batch_size,
        "gradient_accumulation_steps": accumulation(config, world_size),
    }


def _of_run(config: RunConfig, run_dir: Path) -> dict[str, Any]:
    method, on_cpu = config.method, _on_cpu(config.hardware.device)
    return {
        "output_dir": str(run_dir / "checkpoints"),
        "learning_rate": method.learning_rate,
        "num_train_epochs": method.epochs,
        "max_steps": -1 if method.max_steps is None else method.max_steps,
        "lr_scheduler_type": method.schedule,
        # transformers takes a number below 1 as a share of all steps.
        "warmup_steps": min(method.warmup, 1 - 1e-9),
        "weight_decay": method.weight_decay,
        "max_grad_norm": method.max_grad_norm,
        "max_length": method.max_length,
        "seed": config.seed,
        "data_seed": config.seed,
        "save_strategy": "steps",
        "save_steps": config.checkpoint.every,
        # Checkpoints are pruned by the record, which knows the whole ones from the half-written.
        "save_total_limit": None,
        "logging_strategy": "steps",
        "logging_steps": config.log.every,
        # The filter would put earlier losses in the place of one that is not a number.
        "logging_nan_inf_filter": False,
        "disable_tqdm": True,
        "report_to": "none",
        "eval_strategy": "no",
        "use_cpu": on_cpu,
        # TRL turns both on by default.
        "bf16": config.model.precision is Precision.bfloat16,
        "gradient_checkpointing": config.model.gradient_checkpointing,
        "dataloader_drop_last": False,
        "dataloader_num_workers": 0,
        "dataloader_pin_memory": not on_cpu,
        "remove_unused_columns": False,
        "ddp_find_unused_parameters": False,
    }


def _on_cpu(device: Device) -> bool:
    if device is Device.auto:
        import torch

        return not torch.cuda.is_available()
    return device is Device.cpu


def world_size() -> int:
    """Return how many processes train together, as torchrun and accelerate say."""
    return int(os.environ.get("WORLD_SIZE", "1"))
