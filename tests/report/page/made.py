"""Runs' folders as runs leave them, made from a seed: many, quickly, with known content."""

from __future__ import annotations

import json
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

ATTEMPT: dict[str, Any] = {
    "started": "2026-11-20T09:12:44.688+00:00",
    "ended": "2026-11-20T09:40:01.000+00:00",
    "host": "node7",
    "pid": 1,
    "processes": 1,
    "outcome": "ok",
    "seconds": 1637.3,
    "code": {"commit": "7473ca3fe4cdc1bdcd2ba7657bdb68c5ccfcc86d", "dirty": False},
    "packages": {"torch": "2.13.0", "transformers": "5.23.0", "trl": "1.16.0", "numpy": "2.4.6"},
    "hardware": {
        "host": "node7",
        "system": "Linux-6.18",
        "python": "3.11.7",
        "cpu": "AMD EPYC",
        "cores": 16,
        "memory": 137438953472,
        "gpus": ["NVIDIA H200, 143771 MiB, 580.1"],
    },
}


def config(settings: Mapping[str, Any], seed: int) -> dict[str, Any]:
    """A small resolved config with settings by dotted path."""
    made: dict[str, Any] = {
        "model": {"name": "tiny", "source": None},
        "dataset": {"name": "countdown", "source": "sample"},
        "method": {"name": "rloo", "learning_rate": 1e-4, "kl_coef": 0.01, "max_steps": 300},
        "reward": {"countdown": {"name": "countdown", "weight": 1.0}},
        "tool": {"calculator": {"name": "calculator"}},
        "evaluation": {"accuracy": {"name": "accuracy"}},
        "seed": seed,
        "run_dir": None,
        "until": "evaluate",
    }
    for path, value in settings.items():
        *groups, name = path.split(".")
        place = made
        for key in groups:
            place = place[key]
        place[name] = value
    return made


def skill(settings: Mapping[str, Any], seed: int) -> float:
    """The final accuracy that a config leads to."""
    rate, kl = settings.get("method.learning_rate", 1e-4), settings.get("method.kl_coef", 0.01)
    bonus = {"rloo": 0.05, "grpo": 0.0, "reinforce": -0.08}.get(settings.get("method.name", "rloo"), 0.0)
    noise = np.random.default_rng(seed + 17).normal(0, 0.02)
    return float(np.clip(0.55 - 0.1 * (np.log10(rate) + 3.7) ** 2 - 1.5 * abs(kl - 0.01) + bonus + noise, 0.05, 0.95))


def metric_rows(final: float, steps: int, every: int, seed: int) -> list[dict[str, Any]]:
    """What an on-policy run logs."""
    draw = np.random.default_rng(seed)
    at = np.arange(every, steps + 1, every)
    share = 1 - np.exp(-3 * at / steps)
    noise = draw.normal(0, 1, (8, len(at)))
    columns = {
        "loss": 0.02 * noise[0] - 0.05 * share,
        "reward": 0.1 + (final - 0.1) * share + 0.05 * noise[1],
        "reward/countdown": 0.1 + (final - 0.1) * share + 0.05 * noise[1],
        "reward/countdown/unparsed": np.clip(0.6 * (1 - share) + 0.03 * noise[2], 0, 1),
        "reward_std": 0.3 + 0.03 * noise[3],
        "kl": 0.4 * share**2 + 0.02 * np.abs(noise[4]),
        "entropy": 1.6 - 0.9 * share + 0.05 * noise[5],
        "completion_length": 64 - 20 * share + 2 * noise[6],
        "ended_by_length": np.clip(0.5 - 0.4 * share + 0.02 * noise[6], 0, 1),
        "tool_calls": 1.4 * share + 0.1 * np.abs(noise[7]),
        "tool_errors": np.clip(0.3 - 0.25 * share, 0, 1),
        "grad_norm": np.exp(0.4 * noise[2]),
        "learning_rate": 1e-4 * (1 - at / (steps + 1)),
        "seconds/sampling": 0.4 + 0.01 * noise[3] ** 2,
    }
    return [
        {"step": int(step), "time": 1.7e9 + float(step), **{name: float(column[i]) for name, column in columns.items()}}
        for i, step in enumerate(at)
    ]


def evaluation_rows(rate: float, seed: int, count: int) -> list[dict[str, Any]]:
    """Held-out puzzles of which a share of `rate` is solved, with a calculator; the same puzzles whatever the seed."""
    puzzles = np.random.default_rng(0)
    draw = np.random.default_rng(seed + 1000)
    rows = []
    for place in range(count):
        a, b, c = (int(one) for one in puzzles.integers(2, 10, 3))
        right = draw.random() < rate + 0.2 * (puzzles.random() - 0.5)
        said = f"{a}*{b}+{c}" if right else f"{a}+{b}-{c}"
        value = str(eval(said))
        text = (
            f"<think>First I try the product of {a} and {b}.\n<tool_call>\n"
            f'{{"name": "calculator", "arguments": {{"expression": "{said}"}}}}\n</tool_call>\n'
            f"<tool_response>\n{value}\n</tool_response>\nThat is {'the target' if right else 'not it, but I stop'}."
            f"</think>\n<answer>{said}</answer>"
        )
        call = {"name": "calculator", "arguments": {"expression": said}, "result": value, "failed": False, "at": 30}
        rows.append(
            {
                "id": f"test/{place}",
                "prompt": f"Use [{a}, {b}, {c}] to make {a * b + c}.",
                "completion": text,
                "finish": "stop",
                "tokens": 61,
                "calls": [call],
                "value": 1.0 if right else 0.1,
                "right": right,
                "parts": {"format": 1.0},
                "parsed": True,
                "score": float(right),
            }
        )
    return rows


def audit() -> dict[str, Any]:
    """Two sequences, token by token."""
    words = [("<|im_start|>", False, False), ("user", False, False), ("\n", False, False), ("Use", False, False)]
    words += [(" [4, 6, 4]", False, False), ("<|im_end|>", False, True), ("assistant", False, False)]
    words += [("<think>", True, False), (" 4", True, False), (" *", True, False), (" 6", True, False)]
    words += [("</think>", True, False), ("<|im_end|>", True, True)]
    tokens = [{"text": text, "trained": trained, "stop": stop} for text, trained, stop in words]
    shown = [{"title": f"train/{row}  reward 0.1", "prefix": "", "tokens": tokens} for row in range(2)]
    return {"shown": shown, "written_share": 0.86, "stop_tokens": ["<|im_end|>"], "errors": [], "warnings": []}


def make_run(
    folder: Path,
    settings: Mapping[str, Any] | None = None,
    seed: int = 0,
    *,
    steps: int = 300,
    every: int = 1,
    examples: int = 60,
    status: str | None = "ok",
    notes: tuple[str, ...] = (),
) -> Path:
    """Write a run's folder; `status` None leaves it without a result, as one that still goes on."""
    settings = dict(settings or {})
    final = skill(settings, seed)
    overrides = [f"{path}={value}" for path, value in settings.items()] + [f"seed={seed}"]
    (folder / "evaluations").mkdir(parents=True)
    manifest = {
        "id": f"{zlib.crc32(str(folder).encode()):012x}",
        "rlpipe": "0.1.0",
        "created": ATTEMPT["started"],
        "overrides": overrides,
        "seed": seed,
        "config": config(settings, seed),
        "parents": {"sft-warmstart-7b4b13888a30": "7b4b13888a300d4751aa52d120866a4eccdee986"},
        "notes": ["evaluation preference is left out: dataset countdown has no form for it", *notes],
        "attempts": [ATTEMPT],
        "data": {"train": {"source": "sample", "identity": "b04272fb", "read": 800, "kept": 800, "dropped": {}}},
    }
    _json(folder / "manifest.json", manifest)
    _json(folder / "audit.json", audit())
    ended = status == "ok"
    drawn = zlib.crc32(repr((sorted(settings.items()), seed)).encode())
    logged = metric_rows(final, steps, every, drawn)
    _lines(folder / "metrics.jsonl", logged if ended else logged[: len(logged) // 3])
    before = evaluation_rows(0.12, 99, examples)
    _lines(folder / "evaluations/accuracy.before.jsonl", before)
    _json(folder / "evaluations/accuracy.protocol.json", {"name": "accuracy", "dataset": "countdown"})
    metrics: dict[str, float] = {"before/accuracy/accuracy": _mean(before)}
    if ended:
        after = evaluation_rows(final, seed, examples)
        _lines(folder / "evaluations/accuracy.after.jsonl", after)
        change = _mean(after) - _mean(before)
        metrics |= {"after/accuracy/accuracy": _mean(after), "after/accuracy/length": 61.0}
        metrics |= {f"change/accuracy/{end}": change + by for end, by in (("score", 0), ("low", -0.1), ("high", 0.1))}
        samples = [
            {
                "step": steps,
                "prompt_id": f"train/{place}",
                **row,
                "reward": row["score"],
                "advantage": row["score"] - 0.5,
            }
            for place in range(2)
            for row in evaluation_rows(final, seed + place, 3)
        ]
        _lines(folder / "samples.jsonl", samples)
    if status is not None:
        cost = {"steps": steps if ended else steps // 3, "tokens": 616.0 * steps, "seconds": 1637.3}
        result: dict[str, Any] = {
            "status": status,
            "stage": "evaluate",
            "cost": cost,
            "attempts": 1,
            "metrics": metrics,
        }
        if status == "failed":
            result["error"] = {"type": "TrainingError", "message": "loss is no number at step 100", "traceback": ""}
        _json(folder / "result.json", result)
    return folder


def make_sweep(folder: Path, seeds: int = 3, **settings: Any) -> Path:
    """Two methods, three learning rates, two KL coefficients; one run failed."""
    number = 0
    for method in ("rloo", "grpo"):
        for rate in (3e-5, 1e-4, 1e-3):
            for kl in (0.0, 0.05):
                for seed in range(seeds):
                    chosen = {"method.name": method, "method.learning_rate": rate, "method.kl_coef": kl}
                    status = "failed" if (method, rate, kl, seed) == ("grpo", 1e-3, 0.0, seeds - 1) else "ok"
                    make_run(folder / str(number), chosen, seed, status=status, **settings)
                    number += 1
    return folder


def _mean(rows: list[dict[str, Any]]) -> float:
    return float(np.mean([row["score"] for row in rows]))


def _json(path: Path, value: Any) -> None:
    path.write_text(json.dumps(value))


def _lines(path: Path, rows: list[dict[str, Any]]) -> None:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
