"""A comparison as text: on a terminal, in Markdown, as CSV."""

import csv
import dataclasses
import io
import json

from rich.console import Console

from rlpipe.records.record import Status
from rlpipe.records.runs import find
from rlpipe.report import tables
from rlpipe.report.compare import compare
from tests.report.recorded import PROTOCOL, recorded

BAD = ValueError("[red]|x")


def comparison(tmp_path):
    """A baseline of two seeds, a worse arm of which a seed failed, and one that measured differently."""
    for seed in (0, 1):
        recorded(tmp_path / f"a{seed}", [1.0] * 30 + [0.0] * 10, seed=seed, after=["method=sft"])
    recorded(tmp_path / "b0", [0.0] * 40, method__beta=0.2, after=["method=sft"])
    recorded(tmp_path / "b1", seed=1, method__beta=0.2, status=Status.failed, after=["method=sft"], error=BAD)
    recorded(tmp_path / "c0", [1.0] * 40, protocol=PROTOCOL | {"template": "z"}, method__beta=0.3)
    return compare(find([tmp_path]))


def drawn(comparison, width=140):
    console = Console(file=io.StringIO(), width=width, highlight=False, color_system=None)
    console.print(tables.terminal(comparison))
    return console.file.getvalue()


def test_the_terminal_shows_arms_seeds_differences_failures_refusals_and_costs(tmp_path):
    text = drawn(comparison(tmp_path))
    assert "seed 0" in text
    assert "seed 1" in text
    assert "95 % interval" in text
    assert "after=[method=sft]" in text  # no markup
    assert "worse" in text
    assert "-0.75" in text
    assert "1 ok, 1 failed" in text
    assert "ValueError: [red]|x" in text
    assert "not compared (c0): template: " in text
    assert "how far seeds matter is not known" in text
    assert "tokens" in text


def test_a_narrow_terminal_loses_no_number(tmp_path):
    text = drawn(comparison(tmp_path), width=60).replace("\n", "")
    assert "0.75" in text
    assert "worse" in text


def test_markdown_is_a_table_whatever_stands_in_it(tmp_path):
    text = tables.markdown(comparison(tmp_path))
    for block in text.split("\n\n"):
        if block.startswith("|"):
            bars = {line.replace("\\|", "").count("|") for line in block.splitlines()}
            assert len(bars) == 1
    assert "ValueError: \\[red]\\|x" in text
    assert text.count("## ") == 3


def test_the_csv_holds_arms_and_runs_in_full_precision(tmp_path):
    found = comparison(tmp_path)
    rows = list(csv.DictReader(io.StringIO(tables.to_csv(found))))
    assert set(rows[0]) == set(tables.COLUMNS)
    arms = [row for row in rows if not row["run"]]
    assert len(arms) == 3
    assert len(rows) == 3 + 5
    (difference,) = found.evaluations[0].differences
    worse = next(row for row in arms if row["verdict"])
    assert float(worse["difference"]) == difference.value
    assert float(worse["p_holm"]) == difference.p_holm
    assert worse["baseline"] == found.baseline
    failed = next(row for row in rows if row["standing"] == "failed")
    assert failed["mean"] == ""
    assert failed["error"] == "ValueError: [red]|x"
    assert failed["seed"] == "1"


def test_many_seeds_take_one_column(tmp_path):
    for seed in range(tables.MOST_SEEDS + 1):
        recorded(tmp_path / str(seed), [1.0, 0.0, 1.0], before=[0.0, 0.0, 1.0], seed=seed)
    sheet = tables.sheets(compare(find([tmp_path])))[0]
    assert sheet.heads == ["arm", "seeds", "examples", "mean", "95 % interval"]


def test_the_terminal_says_how_many_sentences_it_leaves_out(tmp_path):
    for place in range(tables.MOST_LINES + 5):
        recorded(tmp_path / str(place), [1.0, 0.0, 1.0], method__beta=float(place))
    found = compare(find([tmp_path]))
    assert "and 4 more lines" in drawn(found)
    assert tables.markdown(found).count("\n- beta=") >= tables.MOST_LINES + 4


def test_nothing_to_compare_still_shows_what_ran(tmp_path):
    recorded(tmp_path / "a", status=Status.failed, error=ValueError("boom"))
    found = compare(find([tmp_path]))
    assert "boom" in drawn(found)
    assert "no run has results to compare" in drawn(found)
    (row,) = csv.DictReader(io.StringIO(tables.to_csv(found)))
    assert row["standing"] == "failed"


def test_every_field_of_a_difference_reaches_the_json(tmp_path):
    found = comparison(tmp_path)
    plain = json.loads(json.dumps(found.to_plain()))
    (difference,) = plain["evaluations"][0]["differences"]
    assert set(difference) == {field.name for field in dataclasses.fields(found.evaluations[0].differences[0])}
