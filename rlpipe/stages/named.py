"""A run by what a person calls it (its folder, or a stage's name), and the model that it has made."""

from __future__ import annotations

from pathlib import Path

from rlpipe.config.overrides import go_on
from rlpipe.core.errors import ModelError, RecordError, guess
from rlpipe.core.paths import store_dir
from rlpipe.records import manifest
from rlpipe.records.record import read_result
from rlpipe.records.runs import Run, Standing, find


def run_named(name: str, store: str | None = None) -> Run:
    """Return the run that a name stands for. Raises RecordError where there is none, or a damaged one."""
    run = look_up(name, store)
    if run is not None:
        return run
    folder = Path(name).expanduser()
    if folder.is_dir():
        [found, *others] = find([folder])  # which says what is wrong with a folder that holds no run
        raise RecordError(name, f"holds {len(others) + 1} runs, not one", f"name one of them, for example {found.dir}")
    raise RecordError(
        name,
        f"neither a run's folder nor a stage of the store ({store_dir(store)})",
        f"check the path; of the store's stages, {guess(name, stage_names(store))}",
    )


def look_up(name: str, store: str | None = None) -> Run | None:
    """Return the run that a name stands for, None where it is no run's folder, no model folder of one, and no stage."""
    folder = Path(name).expanduser()
    places = [folder, store_dir(store) / name]
    if folder.name == "model":
        places.append(folder.parent)
    for place in places:
        if manifest.is_run(place):
            [run] = find([place])
            if run.standing is Standing.damaged:
                manifest.read(run.dir)  # these say what is wrong, each with what to do about it
                read_result(run.dir)
            return run
    return None


def refuse_altered(source: str) -> None:
    """Raise ModelError where a folder is a run's, or its model, and the model's files are not as they were written."""
    folder = Path(source).expanduser()
    places = (folder, folder.parent) if folder.name == "model" else (folder,)
    place = next((place for place in places if manifest.is_run(place)), None)
    if place is None:
        return
    [run] = find([place])
    if altered := run.flaws("model/"):
        raise ModelError(
            source,
            f"not the model that the run has made: {'; '.join(map(str, altered))}",
            f"put it back from a backup; or move it away and make it anew: {go_on(run.dir, run.overrides)}",
        )


def stage_names(store: str | None = None) -> list[str]:
    """Return the names of the stages in the store."""
    return sorted(path.name for path in store_dir(store).glob("*") if manifest.is_run(path))


def model_of(run: Run) -> Path:
    """Return the folder of the model that a run has trained. Raises ModelError for a run that has none, saying why."""
    folder = run.dir / "model"
    if (folder / "config.json").is_file():
        return folder
    again = f"go on with it: {go_on(run.dir, run.overrides)}"
    match run.standing:
        case Standing.running:
            what, fix = "is still going and has no model yet", "wait for it to end"
        case Standing.killed:
            what, fix = "was killed before it had a model", again
        case Standing.stopped:
            what, fix = "was stopped before it had a model", again
        case Standing.pruned:
            what, fix = "was pruned at a rung of its sweep and has no model", again
        case Standing.failed:
            what, fix = f"failed before it had a model: {run.error}", f"fix that, then {again}"
        case Standing.ok if run.manifest.get("model"):
            what, fix = "has lost its model", f"make it anew: {go_on(run.dir, run.overrides)}"
        case _:
            what = f"made no model (method={run.config['method']['name']}, until={run.config['until']})"
            looked_at = run.config["model"]["source"] or next(iter(run.manifest.get("parents", {})), None)
            fix = f"name the model that it looked at: {looked_at}" if looked_at else "name a run that trains one"
    raise ModelError(run.dir, f"the run {what}", fix)
