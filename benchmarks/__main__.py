"""Measure cases one after another and write what they took.

    python -m benchmarks --list
    python -m benchmarks sft dpo --rounds 3 --out FOLDER
    python -m benchmarks                                      all of them

On a machine with a GPU the same command measures there, in bfloat16; `--device cpu` and `--precision` say otherwise.
"""

from __future__ import annotations

import argparse
import tempfile
from dataclasses import asdict
from pathlib import Path

from benchmarks import tables
from benchmarks.frame import Case, Machine, cases, compare


def main() -> None:
    known = cases()
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("cases", nargs="*", metavar="CASE", help="what to measure; everything where none is named")
    parser.add_argument("--list", action="store_true", help="name the cases and their sides, and measure nothing")
    parser.add_argument("--rounds", type=int, default=5, help="turns of each side that count")
    parser.add_argument("--out", type=Path, default=Path("benchmark-results"), help="where the results are written")
    parser.add_argument("--device", choices=["cpu", "cuda"], help="default: a GPU where there is one")
    parser.add_argument("--precision", choices=["float32", "bfloat16"], help="default: bfloat16 on a GPU")
    parser.add_argument("--threads", type=int, default=1, help="of torch, on a processor")
    given = parser.parse_args()
    if unknown := [name for name in given.cases if name not in known]:
        parser.error(f"no such case: {', '.join(unknown)} (python -m benchmarks --list)")
    if given.rounds < 1:
        parser.error("--rounds must be 1 or more")
    machine = _machine(given)
    chosen = [known[name] for name in given.cases] or list(known.values())
    if given.list:
        for case in chosen:
            print(f"{case.name:22} {case.what}\n{'':22} {', '.join(case.sides)}")
        return
    measure(chosen, machine, given.rounds, given.out)


def measure(chosen: list[Case], machine: Machine, rounds: int, out: Path) -> None:
    """Measure cases, and write after each what there is so far."""
    where, found = tables.about(asdict(machine)), []
    for case in chosen:
        with tempfile.TemporaryDirectory() as folder:
            found.append(compare(case, machine, rounds, Path(folder)))
        tables.write(out, found, where)
        print(tables.markdown(found[-1:], where).partition("\n\n")[2], flush=True)
    print(f"written: {out}/results.json, results.md, results.svg")


def _machine(given: argparse.Namespace) -> Machine:
    import torch

    device = given.device or ("cuda" if torch.cuda.is_available() else "cpu")
    precision = given.precision or ("bfloat16" if device == "cuda" else "float32")
    return Machine(device, precision, given.threads)


if __name__ == "__main__":
    main()
