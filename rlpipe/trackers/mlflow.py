"""MLflow: a server, or a folder of files that `mlflow ui` shows."""

from __future__ import annotations

import importlib.util
import os
import re
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from rlpipe.config.kinds import StoringTrackerConfig
from rlpipe.config.settings import Changes, changing
from rlpipe.core.errors import Problem, RlpipeError
from rlpipe.trackers.base import Artifact, RunIdentity, Tracker, flat

if TYPE_CHECKING:
    from mlflow.tracking import MlflowClient

MISSING = ("the package 'mlflow' is not installed", "pip install 'rlpipe[mlflow]', or run with tracker=none")
ID, STEP, START = "rlpipe.id", "rlpipe.step", "rlpipe.starts_from"
"""Tags: which run of rlpipe it is, the last step that is there, and the model that it starts from."""
LONGEST = 6000
"""Letters that a parameter's value may have (`mlflow.utils.validation.MAX_PARAM_VAL_LENGTH`)."""
BATCH = 100
"""Parameters that a request may have (`mlflow.utils.validation.MAX_PARAMS_TAGS_PER_BATCH`)."""
ENDED = {"ok": "FINISHED", "stopped": "KILLED"}
"""MLflow's words for how a run ended; all else has FAILED."""
_REFUSED = re.compile(r"[^\w\-. :/]")
"""What no name of a number may have in it."""


@changing(Changes.nothing)
@dataclass
class MLflowConfig(StoringTrackerConfig):
    """Where the runs are kept."""

    name: str = "mlflow"
    uri: str | None = None
    """A server's address (`http://…`) or a folder. Null: $MLFLOW_TRACKING_URI, and without it the folder `mlruns`."""
    experiment: str = "rlpipe"
    """MLflow's experiment that the run appears in; made where it is missing."""

    @property
    def place(self) -> str:
        """The address or folder that is meant."""
        return self.uri or os.environ.get("MLFLOW_TRACKING_URI") or "mlruns"


class MLflow(Tracker):
    """Parameters, curves over optimiser steps, tables and final numbers; one MLflow run over all attempts of a run."""

    Config = MLflowConfig
    config: MLflowConfig
    _client: MlflowClient
    _run: str

    def problems(self) -> list[Problem]:
        """Say that the package is missing, and which places and names it does not take."""
        found = super().problems()
        if importlib.util.find_spec("mlflow") is None:
            found.append(Problem("name", *MISSING))
        if not self.config.experiment.strip():
            found.append(Problem("experiment", "is empty", "give it a name, such as rlpipe"))
        scheme = urlsplit(self.config.place).scheme
        if scheme not in ("", "file", "http", "https") and importlib.util.find_spec("sqlalchemy") is None:
            fix = "pip install mlflow (whole, not only mlflow-skinny), or name a folder or an http address"
            found.append(Problem("uri", f"'{scheme}:' needs MLflow's database parts, which are not installed", fix))
        return found

    def start(self, run: RunIdentity, config: dict[str, Any]) -> None:
        """Make the MLflow run, or go on with it. Raises RlpipeError when the package `mlflow` is not installed."""
        os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")  # nobody has agreed to it
        if urlsplit(self.config.place).scheme in ("", "file"):
            os.environ.setdefault("MLFLOW_ALLOW_FILE_STORE", "true")  # else it asks for a database
        try:
            from mlflow.entities import Param
            from mlflow.tracking import MlflowClient
        except ImportError as error:
            raise RlpipeError("tracker=mlflow", *MISSING) from error
        self._client = MlflowClient(tracking_uri=_uri(self.config.place))
        experiment = self._experiment()
        known = self._client.search_runs([experiment], f"tags.`{ID}` = '{run.id}'", max_results=1)
        if known:
            self._run = known[0].info.run_id
            self._client.update_run(self._run, status="RUNNING")
            return
        tags = {ID: run.id, "mlflow.note.content": run.notes, "rlpipe.type": run.job_type}
        tags |= {"rlpipe.group": run.group} if run.group else {}
        tags |= {f"rlpipe.tag.{_name(tag)}": tag for tag in run.tags}
        self._run = self._client.create_run(experiment, run_name=run.name, tags=tags).info.run_id
        params = [Param(_name(key), str(value)[:LONGEST]) for key, value in flat(config).items()]
        for first in range(0, len(params), BATCH):
            self._client.log_batch(self._run, params=params[first : first + BATCH])

    def confirmed(self) -> int | None:
        """Return the last step that is there, -1 for none: each step's numbers and this note are written together."""
        return int(self._client.get_run(self._run).data.tags.get(STEP, -1))

    def log(self, metrics: dict[str, float], step: int) -> None:
        """Add a point to each curve."""
        from mlflow.entities import RunTag

        self._client.log_batch(self._run, metrics=_points(metrics, step), tags=[RunTag(STEP, str(step))])

    def table(self, name: str, rows: Sequence[dict[str, Any]], step: int) -> None:
        """Keep rows as a file: a list of columns and one of rows."""
        columns = list(dict.fromkeys(column for row in rows for column in row))
        data = [[row.get(column) for column in columns] for row in rows]
        self._client.log_dict(self._run, {"columns": columns, "data": data}, f"{name}/step-{step}.json")

    def starts_from(self, artifact: Artifact) -> None:
        """Tag the run with the model's name."""
        self._client.set_tag(self._run, START, artifact.name)

    def store(self, artifact: Artifact) -> None:
        """Copy the folder to the run's files."""
        place = artifact.kind if artifact.kind == "model" else f"{artifact.kind}s/{artifact.folder.name}"
        self._client.log_artifacts(self._run, str(artifact.folder), place)

    def summary(self, metrics: Mapping[str, float | str | None]) -> None:
        """Add the run's last numbers, and its words as tags."""
        numbers = {name: value for name, value in metrics.items() if isinstance(value, (int, float))}
        words = {name: value for name, value in metrics.items() if isinstance(value, str)}
        self._ended = ENDED.get(words.get("status", ""), "FAILED")
        self._client.log_batch(self._run, metrics=_points(numbers, int(self.confirmed() or 0)))
        for name, value in words.items():
            self._client.set_tag(self._run, f"rlpipe.{name}", value[:LONGEST])

    def finish(self, ok: bool) -> None:
        """Close the MLflow run."""
        self._client.set_terminated(self._run, "FINISHED" if ok else getattr(self, "_ended", "FAILED"))

    def _experiment(self) -> str:
        """Return the id of the experiment, which another run may be making at this moment."""
        from mlflow.exceptions import MlflowException

        name = self.config.experiment
        found = self._client.get_experiment_by_name(name)
        if found is None:
            try:
                return str(self._client.create_experiment(name))
            except MlflowException:
                found = self._client.get_experiment_by_name(name)
                if found is None:
                    raise
        return str(found.experiment_id)


def _uri(place: str) -> str:
    return Path(place).expanduser().resolve().as_uri() if not urlsplit(place).scheme else place


def _name(text: str) -> str:
    return _REFUSED.sub("_", text)


def _points(metrics: Mapping[str, float], step: int) -> list[Any]:
    from mlflow.entities import Metric

    now = int(time.time() * 1000)
    return [Metric(_name(name), float(value), now, step) for name, value in metrics.items()]
