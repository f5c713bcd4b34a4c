"""The model that a policy is held close to, where that is another one than the policy's own start."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rlpipe.config.kinds import Head, ModelConfig
from rlpipe.core.errors import ModelError, Problem
from rlpipe.models.base import Loaded

if TYPE_CHECKING:
    from transformers import PreTrainedModel

    from rlpipe.config.schema import RunConfig


@dataclass
class ReferenceConfig:
    """Which model is the reference. Without `model` and `stage` it is the policy as it was at the start."""

    model: str | None = None
    """A hub id or a local folder."""
    revision: str | None = None
    """The hub's commit, tag or branch."""
    stage: list[str] = field(default_factory=list)
    """Instead of `model`: the overrides of the run that makes it; it inherits model, dataset and seed unless it names
    its own."""

    @property
    def given(self) -> bool:
        """Whether it is another model than the policy's start."""
        return self.model is not None or bool(self.stage)


def problems(own: ReferenceConfig, used: bool, moves: bool, config: RunConfig) -> list[Problem]:
    """Return what is wrong with a choice of reference.

    `used` says whether the objective has a reference, `moves` whether it follows the policy.
    """
    found = []
    where = "method.reference"
    if own.model is not None and own.stage:
        found.append(Problem(where, "both a model and the run that makes one are given", "drop one of the two"))
    if own.given and not used:
        found.append(Problem(where, "this objective has no reference", "drop it, or give the reference a weight"))
    if own.given and moves and config.model.lora.rank > 0:
        what = "adapters cannot be moved into another model than the one that they sit on"
        found.append(Problem(where, what, "set model.lora.rank=0, or method.sync_reference=0"))
    return found


def load(config: RunConfig, policy: Loaded, run_dir: Path) -> PreTrainedModel | None:
    """Load the reference that `method.reference` names, frozen, onto the policy's device; None where it names none.

    Raises ModelError for one that cannot be loaded or has another vocabulary than the policy.
    """
    from rlpipe.hub.files import locate
    from rlpipe.models.pretrained import Pretrained
    from rlpipe.stages.store import made

    own: ReferenceConfig = config.method.reference  # type: ignore[attr-defined]
    if not own.given:
        return None
    source = made(config, "method.reference.stage") if own.stage else locate(str(own.model), own.revision)[0]
    settings = ModelConfig(
        name="pretrained",
        precision=config.model.precision,
        quantize=config.model.quantize,
        attention=config.model.attention,
        chat_template=config.model.chat_template,
    )
    device = policy.model.device.type
    loaded = Pretrained(settings).load(str(source), Head.causal_lm, 0, device, run_dir / "reference")
    _same_words(source, loaded.tokenizer.get_vocab(), policy.tokenizer.get_vocab())
    if getattr(config.method, "sync_reference", False):
        _same_shapes(source, loaded.model, policy.model)
    loaded.model.requires_grad_(False)
    return loaded.model.eval()


def _same_words(source: Path, reference: Mapping[str, int], policy: Mapping[str, int]) -> None:
    if reference == policy:
        return
    differing = len(dict(reference).items() ^ dict(policy).items())
    raise ModelError(
        f"method.reference: {source} has another vocabulary than the policy ({differing} entries differ), so their "
        "log-probabilities cannot be compared\n    → name a reference with the policy's own tokenizer"
    )


def _same_shapes(source: Path, reference: Any, policy: Any) -> None:
    shapes = [{name: tuple(weight.shape) for name, weight in one.named_parameters()} for one in (reference, policy)]
    if shapes[0] != shapes[1]:
        raise ModelError(
            f"method.reference: {source} has another architecture than the policy, which cannot be moved into it\n"
            "    → name a reference of the policy's architecture, or set method.sync_reference=0"
        )
