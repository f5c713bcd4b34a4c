"""Models that are only asked: a reference, a reward's or judge's model, a reference of an evaluation.

Whoever asks for the same weights in the same precision, on the same device, gets the same model: it is loaded once a
process, and let go of when nobody holds it any more.
"""

from __future__ import annotations

import dataclasses
import weakref
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rlpipe.config.kinds import Head, ModelConfig, Precision, RewardConfig
from rlpipe.config.settings import Changes, changing, setting
from rlpipe.core.errors import ModelError, Problem
from rlpipe.models.base import Loaded
from rlpipe.stages.named import refuse_altered

if TYPE_CHECKING:
    from transformers import PreTrainedModel

    from rlpipe.config.schema import RunConfig

_known: dict[tuple[str, ...], tuple[weakref.ref[PreTrainedModel], Loaded]] = {}
"""What was loaded, by all that it depends on. The weights are held by those who asked for them, not from here."""


def load_frozen(
    source: str, settings: ModelConfig, head: Head, device: str, scratch: Path, shared: bool = True
) -> Loaded:
    """Load a model that is asked and never trained: no gradients, no dropout. Raises ModelError.

    `source` is a local folder; `scratch` a folder of the run for weights that must be written down (`Model.load`).
    Where `shared` is false the weights belong to the caller alone, who may change them.
    """
    from rlpipe.models.pretrained import Pretrained

    folder = str(Path(source).expanduser().resolve())
    parts = (settings.precision, settings.quantize, settings.attention, settings.chat_template, head, device)
    key = (folder, *map(str, parts))
    if shared and key in _known:
        model, rest = _known[key]
        if (found := model()) is not None:
            return dataclasses.replace(rest, model=found)
    refuse_altered(folder)
    loaded = Pretrained(settings).load(source, head, 0, device, scratch)
    loaded.model.requires_grad_(False)
    loaded.model.eval()
    if shared:
        _known[key] = (weakref.ref(loaded.model), dataclasses.replace(loaded, model=None))  # type: ignore[arg-type]
    return loaded


@changing(Changes.result)
@dataclass
class FrozenModelConfig(RewardConfig):
    """Which model a reward scores with."""

    model: str | None = setting(None, Changes.indirect)
    """A hub id or a local folder."""
    revision: str | None = setting(None, Changes.indirect)
    """The hub's commit, tag or branch."""
    stage: list[str] = setting(list, Changes.indirect)
    """Instead of `model`: the overrides of the run that makes it; model and dataset are inherited unless named."""
    precision: Precision = Precision.float32
    batch_tokens: int | None = setting(None, Changes.nothing, at_least=1, at_most=10**9, usual=(64, 2**22))
    """Tokens per forward pass, padding included; null: 2048 on a processor, 8192 on a GPU."""


def model_problems(config: FrozenModelConfig, required: bool) -> list[Problem]:
    """Return what is wrong with a choice of model; `required` where there is no default."""
    found = []
    if config.model is not None and config.stage:
        found.append(Problem("model", "both a model and the run that makes one are given", "drop one of the two"))
    if required and config.model is None and not config.stage:
        fix = "give a hub id or a folder, or the run that trains it: stage=['method=reward_model']"
        found.append(Problem("model", "is not given", fix))
    return found


def load_for_reward(
    config: FrozenModelConfig, run: RunConfig, policy: str, device: str, scratch: Path, head: Head
) -> Loaded:
    """Load the model that a reward scores with, by default the policy as it was at the start, with its own tokenizer.

    `policy` is the folder of the policy's first weights. Raises ModelError where it cannot be loaded, or ends in no
    reward head when one is needed.
    """
    from rlpipe.hub.facts import local_facts
    from rlpipe.hub.files import locate
    from rlpipe.stages.store import product

    if config.stage:
        source = str(product(run, config.stage))
    else:
        source = str(locate(config.model or policy, config.revision if config.model else None)[0])
    facts = local_facts(source)
    if head is Head.reward and facts is not None and not facts.reward_head:
        raise ModelError(
            f"reward.{config.name}",
            f"{source} is a language model without a reward head: its numbers would be made up",
            f"name a reward model, or the run that makes one: reward.{config.name}.stage=['method=reward_model']",
        )
    return load_frozen(source, ModelConfig(name="pretrained", precision=config.precision), head, device, scratch)


@changing(Changes.indirect)
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


def reference_problems(
    reference: ReferenceConfig, used: bool, moves: bool, config: RunConfig, where: str = "method.reference"
) -> list[Problem]:
    """Return what is wrong with a choice of reference, or of another frozen model that `where` names.

    `used` says whether the objective has a reference, `moves` whether it follows the policy.
    """
    found = []
    if reference.model is not None and reference.stage:
        found.append(Problem(where, "both a model and the run that makes one are given", "drop one of the two"))
    if reference.given and not used:
        found.append(Problem(where, "this objective has no reference", "drop it, or give the reference a weight"))
    if reference.given and moves and config.model.lora.rank > 0:
        what = "adapters cannot be moved into another model than the one that they sit on"
        found.append(Problem(where, what, "set model.lora.rank=0, or method.sync_reference=0"))
    return found


def load_reference(config: RunConfig, policy: Loaded, run_dir: Path, role: str = "reference") -> PreTrainedModel | None:
    """Load the model that `method.reference` names, frozen, onto the policy's device; None where it names none.

    `role` is the method's field: another one than the reference never moves. Raises ModelError for a model that cannot
    be loaded or has another vocabulary than the policy.
    """
    from rlpipe.hub.files import locate
    from rlpipe.stages.store import product_named

    reference: ReferenceConfig = getattr(config.method, role)
    if not reference.given:
        return None
    source = (
        product_named(config, f"method.{role}.stage")
        if reference.stage
        else locate(str(reference.model), reference.revision)[0]
    )
    moves = role == "reference" and bool(getattr(config.method, "sync_reference", False))
    settings = like(config.model, config.model.chat_template)
    device = policy.model.device.type
    loaded = load_frozen(str(source), settings, Head.causal_lm, device, run_dir / role, shared=not moves)
    _same_words(role, source, loaded.tokenizer.get_vocab(), policy.tokenizer.get_vocab())
    if moves:
        _same_shapes(source, loaded.model, policy.model)
    return loaded.model


def like(policy: ModelConfig, chat_template: str | None) -> ModelConfig:
    """Return settings that load a frozen model as the policy is loaded, without adapters to train."""
    return ModelConfig(
        name="pretrained",
        precision=policy.precision,
        quantize=policy.quantize,
        attention=policy.attention,
        chat_template=chat_template,
    )


def _same_words(role: str, source: Path, reference: Mapping[str, int], policy: Mapping[str, int]) -> None:
    if reference == policy:
        return
    differing = len(dict(reference).items() ^ dict(policy).items())
    raise ModelError(
        f"method.{role}",
        (
            f"{source} has another vocabulary than the policy ({differing} entries differ), so their "
            "log-probabilities cannot be compared"
        ),
        f"name a {role} with the policy's own tokenizer",
    )


def _same_shapes(source: Path, reference: Any, policy: Any) -> None:
    shapes = [{name: tuple(weight.shape) for name, weight in one.named_parameters()} for one in (reference, policy)]
    if shapes[0] != shapes[1]:
        raise ModelError(
            "method.reference",
            f"{source} has another architecture than the policy, which cannot be moved into it",
            "name a reference of the policy's architecture, or set method.sync_reference=0",
        )
