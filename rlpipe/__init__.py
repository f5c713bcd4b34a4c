"""A laboratory bench for fine-tuning language models: what notebooks and authors of plugins use.

    import rlpipe

    overrides = ["method=dpo", "dataset=ultrafeedback"]
    rlpipe.run(rlpipe.compose(*overrides), overrides)

Names are imported when they are first asked for, so `import rlpipe` costs next to nothing and imports no torch
(`Batch`, `Loss` and `Tokens` do, once they are asked for: take them inside functions). Other modules of the package
import from where things are, never from here.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rlpipe.config.compose import compose
    from rlpipe.config.kinds import (
        DatasetConfig,
        EnvironmentConfig,
        EvaluationConfig,
        Head,
        MethodConfig,
        ModelConfig,
        RewardConfig,
        StoringTrackerConfig,
        ToolConfig,
        TrackerConfig,
    )
    from rlpipe.config.launchers import LauncherConfig
    from rlpipe.config.schema import RunConfig
    from rlpipe.config.settings import Changes, changing, setting
    from rlpipe.core.errors import ConfigError, DataError, ModelError, PluginError, Problem, RlpipeError
    from rlpipe.datasets.base import Dataset
    from rlpipe.datasets.forms import Chat, Choice, Completion, Example, Labelled, Preference, Prompt, Text
    from rlpipe.engines.rollout import Rollout, SamplingConfig, Score
    from rlpipe.environments.base import Environment, Step
    from rlpipe.evaluations.base import Evaluation, EvaluationContext
    from rlpipe.evaluations.completions import complete
    from rlpipe.launchers.base import JobStatus, Launcher
    from rlpipe.methods.base import Method
    from rlpipe.methods.batch import Batch, Tokens
    from rlpipe.methods.dpo import DPO, DPOConfig
    from rlpipe.methods.grpo import GRPO, GRPOConfig
    from rlpipe.methods.losses import Loss
    from rlpipe.methods.offline import OfflineConfig, OfflineMethod, SharedPromptConfig
    from rlpipe.methods.online import OnlineConfig, OnlineMethod
    from rlpipe.methods.sft import SFT, SFTConfig
    from rlpipe.models.base import Loaded, Model
    from rlpipe.rewards.base import Case, Reward, RewardContext
    from rlpipe.run.run import run
    from rlpipe.tools.base import Tool
    from rlpipe.trackers.base import Artifact, RunIdentity, Tracker

_MODULES = {
    "Artifact": "rlpipe.trackers.base",
    "Batch": "rlpipe.methods.batch",
    "Case": "rlpipe.rewards.base",
    "Changes": "rlpipe.config.settings",
    "Chat": "rlpipe.datasets.forms",
    "Choice": "rlpipe.datasets.forms",
    "Completion": "rlpipe.datasets.forms",
    "ConfigError": "rlpipe.core.errors",
    "DPO": "rlpipe.methods.dpo",
    "DPOConfig": "rlpipe.methods.dpo",
    "DataError": "rlpipe.core.errors",
    "Dataset": "rlpipe.datasets.base",
    "DatasetConfig": "rlpipe.config.kinds",
    "Environment": "rlpipe.environments.base",
    "EnvironmentConfig": "rlpipe.config.kinds",
    "Evaluation": "rlpipe.evaluations.base",
    "EvaluationConfig": "rlpipe.config.kinds",
    "EvaluationContext": "rlpipe.evaluations.base",
    "Example": "rlpipe.datasets.forms",
    "GRPO": "rlpipe.methods.grpo",
    "GRPOConfig": "rlpipe.methods.grpo",
    "Head": "rlpipe.config.kinds",
    "JobStatus": "rlpipe.launchers.base",
    "Labelled": "rlpipe.datasets.forms",
    "Launcher": "rlpipe.launchers.base",
    "LauncherConfig": "rlpipe.config.launchers",
    "Loaded": "rlpipe.models.base",
    "Loss": "rlpipe.methods.losses",
    "Method": "rlpipe.methods.base",
    "MethodConfig": "rlpipe.config.kinds",
    "Model": "rlpipe.models.base",
    "ModelConfig": "rlpipe.config.kinds",
    "ModelError": "rlpipe.core.errors",
    "OfflineConfig": "rlpipe.methods.offline",
    "OfflineMethod": "rlpipe.methods.offline",
    "OnlineConfig": "rlpipe.methods.online",
    "OnlineMethod": "rlpipe.methods.online",
    "PluginError": "rlpipe.core.errors",
    "Preference": "rlpipe.datasets.forms",
    "Problem": "rlpipe.core.errors",
    "Prompt": "rlpipe.datasets.forms",
    "Reward": "rlpipe.rewards.base",
    "RewardConfig": "rlpipe.config.kinds",
    "RewardContext": "rlpipe.rewards.base",
    "RlpipeError": "rlpipe.core.errors",
    "Rollout": "rlpipe.engines.rollout",
    "RunConfig": "rlpipe.config.schema",
    "RunIdentity": "rlpipe.trackers.base",
    "SFT": "rlpipe.methods.sft",
    "SFTConfig": "rlpipe.methods.sft",
    "SamplingConfig": "rlpipe.engines.rollout",
    "Score": "rlpipe.engines.rollout",
    "SharedPromptConfig": "rlpipe.methods.offline",
    "Step": "rlpipe.environments.base",
    "StoringTrackerConfig": "rlpipe.config.kinds",
    "Text": "rlpipe.datasets.forms",
    "Tokens": "rlpipe.methods.batch",
    "Tool": "rlpipe.tools.base",
    "ToolConfig": "rlpipe.config.kinds",
    "Tracker": "rlpipe.trackers.base",
    "TrackerConfig": "rlpipe.config.kinds",
    "changing": "rlpipe.config.settings",
    "complete": "rlpipe.evaluations.completions",
    "compose": "rlpipe.config.compose",
    "run": "rlpipe.run.run",
    "setting": "rlpipe.config.settings",
}
"""Where each public name is defined."""

__all__ = [
    "DPO",
    "GRPO",
    "SFT",
    "Artifact",
    "Batch",
    "Case",
    "Changes",
    "Chat",
    "Choice",
    "Completion",
    "ConfigError",
    "DPOConfig",
    "DataError",
    "Dataset",
    "DatasetConfig",
    "Environment",
    "EnvironmentConfig",
    "Evaluation",
    "EvaluationConfig",
    "EvaluationContext",
    "Example",
    "GRPOConfig",
    "Head",
    "JobStatus",
    "Labelled",
    "Launcher",
    "LauncherConfig",
    "Loaded",
    "Loss",
    "Method",
    "MethodConfig",
    "Model",
    "ModelConfig",
    "ModelError",
    "OfflineConfig",
    "OfflineMethod",
    "OnlineConfig",
    "OnlineMethod",
    "PluginError",
    "Preference",
    "Problem",
    "Prompt",
    "Reward",
    "RewardConfig",
    "RewardContext",
    "RlpipeError",
    "Rollout",
    "RunConfig",
    "RunIdentity",
    "SFTConfig",
    "SamplingConfig",
    "Score",
    "SharedPromptConfig",
    "Step",
    "StoringTrackerConfig",
    "Text",
    "Tokens",
    "Tool",
    "ToolConfig",
    "Tracker",
    "TrackerConfig",
    "changing",
    "complete",
    "compose",
    "run",
    "setting",
]


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module 'rlpipe' has no attribute {name!r}")
    value = getattr(importlib.import_module(_MODULES[name]), name)
    # Importing `run.run` has bound `run` to the room of that name, which can be called: keep it.
    return globals().setdefault(name, value)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
