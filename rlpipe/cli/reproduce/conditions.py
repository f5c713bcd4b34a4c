"""What a run was made under, compared with what it would be made under here: code, packages, machine, data, parents.

Whether the run's own files are still those that it wrote is looked at first.

None of it trains or changes anything; the data are read.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rlpipe.config.schema import RunConfig
from rlpipe.core import distributed
from rlpipe.core.errors import RecordError, RlpipeError
from rlpipe.records import provenance
from rlpipe.records.runs import Run

MACHINE = ("cpu", "cores", "gpus", "system", "python")
"""What of the hardware can change a number, or how fast it comes."""
ABSENT = "–"


@dataclass(frozen=True)
class Difference:
    """One thing that is not as it was."""

    what: str
    then: str
    now: str


def compare(run: Run, config: RunConfig) -> list[Difference]:
    """Return all that differs between a run's record and what is here; `config` is the run's, restored.

    Raises RecordError for what keeps the run from being made again (rows or weights that are not there), all at once.
    """
    found: list[Difference] = []
    missing: list[str] = []
    looks: Sequence[Callable[[Run, RunConfig], Iterator[Difference]]]
    looks = (files, code, packages, machine, data, start, parents)
    for look in looks:
        try:
            found += look(run, config)
        except RlpipeError as error:
            missing.append(str(error))
    if missing:
        listed = "\n".join(dict.fromkeys(missing))  # the rows of a run are often its parents' too
        raise RecordError(run.dir, f"cannot be made again here:\n{listed}", "")
    return found


def files(run: Run, config: RunConfig) -> Iterator[Difference]:
    """Compare the run's files with what was written."""
    for flaw in run.flaws():
        yield Difference(flaw.file, "as it was written", flaw.what)


def code(run: Run, config: RunConfig) -> Iterator[Difference]:
    """Compare the commit, and the changes that were not committed, of the repository that one works in."""
    attempts = run.manifest["attempts"]
    then = attempts[-1]["code"]
    now, diff = provenance.code(Path.cwd())
    commits = list(dict.fromkeys(_commit(attempt["code"]) for attempt in attempts))
    if commits != [_commit(now)]:
        yield Difference("commit", ", then ".join(commits), _commit(now))
    recorded = attempts[-1].get("diff")
    try:
        before = (run.dir / recorded).read_bytes() if recorded else b""
    except OSError as error:
        yield Difference("uncommitted changes", f"{recorded} cannot be read ({error.strerror})", _changes(diff))
    else:
        if before != diff:
            yield Difference("uncommitted changes", _changes(before), _changes(diff))
    if then.get("untracked", []) != now.get("untracked", []):
        yield Difference("untracked files", _names(then), _names(now))
    if run.manifest["rlpipe"] != provenance.rlpipe_version():
        yield Difference("rlpipe", run.manifest["rlpipe"], provenance.rlpipe_version())


def _commit(state: Mapping[str, Any]) -> str:
    return str(state["commit"] or f"unknown: {state.get('why', 'no repository')}")


def _changes(diff: bytes) -> str:
    return f"{len(diff.splitlines())} lines, {hashlib.sha256(diff).hexdigest()[:12]}" if diff else "none"


def _names(state: Mapping[str, Any]) -> str:
    names = state.get("untracked", [])
    return ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "") or "none"


def packages(run: Run, config: RunConfig) -> Iterator[Difference]:
    """Compare the versions of the packages that can change a number."""
    then, now = run.manifest["attempts"][-1]["packages"], provenance.packages()
    for name in sorted(then | now):
        if then.get(name) != now.get(name):
            yield Difference(name, then.get(name, ABSENT), now.get(name, ABSENT))


def machine(run: Run, config: RunConfig) -> Iterator[Difference]:
    """Compare the machine and the number of processes."""
    attempt = run.manifest["attempts"][-1]
    then, now = attempt["hardware"], provenance.hardware()
    for name in MACHINE:
        if then.get(name) != now[name]:
            yield Difference(name, _shown(then.get(name)), _shown(now[name]))
    if attempt["processes"] != distributed.world_size():
        yield Difference("processes", str(attempt["processes"]), str(distributed.world_size()))


def _shown(value: Any) -> str:
    return ", ".join(map(str, value)) or "none" if isinstance(value, list) else str(value)


def data(run: Run, config: RunConfig) -> Iterator[Difference]:
    """Compare the identity of the rows. Raises DataError where they cannot be read."""
    from rlpipe.stages import data as stages
    from rlpipe.stages.lineage import parent_overrides

    if "dataset.stage" in parent_overrides(config):
        return  # rows that another run makes: that run is among the parents
    here = stages.data(config)
    for split, now in (("train", here.train), ("test", here.test)):
        then = run.manifest.get("data", {}).get(split, {}).get("identity", ABSENT)
        if then != now:
            yield Difference(f"{split} rows", then, now)


def start(run: Run, config: RunConfig) -> Iterator[Difference]:
    """Compare the weights that the config itself names. Raises ModelError where they are not there."""
    from rlpipe.stages.identity import named
    from rlpipe.stages.lineage import parent_overrides

    if config.model.source is None or {"after", "model.stage"} & set(parent_overrides(config)):
        return
    then, now = run.manifest.get("start_model"), named(config.model.source, config.model.revision)
    if then is not None and then != now:
        yield Difference("model.source", then, now)


def parents(run: Run, config: RunConfig) -> Iterator[Difference]:
    """Compare the fingerprints of the runs that this one needs. Raises what describing one of them raises."""
    from rlpipe.stages.fingerprint import describe
    from rlpipe.stages.lineage import parent_config, parent_overrides

    then: dict[str, str] = run.manifest.get("parents", {})
    here = {path: describe(parent_config(config, path)) for path in parent_overrides(config)}
    now = {stage.name: stage.fingerprint for stage in here.values()}
    gone = {name: print_ for name, print_ in then.items() if now.get(name) != print_}
    new = [stage.name for stage in here.values() if then.get(stage.name) != stage.fingerprint]
    for place, name in enumerate(gone):
        yield Difference("parent", name, new[place] if place < len(new) else ABSENT)
    for name in new[len(gone) :]:
        yield Difference("parent", ABSENT, name)


def hidden(node: Any, path: str = "") -> Iterator[str]:
    """Yield the dotted keys of a recorded config whose values were secrets, and so were not recorded."""
    items = node.items() if isinstance(node, Mapping) else enumerate(node) if isinstance(node, list) else ()
    for key, value in items:
        where = f"{path}.{key}" if path else str(key)
        if isinstance(value, str) and provenance.HIDDEN in value:
            yield where
        yield from hidden(value, where)
