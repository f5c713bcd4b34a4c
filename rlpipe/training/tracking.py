"""A run's tracker: started before training, closed with all that the record says in the end."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from rlpipe.config.kinds import Artifacts
from rlpipe.config.overrides import go_on, without_run_dir
from rlpipe.config.resolved import Resolved
from rlpipe.config.schema import RunConfig
from rlpipe.core import distributed
from rlpipe.core.files import json_text, read_json, write_atomic
from rlpipe.core.terminal import is_number
from rlpipe.records.manifest import read as manifest_of
from rlpipe.records.record import Record
from rlpipe.records.sweep import SWEEP_FILE
from rlpipe.trackers.base import Artifact, RunIdentity
from rlpipe.trackers.guarded import Guarded


def track(resolved: Resolved, record: Record, is_stage: bool, weights: str = "") -> Guarded:
    """Start the run's tracker (in the main process); `untrack` closes it when the record is complete.

    `weights` is the folder that the run's model was loaded from.
    """
    tracker = Guarded(resolved.make_tracker(), _shown_until(record))
    if distributed.is_main():
        tracker.start(identity(record, resolved.config, is_stage), record.config)
        start = made_model(Path(weights)) if tracker.artifacts is not Artifacts.none else None
        if start is not None:
            tracker.starts_from(start)
        for row in record.metrics():  # what the destination lacks of it: the others are passed over
            numbers = {name: value for name, value in row.items() if is_number(value) and name not in ("step", "time")}
            tracker.log(numbers, row["step"])
    return tracker


def untrack(tracker: Guarded, record: Record, metrics: Mapping[str, float]) -> None:
    """Show all that result.json holds, and close the tracker. `metrics` has the numbers that JSON cannot write too."""
    result = record.result or {}
    words = {key: value for key, value in result.items() if key in ("status", "stage", "attempts")}
    if "error" in result:
        words |= {"error": f"{result['error']['type']}: {result['error']['message']}"}
    cost = {f"cost/{key}": value for key, value in result.get("cost", {}).items()}
    tracker.summary({**result.get("metrics", {}), **metrics, **cost, **words})
    tracker.finish(ok=result.get("status") == "ok")
    if tracker.kept_until is not None and record.held:
        made = len(record.manifest["attempts"])
        write_atomic(record.run_dir / FILE, json_text({"attempt": made, "until": tracker.kept_until}))


def made_model(folder: Path, *aliases: str) -> Artifact | None:
    """Return what a folder of weights is to trackers, where a run made it: the same name in every run that uses it."""
    manifest = manifest_of(folder.parent) if folder.name == "model" else None
    if manifest is None:
        return None
    about = {"run": folder.parent.name, **{key: manifest[key] for key in ("fingerprint",) if key in manifest}}
    return Artifact(f"model-{manifest['id']}", "model", folder, aliases, about)


def store_model(tracker: Guarded, record: Record, best: bool) -> None:
    """Give the tracker the trained model, where its config asks for it; `best` says that these are the best weights."""
    wanted = tracker.artifacts is not Artifacts.none and record.may_write()
    made = made_model(record.run_dir / "model", "final", *(["best"] if best else [])) if wanted else None
    if made is not None:
        tracker.store(made)


def _shown_until(record: Record) -> int:
    """Return the last step that the tracker has of earlier attempts, as far as it is known here."""
    fix = "delete it: the tracker then counts as having all that earlier attempts logged"
    noted = read_json(record.run_dir / FILE, fix, {"attempt": int, "until": int}) if distributed.is_main() else None
    if noted is None or noted["attempt"] != len(record.manifest["attempts"]) - 1:
        return record.logged_until
    return min(record.logged_until, int(noted["until"]))


FILE = "tracker.json"
"""Where a run notes that its tracker has failed, and the last step that it surely has: the next attempt goes on there.

A scheduler that asks a job to stop ends the service of a tracker at once, and the run logs on until it has saved.
"""
HYDRAS_NOTE = "multirun.yaml"
LONGEST_NAME = 128
DATE = re.compile(r"\d{4}-\d\d-\d\d")


def identity(record: Record, config: RunConfig, is_stage: bool) -> RunIdentity:
    """Return a run's identity for trackers, the same in every attempt.

    Arms of a sweep are grouped by its folder and named by number and overrides; other runs are grouped by their
    experiment, where they have one, and named by method, dataset and folder. `is_stage` tells a run that another
    one needs.
    """
    overrides = without_run_dir(record.manifest.get("overrides", []))
    experiment = experiment_of(overrides)
    sweep = sweep_of(record.run_dir)
    tracker, known = config.tracker, (config.method.name, config.dataset.name, experiment)
    if sweep is not None:
        arm = f"{record.run_dir.name}: {' '.join(one for one in overrides if not one.startswith('tracker'))}"
        name = f"{tracker.run_name} {arm}" if tracker.run_name else arm
    else:
        name = tracker.run_name or f"{config.method.name}-{config.dataset.name} {record.run_dir.name}"
    return RunIdentity(
        id=record.manifest.get("id", ""),
        name=record.run_dir.name if is_stage else name[:LONGEST_NAME],
        run_dir=record.run_dir,
        job_type="stage" if is_stage else config.method.name,
        group=tracker.group or sweep or experiment,
        tags=tuple(dict.fromkeys(tag for tag in (*known, *tracker.tags) if tag)),
        notes=f"{tracker.notes}\n\n".lstrip() + f"folder: {record.run_dir}\n"
        f"report: {record.run_dir / 'report.html'}\nthe same again: {go_on(Path('NEW'), overrides)}",
    )


def sweep_of(run_dir: Path) -> str | None:
    """Return the name of the sweep that a run's folder is an arm of (with its date, where that is the folder above)."""
    folder = run_dir.parent
    if not any((folder / name).is_file() for name in (SWEEP_FILE, HYDRAS_NOTE)):
        return None
    dated = DATE.fullmatch(folder.parent.name) is not None
    return f"{folder.parent.name}/{folder.name}" if dated else folder.name


def experiment_of(overrides: Sequence[str]) -> str | None:
    """Return the experiment that overrides choose."""
    chosen = [value for key, _, value in (one.partition("=") for one in overrides) if key.lstrip("+") == "experiment"]
    return chosen[-1] if chosen and chosen[-1] not in ("", "null") else None
