"""All stages that a run needs, before any of them is built."""

from __future__ import annotations

from rlpipe.config.schema import RunConfig
from rlpipe.stages.fingerprint import Stage, describe
from rlpipe.stages.lineage import asked, needed


def plan(config: RunConfig) -> list[Stage]:
    """Return the stages that a checked config needs, each once, those that others need first.

    Their configs can be run (`rlpipe.run.run(stage.config, stage=stage)`); `store.is_built` says which are there.
    """
    found: dict[str, Stage] = {}

    def visit(config: RunConfig) -> None:
        for path in asked(config):
            run = needed(config, path)
            visit(run)
            stage = describe(run)
            found.setdefault(stage.fingerprint, stage)

    visit(config)
    return list(found.values())
