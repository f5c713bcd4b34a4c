"""Frozen models that rewards score with: which one, and loading it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from rlpipe.config.kinds import Head, Precision, RewardConfig
from rlpipe.core.errors import ModelError, Problem
from rlpipe.rewards.base import Surroundings

if TYPE_CHECKING:
    from rlpipe.models.base import Loaded


@dataclass
class FrozenModelConfig(RewardConfig):
    """Which model a reward scores with."""

    model: str | None = None
    """A hub id or a local folder."""
    revision: str | None = None
    """The hub's commit, tag or branch."""
    stage: list[str] = field(default_factory=list)
    """Instead of `model`: the overrides of the run that makes it; model and dataset are inherited unless named."""
    precision: Precision = Precision.float32
    batch_tokens: int = 8192
    """Tokens per forward pass, padding included."""


def problems(config: FrozenModelConfig, required: bool) -> list[Problem]:
    """Return what is wrong with a choice of model; `required` where there is no default."""
    found = []
    if config.model is not None and config.stage:
        found.append(Problem("model", "both a model and the run that makes one are given", "drop one of the two"))
    if required and config.model is None and not config.stage:
        fix = "give a hub id or a folder, or the run that trains it: stage=['method=reward_model']"
        found.append(Problem("model", "is not given", fix))
    if config.batch_tokens < 1:
        found.append(Problem("batch_tokens", f"{config.batch_tokens} would hold no row", "give at least 1"))
    return found


def load(config: FrozenModelConfig, surroundings: Surroundings, head: Head) -> Loaded:
    """Load a frozen model, by default the policy as it was at the start, with its own tokenizer.

    Raises ModelError where it cannot be loaded, or ends in no reward head when one is needed.
    """
    from rlpipe.config.kinds import ModelConfig
    from rlpipe.hub.facts import local_facts
    from rlpipe.hub.files import locate
    from rlpipe.models.pretrained import Pretrained
    from rlpipe.stages.store import product

    if config.stage:
        source = str(product(surroundings.config, config.stage))
    else:
        source = str(locate(config.model or surroundings.policy, config.revision if config.model else None)[0])
    facts = local_facts(source)
    if head is Head.reward and facts is not None and not facts.reward_head:
        raise ModelError(
            f"reward.{config.name}: {source} is a language model without a reward head: its numbers would be made up\n"
            f"    → name a reward model, or the run that makes one: reward.{config.name}.stage=['method=reward_model']"
        )
    frozen = ModelConfig(name="pretrained", precision=config.precision)
    loaded = Pretrained(frozen).load(source, head, 0, surroundings.device, surroundings.folder)
    loaded.model.requires_grad_(False)
    loaded.model.eval()
    return loaded
