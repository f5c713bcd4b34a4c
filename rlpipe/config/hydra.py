"""Telling Hydra of rlpipe's options, schemas and config folders, and composing with them."""

from __future__ import annotations

import functools
import importlib.util
import warnings
from collections.abc import Sequence
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

import hydra
from hydra.core.config_search_path import ConfigSearchPath
from hydra.core.config_store import ConfigStore
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from hydra.core.plugins import Plugins
from hydra.plugins.search_path_plugin import SearchPathPlugin
from omegaconf import DictConfig, OmegaConf, open_dict

from rlpipe.config import resolvers
from rlpipe.config.launchers import AshaConfig, GridConfig, LauncherConfig, TpeConfig
from rlpipe.config.overrides import as_options
from rlpipe.config.plugins import GROUPS, SEVERAL, Plugin, table
from rlpipe.config.quick import compose_quickly
from rlpipe.core.paths import conf_dir

VERSION_BASE = "1.3"


@functools.cache
def register() -> None:
    """Tell Hydra of all schemas, options without YAML, and config folders. Call before composing."""
    from rlpipe.config.schema import RunConfig

    folders = [conf_dir(), *config_folders()]
    store = ConfigStore.instance()
    store.store(group="schema", name="run", node=RunConfig)
    for kind, known in table().items():
        for plugin in known.values():
            node = _launcher_node(plugin) if kind == "launcher" else _node(plugin)
            store.store(group=f"schema/{kind}", name=plugin.name, node=node)
            group = GROUPS[kind]
            if not any((folder / group / f"{plugin.name}.yaml").is_file() for folder in folders):
                package = f"{kind}.{plugin.name}" if kind in SEVERAL else group.replace("/", ".")
                store.store(group=group, name=plugin.name, node=node, package=package)
    for name, config in (("grid", GridConfig), ("asha", AshaConfig), ("tpe", TpeConfig)):
        store.store(group="schema/sweeper", name=name, node=_targeted(config, f"{name.capitalize()}Sweeper"))
    Plugins.instance().register(ConfigFolders)
    compose_quickly()
    resolvers.register()


def _node(plugin: Plugin) -> Any:
    """Return the config node of a plugin that is a part of a run."""
    if plugin.cls is None:
        # Selecting it must lead to `load`, which says why it cannot be used.
        return OmegaConf.create({"name": plugin.name})
    node = OmegaConf.structured(plugin.cls.Config)
    node.name = plugin.name
    if plugin.kind == "method":
        node.learning_rate = f"${{scaled:{node.learning_rate}}}"
        node.max_length = f"${{fitting:{node.max_length}}}"
        if "micro_batch_size" in node:
            node.micro_batch_size = f"${{dividing:{node.micro_batch_size}}}"
    return node


def _launcher_node(plugin: Plugin) -> Any:
    """Return the config node of a launcher, which Hydra makes from `_target_`; one that is broken says so then."""
    return _targeted(plugin.cls.Config if plugin.cls is not None else LauncherConfig, hydra_class(plugin.name))


def hydra_class(launcher: str) -> str:
    """Return the name, in `hydra_plugins.rlpipe_launch`, of the class that Hydra makes for a launcher."""
    return f"{launcher.capitalize()}Launcher"


def _targeted(config: type, cls: str) -> Any:
    node: Any = OmegaConf.structured(config)
    with open_dict(node):
        node._target_ = f"hydra_plugins.rlpipe_launch.{cls}"
    return node


@functools.cache
def config_folders() -> tuple[Path, ...]:
    """Return the config folders that installed packages bring (entry-point group `rlpipe.conf`)."""
    folders: list[Path] = []
    for entry in entry_points(group="rlpipe.conf"):
        try:
            spec = importlib.util.find_spec(entry.value)
        except ModuleNotFoundError:
            spec = None
        places = list(spec.submodule_search_locations or []) if spec is not None else []
        folders += map(Path, places)
        if not places:
            owner = entry.dist.name if entry.dist is not None else entry.name
            warnings.warn(
                f"package '{owner}' names the config folder '{entry.value}', which cannot be imported: left out",
                stacklevel=2,
            )
    return tuple(folders)


class ConfigFolders(SearchPathPlugin):
    """Hydra search-path plugin: adds the built-in config folder and those of installed packages."""

    def manipulate_search_path(self, search_path: ConfigSearchPath) -> None:
        """Append folders, so that the user's own come first when `--config-path` replaces the built-in one."""
        built_in = f"file://{conf_dir()}"
        if not any(element.path in (built_in, str(conf_dir())) for element in search_path.get_path()):
            search_path.append(provider="rlpipe", path=built_in)
        for folder in config_folders():
            search_path.append(provider="package", path=f"file://{folder}")


def compose_raw(overrides: Sequence[str], folders: Sequence[Path] = (), with_hydra: bool = False) -> DictConfig:
    """Compose, with the errors that Hydra and OmegaConf raise themselves.

    `folders` add a user's own options; with `hydras_own` the node `hydra` is there too, with the launcher's fields.
    """
    register()
    overrides = as_options(overrides)
    if folders:
        overrides = [*overrides, f"hydra.searchpath=[{','.join(f'file://{folder}' for folder in folders)}]"]
    if GlobalHydra.instance().is_initialized():
        return hydra.compose("config", [*overrides, *_searchpath()], return_hydra_config=with_hydra)
    with hydra.initialize_config_dir(str(conf_dir()), version_base=VERSION_BASE):
        return hydra.compose("config", list(overrides), return_hydra_config=with_hydra)


def _searchpath() -> list[str]:
    """Return the running application's own `hydra.searchpath=…`, which composing anew would forget."""
    if not HydraConfig.initialized():
        return []
    given = HydraConfig.get().overrides.hydra
    return [override for override in given if override.lstrip("+").startswith("hydra.searchpath=")]
