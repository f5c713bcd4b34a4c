"""What can be chosen: the options of every config group, where each comes from, and its one line of help.

Hydra lets the first of two files with the same name win without a word. With `--config-dir` and
`hydra.searchpath` the built-in file stands first, so a user's file of that name would be ignored:
`refuse_shadowed` says so instead.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig

from rlpipe.config import plugins
from rlpipe.config.hydra import compose_raw, config_folders
from rlpipe.config.overrides import as_typed
from rlpipe.config.plugins import GROUPS, SEVERAL
from rlpipe.config.schema import RunConfig
from rlpipe.core.errors import ConfigError, Problem
from rlpipe.core.paths import conf_dir

ORDER = (
    *("model", "dataset", "method", "reward", "tool", "environment", "engine", "after", "evaluation", "tracker"),
    "experiment",
    "hydra/launcher",
)
"""The groups in the order of config.yaml; a user's own groups come after them."""


@dataclass(frozen=True)
class Option:
    """One choice of a group."""

    name: str
    description: str
    origin: str
    """The file, or for a plugin without YAML `plugin of <package>`."""


def options(folders: Sequence[Path] = ()) -> dict[str, dict[str, Option]]:
    """Return all options by group and name; the user's own `folders` come after the built-in ones."""
    found: dict[str, dict[str, Option]] = {group: {} for group in ORDER}
    for folder in (conf_dir(), *config_folders(), *folders):
        for group, name, file in _files(folder):
            if group in GROUPS.values() or (group and group.split("/")[0] not in ("hydra", "schema")):
                found.setdefault(group, {}).setdefault(name, Option(name, _first_line(file), str(file)))
    for kind, known in plugins.table().items():
        for name, plugin in known.items():
            if plugin.cls is None:
                description = f"cannot be used: {plugin.error}"
            else:
                description = ((plugin.cls.__doc__ or "").strip() or name).splitlines()[0]
            found[GROUPS[kind]].setdefault(name, Option(name, description, f"plugin of {plugin.origin}"))
    return {group: dict(sorted(choices.items())) for group, choices in found.items()}


def refuse_shadowed(folders: Iterable[Path]) -> None:
    """Raise ConfigError if a user's folder holds an option whose name is taken, with both places."""
    known = options()
    problems = []
    for folder in folders:
        for group, name, file in _files(folder):
            taken = known.get(group, {}).get(name)
            origin = taken.origin if taken else _built_in_file(group, name)
            if origin is not None:
                what = f"has the name of an option that stands already: {origin}; Hydra would ignore your file silently"
                rename = f"rename it (then {group}=NEW_NAME)" if group else "rename it (then --config-name NEW_NAME)"
                fix = f"{rename}, or put your folder first with --config-path {folder} (built-in options stay)"
                problems.append(Problem(str(file), what, fix))
    if problems:
        raise ConfigError(problems)


def _built_in_file(group: str, name: str) -> str | None:
    file = conf_dir() / group / f"{name}.yaml"
    return str(file) if file.is_file() else None


def _files(folder: Path) -> Iterator[tuple[str, str, Path]]:
    """Yield group, name and path of every option file in a config folder."""
    for file in sorted(folder.rglob("*.yaml")):
        place = file.relative_to(folder)
        yield "/".join(place.parts[:-1]), place.stem, file


def _first_line(file: Path) -> str:
    """Return the first comment of an option's file that is no Hydra header."""
    for line in file.read_text(encoding="utf-8", errors="replace").splitlines():
        text = line.lstrip("#").strip()
        if not line.startswith("#"):
            break
        if text and not text.startswith("@package"):
            return text
    return ""


def chosen_options(config: RunConfig, overrides: Sequence[str]) -> dict[str, Any]:
    """Return the option (or options) that each group is set to where `config` is composed from overrides.

    Inside Hydra it has been found out already; nothing is known of a config that came without its overrides.
    """
    if HydraConfig.initialized() and as_typed(HydraConfig.get().overrides.task) == list(overrides):
        choices = HydraConfig.get().runtime.choices
    elif overrides:
        choices = compose_raw(overrides, with_hydra=True).hydra.runtime.choices
    else:
        return {}
    chosen = {group: option for group, option in choices.items() if option is not None and "/" not in group}
    if isinstance(chosen.get("after"), str):  # a list stands there as an option made on the spot
        [written] = as_typed([f"after={chosen['after']}"])
        chosen["after"] = written.partition("=")[2]
    for group in SEVERAL:  # of a list of options Hydra tells nothing
        chosen.setdefault(group, list(getattr(config, group)))
    return chosen


def named_options(overrides: Sequence[str]) -> dict[str, Any]:
    """Return the options that overrides name themselves, by group: a stage inherits the others."""
    pairs = (one.lstrip("+").partition("=") for one in overrides)
    return {group: option for group, _, option in pairs if group in ORDER}
