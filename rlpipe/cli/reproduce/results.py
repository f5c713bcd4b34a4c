"""Two runs' results side by side: weights, numbers, rows; equal means bit for bit."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path
from typing import Any

from rlpipe.core.files import Row, hashes
from rlpipe.records.record import When
from rlpipe.records.runs import Run
from rlpipe.records.seals import MADE

NOT_RESULT = ("time", "seconds")
"""The first parts of names of logged numbers that tell of the clock."""
SELF_NAMING = ("README.md", "adapter_config.json")
"""Files of a model that name their own run or folder; all else of them is in the weights and the config."""
WHENS: tuple[When, ...] = ("before", "after")


@dataclass(frozen=True)
class Finding:
    """One kind of result: whether both runs have the same, and what was compared or how far they are apart."""

    what: str
    same: bool
    detail: str


def compare(old: Run, new: Run) -> list[Finding]:
    """Return what of two runs' results is the same and what is not."""
    findings = [_files(old, new, kind) for kind in MADE if old.manifest.get(kind)]
    if altered := [str(flaw) for flaw in old.flaws() if not flaw.gone]:
        findings.append(Finding("the old run's files", False, "; ".join(altered)))
    findings.append(_numbers(old, new))
    findings.append(_steps("logged numbers", old.metrics(), new.metrics()))
    for name in sorted({*old.evaluations, *new.evaluations}):
        for when in WHENS:
            before, after = old.evaluation(name, when), new.evaluation(name, when)
            if before or after:
                findings.append(_rows(f"{name} {when}", before, after))
    if old.samples() or new.samples():
        findings.append(_rows("samples", old.samples(), new.samples()))
    notes = [note for note in (*old.manifest["notes"], *new.manifest["notes"]) if note not in _both_notes(old, new)]
    findings.append(Finding("notes", not notes, "; ".join(notes) or f"{len(new.manifest['notes'])}, the same"))
    return findings


def _both_notes(old: Run, new: Run) -> set[str]:
    return set(old.manifest["notes"]) & set(new.manifest["notes"])


def _files(old: Run, new: Run, kind: str) -> Finding:
    """Compare files; of an old run whose files are gone, what its record says of them."""
    there = (old.dir / MADE[kind]).is_dir()
    then = _comparable(hashes(old.dir / MADE[kind]) if there else old.manifest[kind])
    now = _comparable(hashes(new.dir / MADE[kind]))
    changed = sorted(name for name in then | now if then.get(name) != now.get(name))
    what = "weights" if kind == "model" else "data"
    if not changed:
        return Finding(what, True, f"{len(now)} files, the same hashes{'' if there else ' as its record has'}")
    apart = [text for name in changed if (text := _apart(old.dir / "model" / name, new.dir / "model" / name))]
    return Finding(what, False, "; ".join([f"other hashes: {', '.join(changed)}", *apart]))


def _comparable(files: Mapping[str, str]) -> dict[str, str]:
    return {name: digest for name, digest in files.items() if Path(name).name not in SELF_NAMING}


def _apart(one: Path, other: Path) -> str | None:
    """Say how far two files of weights are apart; None where they cannot be compared number by number."""
    if one.suffix != ".safetensors" or not one.is_file() or not other.is_file():
        return None
    from safetensors import safe_open

    worst, where = 0.0, ""
    with safe_open(one, "pt") as left, safe_open(other, "pt") as right:
        if set(left.keys()) != set(right.keys()):
            return "not the same tensors"
        for name in left.keys():  # noqa: SIM118  # not a mapping
            a, b = left.get_tensor(name), right.get_tensor(name)
            if a.shape != b.shape:
                return f"{name} has other sizes"
            apart = float((a.double() - b.double()).abs().max()) if a.numel() else 0.0
            if apart > worst:
                worst, where = apart, name
    return f"up to {worst:.3g} apart, in {where}" if where else "the same numbers in other files"


def _numbers(old: Run, new: Run) -> Finding:
    then, now = old.summary, new.summary
    changed = [name for name in sorted(then | now) if name not in then or name not in now or then[name] != now[name]]
    if not changed:
        return Finding("numbers", True, f"{len(now)} before, after and of the change")
    examples = [f"{name}: {then.get(name)} then, {now.get(name)} now" for name in changed[:3]]
    more = f" and {len(changed) - 3} more" if len(changed) > 3 else ""
    return Finding("numbers", False, "; ".join(examples) + more)


def _steps(what: str, old: Iterable[Row], new: Iterable[Row]) -> Finding:
    """Compare rows of logged numbers step by step; the first step that differs says where two runs parted."""
    then, now = ({row["step"]: dict(_timeless(row)) for row in rows} for rows in (old, new))
    for step in sorted(then | now):
        one, other = then.get(step, {}), now.get(step, {})
        if one != other:
            names = sorted(name for name in one | other if one.get(name) != other.get(name))
            first = f"{names[0]}: {one.get(names[0])} then, {other.get(names[0])} now"
            return Finding(what, False, f"differ from step {step} on ({first})")
    return Finding(what, True, f"{len(now)} steps")


def _timeless(row: Row) -> Iterator[tuple[str, Any]]:
    return ((name, value) for name, value in row.items() if name.split("/")[0] not in NOT_RESULT)


def _rows(what: str, old: list[Row], new: list[Row]) -> Finding:
    nothing: Row = {}
    pairs = list(zip_longest(old, new, fillvalue=nothing))
    changed = [(then, now) for then, now in pairs if then != now]
    if not changed:
        return Finding(what, True, f"{len(new)} rows")
    names = sorted({name for then, now in changed for name in {*then, *now} if then.get(name) != now.get(name)})
    return Finding(what, False, f"{len(changed)} of {len(pairs)} rows differ, in {', '.join(names)}")
