"""Curves against pandas' own means, and logs that are not as they should be."""

from __future__ import annotations

import base64
import json
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from rlpipe.records.runs import Run, Standing
from rlpipe.report.page import curves as module
from rlpipe.report.page import series
from rlpipe.report.page.curves import curves, group


def a_run(folder: Path, rows: list[dict[str, Any]] | str) -> Run:
    folder.mkdir(parents=True)
    text = rows if isinstance(rows, str) else "".join(json.dumps(row) + "\n" for row in rows)
    (folder / "metrics.jsonl").write_text(text)
    return Run(folder, Standing.ok)


def a_log(seed: int, steps: int) -> list[dict[str, Any]]:
    draw = np.random.default_rng(seed)
    return [{"step": step, "loss": draw.normal(), "kl": draw.random()} for step in range(1, steps + 1)]


def decoded(found: dict[str, Any], name: str, arm: int = 0) -> list[np.ndarray[Any, Any]]:
    metric = next(one for one in found["metrics"] if one["name"] == name)
    texts = [base64.b64decode(found["vectors"][place]) for place in metric["arms"][arm]]
    return [np.array([struct.unpack(">f", t[i : i + 3] + b"\0")[0] for i in range(0, len(t), 3)]) for t in texts]


def test_a_short_log_is_drawn_as_it_is(tmp_path: Path):
    log = a_log(0, 50)
    found = curves([[a_run(tmp_path / "0", log)]])
    assert found["width"] == found["skip"] == 1
    metric = next(one for one in found["metrics"] if one["name"] == "loss")
    assert metric["steps"] == list(range(1, 51))
    (mean,) = decoded(found, "loss")
    np.testing.assert_allclose(mean, [row["loss"] for row in log], rtol=1e-4)


def test_seeds_give_their_mean_and_a_band_from_the_lowest_to_the_highest(tmp_path: Path):
    import pandas

    logs = [a_log(seed, 40) for seed in range(3)]
    found = curves([[a_run(tmp_path / str(seed), log) for seed, log in enumerate(logs)]])
    frame = pandas.concat([pandas.DataFrame(log) for log in logs]).groupby("step")["loss"]
    for values, expected in zip(decoded(found, "loss"), (frame.mean(), frame.min(), frame.max()), strict=True):
        np.testing.assert_allclose(values, expected, rtol=1e-4, atol=1e-6)


def test_a_seed_that_ended_early_counts_as_long_as_it_goes(tmp_path: Path, recwarn: pytest.WarningsRecorder):
    logs = [a_log(0, 40), a_log(1, 10)]
    logs[0][-1].pop("loss")
    found = curves([[a_run(tmp_path / str(seed), log) for seed, log in enumerate(logs)]])
    mean, _, _ = decoded(found, "loss")
    np.testing.assert_allclose(mean[:10], [(a["loss"] + b["loss"]) / 2 for a, b in zip(*logs, strict=False)], rtol=1e-4)
    np.testing.assert_allclose(mean[10:], [row["loss"] for row in logs[0][10:39]], rtol=1e-4)
    assert not recwarn.list


def test_a_long_log_is_thinned_to_means_and_a_spike_stays_in_the_band(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    import pandas

    monkeypatch.setattr(module, "MOST_POINTS", 100)
    log = a_log(0, 999)
    log[500]["loss"] = 1e6
    found = curves([[a_run(tmp_path / "0", log)]])
    assert found["width"] == 10
    mean, low, high = decoded(found, "loss")
    frame = pandas.DataFrame(log)
    buckets = frame.groupby(frame["step"] // 10)["loss"]
    np.testing.assert_allclose(mean, buckets.mean(), rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(low, buckets.min(), rtol=1e-4)
    assert high.max() == pytest.approx(1e6, rel=1e-4)


def test_arms_that_log_at_other_steps_or_other_names_share_a_grid(tmp_path: Path):
    every = a_run(tmp_path / "0", [{"step": step, "loss": 1.0} for step in range(1, 21)])
    tenth = a_run(tmp_path / "1", [{"step": step, "loss": 2.0, "tool_calls": 1.0} for step in (10, 20)])
    found = curves([[every], [tenth], []])
    (first,), (second,) = decoded(found, "loss", 0), decoded(found, "loss", 1)
    assert len(first) == len(second) == 20
    assert np.flatnonzero(~np.isnan(second)).tolist() == [9, 19]
    tools = next(one for one in found["metrics"] if one["name"] == "tool_calls")
    assert tools["arms"][0] is None
    assert tools["arms"][2] is None
    assert tools["steps"] == [10, 20]


def test_too_many_rows_are_read_in_part_and_that_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(module, "MOST_ROWS", 100)
    found = curves([[a_run(tmp_path / "0", a_log(0, 400))]])
    assert found["skip"] == 4
    metric = next(one for one in found["metrics"] if one["name"] == "loss")
    assert metric["steps"][:2] == [1, 5]
    assert metric["steps"][-1] == 400
    assert len(metric["steps"]) == 101


def test_damaged_lines_are_left_out_and_counted(tmp_path: Path):
    log = [json.dumps(row) for row in a_log(0, 10)]
    log[4] = log[4][:20]
    run = a_run(tmp_path / "0", "\n".join(log) + "\n")
    found = series.read(run)
    assert found is not None
    assert found.steps.tolist() == [1, 2, 3, 4, 6, 7, 8, 9, 10]
    assert run.damaged == {"metrics.jsonl": 1}


def test_a_value_that_was_no_number_is_a_gap_that_is_counted(tmp_path: Path):
    log = a_log(0, 10)
    log[3]["loss"] = log[7]["loss"] = None
    del log[5]["loss"]
    found = curves([[a_run(tmp_path / "0", log)]])
    metric = next(one for one in found["metrics"] if one["name"] == "loss")
    assert metric["broken"] == {0: 2}
    assert metric["steps"] == [1, 2, 3, 5, 7, 9, 10]


@pytest.mark.parametrize("text", ["", "\n", "no json\n", '{"loss": 1.0}\n', '{"step": "one", "loss": 1.0}\n', "[1]\n"])
def test_a_log_without_a_row_has_no_curves(tmp_path: Path, text: str):
    assert curves([[a_run(tmp_path / "0", text)]])["metrics"] == []


def test_words_and_nested_values_are_no_curves(tmp_path: Path):
    rows = [{"step": 1, "loss": 1, "word": "a", "on": True, "nested": {"a": 1}}, {"step": 2, "loss": 2.5, "word": 3}]
    for folder, log in (("0", rows), ("1", rows[:1])):
        found = curves([[a_run(tmp_path / folder, log)]])
        assert [one["name"] for one in found["metrics"] if one["name"] != "word"] == ["loss"]


@pytest.mark.parametrize(
    ("name", "title"),
    [
        ("reward/countdown/unparsed", "Reward"),
        ("rewards/margins", "Reward"),
        ("policy_loss", "Loss"),
        ("mean_token_accuracy", "Loss"),
        ("logps/chosen", "Likelihood"),
        ("seconds/reward", "Speed"),
        ("kl_at_start", "KL and entropy"),
        ("clip_fraction", "KL and entropy"),
        ("completion_length", "Length"),
        ("tool_errors", "Tools"),
        ("grad_norm", "Optimiser"),
        ("seconds/sampling", "Speed"),
        ("something", "Other"),
    ],
)
def test_metrics_have_their_group(name: str, title: str):
    assert group(name) == title
