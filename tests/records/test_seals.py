"""What a result is made of is as it was written, or it is said; what is gone is made again, what is altered not."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from rlpipe.core.errors import RecordError
from rlpipe.records import seals
from rlpipe.records.record import Record, Status

CONFIG = {"method": {"name": "dpo"}, "seed": 0, "until": "evaluate"}
ROWS = [{"id": f"test/{number}", "score": number % 2} for number in range(10)]


@pytest.fixture
def finished(tmp_path) -> Path:
    record = Record.open(tmp_path / "run", CONFIG)
    record.log_metrics(1, {"loss": 1.0})
    record.write_evaluation("accuracy", "after", ROWS)
    record.write("audit.json", {"rows": 10})
    (record.run_dir / "model").mkdir()
    (record.run_dir / "model" / "model.safetensors").write_bytes(b"weights")
    from rlpipe.core.files import hashes

    record.note_model(hashes(record.run_dir / "model"))
    record.finish(Status.ok, "evaluate", metrics={"after/accuracy/score": 0.5})
    return record.run_dir


def flip(file: Path) -> None:
    """Change one bit, as a disk may."""
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)


def cut(file: Path) -> None:
    file.write_text("".join(file.read_text().splitlines(keepends=True)[:7]))


def nuls(file: Path) -> None:
    """Leave what a power loss leaves of a file that was not forced to the disk."""
    file.write_bytes(bytes(file.stat().st_size))


MADE = ["evaluations/accuracy.after.jsonl", "audit.json", "model/model.safetensors"]


def flaws(folder: Path) -> list[str]:
    return [str(flaw) for flaw in seals.flaws(folder, json.loads((folder / "manifest.json").read_text()))]


@pytest.mark.parametrize("file", [*MADE, "result.json", "metrics.jsonl"])
@pytest.mark.parametrize("damage", [flip, nuls, Path.unlink])
def test_every_file_of_a_result_is_sealed(finished, file, damage):
    assert flaws(finished) == []
    damage(finished / file)
    [flaw] = flaws(finished)
    assert flaw.startswith(file)


@pytest.mark.parametrize(
    ("file", "read"), [("adapter_config.json", True), ("model-00002.safetensors", True), ("notes.txt", False)]
)
def test_a_file_that_was_put_beside_a_models_is_no_part_of_it(finished, file, read):
    (finished / "model" / file).write_bytes(b"{}")
    manifest = json.loads((finished / "manifest.json").read_text())
    for within in ("", "model/"):
        found = [str(flaw) for flaw in seals.flaws(finished, manifest, within=within)]
        assert found == [f"model/{file} was not written by the run"] * read
    assert not list(seals.flaws(finished, manifest, within="evaluations/"))


def test_rows_that_are_missing_are_counted(finished):
    cut(finished / "evaluations" / "accuracy.after.jsonl")
    assert flaws(finished) == ["evaluations/accuracy.after.jsonl has 7 rows instead of 10"]


@pytest.mark.parametrize("file", MADE)
def test_a_finished_run_with_an_altered_file_is_refused_and_the_advice_helps(finished, file):
    flip(finished / file)
    with pytest.raises(
        RecordError, match=rf"has finished, and its files are not .*: {file} has another content"
    ) as said:
        Record.open(finished, CONFIG)
    assert "move them away and give the same command again" in said.value.fix
    (finished / file).rename(finished / "aside")
    again = Record.open(finished, CONFIG)
    assert not again.finished
    assert again.result is None
    again.finish(Status.stopped, "build")


@pytest.mark.parametrize("file", MADE)
def test_a_run_whose_files_are_gone_is_not_finished(finished, file):
    (finished / file).unlink()
    again = Record.open(finished, CONFIG)
    assert again.result is None, "a new attempt has begun"
    assert file not in again.manifest["files"]
    again.finish(Status.stopped, "build")


@pytest.mark.parametrize("damage", [flip, cut, nuls])
def test_rows_that_are_not_as_written_are_measured_again(tmp_path, damage):
    record = Record.open(tmp_path / "run", CONFIG)
    record.write_evaluation("accuracy", "before", ROWS)
    record.finish(Status.stopped, "build")
    damage(tmp_path / "run" / "evaluations" / "accuracy.before.jsonl")
    again = Record.open(tmp_path / "run", CONFIG)
    assert again.evaluation("accuracy", "before") is None
    assert any("accuracy.before.jsonl has" in note and "measured again" in note for note in again.manifest["notes"])
    again.write_evaluation("accuracy", "before", ROWS)
    assert again.evaluation("accuracy", "before") == ROWS


def test_rows_that_nobody_vouches_for_are_measured_again(tmp_path):
    """A kill between the rows and their seal."""
    record = Record.open(tmp_path / "run", CONFIG)
    (tmp_path / "run" / "evaluations").mkdir()
    (tmp_path / "run" / "evaluations" / "accuracy.before.jsonl").write_text('{"id": "test/0", "score": 1}\n')
    assert record.evaluation("accuracy", "before") is None


def test_rows_of_another_model_are_measured_again(finished):
    """A model that had to be trained again, and came out otherwise (on a GPU it may)."""
    (finished / "model" / "model.safetensors").unlink()
    again = Record.open(finished, CONFIG)
    assert again.evaluation("accuracy", "after") == ROWS
    again.note_model({"README.md": "x", "model.safetensors": "another hash"})
    assert again.evaluation("accuracy", "after") is None


@pytest.mark.parametrize("damage", [flip, nuls])
def test_inputs_that_a_run_makes_once_are_made_again_where_damaged(tmp_path, damage):
    """The weights that a run starts from, its rows as tokens with the reference's log-probabilities."""
    made = []
    for _ in range(3):
        record = Record.open(tmp_path / "run", CONFIG)
        with record.made_once("data"):
            if not (file := record.run_dir / "data" / "0123" / "rows.arrow").exists():
                file.parent.mkdir(parents=True)
                file.write_bytes(b"rows")
                made.append(file)
        record.finish(Status.stopped, "build")
        if len(made) == 1 and _ == 1:
            damage(file)
    assert len(made) == 2
    assert file.read_bytes() == b"rows"
    assert record.manifest["notes"] == ["data/ was not as it was written: made again"]
