"""Keeping the terminal readable: what libraries say goes to log.txt, what matters is shown.

On the terminal stay rlpipe's own lines and every library's errors. The file gets everything.
"""

from __future__ import annotations

import importlib
import io
import logging
import os
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, redirect_stdout, suppress
from pathlib import Path

from rlpipe.core import distributed
from rlpipe.core.errors import RecordError
from rlpipe.core.files import explained, may_change
from rlpipe.core.hangup import heard_or_not
from rlpipe.core.visible import visible

LIBRARIES = ("trl", "transformers", "datasets", "accelerate", "torch", "peft", "huggingface_hub", "py.warnings")
"""The loggers that are tamed; `py.warnings` carries what libraries say through `warnings.warn`."""


class _Terminal(logging.Handler):
    """Writes to whatever standard error is at the time, so that a progress bar can keep lines above itself."""

    def emit(self, record: logging.LogRecord) -> None:
        with heard_or_not():
            sys.stderr.write(visible(self.format(record)) + "\n")
            sys.stderr.flush()


class _File(logging.FileHandler):
    """Adds to a run's log for as long as the run's folder is this process's, and the disk takes it."""

    failed = False

    def emit(self, record: logging.LogRecord) -> None:
        try:
            may_change(Path(self.baseFilename))
        except RecordError:
            return  # whoever notices that the run was taken over says so
        super().emit(record)

    def handleError(self, record: logging.LogRecord) -> None:
        """Say once that lines are lost: no result is made of them."""
        if not self.failed:
            self.failed = True
            sys.stderr.write(
                f"{self.baseFilename}: lines are lost ({sys.exc_info()[1]}); the run goes on without them\n"
            )

    def close(self) -> None:
        """Close the file; what cannot be written by now is lost too."""
        with suppress(OSError):
            super().close()


@contextmanager
def quiet(log_file: Path, libraries: bool = False) -> Iterator[None]:
    """Send log lines and warnings of the body to `log_file`, and only what matters to the terminal.

    `libraries` shows the libraries' lines as well. Imports torch, transformers and datasets, whose
    own handlers and bars it switches off until the end. In other processes than the main one there is no
    file, and only errors are shown. Raises RecordError when the file cannot be written.
    """
    _no_telemetry()
    with ExitStack() as undo:
        root = logging.getLogger()
        undo.callback(root.setLevel, root.level)
        root.setLevel(logging.INFO)
        undo.enter_context(_library_bars_off())
        undo.enter_context(_library_handlers_off())
        # Hydra shows every library's lines through a handler of its own.
        undo.callback(setattr, root, "handlers", root.handlers[:])
        root.handlers = [one for one in root.handlers if type(one) is not logging.StreamHandler]
        for handler in _handlers(log_file, libraries):
            root.addHandler(handler)
            undo.callback(handler.close)
        logging.captureWarnings(True)
        undo.callback(logging.captureWarnings, False)
        yield


def _handlers(log_file: Path, libraries: bool) -> list[logging.Handler]:
    terminal = _Terminal()
    terminal.setFormatter(logging.Formatter("%(message)s"))
    terminal.addFilter(lambda record: _is_shown(record, libraries))
    if not distributed.is_main():
        return [terminal]
    with explained(log_file):
        file = _File(log_file, encoding="utf-8")
    file.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    return [file, terminal]


def _is_shown(record: logging.LogRecord, libraries: bool) -> bool:
    """Return whether a line belongs on the terminal."""
    if not distributed.is_main():
        return record.levelno >= logging.ERROR
    if record.name.split(".")[0] == "rlpipe" or (libraries and record.name.startswith(LIBRARIES)):
        return record.levelno >= logging.INFO
    return record.levelno >= logging.ERROR


@contextmanager
def _library_handlers_off() -> Iterator[None]:
    """Take the libraries' own terminal handlers away and let their lines through to ours."""
    for library in ("torch", "datasets", "huggingface_hub.utils.logging"):
        importlib.import_module(library)  # gives the library's logger a handler
    with redirect_stdout(io.StringIO()):
        importlib.import_module("transformers.integrations.integration_utils")  # prints where WANDB_MODE=offline
    import transformers.utils.logging

    transformers.utils.logging.get_verbosity()  # sets its logger up, which it otherwise does at the first line
    with ExitStack() as undo:
        for name in LIBRARIES:
            logger = logging.getLogger(name)
            undo.callback(setattr, logger, "propagate", logger.propagate)
            undo.callback(logger.setLevel, logger.level)
            undo.callback(setattr, logger, "handlers", logger.handlers[:])
            logger.handlers = []
            logger.propagate = True
            # torch turns costly diagnostics on at lower levels
            logger.setLevel(logging.WARNING if name == "torch" else logging.INFO)
        yield


@contextmanager
def _library_bars_off() -> Iterator[None]:
    """Switch the progress bars of datasets and transformers off; the hub's stay, for a download takes minutes."""
    import datasets
    from transformers.utils import logging as transformers_logging

    datasets_had = not datasets.are_progress_bars_disabled()
    transformers_had = transformers_logging.is_progress_bar_enabled()
    datasets.disable_progress_bars()
    transformers_logging.disable_progress_bar()
    try:
        yield
    finally:
        if datasets_had:
            datasets.enable_progress_bars()
        if transformers_had:
            transformers_logging.enable_progress_bar()


def _no_telemetry() -> None:
    """Tell the hub's client, which sends TRL's telemetry, not to."""
    os.environ["HF_HUB_DISABLE_TELEMETRY"] = "1"
    import huggingface_hub.constants

    huggingface_hub.constants.HF_HUB_DISABLE_TELEMETRY = True


@contextmanager
def quiet_preparation(progress: bool) -> Iterator[None]:
    """Show the libraries' progress bars only on a terminal, and only if `progress`."""
    if progress and sys.stderr.isatty():
        yield
        return
    from datasets import are_progress_bars_disabled, disable_progress_bars, enable_progress_bars

    were_disabled, before = are_progress_bars_disabled(), os.environ.get("TQDM_DISABLE")
    disable_progress_bars()
    os.environ["TQDM_DISABLE"] = "1"
    try:
        yield
    finally:
        if not were_disabled:
            enable_progress_bars()
        os.environ.pop("TQDM_DISABLE")
        if before is not None:
            os.environ["TQDM_DISABLE"] = before
