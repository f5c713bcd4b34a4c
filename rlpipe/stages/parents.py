"""What a run needs of others: built, marked as in use while it runs, and named in its record."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from rlpipe.config.schema import RunConfig
from rlpipe.records.record import Record
from rlpipe.stages import store
from rlpipe.stages.fingerprint import Stage, describe
from rlpipe.stages.lineage import asked, needed


class Parents:
    """The stages of one run. Each is built when it is asked for; `start` asks for all."""

    def __init__(self, config: RunConfig, record: Record, build: store.Build, uses: ExitStack):
        self._config, self._record, self._build, self._uses = config, record, build, uses
        self._made: dict[str, Path] = {}

    def rows(self) -> Path | None:
        """Return the folder of the rows that another run makes for this one; None where the config names them."""
        return self._get("dataset.stage") if "dataset.stage" in asked(self._config) else None

    def start(self) -> Path | None:
        """Return the folder of the weights that the run starts from; None where the config names them.

        All other models that it needs (a reward model, a reference) are there then too: `store.product` finds them.
        """
        made = {path: self._get(path) for path in asked(self._config)}
        return made.get("after") or made.get("model.stage")

    def _get(self, path: str) -> Path:
        if path not in self._made:
            stage = describe(needed(self._config, path))
            self._record.update(parents={stage.name: stage.fingerprint})
            self._made[path] = self._uses.enter_context(store.in_use(stage, str(self._record.run_dir), self._build))
        return self._made[path]


@contextmanager
def parents(config: RunConfig, record: Record, stage: Stage | None, build: store.Build) -> Iterator[Parents]:
    """Lend a run what it needs of others; its record gets its own fingerprint where it is a stage itself."""
    if stage is not None:
        record.update(fingerprint=stage.fingerprint, fingerprint_inputs=stage.inputs)
    with ExitStack() as uses:
        yield Parents(config, record, build, uses)
