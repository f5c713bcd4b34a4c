"""`rlpipe reproduce RUN`: say what differs from the record, run it again, compare the results."""

from __future__ import annotations

import argparse
import dataclasses
from pathlib import Path

from rich.table import Table
from rich.text import Text

from rlpipe.cli.commands import page
from rlpipe.cli.exits import DONE, UNWELL
from rlpipe.cli.reproduce import conditions, results
from rlpipe.config.compose import restore
from rlpipe.config.kinds import TrackerConfig
from rlpipe.config.overrides import go_on
from rlpipe.config.schema import Device, RunConfig, Until
from rlpipe.core import distributed
from rlpipe.core.errors import RecordError
from rlpipe.core.terminal import console, say
from rlpipe.records.runs import Run, Standing, find
from rlpipe.stages.named import run_named

ABOUT = (
    "Say what of a run's files is not as it was written, and what differs from its record (code, packages, machine, "
    "data, parents), run it again in a new folder, and compare the results: all files of weights and data bit for bit, "
    "rows and numbers one by one."
)
EXAMPLES = [
    ("rlpipe reproduce runs/DATE/TIME", "is it what the record says?"),
    ("rlpipe reproduce RUN --check", "only what differs here, at once"),
    ("rlpipe reproduce RUN --run-dir again", "in a folder of your choice"),
]
CODES = "0 identical, 1 not identical, 2 it cannot be made again here, 75 stopped on request"


def run(arguments: argparse.Namespace) -> int:
    """Compare the conditions, run again, and compare the results."""
    recorded = run_named(arguments.run)
    config = recorded_config(recorded)
    found = conditions.compare(recorded, config)
    if distributed.is_main():
        show_conditions(found)
    if arguments.check:
        return UNWELL if found else DONE
    again = rerun(recorded, config, arguments.run_dir)
    if not distributed.is_main():
        return DONE
    findings = results.compare(recorded, again)
    show_results(findings, recorded, again)
    return DONE if all(one.same for one in findings) else UNWELL


def recorded_config(run: Run) -> RunConfig:
    """Return the config that makes a finished run again. Raises RecordError for a run that cannot be made again."""
    if run.standing is not Standing.ok:
        ended = run.standing.value + (f": {run.error}" if run.error else "")
        raise RecordError(
            run.dir,
            f"the run has not ended well ({ended}), so there is nothing to compare with",
            f"go on with it: {go_on(run.dir, run.overrides)}",
        )
    secrets = list(conditions.hidden(run.config))
    if secrets:
        raise RecordError(
            run.dir,
            f"secrets are not recorded ({', '.join(secrets)})",
            f"start it anew by hand: {go_on(Path('NEW'), run.overrides)}",
        )
    config = restore(run.config)
    # Where else numbers were shown, and which one a sweeper wanted, are the first run's own affair.
    until, nowhere = Until(run.result["stage"]), TrackerConfig(name="none")
    # Rows of the store may be the first run's own: they would be compared with themselves.
    anew = {name: dataclasses.replace(node, reuse=False) for name, node in config.evaluation.items()}
    return dataclasses.replace(config, until=until, tracker=nowhere, run_dir=None, objective=None, evaluation=anew)


def rerun(run: Run, config: RunConfig, folder: Path | None) -> Run:
    """Run a config in a new folder, and return that run. Raises RecordError for a folder that holds something."""
    from rlpipe.run import run as running

    if folder is not None and folder.exists() and any(folder.iterdir()):
        raise RecordError(folder, "is there already and not empty", "name a new folder with --run-dir")
    distributed.start(on_cpu=config.hardware.device is Device.cpu)
    target = running.run_dir(dataclasses.replace(config, run_dir=None if folder is None else str(folder)))
    say(f"running {run.dir} again in {target}")
    try:
        running.run(dataclasses.replace(config, run_dir=str(target)), run.overrides)
    finally:
        distributed.finish()
    [again] = find([target])
    return again


def show_conditions(found: list[conditions.Difference]) -> None:
    """Print what differs from the record."""
    out = console(stderr=False)
    if not found:
        out.print("files, code, packages, machine, data and parents are those of the record")
        return
    table = Table(title="what differs from the record")
    for heading in ("", "in the record", "here"):
        table.add_column(heading, overflow="fold")
    for one in found:
        table.add_row(Text(one.what), Text(one.then), Text(one.now))
    out.print(table)


def show_results(findings: list[results.Finding], old: Run, new: Run) -> None:
    """Print what of the results is the same, and the verdict in a line."""
    out = console(stderr=False)
    table = Table("", "", "", title="the two results", show_header=False)
    for one in findings:
        table.add_row(one.what, "same" if one.same else Text("different", style="bold red"), Text(one.detail))
    out.print(table)
    differing = [one.what for one in findings if not one.same]
    verdict = f"not identical: {', '.join(differing)}" if differing else "identical, bit for bit"
    out.print(Text(f"{verdict} ({old.dir} and {new.dir})"), soft_wrap=True)


def parser() -> argparse.ArgumentParser:
    """Return the parser of `rlpipe reproduce`."""
    parser = argparse.ArgumentParser("rlpipe reproduce", **page(ABOUT, EXAMPLES, CODES))
    parser.add_argument("run", metavar="RUN", help="a finished run's folder, or a stage's name")
    parser.add_argument("--run-dir", metavar="NEW", type=Path, help="the new run's folder (default: under runs/)")
    parser.add_argument("--check", action="store_true", help="only say what differs; exit code 1 if anything does")
    return parser
