"""A command line of overrides: composed by Hydra, and run once, or once for every arm of a sweep."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import cast

import hydra
from hydra.conf import HydraConf
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf

from rlpipe.cli.arguments import Arguments, parse
from rlpipe.cli.commands import refuse_misplaced
from rlpipe.cli.exits import DONE, STOPPED, TRACEBACKS, say
from rlpipe.config.compose import typed
from rlpipe.config.explain import composing
from rlpipe.config.hydra import VERSION_BASE
from rlpipe.config.options import refuse_shadowed
from rlpipe.config.overrides import as_typed
from rlpipe.core import distributed
from rlpipe.core.errors import ConfigError, Problem, Pruned, Stopped
from rlpipe.core.paths import conf_dir
from rlpipe.sweep import discovery

_users_setting: ContextVar[str | None] = ContextVar("users_setting", default=None)


def run(argv: Sequence[str]) -> int:
    """Run a command line of overrides and flags, raise what it raises, and return its exit code."""
    try:
        arguments = parse(argv)
        refuse_misplaced(arguments.overrides)
        discovery.register()
        refuse_shadowed(arguments.added_folders)
        with composing(arguments.overrides, arguments.folders):
            if arguments.help:
                _help(arguments)
            else:
                _hydra(arguments)
    finally:
        distributed.finish()
    return DONE


def task(config: DictConfig) -> float | None:
    """Run one composed config: what Hydra calls, once for a run and once for every arm of a sweep."""
    from rlpipe.run import run as running

    hydra_config = HydraConfig.get()
    # Not iterated: that would resolve what an override's own `${…}` stands for.
    composed = cast("list[str]", OmegaConf.to_container(hydra_config.overrides.task, resolve=False))
    overrides = as_typed(composed)
    try:
        _refuse_study(hydra_config)
        with _tracebacks(_users_setting.get()):  # what the run starts must not inherit our own
            return running.run(typed(config), overrides)
    except Pruned as pruned:
        raise SystemExit(say(pruned, DONE)) from pruned
    except Stopped as stopped:
        # Hydra would go on with the next arm.
        raise SystemExit(say(stopped, STOPPED)) from stopped
    except Exception as error:
        if hydra_config.mode is not RunMode.RUN:
            raise
        raise _Failed(error) from error


def _refuse_study(hydra_config: HydraConf) -> None:
    """Raise ConfigError for a study that is run as if it were one run: what it sweeps over would be ignored."""
    swept = hydra_config.sweeper.get("params") if hydra_config.mode is RunMode.RUN else None
    if swept:
        values = "; ".join(f"{key}={value}" for key, value in swept.items())
        raise ConfigError([Problem("experiment", f"is a study of several arms ({values})", "run it with -m")])


class _Failed(BaseException):
    """Carries a run's error past Hydra, which would print a line of its own about it."""

    def __init__(self, error: Exception):
        super().__init__(error)
        self.error = error


def _help(arguments: Arguments) -> None:
    from rlpipe.cli.help import overview, run_help

    print(
        run_help(arguments.overrides, arguments.folders) if arguments.overrides else overview(arguments.added_folders)
    )


def _hydra(arguments: Arguments) -> None:
    """Hand the command line to Hydra, which raises its errors instead of printing them."""
    argv, sys.argv[1:] = sys.argv[1:], arguments.for_hydra()
    token = _users_setting.set(os.environ.get(TRACEBACKS))
    try:
        with _tracebacks("1"):
            hydra.main(config_path=str(conf_dir()), config_name="config", version_base=VERSION_BASE)(task)()
    except _Failed as failed:
        raise failed.error from failed.error.__cause__
    finally:
        _users_setting.reset(token)
        sys.argv[1:] = argv


@contextmanager
def _tracebacks(value: str | None) -> Iterator[None]:
    """Set Hydra's switch for full errors for a while; None takes it away."""
    before = os.environ.pop(TRACEBACKS, None)
    if value is not None:
        os.environ[TRACEBACKS] = value
    try:
        yield
    finally:
        os.environ.pop(TRACEBACKS, None)
        if before is not None:
            os.environ[TRACEBACKS] = before
