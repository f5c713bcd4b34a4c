"""The on-policy loop over transformers' Trainer. It knows no method: see `method.OnlineMethod`.

One step of the Trainer is one optimiser step. When a batch of rollouts is used up, the next is drawn: sampled,
scored, and given reference log-probabilities, values and advantages, in `collect`; `training_step` then makes
one optimiser step on a part of it. Which prompts a batch has, and how they are sampled, follows from the seed,
the batch's number and what `drawing` keeps, so a checkpoint needs the Trainer's files, that and the batch in use (with
`method.lag` also the completions that were drawn for the next one), no more.

Importing this module imports torch.
"""

from __future__ import annotations

import json
import math
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader
from transformers import PrinterCallback, Trainer
from transformers.trainer_utils import PREFIX_CHECKPOINT_DIR

from rlpipe.core import distributed
from rlpipe.core.errors import Stopped
from rlpipe.datasets.forms import Prompt
from rlpipe.engines.prompts import lay_out
from rlpipe.engines.shared_prefix import costs
from rlpipe.methods.batch import Batch
from rlpipe.models.lockstep import in_step
from rlpipe.models.sharding import is_sharded
from rlpipe.models.tokens import encode
from rlpipe.statistics import intervals
from rlpipe.training.online.collect import Collector
from rlpipe.training.online.forward import forward
from rlpipe.training.online.objective import STATISTICS, Objective
from rlpipe.training.online.packing import MicroBatch, micro_batches
from rlpipe.training.online.processes import share, sum_gradients, summed
from rlpipe.training.online.reference import MoveReference
from rlpipe.training.samples import LogSamples, sample_rows

if TYPE_CHECKING:
    from rlpipe.engines.rollout import Rollout
    from rlpipe.models.base import Loaded
    from rlpipe.training.base import Parts

STATE = "online_state.json"
BEGUN = "begun"
"""The folder of the completions that were drawn ahead (`method.lag`), in a checkpoint."""


class OnlineTrainer(Trainer):
    """Trainer of every on-policy method."""

    def __init__(self, loaded: Loaded, arguments: Any, collector: Collector, parts: Parts):
        self.collector, self.method, self.values = collector, collector.method, collector.values
        self.settings = self.method.config
        self.batch: Batch | None = None
        """The rollouts in use; None when the next step draws others."""
        self.tokens = 0
        """Tokens of all prompts and completions so far."""
        self.watched = _watched(parts, collector)
        """Prompts of held-out rows that are watched while training."""
        self._metrics: dict[str, list[float]] = defaultdict(list)
        steps = [{"step": step} for step in range(collector.prompts.batches * self.settings.steps_per_batch)]
        super().__init__(
            model=loaded.model,
            args=arguments,
            train_dataset=steps,
            processing_class=loaded.tokenizer,
            callbacks=list(parts.callbacks),
        )
        for module in (self.values, collector.reference.copy if collector.reference is not None else None):
            if module is not None:
                module.to(self.args.device)
        # It prints every log as a dict; showing is the display's work.
        self.remove_callback(PrinterCallback)
        if collector.reference is not None and self.settings.sync_reference:
            self.add_callback(
                MoveReference(collector.reference, self.settings.sync_reference, self.settings.sync_weight)
            )

    def get_train_dataloader(self) -> DataLoader:
        """Count steps, in every process alike; what a step works on is drawn when it comes."""
        steps: Any = self.train_dataset
        return DataLoader(steps, batch_size=1)

    @property
    def _policy(self) -> nn.Module:
        """The policy without the library's wrappers."""
        policy: nn.Module = self.accelerator.unwrap_model(self.model)
        return policy

    def floating_point_ops(self, inputs: Any) -> int:
        """Return 0: the step's number says nothing about its work."""
        return 0

    # One optimiser step

    def training_step(self, model: nn.Module, inputs: Any, num_items_in_batch: Any = None) -> Tensor:
        """Make the gradient of one optimiser step, drawing rollouts first where a new batch begins.

        Returns the loss, normalised over all processes' completions.
        """
        policy = self._policy
        step = self.state.global_step
        place = step % self.settings.steps_per_batch
        if self.batch is None:
            self._draw(policy, step // self.settings.steps_per_batch)
        assert self.batch is not None
        epoch, part = divmod(place, self.settings.minibatches)
        order = f"{self.args.seed}/{step // self.settings.steps_per_batch}/{epoch}"
        chosen = self.batch.minibatch(part, self.settings.minibatches, order)
        policy.train()
        if self.values is not None:
            self.values.train().zero_grad()
        loss = self._gradient(policy, self.batch, chosen)
        sum_gradients(self._optimised().parameters())
        if place == self.settings.steps_per_batch - 1:
            self.batch = None
        return loss

    def _draw(self, policy: nn.Module, number: int) -> None:
        try:
            more = (number + 1) * self.settings.steps_per_batch < self.state.max_steps
            self.batch, metrics = self.collector.collect(policy, number, self.accelerator.autocast, more)
        except Stopped:
            self._save_before_stopping()
            raise
        self.tokens += sum(len(rollout.prompt_ids) + len(rollout.ids) for rollout in self.batch.rollouts)
        self._note(metrics)
        step, every = self.state.global_step, self.settings.samples_every
        if every and step % every < self.settings.steps_per_batch:
            rows = sample_rows(self.batch)
            for callback in self.callback_handler.callbacks:
                if isinstance(callback, LogSamples):
                    callback.show(step + 1, rows)

    def train(self, *args: Any, **kwargs: Any) -> Any:
        """Train; what was begun for a batch that will not be trained on goes no further, whatever ends the training."""
        try:
            done = super().train(*args, **kwargs)
        finally:
            self.collector.drawing.abandon()
        self.collector.drawing.settle()
        return done

    def _save_before_stopping(self) -> None:
        """Save the state between two batches, when a reward pauses the run; in one process, for others may go on."""
        folder = Path(self._get_output_dir(None)) / f"{PREFIX_CHECKPOINT_DIR}-{self.state.global_step}"
        if self.state.global_step > 0 and not folder.exists() and distributed.world_size() == 1:
            self._save_checkpoint(self.model, None)
            self.callback_handler.on_save(self.args, self.state, self.control)

    def _gradient(self, policy: nn.Module, batch: Batch, chosen: list[int]) -> Tensor:
        """Add up this process's part of the gradient, micro-batch by micro-batch; return the loss of all processes."""
        step = Objective(self.method, batch, chosen, self.values)
        sums = torch.zeros(len(STATISTICS), device=self.args.device)
        for micro, places, counts in self._passes(policy, [batch.rollouts[index] for index in chosen]):
            with self.accelerator.autocast():
                scored = forward(policy, micro, self.settings.sampling.temperature, hidden=step.needs_states)
                value = self.values.on(micro, scored.hidden) if self.values is not None else None
            loss, found = step.loss(scored, value, [chosen[place] for place in places])
            self.accelerator.backward(loss * counts)
            sums += found * counts
        numbers = dict(zip(STATISTICS, summed(sums).tolist(), strict=True))
        self._note({name: numbers[name] for name in step.statistics})
        return sums[0]

    def _passes(self, policy: nn.Module, rollouts: Sequence[Rollout]) -> list[tuple[MicroBatch, list[int], int]]:
        """Return this process's micro-batches, the places of their rollouts, and what they count: 1, or 0.

        A policy in shards takes all processes in each pass: who has fewer makes some that count for nothing.
        """
        together = self.settings.group_size if self.method.whole_groups else 1
        mine = share([len(rollout.prompt_ids) + len(rollout.ids) for rollout in rollouts], together)

        def cut(part: Sequence[int], counts: int) -> list[tuple[MicroBatch, list[int], int]]:
            given, tokens = [rollouts[place] for place in part], self.settings.micro_batch_tokens
            made = micro_batches(given, tokens, costs(policy), together)
            return [(micro, [part[index] for index in micro.indices], counts) for micro in made]

        passes = cut(mine, 1)
        if is_sharded(policy):
            passes += cut(range(together), 0)[:1] * (max(distributed.gather(len(passes))) - len(passes))
        return passes

    # The value function's weights stand beside the policy's

    def _optimised(self) -> nn.Module:
        """Return the module that holds all weights that the optimiser has."""
        model: Any = self.model
        return model if self.values is None else nn.ModuleDict({"policy": model, "value": self.values})

    def create_optimizer(self, model: Any = None) -> torch.optim.Optimizer:
        """Make the optimiser; the value function's own weights get a rate of their own."""
        optimizer = super().create_optimizer(model)
        if self.values is not None:
            config: Any = self.settings
            rate = self.args.learning_rate * config.value_rate
            for module in filter(None, (self.values.head, self.values.trunk)):  # one group is in shards, or none of it
                weights = [weight for weight in module.parameters() if weight.requires_grad]
                optimizer.add_param_group({"params": weights, "lr": rate, "weight_decay": 0.0})
        return optimizer

    def _clip_grad_norm(self, model: nn.Module) -> Any:
        return self.accelerator.clip_grad_norm_(self._optimised().parameters(), self.args.max_grad_norm)

    # Numbers

    def _note(self, numbers: dict[str, float]) -> None:
        for name, number in numbers.items():
            self._metrics[name].append(number)

    def log(self, logs: dict[str, float], *args: Any, **kwargs: Any) -> None:
        """Log, with the means of all that was noted since the last time."""
        means = {name: math.fsum(numbers) / len(numbers) for name, numbers in self._metrics.items()}
        self._metrics.clear()
        super().log({**logs, **means, "num_tokens": float(self.tokens)}, *args, **kwargs)

    # Watching

    def validate(self) -> dict[str, float]:
        """Return a mean, with its 95 % interval, over one completion of each prompt that is watched.

        It is that of the reward, or, where a teacher is all that is followed, of the KL from it (`loss`).
        """
        self.collector.drawing.settle()
        if not self.watched:
            return {}
        mine, policy = self.watched[distributed.rank() :: distributed.world_size()], self._policy
        with in_step(policy):
            rollouts = [one for group in self.collector.sampler.sample(mine, 1, self.args.seed) for one in group]
        if self.method.takes_reward:
            self.collector.rewards.score(rollouts)
            name, values = "reward", [one.reward for one in rollouts]
        else:
            with self.accelerator.autocast(), in_step(policy):
                name, values = "loss", self.collector.from_teacher(policy, rollouts)
        found = intervals.mean([value for part in distributed.gather(values) for value in part])
        return {name: found.estimate, **found.ends(f"{name}_")}

    # Checkpoints that hold all state

    def _save_checkpoint(self, model: Any, trial: Any) -> None:
        super()._save_checkpoint(model, trial)
        begun = self.collector.drawing.begun()
        if not self.is_world_process_zero():
            return
        folder = Path(self._get_output_dir(trial)) / f"{PREFIX_CHECKPOINT_DIR}-{self.state.global_step}"
        state = {"tokens": self.tokens, "batch": self.batch is not None, **self.collector.drawing.state()}
        (folder / STATE).write_text(json.dumps(state))
        if self.batch is not None:
            self.batch.save(folder)
        if begun is not None:
            (folder / BEGUN).mkdir()
            Batch(begun, self.settings.group_size).save(folder / BEGUN)
        self._save_beside(folder)

    def _save_beside(self, folder: Path) -> None:
        if self.values is not None:
            self.values.save(folder)
        if self.collector.reference is not None:
            self.collector.reference.save(folder)

    def _beside(self) -> dict[str, dict[str, Tensor]]:
        """Return what a checkpoint in shards has beside the policy, in the memory where it is."""
        found = {} if self.values is None else {"values": self.values.trained()}
        moved = {} if self.collector.reference is None else self.collector.reference.moved()
        return {**found, "reference": moved} if moved else found

    def _load_optimizer_and_scheduler(self, checkpoint: str | None) -> None:
        super()._load_optimizer_and_scheduler(checkpoint)
        if checkpoint is None:
            return
        folder = Path(checkpoint)
        state = json.loads((folder / STATE).read_text())
        self.tokens = state["tokens"]
        prompts = {prompt.id: prompt for prompt in self.collector.sampler.opened(self.collector.prompts.kept)}
        self.batch = Batch.load(folder, prompts) if state["batch"] else None
        begun = Batch.load(folder / BEGUN, prompts).rollouts if "begun" in state else None
        self.collector.drawing.restore(state, begun)
        self._load_beside(folder)

    def _load_beside(self, folder: Path) -> None:
        if self.values is not None:
            self.values.load(folder)
        if self.collector.reference is not None:
            self.collector.reference.load(folder)


def _watched(parts: Parts, collector: Collector) -> list[Prompt]:
    if parts.data.validation is None:
        return []
    prompts = cast("list[Prompt]", parts.data.validation.examples)
    texts = [lay_out(prompt, parts.loaded.tokenizer, collector.sampler.protocol) for prompt in prompts]
    room = collector.method.config.max_length - collector.method.config.sampling.max_tokens
    lengths = [len(ids) for ids in encode(texts, parts.loaded.tokenizer)]
    return [prompt for prompt, length in zip(prompts, lengths, strict=True) if length <= room]
