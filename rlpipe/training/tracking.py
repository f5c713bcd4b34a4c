"""A run's tracker: started before training, closed with all that the record says in the end."""

from __future__ import annotations

from collections.abc import Mapping

from rlpipe.config import plugins
from rlpipe.config.schema import RunConfig
from rlpipe.core import distributed
from rlpipe.records.record import Record
from rlpipe.trackers.guarded import Guarded
from rlpipe.trackers.identity import identity


def track(config: RunConfig, record: Record, is_stage: bool) -> Guarded:
    """Start the run's tracker (in the main process); `untrack` closes it when the record is complete."""
    tracker = Guarded(plugins.make("tracker", config.tracker), record.logged_until)
    if distributed.is_main():
        tracker.start(identity(record, config, is_stage), record.config)
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
