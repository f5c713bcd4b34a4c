"""What Hydra makes of `hydra/launcher=…`, for every launcher that there is (`hydra_plugins.rlpipe_launch`).

Every composition
imports this module, so what launching needs is imported when something is launched.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, ClassVar

import hydra.plugins.launcher
from hydra.core.utils import JobReturn
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig

if TYPE_CHECKING:
    from rlpipe.sweep.launching import Launching


class HydraLauncher(hydra.plugins.launcher.Launcher):
    """Launches through the launcher of one name."""

    name: ClassVar[str]
    launching: Launching

    def __init__(self, **settings: Any):
        """Leave the settings to the sweep's config, which holds them too."""

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        """Keep what Hydra gives."""
        from rlpipe.sweep.launching import Launching

        self.launching = Launching(self.name, hydra_context, task_function, config)

    def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> Sequence[JobReturn]:
        """Run one arm for each list of overrides: `Launching.launch`."""
        return self.launching.launch(job_overrides, initial_job_idx)
