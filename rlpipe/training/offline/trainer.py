"""TRL's trainers, with rlpipe's batches, cached reference log-probabilities and whole checkpoints.

Importing this module imports torch.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torch import Tensor
from torch.nn import Module
from torch.utils.data import DataLoader
from transformers import PrinterCallback, Trainer, TrainerCallback
from transformers.trainer_utils import PREFIX_CHECKPOINT_DIR

from rlpipe.core import distributed
from rlpipe.core.errors import DataError
from rlpipe.core.files import explained
from rlpipe.core.terminal import say
from rlpipe.engines.shared_prompts import refusal, shared
from rlpipe.statistics import intervals
from rlpipe.training.offline import likelihoods
from rlpipe.training.offline.compaction import compact
from rlpipe.training.offline.order import BatchOrder, MicroBatches
from rlpipe.training.offline.references import References
from rlpipe.training.offline.tokenized import TokenizedExamples
from rlpipe.training.safeguards import folder_of

if TYPE_CHECKING:
    from datasets import Dataset

    from rlpipe.methods.offline import OfflineMethod

STATE = "offline_state.json"
REFERENCE = "reference.safetensors"


def resumable(base: type[Trainer], *layers: type) -> Any:
    """Put rlpipe's behaviour over one of TRL's trainer classes, and `layers` over that."""
    return type(base.__name__, (*layers, OfflineTrainer, base), {"__module__": __name__})


class EpochOfStep(TrainerCallback):
    """Says to the order which epoch begins; also in a resumed run, which skips what it has trained on already."""

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

    def __init__(
        self, *args: Any, method: OfflineMethod, tokenized: TokenizedExamples, references: References, **kwargs: Any
    ):
        self.method, self.tokenized, self.references = method, tokenized, references
        self.shares = method.shares_prompt and self._may_share(kwargs["model"], kwargs["args"])
        super().__init__(*args, **kwargs)
        self.counts = not hasattr(self, "_total_train_tokens")  # ORPO's and CPO's trainers do not
        if self.counts:
            self._total_train_tokens = 0
        self.fuses = hasattr(super(), "concatenated_forward")
        if self.fuses:
            likelihoods.fuse(self.model)
        if method.precomputes:
            self.ref_model = None  # its log-probabilities stand with the rows
        self.order = self._batch_order()
        size, rank, processes = self.args.per_device_train_batch_size, distributed.rank(), distributed.world_size()
        self.micro_batches = MicroBatches(self.order, size, rank, processes)
        self._weights: Iterator[float] = iter(())
        self.add_callback(EpochOfStep(self.order))
        # It prints every log as a dict; showing is the display's work.
        self.remove_callback(PrinterCallback)

    # Batches

    def _batch_order(self) -> BatchOrder:
        config, rows = self.method.config, len(self.train_dataset)
        by_length = config.group_by_length and not self.method.packs and not self.method.in_order
        if rows < config.batch_size:
            raise DataError(
                f"method.batch_size={config.batch_size}",
                f"the examples fill only {rows} rows of {config.max_length} tokens",
                "lower method.batch_size, or use more data",
            )
        lengths = self.tokenized.lengths if by_length else None
        last = sum(self.method.last_batch(rows % config.batch_size))
        return BatchOrder(rows, config.batch_size, self.args.data_seed, lengths, self.method.in_order, last)

    def get_train_dataloader(self) -> DataLoader:
        """Return the micro-batches of this process; accelerate would fill the last ones up with rows of others."""
        rows: Any = self.train_dataset
        return DataLoader(
            rows,
            batch_sampler=self.micro_batches,
            collate_fn=self.data_collator,
            num_workers=self.args.dataloader_num_workers,
            pin_memory=self.args.dataloader_pin_memory,
            persistent_workers=self.args.dataloader_persistent_workers,
            multiprocessing_context=self.args.dataloader_multiprocessing_context,
            prefetch_factor=self.args.dataloader_prefetch_factor,
            in_order=self.args.dataloader_in_order,
        )

    def get_batch_samples(self, epoch_iterator: Any, num_batches: int, device: Any) -> tuple[list[Any], Any]:
        """Take the micro-batches of one step. Where the library takes the mean of their losses, each row counts."""
        samples, items = super().get_batch_samples(epoch_iterator, num_batches, device)
        self._weights = iter(self.micro_batches.weights(self.state.global_step) if items is None else ())
        return samples, items

    # Rows that are tokens already

    def _prepare_dataset(self, dataset: Dataset, *args: Any, **kwargs: Any) -> Dataset:
        return super()._prepare_dataset(dataset, *args, **kwargs) if self.method.packs else dataset

    @staticmethod
    def tokenize_row(feature: dict[str, Any], **kwargs: Any) -> dict[str, Any]:
        """Add nothing: ORPOTrainer and CPOTrainer map this over rows that hold all columns."""
        return {}

    # Work that the objective does not need

    @staticmethod
    def _may_share(model: Any, arguments: Any) -> bool:
        """Whether a pair's prompt may go through the network once; says why not."""
        reason = refusal(model, compiled=arguments.torch_compile)
        if reason is not None:
            say(f"prompts go through the network once a completion: {reason}")
        return reason is None

    @contextmanager
    def _no_needless_work(self, model: Any) -> Iterator[None]:
        models = [one for one in (model, getattr(self, "ref_model", None)) if one is not None]
        with compact(), shared(*models if self.shares else ()):
            yield

    def concatenated_forward(self, model: Any, batch: dict[str, Any]) -> tuple[Any, ...]:
        """Score the pairs of a micro-batch as ORPO's and CPO's trainers ask for."""
        with self._no_needless_work(model):
            return likelihoods.concatenated_forward(self, model, batch)

    def compute_loss(self, model: Any, inputs: dict[str, Any], *args: Any, **kwargs: Any) -> Any:
        """Compute the loss with prompts once a pair, and without logits of tokens that are not trained."""
        if self.counts:
            tokens = inputs["chosen_attention_mask"].sum() + inputs["rejected_attention_mask"].sum()
            self._total_train_tokens += int(self.accelerator.gather_for_metrics(tokens).sum())
        with nullcontext() if self.fuses else self._no_needless_work(model):
            found = super().compute_loss(model, inputs, *args, **kwargs)
        weight = next(self._weights, 1.0) if model.training else 1.0
        return found if weight == 1.0 else found * weight

    def log(self, logs: dict[str, float], *args: Any, **kwargs: Any) -> None:
        """Log the tokens that were read, as TRL's other trainers do."""
        super().log({**logs, "num_tokens": float(self._total_train_tokens)} if self.counts else logs, *args, **kwargs)

    def compute_ref_log_probs(self, model: Any, *args: Any, **kwargs: Any) -> Any:
        """Compute the reference's log-probabilities with prompts once a pair, and without logits of their tokens."""
        with self._no_needless_work(model):
            return super().compute_ref_log_probs(model, *args, **kwargs)

    def _precompute_ref_logps(self, dataset: Dataset, name: str, batch_size: int) -> Dataset:
        if "ref_chosen_logps" in dataset.column_names:
            return dataset
        compute = functools.partial(super()._precompute_ref_logps, dataset, name, batch_size)
        with explained(folder_of(self.args).with_name("data")):
            return self.references.add(self, dataset, batch_size, compute)

    def create_model_card(self, *args: Any, **kwargs: Any) -> None:
        """Write nothing: the run's record writes the card."""

    # Watching

    def validate(self) -> dict[str, float]:
        """Return the mean loss over the rows that are watched, with its 95 % interval from one batch to the next."""
        self.batch_losses: list[float] = []
        found = self.evaluation_loop(
            self.get_eval_dataloader(), "watching", prediction_loss_only=True, metric_key_prefix="watch"
        )
        for noted in (getattr(self, "_metrics", {}), getattr(self, "_stored_metrics", {})):
            if "eval" in noted:
                noted["eval"].clear()  # the library keeps them for a log of its own, which never comes
        batches = [loss for part in distributed.gather(self.batch_losses) for loss in part]
        return {"loss": float(found.metrics["watch_loss"]), **intervals.mean(batches).ends("loss_")}

    def prediction_step(self, *args: Any, **kwargs: Any) -> Any:
        """Note the loss of a batch: the library keeps only the mean of all."""
        loss, *others = super().prediction_step(*args, **kwargs)
        self.batch_losses.append(float(loss))
        return (loss, *others)

    # Checkpoints that hold all state

    def _save_checkpoint(self, model: Any, trial: Any) -> None:
        super()._save_checkpoint(model, trial)
        if not self.is_world_process_zero():
            return
        folder = Path(self._get_output_dir(trial)) / f"{PREFIX_CHECKPOINT_DIR}-{self.state.global_step}"
        (folder / STATE).write_text(json.dumps({"train_tokens": self._total_train_tokens}))
        self._save_beside(folder)

    def _optimised(self) -> Module:
        """Return the module that holds all weights that the optimiser has."""
        model: Module = self.model
        return model

    def _beside(self) -> dict[str, dict[str, Tensor]]:
        """Return what a checkpoint in shards has beside the model: a reference, as its own training would find it."""
        model = getattr(self, "ref_model", None)
        return {} if model is None else {"reference": {name: one.detach() for name, one in model.named_parameters()}}

    def _save_beside(self, folder: Path) -> None:
        if self.method.needs_reference_model and getattr(self, "ref_model", None) is not None:
            from safetensors.torch import save_model

            save_model(self.accelerator.unwrap_model(self.ref_model), str(folder / REFERENCE))

    def _load_optimizer_and_scheduler(self, checkpoint: str | None) -> None:
        super()._load_optimizer_and_scheduler(checkpoint)
        if checkpoint is None:
            return
        self._total_train_tokens = json.loads((Path(checkpoint) / STATE).read_text())["train_tokens"]
        self._load_beside(Path(checkpoint))

    def _load_beside(self, folder: Path) -> None:
        if self.method.needs_reference_model and getattr(self, "ref_model", None) is not None:
            from safetensors.torch import load_model

            load_model(self.accelerator.unwrap_model(self.ref_model), str(folder / REFERENCE))
