"""From the parts of a run to TRL's trainer of an offline method. Importing this module imports torch."""

from __future__ import annotations

import copy
import dataclasses
from contextlib import nullcontext
from typing import TYPE_CHECKING, Any

from accelerate import PartialState
from transformers import Trainer, set_seed

from rlpipe.config.schema import Sharding
from rlpipe.core.errors import DataError
from rlpipe.core.logs import quiet_preparation
from rlpipe.engines.frozen import load_reference
from rlpipe.models import sharding
from rlpipe.tools.protocols import Protocol, choose
from rlpipe.training.offline import kept_tokens
from rlpipe.training.offline.arguments import training_arguments, world_size
from rlpipe.training.offline.audit import audit
from rlpipe.training.offline.references import References, named_by_part
from rlpipe.training.offline.store import laid_out, materialise
from rlpipe.training.offline.tokenized import TokenizedExamples, tokenize_examples
from rlpipe.training.offline.trainer import resumable
from rlpipe.training.sharded import layers

__all__ = ["audit", "build"]

if TYPE_CHECKING:
    from rlpipe.methods.offline import OfflineMethod
    from rlpipe.training.base import Parts


def build(method: OfflineMethod, parts: Parts) -> Trainer:
    """Build the trainer of an offline method; `trainer.tokenized` says which examples it trains on."""
    config = parts.config
    arguments = training_arguments(method, config, parts.run_dir, world_size())
    protocol = choose(parts.resolved.make_tools(), parts.loaded.tokenizer)
    tokenized = dataclasses.replace(kept_tokens.tokenized(method, parts, protocol), rows=parts.data.train.report)
    _enough(tokenized, method)
    if method.in_order:
        tokenized = tokenized.shuffled(config.seed)
    if method.precomputes and method.config.max_steps is not None:
        # No reference is computed for examples that the run never comes to.
        tokenized = tokenized.at_most(method.config.max_steps * method.config.batch_size, config.seed)
    if method.precomputes and not method.in_order:
        # The reference's pass goes through the rows as they lie: like lengths side by side, little is padded.
        tokenized = tokenized.longest_first()
    extra: dict[str, Any] = {"peft_config": parts.loaded.peft} if parts.loaded.peft is not None else {}
    named = load_reference(config, parts.loaded, parts.run_dir) if method.uses_reference else None
    if named is not None:
        extra["ref_model"] = named
    elif method.needs_reference_model and parts.loaded.peft is None:
        extra["ref_model"] = _copied(parts)
    watched = _watched(method, parts, protocol)
    naming = named_by_part() if parts.loaded.sharded else nullcontext()
    with quiet_preparation(config.log.progress), naming:
        rows = laid_out(method, tokenized, parts.run_dir)
        # Some of TRL's trainers draw the adapters' first weights before they set the seed.
        set_seed(config.seed)
        return resumable(method.library_trainer(), *layers(config.hardware, parts.loaded.sharded))(
            model=parts.loaded.model,
            args=arguments,
            train_dataset=rows,
            eval_dataset=None if watched is None else materialise(method, watched, parts.run_dir),
            processing_class=parts.loaded.tokenizer,
            callbacks=list(parts.callbacks),
            method=method,
            tokenized=tokenized,
            references=References(config, parts.run_dir, parts.loaded.sharded),
            **extra,
        )


def _copied(parts: Parts) -> Any:
    """Return the model as it is now, to be compared with what it becomes."""
    loaded = parts.loaded
    if not loaded.sharded:
        return copy.deepcopy(loaded.model)
    hybrid = parts.config.hardware.sharding is Sharding.hybrid
    return sharding.sharded_copy(loaded.model, PartialState().device, loaded.autocast, hybrid)


def _watched(method: OfflineMethod, parts: Parts, protocol: Protocol | None) -> TokenizedExamples | None:
    """Return the examples that are watched while training; None without any."""
    if parts.data.validation is None:
        return None
    examples, tokenizer = parts.data.validation.examples, parts.loaded.tokenizer
    return tokenize_examples(examples, tokenizer, method.config, method.marks_speaker, protocol)


def _enough(tokenized: TokenizedExamples, method: OfflineMethod) -> None:
    if len(tokenized.examples) < method.config.batch_size and not method.packs:
        raise DataError(
            f"method.batch_size={method.config.batch_size}",
            (
                f"only {len(tokenized.examples)} of {tokenized.seen} examples can be trained on "
                f"(dropped: {tokenized.dropped or 'none'})"
            ),
            f"lower method.batch_size to {len(tokenized.examples)} or less, or use more data",
        )
