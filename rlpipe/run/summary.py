"""What a person sees of a run's beginning and end: its plan, and the table that it ends with."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.table import Table

from rlpipe.config.compose import restore_node
from rlpipe.config.kinds import Head
from rlpipe.config.overrides import command, go_on, key_of
from rlpipe.config.resolved import plugin_class
from rlpipe.core import distributed
from rlpipe.core.terminal import console, say
from rlpipe.datasets.forms import Preference, route
from rlpipe.records.changes import Change, before_after_rows, changes, cost

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
    if config.environment is not None:
        table.add_row("environment", config.environment.name)
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
    """Show how a run ended: what it found in a sentence, the numbers, what it cost, and what to type next.

    `result` and `manifest` are what the run's files of those names hold.
    """
    out, metrics = on or console(), result.get("metrics", {})
    if (found := finding(metrics)) is not None:
        out.print(found, soft_wrap=True)
    table = before_after(metrics)
    if table.row_count:
        out.print(table)
    rows = [("run", near(run_dir))]
    if (run_dir / "report.html").is_file():
        rows.append(("report", near(run_dir / "report.html")))
    rows.append(("cost", cost(result.get("cost", {}), result.get("attempts", 1))))
    rows += next_commands(run_dir, result, manifest)
    width = max(len(name) for name, _ in rows)
    for name, value in rows:
        # commands are for copying: no wrapping
        out.print(f"{name:<{width}}  {value}", soft_wrap=True)


def finding(metrics: Mapping[str, Any]) -> str | None:
    """Return in a sentence what a run found out: the changes that are sure; else that none is; else what was measured.

    A change is sure where its 95 % interval excludes none.
    """
    every = list(changes(metrics))
    known = [one for one in every if one.low is not None]
    sure = [one for one in known if one.separable]
    if sure:
        return f"Training changed {'; '.join(map(_changed, sure))}."
    if known:
        return f"No change that can be told from chance: {'; '.join(map(_changed, known))}."
    paired = [one for one in every if one.before is not None and one.after is not None]
    if paired:
        named = [f"{one.evaluation} {one.number} {one.before:.4g} → {one.after:.4g}" for one in paired[:2]]
        return f"From before to after training: {', '.join(named)}."
    alone = [one for one in every if (one.before is None) != (one.after is None)]
    named = [f"{one.evaluation} {one.number} {_value(one):.4g}" for one in alone[:2]]
    return f"Measured: {', '.join(named)}." if named else None


def _changed(one: Change) -> str:
    path = f" from {one.before:.4g} to {one.after:.4g}" if one.before is not None and one.after is not None else ""
    number = "mean score" if one.number == "score" else one.number
    return f"{one.evaluation} {number}{path} ({one.change:+.3g}, 95 % interval {one.low:+.3g} … {one.high:+.3g})"


def _value(one: Change) -> float:
    value = one.after if one.before is None else one.before
    assert value is not None
    return value


def before_after(metrics: Mapping[str, Any]) -> Table:
    """Return the metrics `before/<evaluation>/<number>` and `after/…` as a table, one row a number; no empty column."""
    names = ("evaluation", "number", "before", "after", "change", "95 % interval")
    rows = list(before_after_rows(metrics))
    filled = [place for place in range(len(names)) if any(row[place] for row in rows)]
    table = Table(*(names[place] for place in filled))
    for row in rows:
        table.add_row(*(row[place] for place in filled))
    return table


def near(path: Path) -> str:
    """Return a path as it is typed from here: relative where it lies inside the working directory."""
    absolute, here = path.expanduser().absolute(), Path.cwd()
    return str(absolute.relative_to(here) if absolute.is_relative_to(here) else path)


def next_commands(run_dir: Path, result: Mapping[str, Any], manifest: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Return what a person may want to type next, each with a word for it; each passes its own check."""
    folder, given = near(run_dir), manifest["overrides"]
    if result["status"] != "ok":
        return [("go on", go_on(Path(folder), given))]
    policy = [one for one in given if one.startswith(("model=", "model.", "after="))]
    if "data_files" in manifest:
        return [("train on it", command(*policy, "method=dpo", "dataset=ai_feedback", f"dataset.source={folder}"))]
    model = near(run_dir / "model")
    if not (run_dir / "model").is_dir():
        return []
    if plugin_class("method", manifest["config"]["method"]["name"]).head is Head.reward:
        scored = ("reward=reward_model", f"reward.reward_model.model={model}")
        return [("train by it", command(*policy, "method=rloo", *_same_rows(manifest), *scored))]
    start = ("model=hf", f"model.source={model}")
    return [
        ("talk to it", command("chat", folder)),
        ("evaluate", command("method=none", *start, *_same_rows(manifest), *_played(manifest))),
        ("train on", command("method=dpo", *start, *_preferences(manifest))),
    ]


def _same_rows(manifest: Mapping[str, Any]) -> Iterator[str]:
    """Yield the overrides that name a run's rows: by the folder of the stage that made them, where one did."""
    node, source = manifest["config"]["dataset"], manifest["config"]["dataset"]["source"]
    if node.get("stage") and source in ("hub", "sample") and manifest.get("data"):
        source = str(Path(next(iter(manifest["data"].values()))["source"]).parent)
    given = [one for one in manifest["overrides"] if one.lstrip("+").startswith("dataset.")]
    kept = [one for one in given if key_of(one) not in ("dataset.source", "dataset.stage")]
    yield from (f"dataset={node['name']}", *kept, f"dataset.source={source}")


def _played(manifest: Mapping[str, Any]) -> Iterator[str]:
    """Yield the overrides that name a run's environment and what measures it; none without one."""
    node = manifest["config"].get("environment")
    if node is not None:
        yield f"environment={node['name']}"
        yield from (one for one in manifest["overrides"] if one.startswith("environment."))
        yield "evaluation=accuracy"


def _preferences(manifest: Mapping[str, Any]) -> Iterator[str]:
    """Yield the overrides that name preferences: a run's own rows where they hold some, else UltraFeedback."""
    node = manifest["config"]["dataset"]
    form = plugin_class("dataset", node["name"])(restore_node("dataset", node)).form
    if route(form, (Preference,)) is not None:
        yield from _same_rows(manifest)
    else:
        yield from ("dataset=ultrafeedback", f"dataset.source={'sample' if node['source'] == 'sample' else 'hub'}")
