"""One static HTML page of a comparison, or of one run: everything inlined, nothing asked for from outside."""

from __future__ import annotations

import base64
import functools
import hashlib
import json
from collections import Counter
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rlpipe.config.overrides import command
from rlpipe.core.files import Row, write_atomic
from rlpipe.core.terminal import count, duration
from rlpipe.records.provenance import rlpipe_version
from rlpipe.records.runs import Run, Standing
from rlpipe.report.arms import Arm, group, settings
from rlpipe.report.page import provenance, texts
from rlpipe.report.page.audit import audits
from rlpipe.report.page.configs import differences
from rlpipe.report.page.curves import curves
from rlpipe.report.page.effects import effects
from rlpipe.report.page.results import Results, results
from rlpipe.report.page.samples import samples

if TYPE_CHECKING:
    from jinja2 import Environment

    from rlpipe.report.compare import Comparison

SCRIPTS = ("dom", "theme", "tables", "decode", "arms", "plots", "curves", "effects", "samples", "main")
"""The page's own scripts, in the order in which they are joined to one."""
SHOWN = 6
"""Arms that are drawn when the page opens."""

_HERE = Path(__file__).parent
_SECTIONS = {
    "results": "Results",
    "curves": "Curves",
    "effects": "Effects",
    "samples": "Samples",
    "audit": "Token audit",
    "configs": "Configs",
    "provenance": "Provenance",
}


def write(runs: Sequence[Run], comparison: Comparison | None, target: Path) -> None:
    """Write the page of `runs` to `target`, in one step.

    With a `comparison` the results are its arms with their intervals; without one, the numbers that the runs ended
    with. Raises RecordError where a run cannot be read or the page cannot be written.
    """
    write_atomic(target, page(runs, comparison))


def page(runs: Sequence[Run], comparison: Comparison | None) -> str:
    """Return the page as HTML."""
    arms = group(runs)
    found = results(arms, comparison)
    members = [arm.runs for arm in arms]
    configs = [settings(arm.runs[0]) for arm in arms]
    whole = arms[found.baseline].runs[0].config
    shown = [found.baseline, *(arm for arm in found.order if arm != found.baseline)][:SHOWN]
    data: Row = {
        "arms": [{"label": arm.label} for arm in arms],
        "shown": sorted(shown),
        "order": found.order,
        "curves": curves(members),
        "effects": effects(members, configs, found.outcomes),
        "samples": samples(members, shown),
    }
    view = {
        **_summary(runs, len(arms), found, data["curves"]),
        "results": found.tables,
        "audits": audits([(arm.label, arm.runs[0]) for arm in arms]),
        "configs": differences([arm.label for arm in arms], configs, found.baseline, whole),
        "command": command(*runs[0].overrides) if len(runs) == 1 else "",
        "facts": provenance.facts(runs),
        "runs": provenance.table([(arm.label, run) for arm in arms for run in (*arm.runs, *arm.repeated)]),
        "problems": _problems(arms),  # last: files are read by now, and what is damaged is known
    }
    there = {
        "curves": data["curves"]["metrics"],
        "effects": data["effects"],
        "samples": data["samples"]["sets"],
        "audit": view["audits"],
    }
    sections = [(key, name) for key, name in _SECTIONS.items() if there.get(key, True)]
    return _rendered({**view, "sections": sections, "has": there}, data)


def _summary(runs: Sequence[Run], arms: int, found: Results, drawn: Row) -> Row:
    """Return what stands on top: title, headline, standings, cost."""
    standings = Counter(run.standing.value for run in runs)
    totals = {name: sum(run.cost.get(name) or 0 for run in runs) for name in ("seconds", "gpu_hours", "tokens")}
    cost = [f"{duration(totals['seconds'])} of work"] if totals["seconds"] else []
    cost += [f"{totals['gpu_hours']:.3g} GPU hours"] if totals["gpu_hours"] else []
    cost += [f"{count(totals['tokens'])} tokens"] if totals["tokens"] else []
    seeds = len({run.seed for run in runs}) > 1
    bands = "Lines are means over seeds, bands go from the lowest to the highest seed." if seeds else ""
    rest = f"The grey range is that of all arms beside those chosen, {SHOWN} at first." if arms > SHOWN else ""
    thinned = f"Each point is the mean of {drawn['width']} steps." if drawn["width"] > 1 else ""
    skipped = f"One logged row in {drawn['skip']} was read." if drawn["skip"] > 1 else ""
    return {
        "title": _title(runs),
        "headline": found.headline,
        "standings": [
            (standing.value, standings[standing.value]) for standing in Standing if standings[standing.value]
        ],
        "cost": cost,
        "made": datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        "curves_note": " ".join(filter(None, (bands, rest, thinned, skipped))),
    }


def _title(runs: Sequence[Run]) -> str:
    """Return the name of the folder that holds all runs, of a sweep or of a run."""
    if len(runs) == 1:
        return runs[0].name
    above = {run.sweep or run.dir.parent for run in runs}
    return "/".join(next(iter(above)).parts[-2:]) if len(above) == 1 else f"{len(runs)} runs"


def _problems(arms: Sequence[Arm]) -> list[Row]:
    """Return what a reader must know before believing the rest."""
    labelled = [(arm.label, run) for arm in arms for run in arm.runs]
    runs = [run for _, run in labelled]
    absent = ("failed", "killed", "damaged", "stopped", "pruned", "missing", "running")
    groups = [(_WORDS[word], [_fate(*one) for one in labelled if one[1].standing.value == word]) for word in absent]
    noted = [f"{one['text']} ({one['whose']})" if one["whose"] else one["text"] for one in provenance.notes(runs)]
    repeated = [f"{arm.label}: {run.name} repeats another run of its seed" for arm in arms for run in arm.repeated]
    groups += [("Repeated", repeated), ("Damaged", provenance.damage(runs)), ("Noted", noted)]
    return [{"title": title, "lines": lines} for title, lines in groups if lines]


_WORDS = {
    "failed": "Failed",
    "killed": "Killed",
    "damaged": "Unreadable",
    "stopped": "Stopped on request",
    "pruned": "Pruned at a rung: not compared",
    "missing": "Missing",
    "running": "Still going",
}


def _fate(label: str, run: Run) -> str:
    seed = f", seed {run.seed}" if run.seed is not None else ""
    return f"{label}{seed}" + (f": {run.error}" if run.error else "")


@functools.cache
def _pages() -> Environment:
    """Return the templates, which are compiled once."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    pages = Environment(
        loader=FileSystemLoader(_HERE / "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    pages.filters |= {"number": texts.number, "signed": texts.signed, "pvalue": texts.pvalue}
    return pages


def _rendered(view: Row, data: Row) -> str:
    """Fill the template. What stands in `data` is JSON in which nothing can end the script that holds it."""
    from markupsafe import Markup

    plotting = f"/*\n{_read('vendor/uPlot.LICENSE')}*/\n{_read('vendor/uPlot.iife.min.js')}"
    scripts = "\n".join(_read(f"scripts/{name}.js") for name in SCRIPTS)
    inlined = {
        "css": Markup(_read("vendor/uPlot.min.css") + _read("styles/page.css")),
        "plotting": Markup(plotting),
        "scripts": Markup(scripts),
        "hashes": Markup(" ".join(map(_hash, (plotting, scripts)))),
        "data": Markup(_json(data)),
        "version": rlpipe_version(),
    }
    return _pages().get_template("page.html").render(**view, **inlined)


def _json(data: Any) -> str:
    text = json.dumps(data, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    return text.replace("<", "\\u003c").encode("utf-8", "replace").decode()


def _hash(script: str) -> str:
    """Return a script's place in the page's content security policy: no other script runs."""
    return f"'sha256-{base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()}'"


def _read(name: str) -> str:
    return (_HERE / name).read_text(encoding="utf-8")
