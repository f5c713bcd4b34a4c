"""What the page says, without a browser."""

from __future__ import annotations

import json
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from rlpipe.records.runs import Standing, find
from rlpipe.report.compare import compare
from rlpipe.report.page import at_end, texts
from rlpipe.report.page.at_end import write_run, write_sweep
from rlpipe.report.page.page import page
from tests.report.page.made import make_run, make_sweep


class Words(HTMLParser):
    """The text that a reader sees, and every attribute that could fetch something."""

    def __init__(self, html: str):
        super().__init__()
        self.words: list[str] = []
        self.fetches: list[str] = []
        self.inside: list[str] = []
        self.feed(html)

    def handle_starttag(self, tag: str, attributes: Any) -> None:
        self.inside.append(tag)
        names = ("src", "href", "action", "poster", "data")
        self.fetches += [value for name, value in attributes if name in names and not value.startswith("#")]

    def handle_endtag(self, tag: str) -> None:
        while self.inside and self.inside.pop() != tag:
            pass

    def handle_data(self, data: str) -> None:
        if not {"script", "style"} & set(self.inside):
            self.words.append(data)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.words).split())


def of(*folders: Path, compared: bool = False) -> Words:
    runs = find(folders)
    return Words(page(runs, compare(runs) if compared else None))


def data_of(html: str) -> dict[str, Any]:
    found = re.search(r'<script type="application/json" id="data">(.*?)</script>', html, re.DOTALL)
    assert found is not None
    data: dict[str, Any] = json.loads(found[1])
    return data


def test_a_runs_page_tells_what_changed_and_where_it_comes_from(tmp_path: Path):
    words = of(make_run(tmp_path / "run", steps=5, examples=5))
    assert "95 % interval of the change" in words.text
    assert "commit 7473ca3fe4cdc1bdcd2ba7657bdb68c5ccfcc86d" in words.text
    assert "sft-warmstart-7b4b13888a30" in words.text
    assert "dataset countdown has no form for it" in words.text
    assert "rlpipe seed=0" in words.text
    assert words.fetches == []


def test_a_failed_run_says_so_first(tmp_path: Path):
    words = of(make_run(tmp_path / "run", steps=9, examples=5, status="failed"))
    assert "The run failed after 3 steps. TrainingError: loss is no number at step 100" in words.text


@pytest.mark.parametrize(
    ("standing", "said"),
    [
        (Standing.stopped, "The run was stopped and can go on"),
        (Standing.running, "The run is still going."),
        (Standing.killed, "The run was killed."),
    ],
)
def test_a_run_that_has_not_ended_has_a_page(tmp_path: Path, standing: Standing, said: str):
    runs = find([make_run(tmp_path / "run", steps=9, examples=5, status=None)])
    runs[0].standing = standing
    assert said in Words(page(runs, None)).text


def test_a_run_that_left_only_its_manifest_has_a_page(tmp_path: Path):
    folder = make_run(tmp_path / "run", steps=1, examples=1, status="failed")
    for path in [*folder.glob("evaluations/*"), folder / "metrics.jsonl", folder / "audit.json"]:
        path.unlink()
    html = page(find([folder]), None)
    assert 'id="curves"' not in html
    assert 'id="samples"' not in html
    assert 'id="audit"' not in html


def test_damaged_files_are_left_out_and_told(tmp_path: Path):
    folder = make_run(tmp_path / "run", steps=5, examples=5)
    (folder / "audit.json").write_text("{")
    for name in ("metrics.jsonl", "samples.jsonl", "evaluations/accuracy.after.jsonl"):
        with open(folder / name, "a") as file:
            file.write('{"step": \n{"step": 3, "loss": 1.0}\n')
    text = of(folder).text
    for name in ("metrics.jsonl", "samples.jsonl", "evaluations/accuracy.after.jsonl"):
        assert f"1 damaged line of {name} left out" in text
    assert "audit.json" in text


def test_a_comparison_names_the_winner_or_says_that_there_is_none(tmp_path: Path):
    for seed in range(3):
        make_run(tmp_path / "far" / f"a{seed}", {"method.name": "rloo"}, seed, steps=3, examples=80)
        make_run(tmp_path / "far" / f"b{seed}", {"method.learning_rate": 1.0}, seed, steps=3, examples=80)
        make_run(tmp_path / "near" / f"a{seed}", {"method.name": "rloo"}, seed, steps=3, examples=20)
        make_run(tmp_path / "near" / f"b{seed}", {"method.learning_rate": 1.1e-4}, seed, steps=3, examples=20)
    runs = find([tmp_path / "far"])
    labels = [arm.label for arm in compare(runs).arms]
    won = Words(page(runs, compare(runs, baseline=labels[1])))
    assert re.search(
        rf"{re.escape(labels[0])} is better than {re.escape(labels[1])} on accuracy: 0\.\d+ against", won.text
    )
    lost = Words(page(runs, compare(runs, baseline=labels[0])))
    assert f"The other arm is worse than {labels[0]} on accuracy." in lost.text
    none = of(tmp_path / "near", compared=True)
    assert "is not separable from" in none.text


def test_a_sweep_shows_every_arm_with_what_failed_in_it(tmp_path: Path):
    runs = find([make_sweep(tmp_path / "sweep", seeds=2, steps=3, examples=10)])
    html = page(runs, compare(runs))
    words = Words(html)
    assert "1 of 2 failed" in words.text
    assert "TrainingError: loss is no number at step 100" in words.text
    data = data_of(html)
    assert len(data["arms"]) == 12
    assert [field["name"] for field in data["effects"]["fields"]] == [
        "method.name",
        "method.learning_rate",
        "method.kl_coef",
    ]
    assert data["effects"]["fields"][1]["values"] == ["3e-05", "0.0001", "0.001"]
    accuracy = next(one for one in data["effects"]["outcomes"] if one["name"] == "after/accuracy/accuracy")
    assert [len(values) for values in accuracy["values"]] == [2] * 10 + [1, 2]
    assert data["effects"]["outcomes"][0]["name"].startswith("after/accuracy/")


def test_runs_of_different_tasks_are_put_on_one_page_without_a_comparison(tmp_path: Path):
    make_run(tmp_path / "a", steps=3, examples=5)
    folder = make_run(tmp_path / "b", {"dataset.name": "gsm8k"}, steps=3, examples=5)
    (folder / "evaluations/accuracy.protocol.json").write_text('{"name": "accuracy", "dataset": "gsm8k"}')
    words = of(tmp_path, compared=True)
    assert "Nothing can be compared yet." in words.text
    assert "is not compared:" in words.text


def test_what_a_model_wrote_can_end_no_script_and_make_no_markup(tmp_path: Path):
    folder = make_run(tmp_path / "run", steps=3, examples=2)
    evil = "</script><script>alert(1)</script><!--<img src=http://x.y/z>"
    rows = [{"id": evil, "prompt": evil, "completion": evil, "score": 1.0, "parts": {}, "calls": [], "tokens": 1}]
    path = folder / "evaluations/accuracy.after.jsonl"
    path.write_text(json.dumps(rows[0]) + "\n")
    html = page(find([folder]), None)
    assert html.count("<script") == 3
    assert "<img" not in html
    assert data_of(html)["samples"]["sets"][0]["examples"][0]["prompt"] == evil


def test_a_lone_surrogate_does_not_stop_the_page(tmp_path: Path):
    folder = make_run(tmp_path / "run", steps=3, examples=1)
    path = folder / "evaluations/accuracy.after.jsonl"
    path.write_text(path.read_text().replace("First", "\\ud83d First"))
    write_run(folder, folder / "log.txt")
    assert "? First" in (folder / "report.html").read_text(encoding="utf-8")


def test_a_report_that_cannot_be_written_breaks_nothing_and_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    folder = make_run(tmp_path / "run", steps=3, examples=1)

    def broken(*_: Any) -> None:
        raise KeyError("arms")

    monkeypatch.setattr(at_end, "write", broken)
    write_run(folder, folder / "log.txt")
    assert f"rlpipe report {folder}" in " ".join(capsys.readouterr().err.split())
    assert "KeyError: 'arms'" in (folder / "log.txt").read_text()


def test_a_sweeps_page_is_written_or_what_stands_in_its_way_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    folder = make_sweep(tmp_path / "sweep", seeds=1, steps=3, examples=5)
    write_sweep(folder)
    assert "report:" in capsys.readouterr().err
    assert len(data_of((folder / "report.html").read_text())["arms"]) == 12
    (tmp_path / "empty").mkdir()
    write_sweep(tmp_path / "empty")
    assert "holds no run" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (None, "–"),
        (float("nan"), "–"),
        (0.0, "0.000"),
        (0.68333, "0.683"),
        (-0.0217, "−0.022"),
        (61.044, "61.04"),
        (616.22, "616.2"),
        (300, "300"),
        (184737.0, "184,737"),
        (2.9e-4, "0.0003"),
        (1.5e-5, "1.5e-05"),
        (2.5e9, "2.5e+09"),
    ],
)
def test_numbers_are_written_for_people(value: float | None, said: str):
    assert texts.number(value) == said
