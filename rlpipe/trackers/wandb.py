"""Weights & Biases, through its own client."""

from __future__ import annotations

import importlib.util
import json
import netrc
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from rlpipe.config.kinds import StoringTrackerConfig
from rlpipe.config.settings import Changes, changing
from rlpipe.core.errors import Problem, RlpipeError
from rlpipe.trackers.base import Artifact, RunIdentity, Tracker

if TYPE_CHECKING:
    from wandb import Run


STEP = "step"
"""The axis of all curves: optimiser steps."""
LONGEST_TAG = 64
LONGEST_PROJECT = 128
REFUSED = "/\\#?%:"
"""Signs that no project may have in its name."""


class Mode(Enum):
    """Where the client sends what it is given."""

    online = "online"
    offline = "offline"
    """Into files in the run's folder; `wandb sync` sends them later."""
    disabled = "disabled"
    """Nowhere."""


@changing(Changes.nothing)
@dataclass
class WandbConfig(StoringTrackerConfig):
    """Which W&B run this one is."""

    name: str = "wandb"
    project: str = "rlpipe"
    """The project that the run appears in."""
    entity: str | None = None
    """The user or team that owns the project. Null: the account's default."""
    mode: Mode | None = None
    """Null takes $WANDB_MODE, and `online` without it."""


class Wandb(Tracker):
    """Config, curves over optimiser steps, tables and final numbers; one W&B run over all attempts of a run."""

    Config = WandbConfig
    config: WandbConfig
    _run: Run

    def problems(self) -> list[Problem]:
        """Say that the client is missing, that nobody is logged in, and which names the service refuses."""
        config, found = self.config, super().problems()
        if importlib.util.find_spec("wandb") is None:
            fix = "pip install wandb, or run with tracker=none"
            found.append(Problem("name", "the package 'wandb' is not installed", fix))
        refused = sorted(set(config.project) & set(REFUSED))
        if refused or not 0 < len(config.project) <= LONGEST_PROJECT:
            signs = f"has {' '.join(refused)} in it" if refused else f"has {len(config.project)} letters"
            what = f"'{config.project}' {signs}, which the service refuses"
            found.append(Problem("project", what, f"give 1 to {LONGEST_PROJECT} letters without any of {REFUSED}"))
        mode = config.mode.value if config.mode is not None else os.environ.get("WANDB_MODE", "online")
        if mode == "online" and not _is_logged_in():
            fix = "wandb login, or tracker.mode=offline (send it later with `wandb sync`)"
            found.append(Problem("mode", "online, and no key of W&B is known here", fix))
        return found

    def start(self, run: RunIdentity, config: dict[str, Any]) -> None:
        """Start the W&B run, or go on with it. Raises RlpipeError when the client is missing."""
        try:
            import wandb
        except ImportError as error:
            raise RlpipeError(
                "tracker=wandb", "the package 'wandb' is not installed", "pip install wandb, or run with tracker=none"
            ) from error
        settings = wandb.Settings(
            silent=True,
            console="off",
            # its metadata would hold the raw command line, with any secret in it; the manifest has the clean one
            x_disable_meta=True,
            disable_code=True,
            disable_git=True,
            # steps that were logged are not logged again after a kill, so they must get to the disk soon
            x_transaction_log_flush_interval=1.0,
        )
        self._run = wandb.init(
            project=self.config.project,
            entity=self.config.entity,
            mode=self.config.mode.value if self.config.mode is not None else None,
            id=run.id,
            resume="allow",
            name=run.name,
            group=run.group,
            job_type=run.job_type,
            tags=[tag[:LONGEST_TAG] for tag in run.tags],
            notes=run.notes,
            dir=str(run.run_dir),
            config=config,
            settings=settings,
            reinit="create_new",
        )
        self._run.define_metric(STEP)
        self._run.define_metric("*", step_metric=STEP)

    def confirmed(self) -> int | None:
        """Return the last step that the service has, where it goes on with a run that it knows."""
        return self._run.starting_step - 1 if self._run.resumed else None

    def log(self, metrics: dict[str, float], step: int) -> None:
        """Add a point to each curve, at the optimiser step."""
        self._run.log({STEP: step, **metrics}, step=step)

    def table(self, name: str, rows: Sequence[dict[str, Any]], step: int) -> None:
        """Show rows as a W&B table of this step."""
        self._run.log({STEP: step, name: _table(rows, _columns(rows))}, step=step)

    def evaluation(
        self, name: str, before: Sequence[dict[str, Any]] | None, after: Sequence[dict[str, Any]] | None, step: int
    ) -> None:
        """Show rows as tables of the run itself, with the same columns before and after, so that they can be compared.

        They stand in the summary: a step of the curves cannot be written twice, and a resumed run may be past it.
        """
        columns = _columns([*(before or ()), *(after or ())])
        tables = {f"evaluations/{name}/before": before, f"evaluations/{name}/after": after}
        self._run.summary.update({key: _table(rows, columns) for key, rows in tables.items() if rows is not None})

    def starts_from(self, artifact: Artifact) -> None:
        """Draw the line from the model to this run, online; offline the client cannot, and the config names it."""
        self._run.config.update({"starts_from": artifact.name}, allow_val_change=True)
        if not self._run.offline:
            self._run.use_artifact(_files(artifact, kept=True))

    def store(self, artifact: Artifact) -> None:
        """Have the folder sent (offline: by `wandb sync`) as a version of the artifact; equal files are sent once."""
        self._run.log_artifact(_files(artifact, kept=artifact.kind == "model"), aliases=[*artifact.aliases])

    def summary(self, metrics: Mapping[str, float | str | None]) -> None:
        """Set the run's summary."""
        self._run.summary.update(dict(metrics))

    def finish(self, ok: bool) -> None:
        """Close the W&B run as finished or failed."""
        self._run.finish(exit_code=0 if ok else 1)


def _is_logged_in() -> bool:
    """Whether the client will find a key: in the environment, or in the file that `wandb login` writes."""
    if os.environ.get("WANDB_API_KEY") or os.environ.get("WANDB_IDENTITY_TOKEN_FILE"):
        return True
    host = urlsplit(os.environ.get("WANDB_BASE_URL", "https://api.wandb.ai")).hostname or ""
    files = [os.environ["NETRC"]] if "NETRC" in os.environ else ["~/.netrc", "~/_netrc"]
    for file in map(os.path.expanduser, files):
        try:
            if netrc.netrc(file).authenticators(host) is not None:
                return True
        except (OSError, netrc.NetrcParseError):
            continue
    return False


def _files(artifact: Artifact, kept: bool) -> Any:
    """Return W&B's artifact of a folder. One that is not `kept` is copied: it may be gone before it is sent."""
    import wandb

    made = wandb.Artifact(artifact.name, type=artifact.kind, metadata=dict(artifact.about))
    folder = artifact.folder.resolve()  # `wandb sync` may be typed elsewhere
    for file in sorted(path for path in folder.rglob("*") if path.is_file()):  # `add_dir` writes to the terminal
        name = file.relative_to(folder).as_posix()
        made.add_file(str(file), name=name, policy="immutable" if kept else "mutable", skip_cache=True)
    return made


def _columns(rows: Sequence[dict[str, Any]]) -> list[str]:
    return list(dict.fromkeys(column for row in rows for column in row))


def _table(rows: Sequence[dict[str, Any]], columns: Sequence[str]) -> Any:
    import wandb

    data = [[_cell(row.get(column)) for column in columns] for row in rows]
    return wandb.Table(columns=[*columns], data=data, allow_mixed_types=True)


def _cell(value: Any) -> Any:
    """Return a value that a table takes; nested ones as JSON."""
    if value is None or isinstance(value, (str, int, float, bool)):
        return value
    return json.dumps(value, ensure_ascii=False, default=str)
