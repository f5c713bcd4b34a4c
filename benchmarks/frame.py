"""What every case has: sides that do the same work in turns, each in a process of its own, and what they took.

A case is one comparison. Its sides are named; the first one is what the others are compared with. Fair by construction:

same rows, same checkpoints   `make` writes them once into a folder, and every side reads them there
same precision, same threads  `prepare` of a side takes them from `Machine`, which is the same for all
in turns                      round by round, each side once, in an order that turns too
one at a time                 a side works only while it is asked, and a case only while no other does
same result                   a side may return its loss: where `tolerance` is given, sides that are apart end the case

Times are the processor's (of the side and of all that it starts and waits for) and the wall's. Memory is the most that
a side's process ever held.
"""

from __future__ import annotations

import importlib
import json
import os
import resource
import subprocess
import sys
import time
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from typing import Any

FAMILIES = ("training", "online", "drawing", "processes", "running")
"""The modules that have cases, each in a tuple `CASES`."""


@dataclass(frozen=True)
class Machine:
    """What all sides have in common."""

    device: str
    precision: str
    threads: int


@dataclass
class Took:
    """What one turn took: seconds, and a loss where sides can be compared by one."""

    wall: float
    cpu: float
    loss: float | None = None
    peak: float = 0.0
    """Megabytes."""


class Clock:
    """Counts seconds from when it is made, of this process and of those that it has waited for."""

    def __init__(self) -> None:
        self.wall, self.cpu = time.perf_counter(), _processor()

    def took(self, loss: float | None = None) -> Took:
        return Took(time.perf_counter() - self.wall, _processor() - self.cpu, loss)


def _processor() -> float:
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(one.ru_utime + one.ru_stime for one in used)


Turn = Callable[[], Took | float | None]
"""One turn of a side. It returns what it took where only a part of it counts, else a loss or nothing."""


class Case(ABC):
    """One comparison."""

    sides: tuple[str, ...] = ("rlpipe",)
    """Their names, what the others are compared with first."""
    tolerance: float | None = None
    """How far losses may be apart, as a share of the first side's."""
    warms_up: bool = True
    """Whether a first round is not counted; of whole commands each starts anew."""

    def __init__(self, name: str, what: str):
        self.name, self.what = name, what

    def make(self, folder: Path, machine: Machine) -> None:  # noqa: B027
        """Write what all sides read, where there is anything."""

    @abstractmethod
    def prepare(self, side: str, folder: Path, machine: Machine) -> Turn:
        """Import and load what a side needs, which is not counted, and return its turn."""


def cases() -> dict[str, Case]:
    """Return all cases by name."""
    found = [case for family in FAMILIES for case in importlib.import_module(f"benchmarks.{family}").CASES]
    return {case.name: case for case in found}


SIDE = "import sys; from benchmarks.frame import main; main(sys.argv[1])"
"""What a side's process runs. By `-m` this file would be there twice, and what a turn took of a class unknown to it."""


class Side:
    """A side's process, which works when it is asked."""

    def __init__(self, case: str, side: str, folder: Path, machine: Machine):
        self.name = side
        self.log = folder / f"{side.replace(' ', '-')}.log"
        given = json.dumps([case, side, str(folder), asdict(machine)])
        with open(self.log, "wb") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-c", SIDE, given],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
                env={**os.environ, "OMP_NUM_THREADS": str(machine.threads), "TOKENIZERS_PARALLELISM": "false"},
            )

    def turn(self) -> Took:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        print(file=self.process.stdin, flush=True)
        line = self.process.stdout.readline()
        if not line:
            last = self.log.read_text(errors="replace").strip().splitlines()[-15:]
            raise SystemExit(f"{self.name} ended with code {self.process.wait()}:\n" + "\n".join(last))
        return Took(**json.loads(line))

    def stop(self) -> None:
        self.process.communicate()


def compare(case: Case, machine: Machine, rounds: int, folder: Path) -> dict[str, Any]:
    """Let the sides of a case take turns, and return what was measured, as JSON has it."""
    case.make(folder, machine)
    sides = [Side(case.name, name, folder, machine) for name in case.sides]
    took: dict[str, list[Took]] = {side.name: [] for side in sides}
    try:
        for number in range(rounds + case.warms_up):
            start = number % len(sides)
            turns = {side.name: side.turn() for side in (*sides[start:], *sides[:start])}
            check_losses(case, turns)
            if number >= case.warms_up:
                for name, one in turns.items():
                    took[name].append(one)
    finally:
        for side in sides:
            side.stop()
    return {"case": case.name, "what": case.what, "rounds": rounds, "sides": summary(took)}


def check_losses(case: Case, turns: dict[str, Took]) -> None:
    """End a case whose sides did not do the same."""
    losses = {name: one.loss for name, one in turns.items() if one.loss is not None}
    if case.tolerance is not None and max(losses.values()) - min(losses.values()) > case.tolerance * abs(
        next(iter(losses.values()))
    ):
        raise SystemExit(f"{case.name}: not the same work, by the losses {losses}")


def summary(took: dict[str, list[Took]]) -> dict[str, Any]:
    """Return each side's medians, and its ratios to the first side, round by round: median, least and largest."""
    first = next(iter(took.values()))

    def ratios(rows: list[Took], clock: str) -> list[float]:
        found = sorted(getattr(row, clock) / getattr(own, clock) for row, own in zip(rows, first, strict=True))
        return [median(found), found[0], found[-1]]

    return {
        name: {
            "wall": median(row.wall for row in rows),
            "cpu": median(row.cpu for row in rows),
            "peak": max(row.peak for row in rows),
            "loss": rows[-1].loss,
            "cpu_ratio": ratios(rows, "cpu"),
            "wall_ratio": ratios(rows, "wall"),
        }
        for name, rows in took.items()
    }


def main(given: str) -> None:
    """Be a side: make a turn for each line on standard input, and answer with what it took."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what libraries print is no answer
    name, side, folder, machine = json.loads(given)
    turn = cases()[name].prepare(side, Path(folder), Machine(**machine))
    for _ in sys.stdin:
        clock = Clock()
        found = turn()
        took = found if isinstance(found, Took) else clock.took(found)
        took.peak = max(resource.getrusage(who).ru_maxrss for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
        took.peak /= 2**10
        print(json.dumps(asdict(took)), file=answers, flush=True)
