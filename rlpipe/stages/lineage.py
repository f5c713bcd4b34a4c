"""Which runs come before a run: those that make the models and the rows that it uses.

Every key that names such a run holds a list of overrides. The run is composed from them like any other, and
inherits what stands in `INHERITED`, unless it names its own.
"""

from __future__ import annotations

import copy
import dataclasses
import functools
from collections.abc import Sequence

from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import DictConfig, OmegaConf

from rlpipe.config.compose import compose_untyped, typed
from rlpipe.config.explain import composing
from rlpipe.config.overrides import as_options
from rlpipe.config.resolved import resolve
from rlpipe.config.schema import RunConfig, Until
from rlpipe.core.errors import ConfigError, Problem
from rlpipe.datasets.forms import Completion

INHERITED: dict[str, tuple[str, ...]] = {
    "after": ("model", "dataset", "seed"),
    "model.stage": (),
    "dataset.stage": ("model", "after"),
    "method.reference.stage": ("model", "dataset", "seed"),
    "method.teacher.stage": ("model", "dataset", "seed"),
}
"""What a run takes over from the one that asks for it, by the key that names it. Store, hardware, checkpoints and
display are always those of the run that asks. `after` takes over `tool` too where the run before can learn its calls:
where its method takes tools and its dataset holds worked answers."""

ALWAYS = ("store", "hardware", "checkpoint", "log")
"""What every run takes over from the one that asks for it."""

FROZEN = ("reference", "teacher")
"""The fields of a method that may name a frozen model, or the run that makes it."""

JUDGING = ("model", "dataset")
"""What runs named by rewards and evaluations take over. Not the seed: arms that differ in nothing but their seed are
judged by one and the same model."""


def parent_overrides(config: RunConfig) -> dict[str, list[str]]:
    """Return the overrides of every run that `config` needs, by the dotted key that names it.

    The one whose model it starts from comes first.
    """
    start = "after" if config.after else "model.stage"
    fields = {
        start: config.after or config.model.stage,
        "dataset.stage": config.dataset.stage if config.dataset.source in ("hub", "sample") else [],
        **{f"method.{role}.stage": getattr(getattr(config.method, role, None), "stage", []) for role in FROZEN},
    }
    for kind in ("reward", "evaluation"):
        for name, node in getattr(config, kind).items():
            fields[f"{kind}.{name}.stage"] = getattr(node, "stage", [])
    return {path: list(overrides) for path, overrides in fields.items() if overrides}


def handed_down(config: RunConfig) -> list[object]:
    """Return all that decides on the runs that `config` needs: which they are, and what they take over."""
    keys = {*JUDGING, *ALWAYS, "tool", *(key for keys in INHERITED.values() for key in keys)}
    return [parent_overrides(config), {key: getattr(config, key) for key in sorted(keys)}]


def parent_config(config: RunConfig, path: str) -> RunConfig:
    """Return the config of the run that a dotted key of `config` names. Raises ConfigError, and KeyError for none."""
    known = resolve(config).parents
    if path not in known:
        overrides = parent_overrides(config)[path]
        run = _run(config, overrides, INHERITED.get(path, JUDGING))
        if path == "after" and config.tool and not _names(overrides, "tool") and _learns_calls(run):
            run = dataclasses.replace(run, tool=config.tool)
        known[path] = run
    return known[path]


def composed_from(config: RunConfig, path: str) -> tuple[str, ...]:
    """Return those overrides of a run that options are read for; what they compose to can be kept (`compose.known`)."""
    overrides = parent_overrides(config)[path]
    return _split(overrides, _taken(overrides, INHERITED.get(path, JUDGING)))[0]


def start_parent(config: RunConfig) -> RunConfig | None:
    """Return the config of the run whose model `config` starts from, or None if it needs none."""
    paths = parent_overrides(config)
    return next((parent_config(config, path) for path in ("after", "model.stage") if path in paths), None)


def origin(config: RunConfig) -> RunConfig | None:
    """Return the run at whose beginning weights are loaded or made, which `config` starts from over others.

    None where the runs before lead back to where they began. Raises ConfigError for one that does not compose.
    """
    seen: list[RunConfig] = []
    while (parent := start_parent(config)) is not None:
        if config in seen:
            return None
        seen.append(config)
        config = parent
    return config


def other_parents(config: RunConfig) -> dict[str, RunConfig]:
    """Return the other runs that `config` needs, by the dotted key that asks for each."""
    return {
        path: parent_config(config, path) for path in parent_overrides(config) if path not in ("after", "model.stage")
    }


def producer(config: RunConfig, overrides: Sequence[str]) -> RunConfig:
    """Return the config of the run that makes a model which a reward or an evaluation of `config` uses."""
    return _run(config, overrides, JUDGING)


_runs: dict[str, RunConfig] = {}


def _run(config: RunConfig, overrides: Sequence[str], inherits: Sequence[str]) -> RunConfig:
    """Compose the run that overrides name; the arms of a sweep name the same few again and again."""
    taken = _taken(overrides, inherits)
    known = repr((list(overrides), {key: getattr(config, key) for key in taken}, _searched()))
    if known not in _runs:
        first, later = _split(overrides, taken)
        composed, asking = copy.deepcopy(_composed(first, _searched())), OmegaConf.structured(config)
        for key in taken:
            OmegaConf.update(composed, key, asking[key], merge=False, force_add=True)
        _set(composed, later)
        _runs[known] = dataclasses.replace(typed(composed), run_dir=None, until=Until.evaluate, objective=None)
    return _runs[known]  # shared: nothing changes a config once it is made


def _taken(overrides: Sequence[str], inherits: Sequence[str]) -> list[str]:
    """Return the keys that are taken over from the run that asks."""
    inherited = [key for key in inherits if not any(override.startswith(f"{key}=") for override in overrides)]
    return [*inherited, *ALWAYS]


def _split(overrides: Sequence[str], taken: Sequence[str]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Part overrides into those to compose and those to set on what is taken over (`model.lora.rank=8`).

    Composing these would meet another option's fields: those of the default model, say.
    """
    later = tuple(one for one in overrides if one.lstrip("+~").startswith(tuple(f"{key}." for key in taken)))
    return tuple(one for one in overrides if one not in later), later


@functools.lru_cache(maxsize=64)
def _composed(overrides: tuple[str, ...], searched: str) -> DictConfig:
    return compose_untyped(overrides)


def _searched() -> str:
    """Return where options are looked for."""
    hydra = GlobalHydra.instance()
    return str(hydra.config_loader().get_search_path()) if hydra.is_initialized() else ""


def _set(composed: DictConfig, overrides: Sequence[str]) -> None:
    """Set fields as Hydra does. Raises ConfigError for those that are not there."""
    with composing(overrides):
        for override in OverridesParser.create().parse_overrides(as_options(overrides)):
            if override.is_delete():
                fix = "set it to another value instead"
                raise ConfigError([Problem(str(override.input_line), "takes away what is inherited", fix)])
            OmegaConf.update(composed, override.key_or_group, override.value(), force_add=override.is_add())


def _names(overrides: Sequence[str], key: str) -> bool:
    return any(override.lstrip("+~").split("=")[0].split(".")[0] == key for override in overrides)


def _learns_calls(run: RunConfig) -> bool:
    resolved = resolve(run)
    return resolved.method.takes_tool and issubclass(resolved.dataset.form, Completion)
