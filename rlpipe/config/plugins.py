"""Which plugins there are, and how a name in a config becomes a class.

A plugin is a class with a `Config` dataclass. The built-in ones stand in `BUILT_IN`; a package adds
its own through an entry point, and both go through the same loading path:

    [project.entry-points."rlpipe.method"]
    my_method = "my_package.my_module:MyMethod"

A plugin needs no YAML: its `Config` alone makes `method=my_method` selectable. A package that has
YAML options too names the folder's package in the entry-point group `rlpipe.conf`.

Importing a plugin's module must not import torch (`rlpipe.testing` checks it). One that fails to
import is kept aside with its error and matters only if it is chosen.
"""

from __future__ import annotations

import functools
import importlib
import importlib.util
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import EntryPoint, entry_points
from typing import Any

from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from rlpipe.core.errors import PluginError, RlpipeError, Stopped, guess
from rlpipe.core.paths import conf_dir

BUILT_IN: dict[str, dict[str, str]] = {
    "model": {
        "pretrained": "rlpipe.models.pretrained:Pretrained",
        "blank": "rlpipe.models.blank:Blank",
    },
    "dataset": {
        "smoltalk": "rlpipe.datasets.smoltalk:SmolTalk",
        "ultrafeedback": "rlpipe.datasets.ultrafeedback:UltraFeedback",
        "warmstart": "rlpipe.datasets.warmstart:WarmStart",
        "countdown": "rlpipe.datasets.countdown:Countdown",
        "gsm8k": "rlpipe.datasets.gsm8k:Gsm8k",
        "piqa": "rlpipe.datasets.piqa:Piqa",
        "files": "rlpipe.datasets.files:Files",
        "mixture": "rlpipe.datasets.mixture:Mixture",
        "ai_feedback": "rlpipe.datasets.ai_feedback:AIFeedback",
        "reasoning_gym": "rlpipe.datasets.reasoning_gym:ReasoningGym",
        "episodes": "rlpipe.datasets.episodes:Episodes",
        "guessing_games": "rlpipe.datasets.guessing_games:GuessingGames",
        "linear_algebra": "rlpipe.datasets.linear_algebra:LinearAlgebra",
    },
    "method": {
        "sft": "rlpipe.methods.sft:SFT",
        "reward_model": "rlpipe.methods.reward_model:RewardModel",
        "dpo": "rlpipe.methods.dpo:DPO",
        "kto": "rlpipe.methods.kto:KTO",
        "orpo": "rlpipe.methods.orpo:ORPO",
        "simpo": "rlpipe.methods.simpo:SimPO",
        "rloo": "rlpipe.methods.rloo:RLOO",
        "grpo": "rlpipe.methods.grpo:GRPO",
        "reinforce": "rlpipe.methods.reinforce:Reinforce",
        "ppo": "rlpipe.methods.ppo:PPO",
        "online_dpo": "rlpipe.methods.online_dpo:OnlineDPO",
        "distill": "rlpipe.methods.distill:Distill",
        "trl_rloo": "rlpipe.methods.trl_rloo:TrlRLOO",
        "trl_grpo": "rlpipe.methods.trl_grpo:TrlGRPO",
        "ai_feedback": "rlpipe.methods.ai_feedback:AIFeedback",
        "none": "rlpipe.methods.none:NoTraining",
    },
    "reward": {
        "countdown": "rlpipe.rewards.countdown:CountdownReward",
        "gsm8k": "rlpipe.rewards.gsm8k:Gsm8kReward",
        "math": "rlpipe.rewards.math:MathReward",
        "matrix": "rlpipe.rewards.matrix:MatrixReward",
        "format": "rlpipe.rewards.format:Format",
        "length": "rlpipe.rewards.length:Length",
        "reward_model": "rlpipe.rewards.reward_model:RewardModelReward",
        "perplexity": "rlpipe.rewards.perplexity:PerplexityReward",
        "frozen_answer": "rlpipe.rewards.frozen_answer:FrozenAnswer",
        "judge": "rlpipe.rewards.judge.judge:Judge",
        "reasoning_gym": "rlpipe.rewards.reasoning_gym:ReasoningGymReward",
        "environment": "rlpipe.rewards.environment:EnvironmentReward",
    },
    "tool": {
        "calculator": "rlpipe.tools.calculator:Calculator",
    },
    "environment": {
        "guessing": "rlpipe.environments.guessing:Guessing",
        "gem": "rlpipe.environments.gem:Gem",
        "textarena": "rlpipe.environments.textarena:TextArena",
    },
    "engine": {
        "transformers": "rlpipe.engines.transformers:Transformers",
        "vllm": "rlpipe.engines.vllm:Vllm",
        "vllm_server": "rlpipe.engines.vllm_server:VllmServer",
    },
    "evaluation": {
        "preference": "rlpipe.evaluations.preference:PreferenceAccuracy",
        "perplexity": "rlpipe.evaluations.perplexity:Perplexity",
        "choice": "rlpipe.evaluations.choice:ChoiceAccuracy",
        "accuracy": "rlpipe.evaluations.accuracy:Accuracy",
        "win_rate": "rlpipe.evaluations.win_rate:WinRate",
        "lm_eval": "rlpipe.evaluations.lm_eval:LmEval",
        "samples": "rlpipe.evaluations.samples:Samples",
        "leaderboard": "rlpipe.evaluations.leaderboard:Leaderboard",
    },
    "tracker": {
        "mlflow": "rlpipe.trackers.mlflow:MLflow",
        "none": "rlpipe.trackers.none:NoTracker",
        "tensorboard": "rlpipe.trackers.tensorboard:TensorBoard",
        "wandb": "rlpipe.trackers.wandb:Wandb",
    },
    "launcher": {
        "local": "rlpipe.launchers.local.launcher:LocalLauncher",
        "slurm": "rlpipe.launchers.slurm.launcher:SlurmLauncher",
        "ray": "rlpipe.launchers.ray.launcher:RayLauncher",
        "sagemaker": "rlpipe.launchers.sagemaker.launcher:SageMakerLauncher",
    },
}
KINDS = tuple(BUILT_IN)
GROUPS = {kind: "hydra/launcher" if kind == "launcher" else kind for kind in KINDS}
"""The config group of each kind: a launcher runs runs and is no part of one, so its group is Hydra's own."""

SEVERAL = ("reward", "tool", "evaluation")
"""The groups that take several options at once; each option is then packaged under its own name."""


@dataclass(frozen=True)
class Plugin:
    """A name of one kind, and the class behind it or the reason why there is none."""

    kind: str
    name: str
    origin: str
    """`rlpipe`, or the distribution that brings it."""
    cls: Any = None
    """None where it cannot be used; `error` then says why."""
    error: str | None = None


@functools.cache
def table() -> dict[str, dict[str, Plugin]]:
    """Return every plugin by kind and name, built-in ones and those of installed packages."""
    plugins: dict[str, dict[str, Plugin]] = {}
    for kind, targets in BUILT_IN.items():
        plugins[kind] = {
            name: _load(kind, EntryPoint(name, target, f"rlpipe.{kind}")) for name, target in targets.items()
        }
        for entry in entry_points(group=f"rlpipe.{kind}"):
            known = plugins[kind].get(entry.name)
            plugin = _load(kind, entry)
            if known is not None:
                both = f"'{known.origin}' and '{plugin.origin}' both bring the {kind} '{entry.name}'"
                reason = f"{both}: uninstall one, or rename its entry point"
                plugin = Plugin(kind, entry.name, plugin.origin, error=reason)
            elif (conf_dir() / GROUPS[kind] / f"{entry.name}.yaml").is_file():
                what = f"package '{plugin.origin}' brings a {kind} '{entry.name}', which is an option of rlpipe's own"
                warnings.warn(
                    f"{what}: {GROUPS[kind]}={entry.name} stays rlpipe's; rename its entry point", stacklevel=2
                )
            plugins[kind][entry.name] = plugin
    return plugins


def _load(kind: str, entry: EntryPoint) -> Plugin:
    origin = entry.dist.name if entry.dist is not None else "rlpipe"
    try:
        cls = entry.load()
    except Exception as error:
        if origin == "rlpipe":
            raise
        return Plugin(kind, entry.name, origin, error=f"{type(error).__name__}: {error}")
    base = importlib.import_module(f"rlpipe.{kind}s.base")
    wanted = getattr(base, kind.capitalize(), None)
    if wanted is not None and not (isinstance(cls, type) and issubclass(cls, wanted)):
        reason = f"{entry.value} is no subclass of {base.__name__}.{wanted.__name__}"
        return Plugin(kind, entry.name, origin, error=reason)
    try:
        OmegaConf.structured(cls.Config)
    except (AttributeError, OmegaConfBaseException) as error:
        return Plugin(kind, entry.name, origin, error=f"its Config cannot be a config: {str(error).splitlines()[0]}")
    return Plugin(kind, entry.name, origin, cls=cls)


def load(kind: str, name: str) -> Any:
    """Return the class of a plugin. Raises PluginError for a name that is unknown or failed to import."""
    plugin = table()[kind].get(name)
    if plugin is None:
        raise PluginError(f"{kind}.name", f"there is no {kind} plugin '{name}'", guess(name, table()[kind]))
    if plugin.cls is None:
        raise PluginError(
            f"{GROUPS[kind]}={name}",
            f"the plugin of package '{plugin.origin}' cannot be used: {plugin.error}",
            f"repair or reinstall '{plugin.origin}', or choose another {kind}",
        )
    return plugin.cls


def make(kind: str, config: Any) -> Any:
    """Return the plugin object that a config node describes."""
    return load(kind, config.name)(config)


@contextmanager
def blame(kind: str, name: str) -> Iterator[None]:
    """Attribute a plain Python error of a third party's plugin to it; pass on everything else."""
    try:
        yield
    except (RlpipeError, Stopped):
        raise
    except Exception as error:
        plugin = table()[kind].get(name)
        if plugin is None or plugin.origin == "rlpipe":
            raise
        raise PluginError(
            "",
            f"{kind}={name} (package '{plugin.origin}') failed: {type(error).__name__}: {error}",
            "the traceback stands in the run's log.txt; report it to the plugin's authors",
        ) from error
