"""TRL's RLOO and GRPO trainers on rlpipe's prompts and rewards. Importing this module imports torch and TRL."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, cast

from datasets import Dataset
from transformers import PrinterCallback, Trainer, set_seed

from rlpipe.core import distributed
from rlpipe.core.errors import DataError
from rlpipe.core.logs import quiet_preparation
from rlpipe.datasets.forms import Prompt
from rlpipe.engines.prompts import lay_out
from rlpipe.engines.rollout import Finish, Rollout
from rlpipe.engines.stops import end_tokens
from rlpipe.models.tokens import encode
from rlpipe.rewards.combine import Rewards, summary
from rlpipe.training.offline.arguments import training_arguments
from rlpipe.training.online.audit import OnlineAudit
from rlpipe.training.online.prompt_batches import fit

if TYPE_CHECKING:
    from rlpipe.methods.trl import TrlMethod
    from rlpipe.models.base import Loaded
    from rlpipe.training.base import Parts

ROW = "rlpipe_row"
"""The dataset column that tells a reward which prompt a completion answers."""


def build(method: TrlMethod, parts: Parts) -> Trainer:
    """Build TRL's trainer. Raises ConfigError and DataError."""
    config, loaded = parts.config, parts.loaded
    arguments = training_arguments(method, config, parts.run_dir, distributed.world_size())
    examples = cast("list[Prompt]", parts.data.train.examples)
    if any(example.tools for example in examples):
        what = "rows offer tools, which TRL's trainer does not put into their prompts"
        raise DataError("dataset", what, "give rows without a column 'tools', or choose method=rloo or grpo")
    texts = [lay_out(example, loaded.tokenizer, None) for example in examples]
    lengths = [len(ids) for ids in encode(texts, loaded.tokenizer)]
    prompts = fit(examples, lengths, cast(Any, method.config), config.seed)
    rewards = Rewards(parts.resolved.make_rewards())
    rewards.check_columns(prompts.kept)
    rewards.start(config, loaded.path, loaded.model.device.type, parts.run_dir)
    # TRL loads its reference from here.
    loaded.model.config._name_or_path = loaded.path
    with quiet_preparation(config.log.progress):
        rows = Dataset.from_list([{"prompt": one.prompt, ROW: row} for row, one in enumerate(prompts.kept)])
        set_seed(config.seed)
        base = method.library_trainer()
        trainer = type(base.__name__, (WithoutCard, base), {"__module__": __name__})(
            model=loaded.model,
            args=arguments,
            train_dataset=rows,
            processing_class=loaded.tokenizer,
            reward_funcs=reward_function(rewards, prompts.kept, loaded),
            callbacks=list(parts.callbacks),
            peft_config=loaded.peft,
        )
    trainer.prompts = prompts
    # It prints every log as a dict; showing is the display's work.
    trainer.remove_callback(PrinterCallback)
    return trainer


if TYPE_CHECKING:
    # mypy cannot know which of TRL's classes comes below.
    Base = Any
else:
    Base = object


class WithoutCard(Base):
    """A layer over TRL's trainers: the run's record writes the model card."""

    def create_model_card(self, *args: Any, **kwargs: Any) -> None:
        """Write nothing."""


def reward_function(rewards: Rewards, prompts: Sequence[Prompt], loaded: Loaded) -> Callable[..., list[float]]:
    """Return rlpipe's rewards, weighted and summed, as one reward function of TRL's."""
    stops = end_tokens(loaded)

    def reward(
        completions: list[Any],
        completion_ids: list[list[int]],
        log_metric: Callable[[str, float], None],
        **columns: Any,
    ) -> list[float]:
        rollouts = [
            Rollout(
                prompt=prompts[row],
                prompt_ids=[],
                ids=list(ids),
                logps=[0.0] * len(ids),
                written=[True] * len(ids),
                text=str(completion[0]["content"]),
                finish=Finish.stop if ids and ids[-1] in stops else Finish.length,
            )
            for row, completion, ids in zip(columns[ROW], completions, completion_ids, strict=True)
        ]
        rewards.score(rollouts)
        for name, value in summary(rollouts).items():
            if name != "reward":
                log_metric(name, value)
        return [rollout.reward for rollout in rollouts]

    return reward


def audit(trainer: Any, loaded: Loaded, method: TrlMethod) -> OnlineAudit:
    """Say which prompts are kept and where completions end."""
    stops = [str(loaded.tokenizer.convert_ids_to_tokens(stop)) for stop in sorted(end_tokens(loaded))]
    return OnlineAudit(prompts=trainer.prompts.report(), stop_tokens=stops, written_share=1.0)
