"""What a person sees of a run beside its progress: its words, its plan, and the table that it ends with.

Other processes than the main one show nothing. Nothing here imports torch.
"""

from __future__ import annotations

import os
import shlex
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeGuard

from rich.console import Console
from rich.table import Table

from rlpipe.config import plugins
from rlpipe.core import distributed
from rlpipe.core.errors import Problem
from rlpipe.records.changes import Change, changes

if TYPE_CHECKING:
    from rlpipe.config.schema import RunConfig
    from rlpipe.records.record import Record


UNBOUND = 160
"""Columns of what is no terminal."""


def console() -> Console:
    """Return the console for a run's own words: standard error, so that standard output stays free."""
    made = Console(stderr=True, highlight=False, markup=False)  # an override may look like markup
    if not made.is_terminal and "COLUMNS" not in os.environ:
        made.width = UNBOUND  # a log or a pipe has no width that tables must fit into
    return made


def say(text: str) -> None:
    """Show a line of the run's own words."""
    if distributed.is_main():
        console().print(text, soft_wrap=True)


def show(renderable: Any) -> None:
    """Show something that rich can draw."""
    if distributed.is_main():
        console().print(renderable)


def show_problems(problems: Sequence[Problem]) -> None:
    """Show what is worth saying about a config that may be run all the same."""
    for problem in problems:
        say(f"note: {problem}")


def show_checked(config: RunConfig) -> None:
    """Show what a run would do, for `until=check`."""
    table = Table("", "", show_header=False)
    method = config.method
    length = f"{method.max_steps} steps" if method.max_steps is not None else f"{method.epochs:g} epochs"
    trained = f", {length}, {method.batch_size} examples a step"
    table.add_row("model", f"{config.model.name} {config.model.source or ''}".strip())
    table.add_row("dataset", f"{config.dataset.name} from {config.dataset.source}")
    makes_model = plugins.load("method", method.name).makes == "model"
    table.add_row("method", f"{method.name}{trained if makes_model else ''}")
    stages = {"after": config.after, "model's stage": config.model.stage, "dataset's stage": config.dataset.stage}
    for name, words in stages.items():
        if words:
            table.add_row(name, " ".join(words))
    for name, group in (("reward", config.reward), ("tool", config.tool), ("evaluation", config.evaluation)):
        if group:
            table.add_row(name, ", ".join(group))
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


def before_after_rows(metrics: Mapping[str, Any]) -> Iterator[tuple[str, str, str, str, str, str]]:
    """Yield (evaluation, number, before, after, change, interval of the change) as shown, one a number."""
    for one in changes(metrics):
        change = "" if one.change is None else f"{one.change:+.4g}"
        yield one.evaluation, one.number, _show(one.before), _show(one.after), change, _interval(one)


def _interval(one: Change) -> str:
    """Return the interval of a change, and say so where it cannot be told from none."""
    if one.low is None or one.high is None:
        return ""
    return f"{one.low:+.3g} … {one.high:+.3g}{'' if one.separable else ': not separable from no change'}"


def next_commands(run_dir: Path, result: Mapping[str, Any], manifest: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Return what a person may want to type next, each with a word for it."""
    if result["status"] != "ok":
        return [("go on", go_on(run_dir, manifest["overrides"]))]
    if "data_files" in manifest:
        policy = [one for one in manifest["overrides"] if one.startswith(("model=", "model.", "after="))]
        return [("train on it", _command(*policy, "method=dpo", "dataset=ai_feedback", f"dataset.source={run_dir}"))]
    model = run_dir / "model"
    if not model.is_dir():
        return []
    start = ("model=hf", f"model.source={model}", *_same_rows(manifest))
    more = [("evaluate", _command("method=none", *start)), ("train on", _command("method=dpo", *start))]
    if plugins.load("method", manifest["config"]["method"]["name"]).head.value != "reward":
        more.insert(0, ("talk to it", shlex.join(["python", "-m", "rlpipe.chat", str(run_dir)])))
    return more


def _same_rows(manifest: Mapping[str, Any]) -> Iterator[str]:
    """Yield the overrides that name a run's rows: by the folder of the stage that made them, where one did."""
    node, source = manifest["config"]["dataset"], manifest["config"]["dataset"]["source"]
    if node.get("stage") and source in ("hub", "sample") and manifest.get("data"):
        source = Path(next(iter(manifest["data"].values()))["source"]).parent
    yield from (f"dataset={node['name']}", f"dataset.source={source}")


def cost(cost: Mapping[str, Any], attempts: int = 1) -> str:
    """Return a run's cost in words."""
    parts = [duration(cost["seconds"])] if "seconds" in cost else []
    parts += [f"{cost[name]:,.0f} {name}" for name in ("steps", "tokens", "calls") if is_number(cost.get(name))]
    if attempts > 1:
        parts.append(f"{attempts} attempts")
    return ", ".join(parts)


def duration(seconds: float) -> str:
    """Return seconds as `12s`, `3:07` or `2:03:07`."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole}s"
    hours, rest = divmod(whole, 3600)
    minutes, rest = divmod(rest, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def count(number: float) -> str:
    """Return a number with three digits and a unit: 950, 1.23k, 4.5M."""
    for limit, unit in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if number >= limit:
            return f"{number / limit:.3g}{unit}"
    return f"{number:.3g}"


def go_on(run_dir: Path, overrides: Sequence[str]) -> str:
    """Return the command that goes on with an unfinished run, whose own overrides are given."""
    return _command(*without_run_dir(overrides), f"run_dir={run_dir}")


def without_run_dir(overrides: Sequence[str]) -> list[str]:
    """Return overrides but for the one that names the run's folder."""
    return [override for override in overrides if override.split("=")[0].lstrip("+~") != "run_dir"]


def _command(*overrides: str) -> str:
    return shlex.join(["python", "-m", "rlpipe", *overrides])


def is_number(value: Any) -> TypeGuard[float]:
    """Say whether a value is a number that can be shown as one."""
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _show(value: Any) -> str:
    return f"{value:.4g}" if is_number(value) else "" if value is None else str(value)
