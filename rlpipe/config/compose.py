"""From overrides to a typed config.

`compose` serves tests, notebooks and stages; the command line goes through Hydra's own entry point
and meets the same `typed` afterwards.
"""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from enum import Enum
from typing import Any

from omegaconf import DictConfig, OmegaConf, flag_override
from omegaconf.errors import OmegaConfBaseException

from rlpipe.config import plugins
from rlpipe.config.explain import composing
from rlpipe.config.hydra import compose_raw, register
from rlpipe.config.resolved import plugin_class
from rlpipe.config.schema import RunConfig
from rlpipe.core.errors import ConfigError, PluginError, Problem, guess

known: dict[tuple[str, ...], DictConfig] = {}
"""What lists of overrides compose to. A sweep's job fills this with what was rehearsed, so that a run which its own run
needs is composed from the options as they were then, not as they are when the job starts."""


BEFORE_ENGINES = {"engine": {"name": "transformers"}}
"""What records and frozen jobs do not say that are older than engines."""


def compose(*overrides: str) -> RunConfig:
    """Compose a run's config from overrides, as the command line would.

    Inside a running Hydra application its search path is used, so `--config-dir` counts here too.
    Raises ConfigError for unknown options, keys and types, with a guess at what was meant.
    """
    return typed(compose_untyped(overrides))


def compose_untyped(overrides: Sequence[str]) -> DictConfig:
    """Compose without turning the config into dataclasses (a stage edits it first). Raises ConfigError."""
    if tuple(overrides) in known:
        return copy.deepcopy(known[tuple(overrides)])
    with composing(overrides):
        return compose_raw(overrides)


def typed(config: DictConfig) -> RunConfig:
    """Turn a composed config into dataclasses, with every interpolation resolved.

    Raises ConfigError for a mandatory value that is missing, an interpolation that leads nowhere, and
    for keys that were added with `+` where no field takes them.
    """
    if OmegaConf.get_type(config) is not RunConfig:
        fix = "begin its defaults list with `- schema/run@_here_`, as rlpipe's own config.yaml does"
        raise ConfigError([Problem("config", "the primary config does not say that it is a run", fix)])
    if "engine" not in config:
        with flag_override(config, ["struct", "readonly"], False):
            config.engine = _node("engine", BEFORE_ENGINES["engine"])
    unknown = [Problem(path, "no field takes this key", fix) for path, fix in _undeclared(config)]
    if unknown:
        raise ConfigError(unknown)
    with composing(()):
        resolved = OmegaConf.to_object(config)
    assert isinstance(resolved, RunConfig)
    return resolved


def restore(plain: Mapping[str, Any]) -> RunConfig:
    """Return the config that `to_plain` wrote, as a run's `config.yaml` and manifest hold it.

    Raises ConfigError for options and keys that this version of rlpipe does not have, all of them at once.
    """
    register()
    config = OmegaConf.structured(RunConfig)
    problems: list[Problem] = []
    for key, value in {**BEFORE_ENGINES, **plain}.items():
        try:
            if key in plugins.SEVERAL:
                config[key] = {name: _node(key, node) for name, node in value.items()}
            elif key in plugins.KINDS and value is not None:
                config[key] = _node(key, value)
            else:
                OmegaConf.update(config, key, value)
        except PluginError as error:
            what = f"the record does not fit this version of rlpipe: {error.headline}"
            problems.append(Problem(key, what, f"{error.fix}; or use the version that wrote the record"))
        except (OmegaConfBaseException, KeyError, TypeError) as error:
            what = f"the record does not fit this version of rlpipe: {str(error).splitlines()[0]}"
            problems.append(Problem(key, what, "use the version that wrote the record, or start the run anew"))
    if problems:
        raise ConfigError(problems)
    return typed(config)


def restore_node(kind: str, plain: Mapping[str, Any]) -> Any:
    """Return the config object of one plugin, as a record holds it. Raises PluginError for one that is not there."""
    return OmegaConf.to_object(_node(kind, plain))


def _node(kind: str, plain: Mapping[str, Any]) -> Any:
    return OmegaConf.merge(OmegaConf.structured(plugin_class(kind, plain["name"]).Config), plain)


def _undeclared(config: DictConfig, prefix: str = "") -> Iterator[tuple[str, str]]:
    """Yield the keys that stand in a dataclass's node without being its fields, with what to do."""
    kind = OmegaConf.get_type(config)
    names = [field.name for field in dataclasses.fields(kind)] if dataclasses.is_dataclass(kind) else None
    for key in config:
        path = prefix + str(key)
        if names is not None and key not in names:
            yield path, f"remove it; {guess(str(key), names)}"
        elif isinstance(node := config._get_node(key), DictConfig) and not (node._is_missing() or node._is_none()):
            yield from _undeclared(node, f"{path}.")


def to_plain(config: RunConfig) -> dict[str, Any]:
    """Return a config as plain dicts, lists, strings and numbers (for JSON, trackers and fingerprints).

    Enumerations become their names, as OmegaConf writes them; doing it without OmegaConf takes a hundredth of the time.
    """
    plain = _plain(config)
    assert isinstance(plain, dict)
    return plain


def _plain(value: Any) -> Any:
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: _plain(getattr(value, field.name)) for field in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        return {key.name if isinstance(key, Enum) else key: _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    return value.name if isinstance(value, Enum) else value
