"""Reports that runs and sweeps write into their own folders when they end: a page that fails must fail nothing else."""

from __future__ import annotations

import traceback
from contextlib import suppress
from pathlib import Path

from rlpipe.core.errors import RecordError, advice
from rlpipe.core.files import append
from rlpipe.core.terminal import say
from rlpipe.records.runs import find
from rlpipe.report.page.page import write

NAME = "report.html"


def write_run(run_dir: Path, log_file: Path) -> None:
    """Write `report.html` into a run's folder. What goes wrong is said and added to the log, and never raised.

    By then the run is over and recorded; its page can be made again at any time.
    """
    try:
        write(find([run_dir]), None, run_dir / NAME)
    except Exception as error:
        what = f"the run's {NAME} could not be written ({type(error).__name__}: {error})"
        say(f"{what}\n{advice(f'try again: rlpipe report {run_dir}')}")
        with suppress(RecordError):
            append(log_file, "".join(traceback.format_exception(error)))


def write_sweep(folder: Path) -> None:
    """Write `report.html` into a sweep's folder, and say where it is. What goes wrong is said, and never raised."""
    from rlpipe.report.write import build

    try:
        say(f"report: {build([folder])}")
    except Exception as error:
        what = f"the sweep's {NAME} could not be written ({type(error).__name__}: {error})"
        say(f"{what}\n{advice(f'try again: rlpipe report {folder}')}")
