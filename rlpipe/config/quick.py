"""Hydra's composing, in half of its time: what it does again and again for nothing is done once, or not at all.

A rehearsal composes many arms, and every run that another needs is composed too. What is composed stays the
same, errors included (tests compare them).
"""

from __future__ import annotations

import functools
import os
import pickle
from collections.abc import Callable
from dataclasses import dataclass, replace
from importlib.resources import files
from pathlib import Path

import omegaconf._utils
import omegaconf.base
from hydra._internal import defaults_list as composing
from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra._internal.config_repository import ConfigRepository
from hydra._internal.defaults_list import Overrides
from hydra.core.config_store import ConfigStore
from hydra.core.default_element import InputDefault
from hydra.core.object_type import ObjectType
from hydra.plugins.config_source import ConfigResult, ConfigSource
from omegaconf import DictConfig, OmegaConf, flag_override


def compose_quickly() -> None:
    """Let Hydra compose quickly in this process, from now on. To be called once."""
    _share_the_store()
    _keep_what_is_loaded()
    _embed_without_copying()
    _collect_choices_where_needed()
    _parse_texts_once()


def _share_the_store() -> None:
    """Let compositions share the store of nodes, which Hydra copies for each.

    Nothing in it can change that way, since whatever is loaded from the store is copied too.
    """
    ConfigStore.__deepcopy__ = lambda store, memo: store  # type: ignore[attr-defined]


@dataclass(frozen=True)
class _Kept:
    """A config as Hydra loaded it, pickled: that is copied several times faster than by `copy.deepcopy`."""

    origin: object
    stamp: tuple[object, ...]
    content: bytes | None
    """None where its dataclass is defined inside a function, which cannot be pickled."""


def _keep_what_is_loaded() -> None:
    """Let a config be read once, as long as its file or node stays the same. Each composition gets its own copy."""
    load: Callable[[ConfigRepository, str], ConfigResult | None] = ConfigRepository.load_config
    kept: dict[tuple[str, str], _Kept] = {}

    @functools.wraps(load)
    def load_config(self: ConfigRepository, config_path: str) -> ConfigResult | None:
        source = self._find_object_source(config_path, ObjectType.CONFIG)
        if source is None:
            return None
        key = (f"{source.provider} {source.full_path()}", config_path)
        origin, stamp = _origin(source, config_path)
        if key not in kept or kept[key].stamp != stamp:
            kept[key] = _Kept(origin, stamp, _pickled(load(self, config_path)))
        content = kept[key].content
        result: ConfigResult | None = load(self, config_path) if content is None else pickle.loads(content)
        return result

    ConfigRepository.load_config = load_config  # type: ignore[method-assign]


def _origin(source: ConfigSource, config_path: str) -> tuple[object, tuple[object, ...]]:
    """Return where a config comes from, and what changes when that does."""
    name = source._normalize_file_name(config_path)
    if source.scheme() == "structured":
        node = ConfigStore.instance()._load(name)
        return node, (id(node),)  # nothing else has this id as long as the node is kept too
    file = files(source.path) / name if source.scheme() == "pkg" else Path(source.path, name)
    if not isinstance(file, Path):
        return file, ()  # in a zipped package, which does not change
    state = os.stat(file)
    return file, (str(file), state.st_ino, state.st_mtime_ns, state.st_size)


def _pickled(result: ConfigResult | None) -> bytes | None:
    try:
        return pickle.dumps(result)
    except (AttributeError, pickle.PicklingError):
        return None


def _embed_without_copying() -> None:
    """Let a loaded config be put where it belongs as it is, unless it stands somewhere already."""
    embed = ConfigLoaderImpl._embed_result_config

    @functools.wraps(embed)
    def embedded(result: ConfigResult, package_override: str | None) -> ConfigResult:
        package = result.header["package"] if package_override is None else package_override
        if not package or result.config._get_parent() is not None:
            return embed(result, package_override)
        config = OmegaConf.create()
        with flag_override(config, "no_deepcopy_set_nodes", True):
            OmegaConf.update(config, package, result.config, merge=False)
        return replace(result, config=config)

    ConfigLoaderImpl._embed_result_config = staticmethod(embedded)  # type: ignore[method-assign,assignment]


def _collect_choices_where_needed() -> None:
    """Let Hydra collect the options chosen so far only for a defaults list with a `${…}`, not for each."""
    collect = composing._create_interpolation_map

    @functools.wraps(collect)
    def collected(overrides: Overrides, defaults_list: list[InputDefault], self_added: bool) -> DictConfig:
        needed = any(one.is_interpolation() for one in defaults_list)
        return collect(overrides, defaults_list, self_added) if needed else OmegaConf.create()

    composing._create_interpolation_map = collected


def _parse_texts_once() -> None:
    """Let OmegaConf parse a text with a `${…}` once: its trees are only read."""
    parse = functools.lru_cache(maxsize=4096)(omegaconf.base.parse)
    omegaconf.base.parse = parse
    omegaconf._utils.parse = parse
