"""What a run directory holds, and the one way to write it.

    manifest.json    what was chosen, on which code, packages and machine, every attempt, and the hashes of all files
                     that the result is made of; kept twice (manifest.copy.json)
    config.yaml      the resolved config
    code.diff        the user's uncommitted changes (code.2.diff … where a later attempt's differ)
    metrics.jsonl    one row a log step, cut back to the resumed checkpoint's step on resume
    samples.jsonl    texts to read, likewise
    evaluations/     <name>.before.jsonl and <name>.after.jsonl, one row an example; <name>.watch.jsonl: the watched
                     examples before training
    result.json      how it ended; absent while it runs
    error.txt        the traceback of the last failure
    log.txt checkpoints/ model/
    data/ feedback/  of a run that makes rows: the rows, and what they were made from

Only the main process writes; in the others every writing method does nothing. A process that another one has taken
the folder over from changes nothing in it (`core.files` asks the lease).
"""

from __future__ import annotations

import json
import time
import traceback
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

import yaml

from rlpipe.config.relevance import differing
from rlpipe.config.schema import Until
from rlpipe.core import distributed
from rlpipe.core.errors import RecordError, RlpipeError
from rlpipe.core.files import (
    Row,
    append,
    cut_torn,
    hashes,
    json_line,
    json_text,
    read_json,
    remove,
    write_atomic,
    write_lines,
)
from rlpipe.core.shapes import NUMBER, Shape
from rlpipe.records import attempts, history, manifest, provenance, seals
from rlpipe.records.attempts import Status
from rlpipe.records.lease import Lease, Lost
from rlpipe.records.ownership import claim, refuse_foreign, refuse_other_run

_STAGES = [until.name for until in Until]
RESULT_FIX = "move it away and give the run's command again, with this run_dir: it goes on from what is saved"
RESULT: Shape = {
    "status": {"ok", "failed", "stopped", "pruned", "cancelled"},
    "stage?": set(_STAGES),
    "cost?": {str: NUMBER},
    "attempts?": int,
    "metrics?": dict,
    "error?": {"type": str, "message": str, "fix?": str},
}
MODEL_CARD = "README.md"
"""The file of a model that tells of the run's attempts, and so changes where no weight does."""
When = Literal["before", "after", "watch"]
"""When rows were measured; `watch`: before training, on the rows that are watched while it goes on."""


def read_result(folder: Path) -> Row | None:
    """Return how a run's folder says that it ended, None where it has not. Raises RecordError for a damaged file."""
    return read_json(folder / "result.json", RESULT_FIX, RESULT)


class Record:
    """One run's directory. Make one with `Record.open`."""

    def __init__(self, run_dir: Path, contents: Row, config: dict[str, Any], lease: Lease | None, writes: bool):
        self.run_dir = run_dir
        self.manifest = contents
        self.config = config
        """The resolved config in plain types, without secrets."""
        self.logged_until = -1
        """The last step that an earlier attempt logged; trackers skip everything up to it."""
        self._lease = lease
        self._writes = writes
        self._started = time.monotonic()

    @classmethod
    def open(
        cls,
        run_dir: Path | str,
        config: Any,
        *,
        choices: Mapping[str, Any] | None = None,
        overrides: Sequence[str] = (),
        lease: Lease | None = None,
        same_run: Callable[[Row, Row], list[str]] = differing,
    ) -> Record:
        """Start a run in a new or empty folder, or go on with the unfinished run that the folder holds.

        `config` is the resolved config (plain mapping or dataclass), `choices` the option that each group was
        set to, `lease` the right to write into the folder where the caller has
        it already, `same_run(old, new)` names the keys that make two configs different runs. A run that has
        finished is not started again: see `finished`.

        Raises RecordError for a folder that cannot be written, that another process works on, that
        belongs to another run, or that holds something else; and for a finished run whose files are not as written.
        """
        folder = Path(run_dir).expanduser().resolve()
        settled = provenance.plain(config)
        if not distributed.is_main():
            return cls(folder, {}, settled, None, writes=False)
        lease = claim(folder, lease)
        try:
            found = manifest.read(folder)
            if found is not None:
                refuse_other_run(folder, found["config"], json.loads(json_text(settled)), same_run)
            else:
                refuse_foreign(folder)
                found = attempts.new_manifest(settled, choices or {}, overrides)
            record = cls(folder, found, settled, lease, writes=True)
            if record.finished:
                record._refuse_altered()
                record.close()
            else:
                record._begin_attempt()
        except BaseException:
            lease.release()
            raise
        return record

    # -- reading

    @property
    def finished(self) -> bool:
        """Whether the run has ended well, has come at least as far as `until` asks, and what it made is still there."""
        result = self.result
        if result is None or result["status"] != Status.ok.name or "stage" not in result:
            return False
        reached = _STAGES.index(result["stage"]) >= _STAGES.index(self.config.get("until", "evaluate"))
        return reached and not any(flaw.gone for flaw in self._flaws(content=False))

    @property
    def result(self) -> Row | None:
        """What `result.json` says; None while the run goes on."""
        return read_result(self.run_dir)

    @property
    def checkpoints(self) -> Path:
        """The folder of the checkpoints."""
        return self.run_dir / "checkpoints"

    @property
    def log_file(self) -> Path:
        """The text log that all attempts add to."""
        return self.run_dir / "log.txt"

    def metrics(self) -> list[Row]:
        """Return the rows of metrics.jsonl; lines that are none are left out."""
        return history.rows(self.run_dir / "metrics.jsonl")

    def evaluation(self, name: str, when: When) -> list[Row] | None:
        """Return an evaluation's rows; None where it is to be measured.

        That it has not been, or that its rows are not as they were written; the latter is noted.
        """
        path = self._evaluation_file(name, when)
        if not self.may_write() or not path.exists():
            return None
        inside = path.relative_to(self.run_dir).as_posix()
        recorded = self.manifest["files"].get(inside)
        flaw = seals.Flaw(inside, "was never finished") if recorded is None else seals.damage(path, inside, recorded)
        if flaw is None:
            return [json.loads(line) for line in path.read_bytes().splitlines()]
        self.update(notes=[f"{flaw}: measured again"])
        return None

    # -- writing

    def update(self, **fields: Any) -> None:
        """Change fields of the manifest: mappings (`parents`) are merged, lists (`notes`) get what they lack."""
        for key, value in fields.items():
            old = self.manifest.get(key)
            if isinstance(old, dict) and isinstance(value, Mapping):
                self.manifest[key] = {**old, **provenance.plain(value)}
            elif isinstance(old, list):
                self.manifest[key] = old + [item for item in provenance.plain(list(value)) if item not in old]
            else:
                self.manifest[key] = provenance.plain(value, key)
        self._write_manifest()

    def log_metrics(self, step: int, metrics: Mapping[str, Any]) -> None:
        """Add a row `{step, time, …}` to metrics.jsonl."""
        self._append("metrics.jsonl", {"step": step, "time": round(time.time(), 3), **metrics})

    def log_samples(self, step: int, rows: Iterable[Mapping[str, Any]]) -> None:
        """Add rows `{step, …}` to samples.jsonl."""
        for row in rows:
            self._append("samples.jsonl", {"step": step, **row})

    def write_evaluation(self, name: str, when: When, rows: Iterable[Mapping[str, Any]]) -> None:
        """Write an evaluation's rows, one an example, and seal them."""
        if self.may_write():
            path = self._evaluation_file(name, when)
            write_lines(path, rows)
            self._seal(path)

    def note_model(self, made: Mapping[str, str]) -> None:
        """Note the files of the trained model; what was measured of another one before is to be measured again."""
        if not self.may_write():
            return
        before, self.manifest["model"] = self.manifest.get("model"), dict(made)
        if before and {**before, MODEL_CARD: ""} != {**made, MODEL_CARD: ""}:
            for path in (self.run_dir / "evaluations").glob("*.after.jsonl*"):
                self.manifest["files"].pop(path.relative_to(self.run_dir).as_posix(), None)
                remove(path)
        self._write_manifest()

    def write(self, name: str, value: Any) -> None:
        """Write a value as a JSON file of the folder (`audit.json`), and seal it."""
        if self.may_write():
            write_atomic(self.run_dir / name, json_text(value))
            self._seal(self.run_dir / name)

    def read(self, name: str) -> Row | None:
        """Return what `write` has written; None where it has not.

        Also where the file is not as it was written, which is noted.
        """
        recorded = self.manifest.get("files", {}).get(name)
        flaw = None if recorded is None else seals.damage(self.run_dir / name, name, recorded)
        if flaw is not None:
            self.update(notes=[f"{flaw}: written anew"])
        return None if recorded is None or flaw is not None else json.loads((self.run_dir / name).read_bytes())

    @contextmanager
    def made_once(self, folder: str) -> Iterator[None]:
        """Have the body make what a folder of the run lacks: what an earlier attempt left is kept if it is whole.

        All processes of the run come here together.
        """
        path = self.run_dir / folder
        if self.may_write():
            recorded = self.manifest.setdefault("inputs", {}).get(folder)
            if path.exists() and (recorded is None or list(seals.flaws(path, {"files": recorded}))):
                if recorded is not None:
                    self.update(notes=[f"{folder}/ was not as it was written: made again"])
                remove(path)
        distributed.barrier()
        yield
        if path.exists() and self.may_write():
            self.update(inputs={folder: {name: {"sha256": digest} for name, digest in hashes(path).items()}})

    def saved_history(self) -> dict[str, Row]:
        """Force metrics and samples to the disk, and return their seals: what a checkpoint of now vouches for."""
        return history.saved(self.run_dir) if self.may_write() else {}

    def rewind(self, step: int, saved: Mapping[str, Row] = history.NOTHING, processes: int | None = None) -> list[str]:
        """Go back to `step` (0: the start): metrics and samples of later steps are forgotten, for they come again.

        `saved` holds the seals of both at that step, where the checkpoint has them, and `processes` is how many made
        it. `logged_until` is set to the last step that had been logged, and the attempt notes where it resumed. Returns
        what is to be said: rows that are missing or twice.
        """
        if not self.may_write():
            return []
        made = self.manifest["attempts"]
        logged = [attempt.get("logged_until", -1) for attempt in made]  # one that was killed early logged less
        self.logged_until = max([*logged, *(row["step"] for row in self.metrics())])
        notes = history.rewind(self.run_dir, step, saved)
        made[-1] |= {"resumed_from": step, "logged_until": self.logged_until}
        if processes is not None:
            made[-1]["resumed_processes"] = processes
        self.update(notes=notes)
        return notes

    def finish(
        self,
        status: Status,
        stage: str,
        *,
        metrics: Mapping[str, Any] | None = None,
        error: BaseException | None = None,
        cost: Mapping[str, float] | None = None,
        hold: bool = False,
    ) -> None:
        """Write result.json, close the attempt and let go of the folder (unless `hold`); to be called on every exit.

        `stage` is the last one reached (check, build, train, evaluate). `cost` holds what this attempt
        took (`tokens`, say); seconds are added, and all are summed over the attempts, but for `steps`,
        which counts from the start of the run.
        """
        if not self.may_write():
            return
        spent = {**(cost or {}), "seconds": round(time.monotonic() - self._started, 3)}
        result = {**attempts.close(self.manifest, status.name, stage, spent), "metrics": dict(metrics or {})}
        try:
            if error is not None:
                text = "".join(traceback.format_exception(error))
                write_atomic(self.run_dir / "error.txt", provenance.hide(text))
                error_row = {"type": type(error).__name__, "message": str(error), "traceback": "error.txt"}
                if isinstance(error, RlpipeError):
                    error_row |= {"message": error.headline, "fix": error.at("").fix}
                result["error"] = {key: provenance.hide(text) for key, text in error_row.items()}
            text = json_text(result)
            self.manifest["files"] |= history.saved(self.run_dir) | {"result.json": seals.seal_of(text.encode())}
            self._write_manifest()
            write_atomic(self.run_dir / "result.json", text)
        finally:
            self._writes = False
            if not hold:
                self.close()

    @property
    def held(self) -> bool:
        """Whether this process still has the right to the folder; False in all but the main process."""
        return self._lease is not None and self._lease.held

    def close(self) -> None:
        """Let another process work on the folder."""
        self._writes = False
        if self._lease is not None:
            self._lease.release()

    def may_write(self) -> bool:
        """Return whether this process writes the record. Raises Lost, once, when another process has taken it over."""
        if self._writes and self._lease is not None:
            try:
                self._lease.check()
            except Lost:
                self._writes = False
                raise
        return self._writes

    # -- inside

    def _begin_attempt(self) -> None:
        attempts.close_killed(self.manifest, self.metrics())
        diff = attempts.begin(self.manifest)
        gone = [flaw.file for flaw in self._flaws(content=False) if flaw.gone]
        files = self.manifest.get("files") or {}
        unsealed = (*history.NAMES, "result.json", *gone)
        self.manifest["files"] = {name: recorded for name, recorded in files.items() if name not in unsealed}
        self.update(notes=attempts.remarks.get())
        if diff:
            write_atomic(self.run_dir / self.manifest["attempts"][-1]["diff"], diff)
        write_atomic(self.run_dir / "config.yaml", yaml.safe_dump(self.config, sort_keys=False, allow_unicode=True))
        for name in history.NAMES:
            cut_torn(self.run_dir / name)
        remove(self.run_dir / "result.json")

    def _flaws(self, content: bool) -> Iterator[seals.Flaw]:
        """Yield what of the run's files is not as written; of its history nothing can be made again."""
        found = seals.flaws(self.run_dir, self.manifest, content)
        return (flaw for flaw in found if flaw.file not in history.NAMES)

    def _refuse_altered(self) -> None:
        altered = list(self._flaws(content=True))
        if altered:
            raise RecordError(
                self.run_dir,
                f"this run has finished, and its files are not as they were written: {'; '.join(map(str, altered))}",
                "put them back from a backup; or move them away and give the same command again: it makes them anew",
            )

    def _seal(self, path: Path) -> None:
        self.manifest["files"][path.relative_to(self.run_dir).as_posix()] = seals.seal(path)
        self._write_manifest()

    def _evaluation_file(self, name: str, when: When) -> Path:
        return self.run_dir / "evaluations" / f"{name}.{when}.jsonl"

    def _append(self, name: str, row: Row) -> None:
        if self.may_write():
            append(self.run_dir / name, json_line(row))

    def _write_manifest(self) -> None:
        if self.may_write():
            manifest.write(self.run_dir, self.manifest)
