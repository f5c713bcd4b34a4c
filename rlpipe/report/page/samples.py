"""Completions to read, arms beside each other: a few examples, those on which arms disagree first.

Model text goes into the page as data and is shown as text only (`samples.js`).
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from rlpipe.core.files import Row
from rlpipe.records.runs import Run

MOST_EXAMPLES = 16
MOST_ARMS = 24
"""Arms whose completions are kept: those that the page shows first, then others in their order."""
MOST_TEXTS = 4
"""Completions of an example and arm that are kept."""
LONGEST = 20_000
"""Characters of a text that are kept; the rest stays in the run's folder, and the page says so."""
BUDGET = 1_500_000
"""Characters of one set of examples, about."""

Example = dict[str, Any]


def samples(arms: Sequence[Sequence[Run]], first: Sequence[int]) -> dict[str, Any]:
    """Return the page's texts: `{sets: [{title, examples: [{title, prompt, reference, cells}]}]}`.

    `arms` are given by their runs, `first` are those that the page shows at first. A cell is an arm's (its place, or
    null for the model before training), with its texts, what they earned and the tools that they called.
    """
    rest = [arm for arm in range(len(arms)) if arm not in first]
    readable = [arm for arm in (*first, *rest) if any(run.standing.value != "missing" for run in arms[arm])]
    chosen = {arm: arms[arm] for arm in readable[:MOST_ARMS]}
    names = dict.fromkeys(name for runs in chosen.values() for run in runs for name in run.evaluations)
    sets = [_evaluation(name, chosen) for name in names]
    sets.append(_training(chosen))
    return {"sets": [one for one in sets if one["examples"]]}


def _evaluation(name: str, arms: Mapping[int, Sequence[Run]]) -> Row:
    """Return an evaluation's examples, one run an arm, and once the model before training."""
    rows: dict[int, dict[str, Row]] = {}
    start: dict[str, Row] = {}
    about: dict[int, str] = {}
    for arm, runs in arms.items():
        run = next((run for run in runs if run.final(name) is not None), None)
        if run is None:
            continue
        when = run.final(name)
        assert when is not None
        rows[arm] = _by_id(run.evaluation(name, when))
        about[arm] = f"seed {run.seed}" if len(runs) > 1 else ("after training" if when == "after" else "")
        if not start and when == "after" and "before" in run.evaluations[name]:
            start = _by_id(run.evaluation(name, "before"))
    examples: list[Example] = []
    spent = 0
    for key, title in _ranked(rows):
        there = {arm: found[key] for arm, found in rows.items() if key in found}
        cells = [_cell(None, "before training", [start[key]])] if key in start else []
        cells += [_cell(arm, about[arm], [row]) for arm, row in there.items()]
        if not any(cell["texts"] for cell in cells):
            continue
        row = next(iter(there.values()))
        reference = row.get("reference")
        example = _example(title, row.get("prompt"), cells, reference if isinstance(reference, str) else "")
        spent += _size(example)
        if (examples and spent > BUDGET) or len(examples) == MOST_EXAMPLES:
            break
        examples.append(example)
    return {"title": f"evaluation {name}", "examples": examples}


def _training(arms: Mapping[int, Sequence[Run]]) -> Row:
    """Return completions of the last steps that samples were kept of, those of most arms first."""
    found: dict[tuple[int, str], dict[int, list[Row]]] = {}
    for arm, runs in arms.items():
        run = next((run for run in runs if (run.dir / "samples.jsonl").is_file()), None)
        for row in run.samples() if run is not None else ():
            key = (row.get("step", 0), str(row.get("prompt_id", row.get("id", ""))))
            found.setdefault(key, {}).setdefault(arm, []).append(row)
    order = sorted(found, key=lambda key: (-len(found[key]), -key[0]))[:MOST_EXAMPLES]
    examples = []
    for step, prompt in sorted(order, key=lambda key: (-key[0], key[1])):
        there = found[step, prompt]
        cells = [_cell(arm, "", rows) for arm, rows in there.items()]
        row = next(iter(there.values()))[0]
        examples.append(_example(f"step {step}, {prompt}", row.get("prompt"), cells))
    return {"title": "training", "examples": examples}


def _by_id(rows: Sequence[Row]) -> dict[str, Row]:
    return {str(row.get("id", place)): row for place, row in enumerate(rows)}


def _ranked(rows: Mapping[int, Mapping[str, Row]]) -> list[tuple[str, str]]:
    """Return the examples' ids with titles: first those that arms score most differently, then by their order."""
    if not rows:
        return []
    ids = list(next(iter(rows.values())))
    spread = {key: _spread([found[key].get("score") for found in rows.values() if key in found]) for key in ids}
    apart = sorted((key for key in ids if spread[key] > 0), key=lambda key: -spread[key])[: MOST_EXAMPLES // 2]
    return [(key, f"{key} (scores differ)") for key in apart] + [(key, key) for key in ids if key not in apart]


def _spread(scores: Sequence[Any]) -> float:
    numbers = [score for score in scores if isinstance(score, int | float) and np.isfinite(score)]
    return float(np.std(numbers)) if len(numbers) > 1 else 0.0


def _example(title: str, prompt: Any, cells: list[Row], reference: str = "") -> Example:
    text = prompt if isinstance(prompt, str) else json.dumps(prompt, ensure_ascii=False) if prompt else ""
    return {"title": title, "prompt": _kept(text), "reference": _kept(reference), "cells": cells}


def _cell(arm: int | None, about: str, rows: Sequence[Row]) -> Row:
    """Return an arm's texts of an example; a row may hold several drawn completions."""
    texts = [text for row in rows for text in _texts(row)]
    return {"arm": arm, "about": about, "texts": texts[:MOST_TEXTS]}


def _texts(row: Row) -> list[Row]:
    drawn = row.get("samples")
    if isinstance(row.get("completion"), str):
        thought = row.get("reasoning")
        before = (
            [{"text": _kept(thought), "facts": [("reasoning", "")], "calls": []}] if isinstance(thought, str) else []
        )
        return [*before, _text(row)]
    if isinstance(drawn, list):
        return [_text(one) for one in drawn if isinstance(one, dict) and isinstance(one.get("completion"), str)]
    return []


def _text(row: Row) -> Row:
    calls = [_call(call) for call in row.get("calls") or () if isinstance(call, dict)]
    return {"text": _kept(row["completion"]), "facts": list(_facts(row)), "calls": calls}


def _facts(row: Row) -> list[tuple[str, Any]]:
    """Return what a completion earned, part by part, its length, and what its end was."""
    facts = [(name, row[name]) for name in ("score", "reward", "advantage", "verdict") if row.get(name) is not None]
    for name, score in (row.get("scores") or {}).items():
        if isinstance(score, dict):
            facts.append((name, score.get("value")))
            facts += [(f"{name}/{part}", value) for part, value in (score.get("parts") or {}).items()]
    facts += list((row.get("parts") or {}).items())
    if row.get("right") is not None and "score" not in row:
        facts.append(("right", "yes" if row["right"] else "no"))
    if row.get("parsed") is False:
        facts.append(("answer", "unreadable"))
    facts += [("tokens", row["tokens"])] if "tokens" in row else []
    return facts + ([("end", "cut by length")] if row.get("finish") == "length" else [])


def _call(call: Row) -> tuple[str, str, bool]:
    arguments = call.get("arguments")
    shown = ", ".join(f"{key}={value!r}" for key, value in arguments.items()) if isinstance(arguments, dict) else ""
    return f"{call.get('name', '')}({shown})", _kept(str(call.get("result", ""))), bool(call.get("failed"))


def _kept(text: str) -> str:
    left = len(text) - LONGEST
    return text if left <= 0 else f"{text[:LONGEST]} … ({left:,} more characters in the run's folder)"


def _size(example: Example) -> int:
    texts = sum(len(text["text"]) + 200 for cell in example["cells"] for text in cell["texts"])
    return texts + len(example["prompt"]) + len(example["reference"])
