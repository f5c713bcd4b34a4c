"""The rows of the harness's task `piqa_samples`: those that `dataset=piqa dataset.source=sample` holds out."""

from __future__ import annotations

from typing import Any

from datasets import Dataset

from rlpipe.datasets.load import SAMPLE_SEED
from rlpipe.datasets.samples import piqa

COUNT = 250
"""An eighth of `dataset.sample_size`'s default."""


def rows(**_: Any) -> dict[str, Dataset]:
    """Return the documents by split; the harness passes the task's metadata, which change nothing."""
    return {"validation": Dataset.from_list(list(piqa.rows("test", COUNT, SAMPLE_SEED)))}
