"""Finding a stage's result again, and having it made once when it is missing."""

from __future__ import annotations

import dataclasses
import errno
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

from rlpipe.config.schema import RunConfig
from rlpipe.core import distributed
from rlpipe.core.errors import RlpipeError, StageError, Stopped
from rlpipe.core.signals import stop_requests
from rlpipe.core.terminal import indented, say
from rlpipe.records import lease
from rlpipe.records.lease import Lease, Lost, Taken
from rlpipe.records.record import Record
from rlpipe.stages.fingerprint import Stage, describe
from rlpipe.stages.lineage import parent_config, parent_overrides, producer
from rlpipe.stages.stored import State, Stored
from rlpipe.stages.users import Mark, using

Build = Callable[..., object]
"""`rlpipe.run.run`: handed in, for a run needs its stages before a stage can be a run."""

POLL = 1.0
"""Seconds between two looks at a stage that another process is building."""
TELL = 60.0
"""Seconds between two words about how far it is."""


def product(config: RunConfig, overrides: Sequence[str]) -> Path:
    """Return the folder of what a list of overrides makes for a reward or an evaluation of a run.

    Raises StageError where it is not built yet: a run builds all that it needs before it loads any of it.
    """
    return _there(describe(producer(config, overrides)), overrides)


def product_named(config: RunConfig, path: str) -> Path:
    """Return the folder of what the run makes that a dotted key of `config` names (`method.reference.stage`).

    Raises StageError where it is not built yet.
    """
    stage = describe(parent_config(config, path))
    return _there(stage, [path])


def _there(stage: Stage, named: Sequence[str]) -> Path:
    if not is_built(stage):
        raise StageError(
            stage.folder,
            f"the {stage.makes} of [{','.join(named)}] is not there",
            "start the run with its command: it builds what it needs; rlpipe stages explain … says why",
        )
    return stage.product


def is_built(stage: Stage) -> bool:
    """Whether the store holds the stage's result: its record says ok and its files have the recorded hashes.

    Raises StageError for a damaged one: neither used nor thrown away without being asked.
    """
    stored = Stored(stage.folder)
    state = stored.state()
    if state is State.damaged:
        raise StageError(
            stage.folder,
            f"damaged: {stored.damage()}",
            (
                f"rlpipe stages --store {stage.folder.parent} verify --repair moves it aside; the next run that "
                "needs it builds it anew"
            ),
        )
    return state is State.ok


@contextmanager
def in_use(stage: Stage, run: str, build: Build) -> Iterator[Path]:
    """Lend the folder of what a stage makes, built first if need be; it is not pruned during the body."""
    if not distributed.is_main():
        yield ensure(stage, build)
        return
    _writable(stage)
    with using(stage.folder, run) as mark:
        yield ensure(stage, build, mark)


def ensure(stage: Stage, build: Build, mark: Mark | None = None) -> Path:
    """Return the folder of what a stage makes, building it first if the store lacks it.

    Processes that need the same stage build it once: one does, the others wait for it, and one of them goes on
    from the newest checkpoint if it dies. Raises StageError when the build fails, here or where it was waited for.
    """
    waiting = _Waiting(stage, mark)
    while True:
        ours, held = waiting.wait()
        if not ours or _build(stage, build, held):
            return stage.product


class _Waiting:
    """Looks at a stage until it is there or may be built here, and says meanwhile who is building it."""

    def __init__(self, stage: Stage, mark: Mark | None):
        self.stage, self.mark = stage, mark
        self._waited = False
        self._reported = float("-inf")

    def wait(self) -> tuple[bool, Lease | None]:
        """Wait for the stage; return whether this run is to build it, with the right to (in the main process).

        Raises Stopped when it is asked to stop meanwhile.
        """
        with stop_requests() as stop:
            while True:
                built, held = self._look() if distributed.is_main() else (False, None)
                built, ours = distributed.broadcast((built, held is not None))
                if built:
                    say(f"{'got' if self._waited else 'reusing'} {self.stage.name}")
                if built or ours:
                    return ours, held
                if distributed.any_rank(stop.requested):
                    raise Stopped("", f"stopped while waiting for {self.stage.name}", "the same command waits again")
                time.sleep(POLL)

    def _look(self) -> tuple[bool, Lease | None]:
        """Return whether the stage is built, and else the right to build it, None while another process has it."""
        folder = self.stage.folder
        if self.mark is not None:
            self.mark.renew()
        if lease.holder(folder) is None and is_built(self.stage):
            return True, None
        self._refuse_failed()
        try:
            folder.mkdir(parents=True, exist_ok=True)
            held = lease.acquire(folder, f"building {self.stage.name}", patient=False)
        except Taken as taken:
            self._report(taken.owner)
            return False, None
        if Stored(folder).state(content=False) is State.ok:  # finished between the two looks
            held.release()
            return is_built(self.stage), None
        try:
            self._refuse_failed(held=True)  # it may have failed between them too
        except StageError:
            held.release()
            raise
        return False, held

    def _refuse_failed(self, held: bool = False) -> None:
        """Raise StageError when the process that was waited for has failed: the same again would fail again."""
        stored = Stored(self.stage.folder)
        if self._waited and stored.state(content=False, held=held) is State.failed:
            error = stored.result.get("error", {})
            fix = error.get("fix") or "fix it"
            raise StageError(
                stored.folder,
                f"building the stage failed in another process: {error.get('message', 'no reason is recorded')}",
                f"{stored.folder / 'error.txt'} holds the traceback; {fix}, and start the run again",
            )

    def _report(self, owner: lease.Owner) -> None:
        self._waited = True
        now = time.monotonic()
        if now - self._reported >= TELL:
            self._reported = now
            step, total = Stored(self.stage.folder).step, self.stage.config.method.max_steps
            far = f": step {step}" + (f" of {total}" if total else "") if step is not None else ""
            say(f"waiting for {owner}, which is {owner.doing}{far}")


def _build(stage: Stage, build: Build, held: Lease | None) -> bool:
    """Run a stage; False when another process has taken it over, which it is left to. Raises StageError."""
    say(f"building {stage.name} first (needed once, kept in {stage.folder.parent})")
    try:
        with indented():
            build(stage.config, stage=stage, lease=held)
    except Lost as lost:
        if distributed.world_size() > 1:
            raise
        say(str(lost))
        return False
    except RlpipeError as error:
        what = f"{stage.name}, which this run needs, was not built: {error.headline}"
        raise StageError("", what, "; ".join(filter(None, (error.at("").fix, _full(error, stage))))) from error
    finally:
        if held is not None:
            held.release()
    if distributed.is_main() and not is_built(stage):
        raise StageError(stage.folder, "the stage ran and did not come to its end", "read its log.txt")
    say(f"built {stage.name}")
    return True


def _full(error: RlpipeError, stage: Stage) -> str:
    cause = error.__cause__
    if isinstance(cause, OSError) and cause.errno in (errno.ENOSPC, errno.EDQUOT):
        store = stage.folder.parent
        return f"stages that nobody uses: rlpipe stages --store {store} prune --older-than 30d --dry-run"
    return ""


def _writable(stage: Stage) -> None:
    """Make the store. Raises StageError where it cannot be written and does not hold the stage."""
    store = stage.folder.parent
    try:
        store.mkdir(parents=True, exist_ok=True)
        if not stage.folder.is_dir():
            stage.folder.mkdir(exist_ok=True)
    except OSError as error:
        raise StageError(
            "store", f"cannot write {store}: {error.strerror}", "set store=DIR or $RLPIPE_STORE"
        ) from error


def stage_named(config: RunConfig, path: str) -> Stage:
    """Return the stage that a dotted key of `config` names, with the overrides that name it."""
    overrides = tuple(parent_overrides(config)[path])
    return dataclasses.replace(describe(parent_config(config, path)), overrides=overrides)


def plan(config: RunConfig) -> list[Stage]:
    """Return the stages that a checked config needs, each once, those that others need first.

    Their configs can be run (`rlpipe.run.run(stage.config, stage=stage)`); `is_built` says which are there.
    """
    found: dict[str, Stage] = {}

    def visit(config: RunConfig) -> None:
        for path in parent_overrides(config):
            visit(parent_config(config, path))
            stage = stage_named(config, path)
            found.setdefault(stage.fingerprint, stage)

    visit(config)
    return list(found.values())


class Parents:
    """The stages of one run. Each is built when it is asked for; `start` asks for all."""

    def __init__(self, config: RunConfig, record: Record, build: Build, uses: ExitStack):
        self._config, self._record, self._build, self._uses = config, record, build, uses
        self._made: dict[str, Path] = {}

    def rows(self) -> Path | None:
        """Return the folder of the rows that another run makes for this one; None where the config names them."""
        return self._get("dataset.stage") if "dataset.stage" in parent_overrides(self._config) else None

    def start(self) -> Path | None:
        """Return the folder of the weights that the run starts from; None where the config names them.

        All other models that it needs (a reward model, a reference) are there then too: `product` finds them.
        """
        made = {path: self._get(path) for path in parent_overrides(self._config)}
        return made.get("after") or made.get("model.stage")

    def _get(self, path: str) -> Path:
        if path not in self._made:
            stage = stage_named(self._config, path)
            self._record.update(parents={stage.name: stage.fingerprint})
            self._made[path] = self._uses.enter_context(in_use(stage, str(self._record.run_dir), self._build))
        return self._made[path]


@contextmanager
def parents(config: RunConfig, record: Record, stage: Stage | None, build: Build) -> Iterator[Parents]:
    """Lend a run what it needs of others; its record gets its own fingerprint where it is a stage itself."""
    if stage is not None:
        record.update(fingerprint=stage.fingerprint, fingerprint_inputs=stage.inputs)
    with ExitStack() as uses:
        yield Parents(config, record, build, uses)
