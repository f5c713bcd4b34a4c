"""Anyone's own rows: JSON lines, JSON, CSV, Parquet or a hub id, in whichever shape they have."""

from __future__ import annotations

import contextlib
from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

from rlpipe.config.kinds import DatasetConfig
from rlpipe.config.settings import Changes, changing
from rlpipe.core.errors import DataError
from rlpipe.datasets import local
from rlpipe.datasets.base import Dataset, Row
from rlpipe.datasets.forms import Example
from rlpipe.datasets.shapes import FORMS, FormName, Shape, recognise, usual


@changing(Changes.result)
@dataclass
class FilesConfig(DatasetConfig):
    """Settings of anyone's own rows."""

    form: FormName = FormName.auto
    """What a row is; decides which columns it must have. Text columns may hold strings or lists of messages (of `role`
    and `content`, or ShareGPT's `from` and `value`); a column `tools` is offered to the model by the chat template,
    `system` stands before the prompt."""
    test_split: str | None = None
    """The held-out split; null holds out `test_fraction` of the train split."""


class Files(Dataset):
    """Rows in one of the shapes that are usual, told by their columns."""

    Config = FilesConfig
    config: FilesConfig
    shape: Shape

    def __init__(self, config: FilesConfig):
        super().__init__(config)
        self._take(usual(config.form))
        with contextlib.suppress(DataError):  # reading the rows says what is wrong with them
            if config.source not in ("hub", "sample"):
                self.adapt(local.first_columns(self))

    def adapt(self, columns: Collection[str]) -> None:
        """Take the shape of rows with these columns, as they are called here.

        Raises DataError where no form is given and the hub's rows turn out to have another than completions.
        """
        renamed = {*columns, *(ours for ours, theirs in self.config.columns.items() if theirs in columns)}
        found = recognise(renamed, self.config.form)
        if found is None:
            return
        if self.config.form is FormName.auto and self.config.source == "hub" and found.form is not FormName.completion:
            what = f"is not given, and the rows of {self.config.hub} are {found.title}"
            raise DataError("dataset.form", what, f"say dataset.form={found.form.value}")
        self._take(found)

    def _take(self, shape: Shape) -> None:
        self.shape, self.form, self.columns = shape, FORMS[shape.form], shape.columns

    def notes(self) -> list[str]:
        """Say which shape the rows were taken to have, where it is not the one that goes without saying."""
        if self.shape is usual(self.config.form):
            return []
        return [f"rows are taken as {self.shape.title} (columns {', '.join(self.shape.columns)})"]

    def example(self, row: Row, id: str) -> Example:
        """Read a row of the shape; strings become messages."""
        return self.shape.example(row, id)

    def reward_columns(self, row: Row) -> dict[str, Any]:
        """Return all columns that do not belong to the shape, and the answer."""
        return self.shape.for_rewards(row)
