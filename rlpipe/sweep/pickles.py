"""Reading frozen jobs, of this version of rlpipe and of earlier ones.

A pickle names classes and functions by their modules. Whoever moves one that frozen jobs name adds the old place to
`MODULES` or `NAMES`, and jobs that were frozen before still run; `tests/sweep/frozen_names.txt` lists what they name.
"""

from __future__ import annotations

import io
import pickle
from typing import Any

from rlpipe.core.errors import LaunchError

MODULES = {
    "rlpipe.cli": "rlpipe.cli.run",
    "rlpipe.errors": "rlpipe.core.errors",
    "rlpipe.feedback.settings": "rlpipe.methods.ai_feedback",
    "rlpipe.launch.freeze": "rlpipe.sweep.freeze",
    "rlpipe.launch.local.config": "rlpipe.config.launchers",
    "rlpipe.launch.settings": "rlpipe.config.launchers",
    "rlpipe.launch.slurm.config": "rlpipe.config.launchers",
    "rlpipe.launch.sweeper": "rlpipe.config.launchers",
    "rlpipe.models.reference": "rlpipe.engines.frozen",
    "rlpipe.offline.method": "rlpipe.methods.offline",
    "rlpipe.online.method": "rlpipe.methods.online",
    "rlpipe.online.rollout": "rlpipe.engines.rollout",
    "rlpipe.online.trl": "rlpipe.methods.trl",
    "rlpipe.resolvers": "rlpipe.config.resolvers",
    "rlpipe.rewards.frozen": "rlpipe.engines.frozen",
    "rlpipe.rewards.judge": "rlpipe.rewards.judge.judge",
    "rlpipe.rewards.pairwise": "rlpipe.rewards.judge.pairwise",
    "rlpipe.schema": "rlpipe.config.schema",
}
"""Modules that moved, with all that was in them; old place to new."""

NAMES = {
    ("rlpipe.datasets.base", "DatasetConfig"): "rlpipe.config.kinds",
    ("rlpipe.datasets.files", "FormName"): "rlpipe.datasets.shapes",
    ("rlpipe.evaluations.base", "EvaluationConfig"): "rlpipe.config.kinds",
    ("rlpipe.methods.base", "MethodConfig"): "rlpipe.config.kinds",
    ("rlpipe.models.base", "Head"): "rlpipe.config.kinds",
    ("rlpipe.models.base", "LoraConfig"): "rlpipe.config.kinds",
    ("rlpipe.models.base", "ModelConfig"): "rlpipe.config.kinds",
    ("rlpipe.models.base", "Precision"): "rlpipe.config.kinds",
    ("rlpipe.models.base", "Quantize"): "rlpipe.config.kinds",
    ("rlpipe.rewards.base", "RewardConfig"): "rlpipe.config.kinds",
    ("rlpipe.tools.base", "ProtocolName"): "rlpipe.config.kinds",
    ("rlpipe.tools.base", "ToolConfig"): "rlpipe.config.kinds",
    ("rlpipe.trackers.base", "TrackerConfig"): "rlpipe.config.kinds",
}
"""What moved out of a module, by module and name; the new module. These come before `MODULES`."""


HYDRA_PLUGINS = "hydra_plugins."


class Gone:
    """What stands for a class of a Hydra plugin that is not installed any more.

    Jobs hold the options of all plugins that were installed when they were frozen, and use none but their own.
    """

    def __init__(self, *args: Any):
        """Take what the class took."""


def current(module: str, name: str) -> str:
    """Return the module in which this version has what an earlier one had as `module.name`."""
    return NAMES.get((module, name)) or MODULES.get(module, module)


class _Unpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        """Return a class or function by its old or new name."""
        try:
            return super().find_class(current(module, name), name)
        except (ModuleNotFoundError, AttributeError) as error:
            if module.startswith(HYDRA_PLUGINS):
                return type(name, (Gone,), {"__module__": module})
            raise LaunchError(
                "",
                f"a frozen job names {module}.{name}, which is not here: {error}",
                "run it with the version of rlpipe and the packages that it was frozen with",
            ) from error


def loads(frozen: bytes) -> Any:
    """Return what was pickled. Raises LaunchError for a class or function that no installed package has."""
    return _Unpickler(io.BytesIO(frozen)).load()
