"""What a person sees of a run's beginning and end: its plan, and the table that it ends with."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.table import Table

from rlpipe.config.overrides import command, go_on
from rlpipe.config.resolved import plugin_class
from rlpipe.core import distributed
from rlpipe.core.terminal import console, say
from rlpipe.records.changes import before_after_rows, cost

if TYPE_CHECKING:
    from rlpipe.config.resolved import Resolved
    from rlpipe.records.record import Record


def show_checked(resolved: Resolved) -> None:
    """Show what a run would do, for `until=check`."""
    config = resolved.config
    table = Table("", "", show_header=False)
    method = config.method
    length = f"{method.max_steps} steps" if method.max_steps is not None else f"{method.epochs:g} epochs"
    trained = f", {length}, {method.batch_size} examples a step"
    table.add_row("model", f"{config.model.name} {config.model.source or ''}".strip())
    table.add_row("dataset", f"{config.dataset.name} from {config.dataset.source}")
    table.add_row("method", f"{method.name}{trained if resolved.trains else ''}")
    stages = {"after": config.after, "model's stage": config.model.stage, "dataset's stage": config.dataset.stage}
    for name, words in stages.items():
        if words:
            table.add_row(name, " ".join(words))
    for name, group in (("reward", config.reward), ("tool", config.tool), ("evaluation", config.evaluation)):
        if group:
            table.add_row(name, ", ".join(group))
    table.add_row("engine", config.engine.name)
    table.add_row("tracker", config.tracker.name)
    if distributed.is_main():
        console().print(table)
        say("all checks passed; nothing was started (until=check)")


def show_finished(record: Record) -> None:
    """Say that the folder's run has ended well already, and show its summary."""
    if distributed.is_main():
        say("this run has finished; nothing is left to do")
        summary(record.run_dir, record.result or {}, record.manifest)


def summary(run_dir: Path, result: Mapping[str, Any], manifest: Mapping[str, Any], on: Console | None = None) -> None:
    """Show how a run ended: numbers before and after, where the model is, what it cost, what to type next.

    `result` and `manifest` are what the run's files of those names hold.
    """
    out = on or console()
    table = before_after(result.get("metrics", {}))
    if table.row_count:
        out.print(table)
    rows = [("run", str(run_dir))]
    if (run_dir / "model").is_dir():
        rows.append(("model", str(run_dir / "model")))
    if "data_files" in manifest:
        rows.append(("data", str(run_dir / "data")))
    if (run_dir / "report.html").is_file():
        rows.append(("report", str(run_dir / "report.html")))
    rows.append(("cost", cost(result.get("cost", {}), result.get("attempts", 1))))
    rows += next_commands(run_dir, result, manifest)
    width = max(len(name) for name, _ in rows)
    for name, value in rows:
        # commands are for copying: no wrapping
        out.print(f"{name:<{width}}  {value}", soft_wrap=True)


def before_after(metrics: Mapping[str, Any]) -> Table:
    """Return the metrics `before/<evaluation>/<number>` and `after/…` as a table, one row a number."""
    table = Table("evaluation", "number", "before", "", "after", "change", "95 % interval")
    for evaluation, number, before, after, change, interval in before_after_rows(metrics):
        table.add_row(evaluation, number, before, "→" if change and before else "", after, change, interval)
    return table


def next_commands(run_dir: Path, result: Mapping[str, Any], manifest: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Return what a person may want to type next, each with a word for it."""
    if result["status"] != "ok":
        return [("go on", go_on(run_dir, manifest["overrides"]))]
    if "data_files" in manifest:
        policy = [one for one in manifest["overrides"] if one.startswith(("model=", "model.", "after="))]
        return [("train on it", command(*policy, "method=dpo", "dataset=ai_feedback", f"dataset.source={run_dir}"))]
    model = run_dir / "model"
    if not model.is_dir():
        return []
    start = ("model=hf", f"model.source={model}", *_same_rows(manifest))
    more = [("evaluate", command("method=none", *start)), ("train on", command("method=dpo", *start))]
    if plugin_class("method", manifest["config"]["method"]["name"]).head.value != "reward":
        more.insert(0, ("talk to it", command("chat", str(run_dir))))
    return more


def _same_rows(manifest: Mapping[str, Any]) -> Iterator[str]:
    """Yield the overrides that name a run's rows: by the folder of the stage that made them, where one did."""
    node, source = manifest["config"]["dataset"], manifest["config"]["dataset"]["source"]
    if node.get("stage") and source in ("hub", "sample") and manifest.get("data"):
        source = Path(next(iter(manifest["data"].values()))["source"]).parent
    yield from (f"dataset={node['name']}", f"dataset.source={source}")
