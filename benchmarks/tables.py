"""What was measured, as JSON, as a Markdown table and as a plot."""

from __future__ import annotations

import datetime
import importlib.metadata
import json
import platform
from collections.abc import Sequence
from html import escape
from pathlib import Path
from typing import Any

HEAD = "| case | side | seconds, processor | wall | peak, MB | loss | side / first, processor | wall |"
PACKAGES = ("rlpipe", "torch", "transformers", "trl", "peft", "datasets")
PLACE, ROW = 330, 18
"""The plot's left margin, and the height of a row, in pixels."""


def about(machine: dict[str, Any]) -> dict[str, Any]:
    """Return when and where, with which packages."""
    names = [line.partition(":")[2].strip() for line in _lines("/proc/cpuinfo") if line.startswith("model name")]
    processor = f"{len(names)} x {names[0]}" if names else platform.processor()
    versions = {name: importlib.metadata.version(name) for name in PACKAGES}
    when = datetime.datetime.now(datetime.UTC).isoformat(timespec="minutes")
    return {"when": when, "processor": processor, "gpu": _gpu(machine["device"]), **machine, "packages": versions}


def write(folder: Path, found: Sequence[dict[str, Any]], where: dict[str, Any]) -> None:
    """Write `results.json`, `results.md` and `results.svg`."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "results.json").write_text(json.dumps({"about": where, "cases": list(found)}, indent=1) + "\n")
    (folder / "results.md").write_text(markdown(found, where))
    (folder / "results.svg").write_text(plot(found))


def markdown(found: Sequence[dict[str, Any]], where: dict[str, Any]) -> str:
    """Return the table, below a line that says when and where."""
    versions = ", ".join(f"{name} {version}" for name, version in where["packages"].items())
    place = where["gpu"] or where["processor"]
    told = f"{where['when']}, {place}, {where['threads']} thread(s), {where['precision']}; {versions}."
    told += " Medians of the rounds; in brackets the smallest and the largest ratio. Above 1 the first side is faster."
    rows = [HEAD, "| --- " * HEAD.count(" | ") + "| --- |"]
    for case in found:
        for name, one in case["sides"].items():
            loss = "" if one["loss"] is None else f"{one['loss']:.4g}"
            ratios = " | ".join(_ratio(one[f"{clock}_ratio"]) for clock in ("cpu", "wall"))
            seconds = f"{one['cpu']:.2f} | {one['wall']:.2f}"
            rows.append(f"| {case['case']} | {name} | {seconds} | {one['peak']:.0f} | {loss} | {ratios} |")
    return f"{told}\n\n" + "\n".join(rows) + "\n"


def plot(found: Sequence[dict[str, Any]]) -> str:
    """Return an SVG of the ratios of processor time: a dot for a median, a line from the least to the largest."""
    rows = [(f"{case['case']}: {name}", one["cpu_ratio"]) for case in found for name, one in others(case)]
    most = max([2.0, *(ratio[2] for _, ratio in rows)])
    unit, height = 450 / most, ROW * (len(rows) + 2)
    lines = [f'<line x1="{PLACE + unit}" x2="{PLACE + unit}" y1="0" y2="{height - ROW}" stroke="#999"/>']
    for tick in range(int(most) + 1):
        lines.append(f'<text x="{PLACE + tick * unit}" y="{height - 4}" text-anchor="middle">{tick}</text>')
    for place, (label, (middle, least, largest)) in enumerate(rows, 1):
        y = place * ROW
        lines += [
            f'<text x="{PLACE - 8}" y="{y + 4}" text-anchor="end">{escape(label)}</text>',
            f'<line x1="{PLACE + least * unit}" x2="{PLACE + largest * unit}" y1="{y}" y2="{y}" stroke="#36c"/>',
            f'<circle cx="{PLACE + middle * unit}" cy="{y}" r="4" fill="#36c"/>',
        ]
    style = 'xmlns="http://www.w3.org/2000/svg" font-family="sans-serif" font-size="11"'
    return f'<svg {style} width="{PLACE + 470}" height="{height}">' + "".join(lines) + "</svg>\n"


def others(case: dict[str, Any]) -> list[tuple[str, dict[str, Any]]]:
    """Return the sides of a case but for the first, which is what they are compared with."""
    return list(case["sides"].items())[1:]


def _ratio(found: Sequence[float]) -> str:
    middle, least, largest = found
    return "1" if least == largest == 1 else f"{middle:.2f} ({least:.2f} to {largest:.2f})"


def _lines(file: str) -> list[str]:
    return Path(file).read_text().splitlines() if Path(file).exists() else []


def _gpu(device: str) -> str | None:
    if device == "cpu":
        return None
    import torch

    return torch.cuda.get_device_name(0)
