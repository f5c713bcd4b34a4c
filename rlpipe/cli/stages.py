"""`rlpipe stages COMMAND`: what the store holds, whether it is whole, why something is not reused."""

from __future__ import annotations

import argparse
import re
import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from rlpipe.cli.commands import page
from rlpipe.cli.exits import DONE, UNWELL
from rlpipe.core.errors import advice
from rlpipe.core.visible import visible

if TYPE_CHECKING:
    from rlpipe.stages.stored import Stored

    Subparsers = argparse._SubParsersAction[argparse.ArgumentParser]

UNITS = {"s": 1.0, "min": 60.0, "h": 3600.0, "d": 86400.0, "w": 604800.0}
SIZES = {"B": 1.0, "kB": 1e3, "MB": 1e6, "GB": 1e9, "TB": 1e12}

ABOUT = (
    "A stage is a run that other runs need: the model of after=sft, a reward model, made data. Stages are kept in a "
    "store under a fingerprint of all that determines them, and reused; so are reference log-probabilities, and what "
    "was measured before training. Without a command the store is listed."
)
EXAMPLES = [
    ("rlpipe stages", "what is stored, and who uses it"),
    ("rlpipe stages verify", "is all of it whole?"),
    ("rlpipe stages explain method=dpo after=sft", "what that run needs, and why it is not reused"),
    ("rlpipe stages prune --older-than 30d", "delete what nobody used for so long"),
]
CODES = "0 done, 1 something is damaged (verify), 2 something to fix"


def run(arguments: argparse.Namespace) -> int:
    """Do what is asked with the store."""
    from rlpipe.core.errors import StageError
    from rlpipe.core.paths import store_dir
    from rlpipe.stages.stored import all_stored

    if arguments.command == "prune" and arguments.older_than is None and arguments.larger_than is None:
        raise StageError("prune", "does not know what may go", "say --older-than 30d, --larger-than 50GB, or both")
    store = store_dir(arguments.store)
    if not store.is_dir() and arguments.command != "explain" and (arguments.store or arguments.command):
        raise StageError(store, "there is no such store", "name one with --store DIR, or set $RLPIPE_STORE")
    stages = list(all_stored(store))
    match arguments.command:
        case "verify":
            return _verify(store, stages, arguments.repair)
        case "explain":
            return _explain(stages, arguments.overrides, arguments.store)
        case "prune":
            return _prune(store, stages, arguments)
        case _:
            return _list(store, stages)


def _list(store: Path, stages: list[Stored]) -> int:
    from rich.filesize import decimal

    from rlpipe.core.terminal import console
    from rlpipe.stages import measurements
    from rlpipe.stages.stored import table

    console(stderr=False, width=None if sys.stdout.isatty() else 500).print(table(stages))
    print(f"{len(stages)} stages, {decimal(sum(stage.size for stage in stages))}, in {store}")
    if kept := list(measurements.all_measurements(store)):
        size = decimal(sum(one.size for one in kept))
        print(f"{len(kept)} measurements of models before training, {size}, in {store / measurements.FOLDER}")
    return DONE


def _verify(store: Path, stages: list[Stored], repair: bool) -> int:
    from rlpipe.core.files import remove
    from rlpipe.stages import measurements
    from rlpipe.stages.upkeep import damaged, move_aside

    altered = measurements.damaged(store)
    for one, what in altered.items():
        print(visible(f"{one.name}: {what}; the next run that needs it measures anew"))
        if repair:
            remove(one.file)
    wrong = damaged(stages)
    for stage in stages:
        if stage.name in wrong:
            print(visible(f"{stage.name}: {wrong[stage.name]}"))
            if repair:
                print(f"    moved to {move_aside(stage)}; the next run that needs it builds it anew")
    print(f"{len(stages) - len(wrong)} of {len(stages)} stages are whole or unfinished, {len(wrong)} damaged")
    if wrong and not repair:
        print(advice("move damaged ones aside; the next run that needs them builds them anew:"))
        print(f"      rlpipe stages --store {shlex.quote(str(store))} verify --repair")
    return DONE if repair or not (wrong or altered) else UNWELL


def _explain(stages: list[Stored], overrides: list[str], store: str | None) -> int:
    from rlpipe.config.compose import compose
    from rlpipe.run.check.check import check
    from rlpipe.stages.why import explain

    if store:
        overrides = [*overrides, f"store='{store}'"]
    config = compose(*overrides)
    check(config, overrides)
    for line in explain(config, stages):
        print(visible(line))
    return DONE


def _prune(store: Path, stages: list[Stored], arguments: argparse.Namespace) -> int:
    from rich.filesize import decimal

    from rlpipe.stages import upkeep
    from rlpipe.stages.stored import age

    chosen = upkeep.choose(stages, arguments.older_than, arguments.larger_than)
    freed = _prune_measurements(store, arguments)
    for stage in chosen.delete:
        size, unused = stage.size, age(stage.last_use)
        reason = None if arguments.dry_run else upkeep.delete(stage)
        if reason:
            chosen.kept[stage.name] = reason
        else:
            freed += size
            done = "would delete" if arguments.dry_run else "deleted"
            print(f"{done} {stage.name}: {decimal(size)}, unused for {unused}")
    for name, reason in chosen.kept.items():
        print(visible(f"kept {name}: {reason}"))
    print(f"{decimal(freed)} {'would be' if arguments.dry_run else 'were'} freed")
    return DONE


def _prune_measurements(store: Path, arguments: argparse.Namespace) -> int:
    """Delete measurements by age alone, for they are small; return the bytes."""
    from rlpipe.core.files import remove
    from rlpipe.stages import measurements

    old = [] if arguments.older_than is None else measurements.unused(store, arguments.older_than)
    size = sum(one.size for one in old)
    for one in [] if arguments.dry_run else old:
        remove(one.file)
    if old:
        done = "would delete" if arguments.dry_run else "deleted"
        print(f"{done} {len(old)} measurement{'' if len(old) == 1 else 's'} of models before training")
    return size


def parser() -> argparse.ArgumentParser:
    """Return the parser of `rlpipe stages`."""
    parser = argparse.ArgumentParser("rlpipe stages", **page(ABOUT, EXAMPLES, CODES))
    parser.add_argument("--store", metavar="DIR", help="default: $RLPIPE_STORE, else ~/.cache/rlpipe/stages")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", title="commands")
    _add_list(commands)
    _add_verify(commands)
    _add_explain(commands)
    _add_prune(commands)
    return parser


def _add_list(commands: Subparsers) -> None:
    about = "Show every stage under the one that it was made from: what it makes, its state, age, size and users."
    examples = [("rlpipe stages list", "the default store"), ("rlpipe stages --store DIR list", "another one")]
    commands.add_parser("list", help="show every stage under its origin (the default)", **page(about, examples))


def _add_verify(commands: Subparsers) -> None:
    about = (
        "Compare all files of all stages with the hashes in their records. With --repair, damaged stages are moved "
        "into .damaged/, and the next run that needs one builds it anew."
    )
    examples = [
        ("rlpipe stages verify", "only say what is damaged"),
        ("rlpipe stages verify --repair", "move that aside"),
    ]
    verify = commands.add_parser("verify", help="compare all files with their hashes", **page(about, examples, CODES))
    verify.add_argument("--repair", action="store_true", help="move damaged stages aside")


def _add_explain(commands: Subparsers) -> None:
    about = (
        "Say which stages a run needs, which of them are there, and, for one that is not, in what the stored ones "
        "that are most like it differ. Nothing is built."
    )
    examples = [
        ("rlpipe stages explain method=dpo dataset=ultrafeedback after=sft", "the settings are those of the run"),
    ]
    explain = commands.add_parser("explain", help="say why a stage is not reused", **page(about, examples))
    explain.add_argument("overrides", nargs="+", metavar="OVERRIDE", help="the run's settings: method=dpo after=sft")


def _add_prune(commands: Subparsers) -> None:
    about = (
        "Delete stages that nobody uses: neither a run, nor another stage that was made from it and stays. What is "
        "kept is said with its reason."
    )
    examples = [
        ("rlpipe stages prune --older-than 30d --dry-run", "only say what would go"),
        ("rlpipe stages prune --larger-than 50GB", "the longest unused first, until 50 GB are left"),
    ]
    prune = commands.add_parser("prune", help="delete stages that nobody uses", **page(about, examples))
    prune.add_argument("--older-than", type=_duration, metavar="30d", help="what was not used for so long")
    prune.add_argument("--larger-than", type=_size, metavar="50GB", help="the longest unused, until this much is left")
    prune.add_argument("--dry-run", action="store_true", help="only say what would go")


def _duration(text: str) -> float:
    return _number(text, UNITS, "30d, 12h or 90min")


def _size(text: str) -> float:
    return _number(text, SIZES, "50GB or 500MB")


def _number(text: str, units: dict[str, float], examples: str) -> float:
    found = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([A-Za-z]+)", text)
    unit = next((size for name, size in units.items() if found and name.lower() == found[2].lower()), None)
    if found is None or unit is None:
        raise argparse.ArgumentTypeError(f"'{text}' is none; give a number with a unit, such as {examples}")
    return float(found[1]) * unit
