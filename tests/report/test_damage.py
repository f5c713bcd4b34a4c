"""One bad run never breaks a report: its files may hold anything, and what is wrong with it is named."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from rlpipe.core.errors import RecordError
from rlpipe.core.files import json_text
from rlpipe.records import manifest, seals
from rlpipe.records.runs import Standing, find
from rlpipe.report import tables
from rlpipe.report.compare import compare
from rlpipe.report.page import write
from tests.report.recorded import recorded

OTHER = {
    "nothing": "",
    "torn": '{"id": "test/0", "sco',
    "a list": "[]\n",
    "a number": "3\n",
    "null": "null\n",
    "an empty object": "{}\n",
    "NULs": "\0" * 200,
    "numbers for words": '{"id": 1, "step": "x", "time": "y", "score": "z", "prompt": 4, "config": 5, "status": 6}\n',
    "lists for words": '{"id": [], "step": [], "score": [[]], "prompt": [{}], "parts": 3, "dataset": [], "judge": 1}\n',
    "objects for words": '{"id": {}, "step": {"a": 1}, "score": {"b": 2}, "prompt": {}, "tool": 1, "shown": {}}\n',
}
FILES = (
    *("manifest.json", "result.json", "metrics.jsonl", "samples.jsonl", "audit.json", "config.yaml"),
    *("evaluations/accuracy.after.jsonl", "evaluations/accuracy.before.jsonl", "evaluations/accuracy.protocol.json"),
)


@pytest.fixture(scope="module")
def runs(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("runs")
    for number, beta in enumerate((0.1, 0.2)):
        recorded(folder / str(number), [1.0, 0.0, 1.0], before=[0.0, 0.0, 1.0], method__beta=beta)
    return folder


@pytest.mark.parametrize("file", FILES)
def test_files_of_another_shape_break_nothing(runs, tmp_path, file):
    """One good run, and one for every way in which a file may be bad."""
    shutil.copytree(runs / "0", tmp_path / "runs" / "0")
    for number, content in enumerate(OTHER.values(), 1):
        folder = Path(shutil.copytree(runs / "1", tmp_path / "runs" / str(number)))
        (folder / file).parent.mkdir(exist_ok=True)
        (folder / file).write_text(content)
        if file == manifest.FILE:
            (folder / manifest.COPY).unlink(missing_ok=True)
    found = find([tmp_path / "runs"])
    assert [run.dir.name for run in found] == [str(number) for number in range(len(OTHER) + 1)]
    comparison = compare(found)
    good = next(arm for arm in comparison.evaluations[0].arms if arm.arm == comparison.arms[0].label)
    assert good.mean == pytest.approx(2 / 3)
    assert tables.markdown(comparison)
    write(found, comparison, tmp_path / "report.html")
    assert (tmp_path / "report.html").stat().st_size > 10_000
    if file in ("manifest.json", "result.json"):
        assert {run.standing for run in found[1:]} == {Standing.damaged}
        assert all(f"{file}: damaged" in run.error for run in found[1:])


def sealed(folder: Path) -> dict:
    """Seal a run's rows, as a run itself does."""
    told = json.loads((folder / "manifest.json").read_text())
    rows = (folder / "evaluations").glob("*")
    told["files"] = {path.relative_to(folder).as_posix(): seals.seal(path) for path in rows}
    (folder / "manifest.json").write_text(json_text(told))
    return told


@pytest.mark.parametrize("rows", ["accuracy.after.jsonl", "accuracy.before.jsonl"])
def test_rows_that_are_missing_are_named_and_not_compared(runs, tmp_path, rows):
    folder = Path(shutil.copytree(runs, tmp_path / "runs"))
    for one in ("0", "1"):
        sealed(folder / one)
    assert not any("rows instead of" in note for note in compare(find([folder])).notes)
    file = folder / "1" / "evaluations" / rows
    file.write_text("".join(file.read_text().splitlines(keepends=True)[:2]))
    found = compare(find([folder]))
    assert f"runs/1: evaluations/{rows} has 2 rows instead of 3; left out" in found.notes
    assert [arm.examples for arm in found.evaluations[0].arms] == ([3, 0] if "after" in rows else [3, 3])


def test_a_sweep_s_damaged_file_is_one_message_and_its_advice_helps(runs, tmp_path):
    folder = Path(shutil.copytree(runs, tmp_path / "runs"))
    for content in ("", "[]", '{"arms": 3}', '{"arms": [{"num": "0"}]}'):
        (folder / "sweep.json").write_text(content)
        with pytest.raises(RecordError, match=r"sweep\.json: damaged .*\n .*move it away") as said:
            find([folder])
        assert str(folder / "sweep.json") in str(said.value)
    (folder / "sweep.json").rename(tmp_path / "away")
    assert len(find([folder])) == 2
