"""What a sweep's folder says of the study: enough to go on with it from any process, at any later time."""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf, open_dict

from rlpipe.config.overrides import as_typed
from rlpipe.core.errors import Problem
from rlpipe.core.paths import conf_dir, store_dir
from rlpipe.records import provenance
from rlpipe.records.driving import SEARCH
from rlpipe.sweep import asha, code
from rlpipe.sweep.rehearse import App

LEARNS_NOTHING = (
    "hydra._internal.core_plugins.basic_sweeper.BasicSweeper",
    "hydra_plugins.rlpipe_launch.GridSweeper",
    asha.TARGET,
)
"""The sweepers that know all their arms beforehand and want nothing of what they return."""


def study(app: App, launcher: str, settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return what sweep.json says of a study besides its jobs."""
    hydra = app.config.hydra
    cwd = Path(hydra.runtime.cwd)
    given = as_typed(OmegaConf.to_container(hydra.overrides.task, resolve=False))  # type: ignore[arg-type]
    return {
        "id": uuid.uuid4().hex[:12],
        "command": ["rlpipe", "-m", *map(provenance.hide_override, given)],
        "overrides": [provenance.hide_override(one) for one in given],
        "hydra_overrides": OmegaConf.to_container(hydra.overrides.hydra, resolve=False),
        "flags": flags(app),
        "cwd": str(cwd),
        "task": f"{getattr(app.task, '__module__', None)}:{getattr(app.task, '__qualname__', type(app.task).__name__)}",
        "launcher": launcher,
        "settings": dict(settings),
        "sweeper": sweeper(app),
        "asha": asha.settings_of(hydra.sweeper),
        "code": code.state(cwd),
        "store": str(store_dir(OmegaConf.select(app.config, "store"))) if app.is_ours else None,
        "objective": OmegaConf.select(app.config, "objective") if app.is_ours else None,
    }


def flags(app: App) -> list[str]:
    """Return the flags that name the user's own config folders, as the command line takes them."""
    found = []
    for source in app.config.hydra.runtime.config_sources:
        flag = {"main": "--config-path", "command-line": "--config-dir"}.get(source.provider)
        if flag is not None and Path(source.path) != conf_dir():
            found.append(f"{flag}={source.path}")
    return found


def sweeper(app: App) -> str:
    """Return the class of the sweep's sweeper."""
    return str(app.config.hydra.sweeper._target_)


def learns(app: App) -> bool:
    """Whether the sweeper chooses arms by what earlier ones returned."""
    return sweeper(app) not in LEARNS_NOTHING


def settings_of(app: App) -> dict[str, Any]:
    """Return the launcher's fields (`hydra.launcher.…`), resolved."""
    node = app.config.hydra.launcher.copy()
    with open_dict(node):
        node.pop("_target_", None)
    plain = OmegaConf.to_container(node, resolve=True, enum_to_str=True)
    assert isinstance(plain, dict)
    return {str(key): value for key, value in plain.items()}


def problems(app: App, settings: Mapping[str, Any]) -> list[Problem]:
    """Return what cannot go together: sweeper, launcher and objective."""
    if not learns(app):
        return []
    found = []
    if not settings["wait"]:
        what = f"{sweeper(app).rpartition('.')[2]} chooses arms by what earlier ones returned, and nobody would wait"
        found.append(Problem("hydra.launcher.wait=false", what, "leave it out, or sweep a grid: hydra/sweeper=grid"))
    says_itself = sweeper(app) == SEARCH  # it looks at what is watched, too
    if app.is_ours and not says_itself and OmegaConf.select(app.config, "objective") is None:
        what = f"{sweeper(app).rpartition('.')[2]} optimises a number, and none is named"
        found.append(Problem("objective", what, "name a metric, for example objective=after/preference/accuracy"))
    return found
