"""TensorBoard event files in the run's folder: `tensorboard --logdir runs` shows all runs together."""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rlpipe.config.kinds import TrackerConfig
from rlpipe.config.settings import Changes, changing
from rlpipe.core.errors import Problem, RlpipeError
from rlpipe.trackers.base import RunIdentity, Tracker, flat

if TYPE_CHECKING:
    from torch.utils.tensorboard import SummaryWriter


@changing(Changes.nothing)
@dataclass
class TensorBoardConfig(TrackerConfig):
    """Where the event files go."""

    name: str = "tensorboard"
    folder: str = "tensorboard"
    """Where the event files go, inside the run's folder."""


class TensorBoard(Tracker):
    """Curves, tables as text, and hyper-parameters with the final numbers."""

    Config = TensorBoardConfig
    config: TensorBoardConfig
    _writer: SummaryWriter

    def problems(self) -> list[Problem]:
        """Say that the package is missing, or that the folder lies outside the run's."""
        found = super().problems()
        if importlib.util.find_spec("tensorboard") is None:
            fix = "pip install 'rlpipe[tensorboard]', or run with tracker=none"
            found.append(Problem("name", "the package 'tensorboard' is not installed", fix))
        folder = Path(self.config.folder)
        if folder.is_absolute() or ".." in folder.parts or not self.config.folder.strip():
            what = f"'{self.config.folder}' is no folder inside the run's"
            found.append(Problem("folder", what, "name one, such as tensorboard"))
        return found

    def start(self, run: RunIdentity, config: dict[str, Any]) -> None:
        """Open the event files. Raises RlpipeError when the package `tensorboard` is not installed."""
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ImportError as error:
            raise RlpipeError(
                "tracker=tensorboard",
                "the package 'tensorboard' is not installed",
                "pip install 'rlpipe[tensorboard]', or run with tracker=none",
            ) from error
        self._hyperparameters = flat(config)
        self._writer = SummaryWriter(log_dir=str(run.run_dir / self.config.folder))
        text = json.dumps(config, indent=2, ensure_ascii=False, default=str)
        about = f"**{run.name}** (id `{run.id}`, {run.job_type}, group {run.group or 'none'}; {', '.join(run.tags)})"
        about += "".join(f"\n\n{line}" for line in run.notes.splitlines())
        self._writer.add_text("config", f"{about}\n\n" + "\n".join(f"    {line}" for line in text.splitlines()), 0)
        self._writer.flush()

    def log(self, metrics: dict[str, float], step: int) -> None:
        """Add a point to each curve, on the disk when this returns."""
        for name, value in metrics.items():
            self._writer.add_scalar(name, value, step)
        # steps that were logged are not logged again after a kill, so they must be on the disk
        self._writer.flush()

    def table(self, name: str, rows: Sequence[dict[str, Any]], step: int) -> None:
        """Add the rows as a Markdown table."""
        columns = list(dict.fromkeys(column for row in rows for column in row))
        cells = [[_cell(row.get(column)) for column in columns] for row in rows]
        text = "\n".join(f"| {' | '.join(line)} |" for line in [columns, ["---"] * len(columns), *cells])
        self._writer.add_text(name, text, step)
        self._writer.flush()

    def summary(self, metrics: Mapping[str, float | str | None]) -> None:
        """Add the row of this run to the table of hyper-parameters: what of it is numbers."""
        numbers = {name: value for name, value in metrics.items() if isinstance(value, (int, float))}
        self._writer.add_hparams(self._hyperparameters, numbers, run_name=".")

    def finish(self, ok: bool) -> None:
        """Close the event files."""
        self._writer.add_text("outcome", "finished" if ok else "did not finish")
        self._writer.close()


def _cell(value: Any) -> str:
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)
    return text.replace("|", "\\|").replace("\n", "<br>")
