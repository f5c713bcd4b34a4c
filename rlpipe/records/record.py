"""What a run directory holds, and the one way to write it.

    manifest.json    what was chosen, on which code, packages and machine, and every attempt
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

Only the main process writes; in the others every writing method does nothing.
"""

from __future__ import annotations

import json
import time
import traceback
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Literal

import yaml

from rlpipe.config.relevance import differing
from rlpipe.config.schema import Until
from rlpipe.core import distributed
from rlpipe.core.errors import RlpipeError
from rlpipe.core.files import (
    Row,
    append,
    explained,
    json_line,
    json_text,
    keep_rows,
    read_json,
    read_lines,
    write_atomic,
    write_lines,
)
from rlpipe.records import attempts, provenance
from rlpipe.records.attempts import Status
from rlpipe.records.lease import Lease, Lost
from rlpipe.records.ownership import claim, refuse_foreign, refuse_other_run

_STAGES = [until.name for until in Until]
When = Literal["before", "after", "watch"]
"""When rows were measured; `watch`: before training, on the rows that are watched while it goes on."""


class Record:
    """One run's directory. Make one with `Record.open`."""

    def __init__(self, run_dir: Path, manifest: Row, config: dict[str, Any], lease: Lease | None, writes: bool):
        self.run_dir = run_dir
        self.manifest = manifest
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
        belongs to another run, or that holds something else.
        """
        folder = Path(run_dir).expanduser().resolve()
        settled = provenance.plain(config)
        if not distributed.is_main():
            return cls(folder, {}, settled, None, writes=False)
        lease = claim(folder, lease)
        try:
            manifest = read_json(folder / "manifest.json")
            if manifest is not None:
                refuse_other_run(folder, manifest["config"], json.loads(json_text(settled)), same_run)
            else:
                refuse_foreign(folder)
                manifest = attempts.new_manifest(settled, choices or {}, overrides)
            record = cls(folder, manifest, settled, lease, writes=True)
            if record.finished:
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
        """Whether the run has ended well and has come at least as far as this config's `until` asks."""
        result = self.result
        if result is None or result["status"] != Status.ok.name:
            return False
        return _STAGES.index(result["stage"]) >= _STAGES.index(self.config.get("until", "evaluate"))

    @property
    def result(self) -> Row | None:
        """What `result.json` says; None while the run goes on."""
        return read_json(self.run_dir / "result.json")

    @property
    def checkpoints(self) -> Path:
        """The folder of the checkpoints."""
        return self.run_dir / "checkpoints"

    @property
    def log_file(self) -> Path:
        """The text log that all attempts add to."""
        return self.run_dir / "log.txt"

    def metrics(self) -> list[Row]:
        """Return the rows of metrics.jsonl."""
        return read_lines(self.run_dir / "metrics.jsonl")

    def evaluation(self, name: str, when: When) -> list[Row] | None:
        """Return an evaluation's rows, or None when it has not been done yet."""
        path = self._evaluation_file(name, when)
        return read_lines(path) if path.exists() else None

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
        """Write an evaluation's rows, one an example."""
        if self.may_write():
            write_lines(self._evaluation_file(name, when), rows)

    def write(self, name: str, value: Any) -> None:
        """Write a value as a JSON file of the folder (`audit.json`)."""
        if self.may_write():
            write_atomic(self.run_dir / name, json_text(value))

    def rewind(self, step: int) -> None:
        """Go back to `step` (0: the start): metrics and samples of later steps are forgotten, for they come again.

        `logged_until` is set to the last step that had been logged, and the attempt notes where it resumed.
        """
        if not self.may_write():
            return
        made = self.manifest["attempts"]
        logged = [attempt.get("logged_until", -1) for attempt in made]  # one that was killed early logged less
        self.logged_until = max([*logged, *(row["step"] for row in self.metrics())])
        for name in ("metrics.jsonl", "samples.jsonl"):
            keep_rows(self.run_dir / name, lambda row: row["step"] <= step)
        made[-1] |= {"resumed_from": step, "logged_until": self.logged_until}
        self._write_manifest()

    def finish(
        self,
        status: Status,
        stage: str,
        *,
        metrics: Mapping[str, Any] | None = None,
        error: BaseException | None = None,
        cost: Mapping[str, float] | None = None,
    ) -> None:
        """Write result.json, close the attempt and let go of the folder; to be called on every exit.

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
            self._write_manifest()
            write_atomic(self.run_dir / "result.json", json_text(result))
        finally:
            self.close()

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
        self.update(notes=attempts.remarks.get())
        if diff:
            write_atomic(self.run_dir / self.manifest["attempts"][-1]["diff"], diff)
        write_atomic(self.run_dir / "config.yaml", yaml.safe_dump(self.config, sort_keys=False, allow_unicode=True))
        for name in ("metrics.jsonl", "samples.jsonl"):
            keep_rows(self.run_dir / name, lambda row: True)
        with explained(self.run_dir), suppress(FileNotFoundError):
            (self.run_dir / "result.json").unlink()

    def _evaluation_file(self, name: str, when: When) -> Path:
        return self.run_dir / "evaluations" / f"{name}.{when}.jsonl"

    def _append(self, name: str, row: Row) -> None:
        if self.may_write():
            append(self.run_dir / name, json_line(row))

    def _write_manifest(self) -> None:
        if self.may_write():
            write_atomic(self.run_dir / "manifest.json", json_text(self.manifest))
