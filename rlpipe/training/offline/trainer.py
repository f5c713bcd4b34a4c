"""TRL's trainers, with rlpipe's batches, cached reference log-probabilities and whole checkpoints.

Importing this module imports torch.
"""

from __future__ import annotations

import copy
import json
import random
from pathlib import Path
from typing import TYPE_CHECKING, Any

from transformers import PrinterCallback, Trainer, TrainerCallback, set_seed
from transformers.trainer_utils import PREFIX_CHECKPOINT_DIR

from rlpipe.config import plugins
from rlpipe.core.errors import DataError
from rlpipe.core.logs import quiet_preparation
from rlpipe.models.reference import load
from rlpipe.tools.protocols import choose
from rlpipe.training.offline.arguments import training_arguments, world_size
from rlpipe.training.offline.compaction import compact
from rlpipe.training.offline.fit import Fitted, fit
from rlpipe.training.offline.order import BatchOrder
from rlpipe.training.offline.store import materialise

if TYPE_CHECKING:
    from datasets import Dataset

    from rlpipe.methods.offline import OfflineMethod
    from rlpipe.training.base import Parts

STATE = "offline_state.json"
REFERENCE = "reference.safetensors"


def build(method: OfflineMethod, parts: Parts) -> Trainer:
    """Build the trainer of an offline method; `trainer.fitted` says which examples it trains on."""
    config = parts.config
    arguments = training_arguments(method, config, parts.run_dir, world_size())
    examples = list(parts.data.train.examples)
    if method.in_order:
        random.Random(config.seed).shuffle(examples)
    protocol = choose([plugins.make("tool", node) for node in config.tool.values()], parts.loaded.tokenizer)
    fitted = fit(examples, parts.loaded.tokenizer, method.config, method.marks_speaker, protocol)
    _enough(fitted, method)
    if method.precomputes and method.config.max_steps is not None:
        # No reference is computed for examples that the run never comes to.
        fitted = fitted.at_most(method.config.max_steps * method.config.batch_size, config.seed)
    if method.precomputes and not method.in_order:
        # The reference's pass goes through the rows as they lie: like lengths side by side, little is padded.
        fitted = fitted.longest_first()
    extra: dict[str, Any] = {"peft_config": parts.loaded.peft} if parts.loaded.peft is not None else {}
    named = load(config, parts.loaded, parts.run_dir) if method.uses_reference else None
    if named is not None:
        extra["ref_model"] = named
    elif method.needs_reference_model and parts.loaded.peft is None:
        extra["ref_model"] = copy.deepcopy(parts.loaded.model)
    with quiet_preparation(config.log.progress):
        rows = materialise(method.columns(fitted.examples, fitted.tokens), parts.run_dir)
        # Some of TRL's trainers draw the adapters' first weights before they set the seed.
        set_seed(config.seed)
        return resumable(method.library_trainer())(
            model=parts.loaded.model,
            args=arguments,
            train_dataset=rows,
            processing_class=parts.loaded.tokenizer,
            callbacks=list(parts.callbacks),
            method=method,
            fitted=fitted,
            **extra,
        )


def _enough(fitted: Fitted, method: OfflineMethod) -> None:
    if len(fitted.examples) < method.config.batch_size and not method.packs:
        raise DataError(
            f"method.batch_size={method.config.batch_size}, but only {len(fitted.examples)} of {fitted.seen} examples "
            f"can be trained on (dropped: {fitted.dropped or 'none'}): lower method.batch_size to "
            f"{len(fitted.examples)} or less, or use more data"
        )


def resumable(base: type[Trainer]) -> Any:
    """Put rlpipe's behaviour over one of TRL's trainer classes."""
    return type(base.__name__, (OfflineTrainer, base), {"__module__": __name__})


class EpochOfStep(TrainerCallback):
    """Tells the sampler which epoch begins.

    accelerate's wrappers pass the epoch on, but not through all of those that a resumed run in
    several processes puts around the sampler.
    """

    def __init__(self, order: BatchOrder):
        self.order = order

    def on_epoch_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Set the epoch from the number of steps made, which a checkpoint restores exactly."""
        self.order.set_epoch(state.global_step // self.order.batches)


if TYPE_CHECKING:
    # mypy cannot know which of TRL's classes comes below.
    Base = Any
else:
    Base = object


class OfflineTrainer(Base):
    """The layer over a TRL trainer class; see `resumable`."""

    def __init__(self, *args: Any, method: OfflineMethod, fitted: Fitted, **kwargs: Any):
        self.method, self.fitted = method, fitted
        super().__init__(*args, **kwargs)
        self.counts = not hasattr(self, "_total_train_tokens")  # ORPO's and CPO's trainers do not
        if self.counts:
            self._total_train_tokens = 0
        if method.precomputes:
            self.ref_model = None  # its log-probabilities stand with the rows
        self.order = self._batch_order()
        self.add_callback(EpochOfStep(self.order))
        # It prints every log as a dict; showing is the display's work.
        self.remove_callback(PrinterCallback)

    # Batches

    def _batch_order(self) -> BatchOrder:
        config, rows = self.method.config, len(self.train_dataset)
        by_length = config.group_by_length and not self.method.packs and not self.method.in_order
        if rows < config.batch_size:
            raise DataError(
                f"method.batch_size={config.batch_size}, but the examples fill only {rows} rows of "
                f"{config.max_length} tokens: lower method.batch_size, or use more data"
            )
        lengths = self.fitted.lengths if by_length else None
        return BatchOrder(rows, config.batch_size, self.args.data_seed, lengths, fixed_batches=self.method.in_order)

    def _get_train_sampler(self, train_dataset: Dataset | None = None) -> BatchOrder:
        return self.order

    # Rows that are tokens already

    def _prepare_dataset(self, dataset: Dataset, *args: Any, **kwargs: Any) -> Dataset:
        return super()._prepare_dataset(dataset, *args, **kwargs) if self.method.packs else dataset

    @staticmethod
    def tokenize_row(feature: dict[str, Any], **kwargs: Any) -> dict[str, Any]:
        """Add nothing: ORPOTrainer and CPOTrainer map this over rows that hold all columns."""
        return {}

    # Work that the objective does not need

    def compute_loss(self, model: Any, inputs: dict[str, Any], *args: Any, **kwargs: Any) -> Any:
        """Compute the loss without logits of tokens that are not trained."""
        if self.counts:
            tokens = inputs["chosen_attention_mask"].sum() + inputs["rejected_attention_mask"].sum()
            self._total_train_tokens += int(self.accelerator.gather_for_metrics(tokens).sum())
        with compact():
            return super().compute_loss(model, inputs, *args, **kwargs)

    def log(self, logs: dict[str, float], *args: Any, **kwargs: Any) -> None:
        """Log the tokens that were read, as TRL's other trainers do."""
        super().log({**logs, "num_tokens": float(self._total_train_tokens)} if self.counts else logs, *args, **kwargs)

    def compute_ref_log_probs(self, *args: Any, **kwargs: Any) -> Any:
        """Compute the reference's log-probabilities without logits of prompt tokens."""
        with compact():
            return super().compute_ref_log_probs(*args, **kwargs)

    def _precompute_ref_logps(self, dataset: Dataset, *args: Any, **kwargs: Any) -> Dataset:
        return (
            dataset
            if "ref_chosen_logps" in dataset.column_names
            else super()._precompute_ref_logps(dataset, *args, **kwargs)
        )

    def create_model_card(self, *args: Any, **kwargs: Any) -> None:
        """Write nothing: the run's record writes the card."""

    # Checkpoints that hold all state

    def _save_checkpoint(self, model: Any, trial: Any) -> None:
        super()._save_checkpoint(model, trial)
        if not self.is_world_process_zero():
            return
        folder = Path(self._get_output_dir(trial)) / f"{PREFIX_CHECKPOINT_DIR}-{self.state.global_step}"
        (folder / STATE).write_text(json.dumps({"train_tokens": self._total_train_tokens}))
        if self.method.needs_reference_model and getattr(self, "ref_model", None) is not None:
            from safetensors.torch import save_model

            save_model(self.accelerator.unwrap_model(self.ref_model), str(folder / REFERENCE))

    def _load_optimizer_and_scheduler(self, checkpoint: str | None) -> None:
        super()._load_optimizer_and_scheduler(checkpoint)
        if checkpoint is None:
            return
        self._total_train_tokens = json.loads((Path(checkpoint) / STATE).read_text())["train_tokens"]
        if self.method.needs_reference_model and getattr(self, "ref_model", None) is not None:
            from safetensors.torch import load_model

            load_model(self.accelerator.unwrap_model(self.ref_model), str(Path(checkpoint) / REFERENCE))
