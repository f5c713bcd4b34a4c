"""Reading the command line before Hydra does: flags anywhere, folders made absolute, contradictions refused."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException

from rlpipe.config.overrides import as_options
from rlpipe.core.errors import ConfigError, Problem

STORY = "experiment=countdown_rloo"
"""What runs when the command line chooses nothing to run."""
CHOOSING = ("method", "dataset", "reward", "after", "experiment")
"""The words that choose something to run."""

INFO = ("all", "config", "defaults", "defaults-tree", "plugins", "searchpath")


@dataclass(frozen=True)
class Arguments:
    """A command line, read."""

    flags: tuple[str, ...]
    """As Hydra takes them, without `--help`."""
    overrides: tuple[str, ...]
    help: bool
    config_path: Path | None
    """The folder of `--config-path`, which comes before the built-in options."""
    added_folders: tuple[Path, ...]
    """The folders of `--config-dir` and `hydra.searchpath`, which come after them."""

    @property
    def folders(self) -> tuple[Path, ...]:
        """All of the user's own config folders."""
        return (*([self.config_path] if self.config_path else []), *self.added_folders)

    def for_hydra(self) -> list[str]:
        """The same command line as Hydra reads it: flags first."""
        return [*self.flags, *as_options(self.overrides)]


def parse(argv: Sequence[str]) -> Arguments:
    """Read a command line. Exits with 2 for unknown flags; raises ConfigError for folders that are not there."""
    parser = _parser()
    read = parser.parse_intermixed_args(list(argv))
    if read.resolve and not read.cfg:
        parser.error("--resolve goes with --cfg")
    config_path = _folder("--config-path", read.config_path) if _is_folder_name(read.config_path) else None
    config_dir = _folder("--config-dir", read.config_dir) if read.config_dir else None
    if config_path:
        read.config_path = str(config_path)
    if config_dir:
        read.config_dir = str(config_dir)
    added = (*([config_dir] if config_dir else []), *_searchpath(read.overrides))
    overrides = tuple(read.overrides)
    if not (
        read.help or read.hydra_help or read.shell_completion or config_path or read.config_name or _chooses(overrides)
    ):
        overrides += (STORY,)
    return Arguments(_flags(read), overrides, read.help, config_path, added)


def _chooses(overrides: Sequence[str]) -> bool:
    """Return whether overrides choose what to run, or only how (`seed=1`, `model=…`, `log.every=…`)."""
    return any(override.lstrip("+~").split("=")[0].split(".")[0] in CHOOSING for override in overrides)


SWITCHES = ("multirun", "run", "shell_completion", "resolve", "hydra_help")
VALUES = ("cfg", "info", "package", "config_path", "config_name", "config_dir", "experimental_rerun")


def _flags(read: argparse.Namespace) -> tuple[str, ...]:
    switches = [f"--{name.replace('_', '-')}" for name in SWITCHES if getattr(read, name)]
    values = [f"--{name.replace('_', '-')}={getattr(read, name)}" for name in VALUES if getattr(read, name) is not None]
    return (*switches, *values)


def _parser() -> argparse.ArgumentParser:
    usage = "rlpipe [flags] group=option … field=value …  or  rlpipe COMMAND …     (rlpipe --help says which there are)"
    parser = argparse.ArgumentParser("rlpipe", usage=usage, add_help=False)
    parser.add_argument("overrides", nargs="*")
    parser.add_argument("--help", "-h", action="store_true")
    parser.add_argument("--version", action="version", version=_version())
    parser.add_argument("--hydra-help", action="store_true")
    parser.add_argument("--resolve", action="store_true")
    parser.add_argument("--package", "-p")
    parser.add_argument("--config-path", "-cp")
    parser.add_argument("--config-name", "-cn")
    parser.add_argument("--config-dir", "-cd")
    parser.add_argument("--experimental-rerun")
    one = parser.add_mutually_exclusive_group()
    one.add_argument("--cfg", "-c", choices=["job", "hydra", "all"])
    one.add_argument("--run", "-r", action="store_true")
    one.add_argument("--multirun", "-m", action="store_true")
    one.add_argument("--shell-completion", "-sc", action="store_true")
    one.add_argument("--info", "-i", nargs="?", const="all", choices=INFO)
    return parser


def _version() -> str:
    try:
        return f"rlpipe {version('rlpipe')}"
    except PackageNotFoundError:
        return "rlpipe, run from a checkout that is not installed"


def _is_folder_name(text: str | None) -> bool:
    return bool(text) and "://" not in str(text)


def _folder(flag: str, text: str) -> Path:
    """Return a folder by its absolute path: Hydra would read a relative one as the name of a package."""
    folder = Path(text).expanduser().absolute()
    if not folder.is_dir():
        raise ConfigError([Problem(f"{flag} {text}", f"there is no folder {folder}", "name a folder of YAML options")])
    return folder


def _searchpath(overrides: Sequence[str]) -> tuple[Path, ...]:
    """Return the folders that `hydra.searchpath=[…]` adds."""
    named = [override for override in overrides if override.lstrip("+").startswith("hydra.searchpath=")]
    try:
        read = OverridesParser.create().parse_overrides(named)
    except HydraException:
        return ()  # composing says what is wrong with it
    values = [item for override in read for item in _listed(override.value())]
    return tuple(folder for value in values for folder in _places(str(value)))


def _listed(value: object) -> Sequence[object]:
    return value if isinstance(value, list) else [value]


def _places(value: str) -> list[Path]:
    if value.startswith("pkg://"):
        package = value.removeprefix("pkg://").replace("/", ".")
        try:
            spec = find_spec(package)
        except ModuleNotFoundError:
            return []
        return [Path(place) for place in (spec.submodule_search_locations or [])] if spec else []
    folder = Path(value.removeprefix("file://"))
    return [folder.absolute()] if folder.is_dir() else []
