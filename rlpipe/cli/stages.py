"""`rlpipe stages COMMAND`: what the store holds, whether it is whole, why something is not reused."""

from __future__ import annotations

import argparse
import re
import sys
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from rlpipe.cli.exits import DONE, UNWELL, leave
from rlpipe.core.errors import advice

if TYPE_CHECKING:
    from rlpipe.stages.stored import Stored

UNITS = {"s": 1.0, "min": 60.0, "h": 3600.0, "d": 86400.0, "w": 604800.0}
SIZES = {"B": 1.0, "kB": 1e3, "MB": 1e6, "GB": 1e9, "TB": 1e12}


def main() -> NoReturn:
    """Run the command line in `sys.argv` and exit: 0 done, 1 something is damaged, 2 something to mend."""
    parser = _parser()
    arguments = parser.parse_args()
    if arguments.command == "prune" and arguments.older_than is None and arguments.larger_than is None:
        parser.error("prune: say what may go, with --older-than 30d, --larger-than 50GB, or both")
    leave(partial(_command, arguments))


def _command(arguments: argparse.Namespace) -> int:
    from rlpipe.core.errors import StageError
    from rlpipe.core.paths import store_dir
    from rlpipe.stages.stored import all_stored

    store = store_dir(arguments.store)
    if not store.is_dir() and arguments.command != "explain" and (arguments.store or arguments.command):
        raise StageError(store, "there is no such store", "name one with --store DIR, or set $RLPIPE_STORE")
    stages = list(all_stored(store))
    match arguments.command:
        case "verify":
            return _verify(stages, arguments.repair)
        case "explain":
            return _explain(stages, arguments.overrides, arguments.store)
        case "prune":
            return _prune(stages, arguments)
        case _:
            return _list(store, stages)


def _list(store: Path, stages: list[Stored]) -> int:
    from rich.console import Console
    from rich.filesize import decimal

    from rlpipe.stages.stored import table

    Console(width=None if sys.stdout.isatty() else 500, highlight=False, markup=False).print(table(stages))
    print(f"{len(stages)} stages, {decimal(sum(stage.size for stage in stages))}, in {store}")
    return DONE


def _verify(stages: list[Stored], repair: bool) -> int:
    from rlpipe.stages.upkeep import damaged, move_aside

    wrong = damaged(stages)
    for stage in stages:
        if stage.name in wrong:
            print(f"{stage.name}: {wrong[stage.name]}")
            if repair:
                print(f"    moved to {move_aside(stage)}; the next run that needs it builds it anew")
    print(f"{len(stages) - len(wrong)} of {len(stages)} stages are whole or unfinished, {len(wrong)} damaged")
    if wrong and not repair:
        print(advice("verify --repair moves damaged ones aside; the next run that needs them builds them anew"))
    return DONE if repair or not wrong else UNWELL


def _explain(stages: list[Stored], overrides: list[str], store: str | None) -> int:
    from rlpipe.config.compose import compose
    from rlpipe.run.check.check import check
    from rlpipe.stages.why import explain

    if store:
        overrides = [*overrides, f"store='{store}'"]
    config = compose(*overrides)
    check(config, overrides)
    for line in explain(config, stages):
        print(line)
    return DONE


def _prune(stages: list[Stored], arguments: argparse.Namespace) -> int:
    from rich.filesize import decimal

    from rlpipe.stages import upkeep
    from rlpipe.stages.stored import age

    chosen = upkeep.choose(stages, arguments.older_than, arguments.larger_than)
    freed = 0
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
        print(f"kept {name}: {reason}")
    print(f"{decimal(freed)} {'would be' if arguments.dry_run else 'were'} freed")
    return DONE


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        "rlpipe stages", description="Stages are runs that other runs need, kept in a store and reused."
    )
    parser.add_argument("--store", metavar="DIR", help="default: $RLPIPE_STORE, else ~/.cache/rlpipe/stages")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND")
    commands.add_parser("list", help="show every stage under the one that it was made from (the default)")
    verify = commands.add_parser("verify", help="compare all files with their recorded hashes; exit code 1 for damage")
    verify.add_argument("--repair", action="store_true", help="move damaged stages aside")
    explained = commands.add_parser("explain", help="say which stages a run needs, and why one is not reused")
    explained.add_argument(
        "overrides", nargs="+", metavar="OVERRIDE", help="the run's command line: method=dpo after=sft"
    )
    pruned = commands.add_parser("prune", help="delete stages that nobody uses")
    pruned.add_argument("--older-than", type=_duration, metavar="30d", help="what was not used for so long")
    pruned.add_argument("--larger-than", type=_size, metavar="50GB", help="the longest unused, until this much is left")
    pruned.add_argument("--dry-run", action="store_true", help="only say what would go")
    return parser


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


if __name__ == "__main__":
    main()
