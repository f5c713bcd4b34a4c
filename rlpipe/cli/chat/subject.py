"""Whom one talks to: the model of a run or a stage with the run's tools and sampling, or any model folder or hub id."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from rlpipe.config.compose import restore
from rlpipe.config.kinds import Head, ModelConfig, Precision
from rlpipe.config.resolved import resolve
from rlpipe.core.errors import ModelError, guess
from rlpipe.core.terminal import count
from rlpipe.engines.rollout import SamplingConfig
from rlpipe.models.base import Loaded
from rlpipe.models.chat_template import NO_TEMPLATE
from rlpipe.records.runs import Standing
from rlpipe.stages.named import look_up, model_of, run_named, stage_names

if TYPE_CHECKING:
    from rlpipe.config.schema import RunConfig
    from rlpipe.tools.base import Tool

SAMPLING = SamplingConfig(temperature=0.7, max_tokens=512)
"""How answers are drawn where no run says it."""


@dataclass
class Subject:
    """A model to talk to."""

    loaded: Loaded
    description: str
    """What it is, in a line."""
    sampling: SamplingConfig
    tools: Sequence[Tool] = ()
    notes: Sequence[str] = ()
    """What a person should know before reading its answers."""


def find(name: str, device: str, scratch: Path) -> Subject:
    """Load what a name stands for: a run's folder, a stage, a model's folder, or a hub id, looked for in this order.

    `scratch` is a folder for weights that stand nowhere (embeddings of tokens that ChatML needs). Raises RecordError
    or ModelError for a name that stands for nothing, and for a run without a model that writes text.
    """
    run = look_up(name)
    if run is None:
        return _bare(name, device, scratch)
    config = restore(run.config)
    notes = [] if run.standing is Standing.ok else [f"the run has not ended well ({run.standing.value})"]
    notes += [f"{flaw}: it is not the model that the run has made" for flaw in run.flaws("model/")]
    settings = ModelConfig(precision=config.model.precision, attention=config.model.attention)
    loaded = _load(settings, str(model_of(run)), device, scratch)
    sampling = sampling_of(config)
    description = f"{run.name}: trained by {config.method.name} on {config.dataset.name}"
    return Subject(loaded, _size(description, loaded), sampling, resolve(config).make_tools(), notes)


def sampling_of(config: RunConfig) -> SamplingConfig:
    """Return how a run's training draws completions; where it draws none, how a chat does."""
    return replace(getattr(config.method, "sampling", None) or SAMPLING)


def _bare(name: str, device: str, scratch: Path) -> Subject:
    folder = Path(name).expanduser()
    if folder.is_dir() and not (folder / "config.json").is_file():
        run_named(name)  # says that it holds no run, or several
    if not folder.exists() and name.count("/") != 1:
        raise ModelError(
            name,
            "no run's folder, no stage of the store, no model's folder, and no hub id (organisation/name)",
            f"check the path; of the store's stages, {guess(name, stage_names())}",
        )
    precision = Precision.pure_bfloat16 if device == "cuda" else Precision.float32
    loaded = _load(ModelConfig(precision=precision), name, device, scratch)
    notes = []
    if any(NO_TEMPLATE in note for note in loaded.notes):
        notes.append(
            "this model has no chat template, so it is a base model most likely: it is laid out as ChatML, which it "
            "was not trained on, and may go on with the text rather than answer"
        )
    return Subject(loaded, _size(name, loaded), replace(SAMPLING), (), notes)


def _load(settings: ModelConfig, source: str, device: str, scratch: Path) -> Loaded:
    from rlpipe.models.pretrained import Pretrained

    return Pretrained(replace(settings, name="pretrained")).load(source, Head.causal_lm, 0, device, scratch)


def _size(description: str, loaded: Loaded) -> str:
    return f"{description} ({count(loaded.model.num_parameters())} weights)"
