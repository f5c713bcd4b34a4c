"""Finding runs, and reading those that are not as they should be."""

import json
import math

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from rlpipe.core.errors import RecordError
from rlpipe.core.files import json_text, parse_lines, write_atomic
from rlpipe.records.record import Record, Status
from rlpipe.records.runs import Standing, find
from rlpipe.records.sweep import Ended, Job, Kind, Outcome, Sweep, write_outcome
from tests.report.recorded import config, recorded


def test_a_run_directory_is_read_as_it_was_written(tmp_path):
    recorded(tmp_path / "run", [1.0, 0.0], seed=3, before=[0.0, 0.0], metrics={"after/accuracy/accuracy": 0.5})
    (run,) = find([tmp_path / "run"])
    assert run.standing is Standing.ok
    assert run.seed == 3
    assert run.overrides == ["seed=3"]
    assert run.summary == {"after/accuracy/accuracy": 0.5}
    assert run.evaluations == {"accuracy": ("before", "after")}
    assert [row["score"] for row in run.evaluation("accuracy", "after")] == [1.0, 0.0]
    assert run.final("accuracy") == "after"
    assert run.metrics()[0]["loss"] == 0.5
    assert run.cost["tokens"] == 10
    assert "gpu_hours" not in run.cost  # the config says cpu
    assert run.error is None


def test_rows_before_training_are_the_result_only_where_nothing_is_trained(tmp_path):
    for name, cost in (("none", {}), ("cut", {"steps": 3})):
        record = Record.open(tmp_path / name, config(0))
        record.write_evaluation("accuracy", "before", [{"id": "a", "score": 1.0}])
        record.finish(Status.ok, "evaluate", cost=cost)
    cut, none = find([tmp_path])
    assert none.final("accuracy") == "before"
    assert cut.final("accuracy") is None


def test_gpu_hours_count_one_gpu_a_process_over_all_attempts(tmp_path):
    recorded(tmp_path / "run", [1.0], hardware__device="auto")
    manifest = json.loads((tmp_path / "run/manifest.json").read_text())
    attempt = {**manifest["attempts"][0], "seconds": 1800.0, "processes": 4, "hardware": {"gpus": ["a"] * 8}}
    manifest["attempts"] = [attempt, attempt]
    (tmp_path / "run/manifest.json").write_text(json.dumps(manifest))
    assert find([tmp_path])[0].cost["gpu_hours"] == 4.0


def test_folders_above_runs_and_order_of_arms(tmp_path):
    for place in (10, 2, 0):
        recorded(tmp_path / "sweep" / str(place), [1.0], seed=place)
    recorded(tmp_path / "alone", [1.0])
    found = find([tmp_path, tmp_path / "sweep" / "2"])
    assert [run.name for run in found] == ["alone", "sweep/0", "sweep/2", "sweep/10"]


def test_a_folder_inside_a_run_is_not_searched(tmp_path):
    recorded(tmp_path / "run", [1.0])
    recorded(tmp_path / "run" / "checkpoints" / "odd", [1.0])
    assert len(find([tmp_path])) == 1


def sweep_of(folder, count):
    sweep = Sweep.create(folder, command="x")
    sweep.add(
        [Job(str(place), Kind.arm, (f"seed={place}",), run_dir=str(folder / str(place))) for place in range(count)]
    )
    return sweep


def test_arms_of_a_sweep_that_have_no_record_are_there_too(tmp_path):
    sweep = sweep_of(tmp_path / "sweep", 5)
    recorded(tmp_path / "sweep/0", [1.0])
    write_outcome(sweep.folder / ".launch/1", Outcome(Ended.failed, error="out of memory"))
    write_outcome(sweep.folder / ".launch/2", Outcome(Ended.cancelled, error="stage sft failed"))
    (tmp_path / "sweep/3").mkdir()
    (tmp_path / "sweep/3/config.yaml").write_text(yaml.safe_dump(config(3, method__beta=0.7)))
    done, failed, cancelled, frozen, bare = find([tmp_path])
    assert done.standing is Standing.ok
    assert done.sweep == sweep.folder
    assert failed.standing is Standing.failed
    assert failed.error == "out of memory"
    assert cancelled.standing is Standing.missing
    assert cancelled.error == "cancelled: stage sft failed"
    assert frozen.standing is Standing.missing
    assert frozen.config["method"]["beta"] == 0.7
    assert bare.standing is Standing.missing
    assert bare.seed == 4
    assert not bare.config


def test_a_run_still_going_and_one_that_was_killed(tmp_path):
    record = Record.open(tmp_path / "going", config(0))
    recorded(tmp_path / "killed", [1.0])
    (tmp_path / "killed/result.json").unlink()
    going, killed = find([tmp_path])
    assert going.standing is Standing.running
    assert killed.standing is Standing.killed
    record.close()
    assert find([tmp_path / "going"])[0].standing is Standing.killed


def test_a_failed_run_says_why_in_a_line(tmp_path):
    recorded(tmp_path / "run", status=Status.failed, error=ValueError("too long\nand more"))
    (run,) = find([tmp_path])
    assert run.standing is Standing.failed
    assert run.error == "ValueError: too long"


@pytest.mark.parametrize("content", ["{", "[]", "{}", '{"config": {}, "overrides": null}'])
def test_a_damaged_manifest_hides_no_other_run(tmp_path, content):
    recorded(tmp_path / "good", [1.0])
    (tmp_path / "bad").mkdir()
    (tmp_path / "bad/manifest.json").write_text(content)
    bad, good = find([tmp_path])
    assert good.standing is Standing.ok
    assert bad.standing is Standing.damaged
    assert "manifest.json: damaged" in bad.error


def test_a_damaged_line_is_skipped_and_counted(tmp_path):
    recorded(tmp_path / "run", [1.0])
    with open(tmp_path / "run/metrics.jsonl", "a") as file:
        file.write('{"step": 2, "lo\n\n17\n{"step": 3, "loss": null}\n')
    (run,) = find([tmp_path])
    assert [row["step"] for row in run.metrics()] == [1, 3]
    assert run.metrics()[1]["loss"] is None
    assert run.damaged == {"metrics.jsonl": 2}


def test_the_torn_last_line_of_a_run_still_going_is_no_damage(tmp_path):
    record = Record.open(tmp_path / "run", config(0))
    record.log_metrics(1, {"loss": 1.0})
    with open(tmp_path / "run/metrics.jsonl", "a") as file:
        file.write('{"step": 2, "lo')
    (run,) = find([tmp_path])
    assert len(run.metrics()) == 1
    assert run.damaged == {}
    record.close()
    (run,) = find([tmp_path])
    assert len(run.metrics()) == 1
    assert run.damaged == {"metrics.jsonl": 1}


def test_a_damaged_protocol_counts_as_none(tmp_path):
    recorded(tmp_path / "run", [1.0])
    (tmp_path / "run/evaluations/accuracy.protocol.json").write_text("{")
    (run,) = find([tmp_path])
    assert run.protocol("accuracy") is None
    assert run.damaged == {"evaluations/accuracy.protocol.json": 1}


def test_what_is_no_run_is_said_for_all_folders_at_once(tmp_path):
    (tmp_path / "empty").mkdir()
    (tmp_path / "file").write_text("")
    recorded(tmp_path / "run", [1.0])
    wrong = [tmp_path / "empty", tmp_path / "file", tmp_path / "absent", tmp_path / "run/evaluations"]
    with pytest.raises(RecordError) as caught:
        find([*wrong, tmp_path / "run"])
    message = str(caught.value)
    assert "empty: holds no run" in message
    assert "file: a file" in message
    assert "absent: there is no such folder" in message
    assert f"it lies inside one: {(tmp_path / 'run').resolve()}" in message
    assert message.count("→") == 4


def test_a_damaged_sweep_file_is_said(tmp_path):
    (tmp_path / "sweep.json").write_text("{")
    with pytest.raises(RecordError, match=r"sweep\.json: damaged"):
        find([tmp_path])


VALUES = st.one_of(st.none(), st.booleans(), st.integers(), st.floats(allow_nan=False), st.text())


@settings(max_examples=60)
@given(st.lists(st.dictionaries(st.text(), VALUES, max_size=4)), st.lists(st.binary(max_size=12), max_size=3))
def test_whole_lines_survive_among_any_bytes(whole, torn):
    lines = [json.dumps(row).encode() for row in whole]
    broken = [b"x" + one.replace(b"\n", b"") for one in torn]  # no JSON begins with x
    found, damaged = parse_lines(b"\n".join([*broken, *lines, b""]))
    assert found == whole
    assert damaged == len(broken)


def test_lines_that_only_together_are_json_are_damaged():
    assert parse_lines(b'{"a": 1\n"b": 2}\n{"c": 3}\n') == ([{"c": 3}], 2)
    assert parse_lines(b'{"a": [1\n2]}\n') == ([], 2)
    rows, damaged = parse_lines(b'{"a": NaN}\n')
    assert math.isnan(rows[0]["a"])
    assert damaged == 0


def test_numbers_that_are_none_stay_missing(tmp_path):
    recorded(tmp_path / "run", [1.0], metrics={"after/accuracy/accuracy": math.nan})
    write_atomic(tmp_path / "run/extra.json", json_text({"a": 1}))
    (run,) = find([tmp_path])
    assert run.summary == {"after/accuracy/accuracy": None}
    assert run.read("extra.json") == {"a": 1}


def test_an_arm_that_has_run_and_whose_folder_is_gone_says_so(sweep):
    for job in sweep.jobs:
        write_outcome(sweep.job_folder(job), Outcome(Ended.ok))
    runs = find([sweep.folder])
    assert {run.standing for run in runs} == {Standing.missing}
    assert {run.error for run in runs} == {"it has run, and its folder is gone"}
