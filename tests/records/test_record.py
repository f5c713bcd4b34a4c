"""The run directory: what it holds, who may write it, and what survives a kill or a full disk."""

import errno
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from rlpipe.core import files
from rlpipe.core.errors import RecordError
from rlpipe.records import attempts, heartbeat
from rlpipe.records.lease import Lost
from rlpipe.records.provenance import HIDDEN, hide_override, is_secret, plain
from rlpipe.records.record import Record, Status, differing

CONFIG = {
    "method": {"name": "dpo", "learning_rate": 1e-5},
    "seed": 0,
    "until": "evaluate",
    "run_dir": None,
    "log": {"every": 10},
    "judge": {"api_key": "sk-very-secret", "batch_tokens": 8192},
}


def changed(**changes):
    return {**CONFIG, **changes}


def test_a_fresh_run_says_what_it_is(tmp_path):
    record = Record.open(
        tmp_path / "a" / "run", CONFIG, choices={"method": "dpo"}, overrides=["method=dpo", "+hf_token=hf_abc"]
    )
    manifest = json.loads((record.run_dir / "manifest.json").read_text())
    assert manifest["choices"] == {"method": "dpo"}
    assert manifest["seed"] == 0
    assert manifest["overrides"] == ["method=dpo", f"+hf_token={HIDDEN}"]
    attempt = manifest["attempts"][0]
    assert attempt["pid"] == os.getpid()
    assert "torch" in attempt["packages"]
    assert attempt["hardware"]["memory"] > 0
    assert yaml.safe_load((record.run_dir / "config.yaml").read_text()) == plain(CONFIG)
    record.finish(Status.ok, "evaluate", metrics={"after/preference/accuracy": 0.75}, cost={"tokens": 12, "steps": 3})
    result = json.loads((record.run_dir / "result.json").read_text())
    assert result["status"] == "ok"
    assert result["metrics"] == {"after/preference/accuracy": 0.75}
    assert result["cost"]["tokens"] == 12
    assert result["cost"]["seconds"] >= 0


def test_no_secret_reaches_any_file(tmp_path, monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", "sk-from-the-environment")
    monkeypatch.chdir(tmp_path)  # or the diff of this very file would hold them
    config = changed(
        judge={"api_key": "sk-very-secret", "url": "https://me:hunter22@host/v1", "note": "sk-from-the-environment"}
    )
    config["after"] = ["method=sft", "judge.api_key=sk-very-secret"]
    record = Record.open(tmp_path / "run", config, overrides=["judge={api_key: sk-very-secret, x: 1}"])
    record.finish(Status.failed, "train", error=RuntimeError("401 for sk-from-the-environment"))
    written = "".join(path.read_text() for path in (tmp_path / "run").rglob("*") if path.is_file())
    for secret in ("sk-very-secret", "sk-from-the-environment", "hunter22"):
        assert secret not in written
    assert "401 for" in written


@pytest.mark.parametrize("name", ["hf_token", "token", "api_key", "OPENAI_API_KEY", "judge.secret", "db_password"])
def test_names_of_secrets(name):
    assert is_secret(name)


@pytest.mark.parametrize(
    "name", ["batch_tokens_", "eos_token", "pad_token", "tokenizer", "max_tokens_total", "keyboard", "stop_token"]
)
def test_names_of_what_is_no_secret(name):
    assert not is_secret(name)


def test_prose_and_code_stay_as_they_are():
    text = "The key: 42. Call sorted(rows, key=len) and print the token: yes"
    assert plain({"system_prompt": text}) == {"system_prompt": text}


def test_numbers_under_secret_names_stay():
    assert hide_override("after=[method=rloo,method.sampling.max_tokens=64]") == (
        "after=[method=rloo,method.sampling.max_tokens=64]"
    )
    assert plain({"batch_tokens": 8192, "token": "abc"}) == {"batch_tokens": 8192, "token": HIDDEN}


@given(st.text(max_size=40))
@settings(max_examples=50)
def test_hiding_hides_any_quoted_value(value):
    value = value.replace("'", "").replace("\n", "")
    assert hide_override(f"x.api_key='{value}',y=1") == f"x.api_key={HIDDEN},y=1"


def test_a_launchers_config_and_word_of_a_cancelled_run_are_no_strangers(tmp_path):
    folder = tmp_path / "run"
    folder.mkdir()
    (folder / "config.yaml").write_text("seed: 0\n")
    (folder / "result.json").write_text('{"status": "cancelled", "stage": "check"}\n')
    record = Record.open(folder, CONFIG)
    assert record.result is None
    assert yaml.safe_load((folder / "config.yaml").read_text()) == record.config


def test_remarks_on_an_attempt_are_kept_among_the_notes(tmp_path):
    token = attempts.remarks.set(("the code is another",))
    try:
        record = Record.open(tmp_path / "run", CONFIG)
    finally:
        attempts.remarks.reset(token)
    assert record.manifest["notes"] == ["the code is another"]


def test_git_state_and_diff_are_kept(tmp_path, monkeypatch):
    def git(*arguments):
        identity = ["-c", "user.name=a", "-c", "user.email=a@b"]
        subprocess.run(["git", *identity, *arguments], cwd=tmp_path, check=True, capture_output=True)

    git("init")
    (tmp_path / "code.py").write_text("x = 1\n")
    git("add", ".")
    git("commit", "-m", "one")
    (tmp_path / "code.py").write_text("x = 2\n")
    (tmp_path / "new.py").write_text("")
    monkeypatch.chdir(tmp_path)
    record = Record.open(tmp_path / "runs" / "r", CONFIG)
    code = record.manifest["attempts"][0]["code"]
    assert code["dirty"]
    assert "new.py" in code["untracked"]
    assert len(code["commit"]) == 40
    assert "+x = 2" in (record.run_dir / "code.diff").read_text()


def test_resuming_cuts_back_and_keeps_the_id(tmp_path):
    first = Record.open(tmp_path / "run", CONFIG)
    for step in (10, 20, 30):
        first.log_metrics(step, {"loss": 1 / step})
        first.log_samples(step, [{"text": f"at {step}"}])
    first.finish(Status.stopped, "build", cost={"tokens": 5, "steps": 30})
    second = Record.open(tmp_path / "run", changed(log={"every": 1}, run_dir="elsewhere"))
    assert len(second.manifest["attempts"]) == 2
    assert second.manifest["id"] == first.manifest["id"]
    assert second.result is None
    second.rewind(20)
    assert [row["step"] for row in second.metrics()] == [10, 20]
    assert second.logged_until == 30
    assert len((second.run_dir / "samples.jsonl").read_text().splitlines()) == 2
    second.log_metrics(30, {"loss": 0.1})
    second.finish(Status.ok, "evaluate", cost={"tokens": 7, "steps": 40})
    result = second.result
    assert result["cost"]["tokens"] == 12
    assert result["cost"]["steps"] == 40
    assert [a["outcome"] for a in second.manifest["attempts"]] == ["stopped", "ok"]


def test_an_attempt_that_was_killed_early_does_not_make_trackers_forget(tmp_path):
    """Steps 1-30 were logged; a second attempt goes on from 10 and dies at once: the third must skip up to 30 too."""
    first = Record.open(tmp_path / "run", CONFIG)
    for step in (10, 20, 30):
        first.log_metrics(step, {"loss": 1.0})
    first.close()
    second = Record.open(tmp_path / "run", CONFIG)
    second.rewind(10)
    second.close()
    third = Record.open(tmp_path / "run", CONFIG)
    third.rewind(10)
    assert [row["step"] for row in third.metrics()] == [10]
    assert third.logged_until == 30


def test_a_killed_attempt_is_called_so(tmp_path):
    code = (
        f"from rlpipe.records.record import Record; import os\nr = Record.open({str(tmp_path / 'run')!r}, {CONFIG!r})\n"
    )
    code += "r.log_metrics(10, {'loss': 1.0}); os.kill(os.getpid(), 9)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == -9
    with open(tmp_path / "run" / "metrics.jsonl", "a") as torn:
        torn.write('{"step": 20, "lo')
    record = Record.open(tmp_path / "run", CONFIG)
    assert record.manifest["attempts"][0]["outcome"] == "killed"
    record.log_metrics(20, {"loss": 0.5})
    assert [row["step"] for row in record.metrics()] == [10, 20]


def test_a_finished_run_is_not_started_again(tmp_path):
    first = Record.open(tmp_path / "run", changed(until="train"))
    first.finish(Status.ok, "train")
    again = Record.open(tmp_path / "run", changed(until="train"))
    assert again.finished
    assert len(again.manifest["attempts"]) == 1
    further = Record.open(tmp_path / "run", changed(until="evaluate"))
    assert not further.finished


def test_another_run_is_refused_naming_the_keys(tmp_path):
    Record.open(tmp_path / "run", CONFIG).finish(Status.stopped, "build")
    other = changed(seed=1, method={"name": "dpo", "learning_rate": 2e-5})
    with pytest.raises(RecordError) as caught:
        Record.open(tmp_path / "run", other)
    message = str(caught.value)
    assert "method.learning_rate: 1e-05 there, 2e-05 here" in message
    assert "seed: 0 there, 1 here" in message
    assert "name another run_dir" in message


def test_what_does_not_make_another_run():
    assert differing(CONFIG, changed(run_dir="x", until="check", log={"every": 3}, tracker={"name": "wandb"})) == []
    assert differing(CONFIG, changed(extra=1)) == ["extra"]


def test_a_folder_with_something_else_is_left_alone(tmp_path):
    (tmp_path / "thesis.tex").write_text("years of work")
    with pytest.raises(RecordError, match=r"not empty \(thesis\.tex\)"):
        Record.open(tmp_path, CONFIG)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]


def test_two_processes_cannot_share_a_folder(tmp_path):
    code = "from rlpipe.records.record import Record; import sys\n"
    code += f"r = Record.open({str(tmp_path / 'run')!r}, {CONFIG!r})\n"
    code += "print('ready', flush=True); sys.stdin.read()"
    other = subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    try:
        assert other.stdout.readline() == "ready\n"
        with pytest.raises(RecordError, match=f"process {other.pid} on .* is working on this run"):
            Record.open(tmp_path / "run", CONFIG)
    finally:
        other.communicate()
    assert len(Record.open(tmp_path / "run", CONFIG).manifest["attempts"]) == 2


def test_a_run_that_was_taken_over_writes_nothing_more(tmp_path, monkeypatch):
    first = Record.open(tmp_path / "run", CONFIG)
    first.log_metrics(1, {"loss": 1.0})
    held = tmp_path / "run" / ".lease" / "1"
    heartbeat.stop(held)
    os.utime(held, times=(1e9, 1e9))
    second = Record.open(tmp_path / "run", CONFIG)
    before = files.hashes(tmp_path / "run")
    for write in (
        lambda: first.log_metrics(2, {"loss": 2.0}),
        lambda: first.update(notes=["x"]),
        lambda: first.finish(Status.ok, "evaluate"),
    ):
        first._writes = True  # as if it had not noticed yet
        with pytest.raises(Lost, match="took this over"):
            write()
        assert not first.may_write()
    first.finish(Status.failed, "train", error=ValueError("x"))
    assert files.hashes(tmp_path / "run") == before
    second.log_metrics(2, {"loss": 3.0})
    second.finish(Status.ok, "evaluate")
    assert [row["loss"] for row in second.metrics()] == [1.0, 3.0]


def test_an_unwritable_place_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(RecordError, match=r"choose another folder with run_dir=…"):
        Record.open(tmp_path / "file" / "run", CONFIG)


def test_a_read_only_folder_is_named(tmp_path, monkeypatch):
    def refused(*arguments, **options):
        raise OSError(errno.EROFS, "Read-only file system")

    monkeypatch.setattr(Path, "mkdir", refused)
    with pytest.raises(RecordError, match=r"not allowed .*Read-only file system"):
        Record.open(tmp_path / "run", CONFIG)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full here")
def test_a_full_disk_is_named_on_append(tmp_path):
    (tmp_path / "metrics.jsonl").symlink_to("/dev/full")
    with pytest.raises(RecordError, match="no space left"):
        files.append(tmp_path / "metrics.jsonl", "row\n")


@pytest.mark.parametrize(
    ("number", "said"), [(errno.ENOSPC, r"no space left .* untouched"), (errno.EIO, r"disk fails .*Input/output error")]
)
def test_a_disk_that_is_full_or_fails_leaves_the_old_file_whole(tmp_path, monkeypatch, number, said):
    files.write_atomic(tmp_path / "manifest.json", "old")

    def fails(descriptor):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "fsync", fails)
    with pytest.raises(RecordError, match=said) as raised:
        files.write_atomic(tmp_path / "manifest.json", "new")
    assert "give the same command again" in raised.value.fix
    assert (tmp_path / "manifest.json").read_text() == "old"
    assert [path.name for path in tmp_path.iterdir()] == ["manifest.json"]


def test_a_row_that_does_not_fit_leaves_no_part_of_it(tmp_path, monkeypatch):
    files.append(tmp_path / "rows", "first\n")
    write = os.write

    def half(descriptor, data):
        if len(data) > 8:
            return write(descriptor, data[:8])
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "write", half)
    with pytest.raises(RecordError):
        files.append(tmp_path / "rows", "0123456789\n")
    assert (tmp_path / "rows").read_text() == "first\n"


rows = st.lists(
    st.dictionaries(st.text(max_size=5), st.floats() | st.text(max_size=9) | st.integers(), min_size=1, max_size=3),
    max_size=4,
)


@given(rows=rows, cut=st.integers(0, 60))
@settings(max_examples=60)
def test_a_torn_end_costs_one_row_at_most(rows, cut, tmp_path_factory):
    path = tmp_path_factory.mktemp("torn") / "rows.jsonl"
    files.write_lines(path, rows)
    whole = files.read_lines(path, "")
    assert len(whole) == len(rows)
    data = path.read_bytes()
    kept = max(0, len(data) - cut)
    path.write_bytes(data[:kept])
    after = files.read_lines(path, "")
    complete = data[:kept].count(b"\n")
    assert after == whole[: len(after)]
    assert complete <= len(after) <= complete + 1


def test_a_damaged_line_in_the_middle_is_named(tmp_path):
    (tmp_path / "rows.jsonl").write_text('{"a": 1}\n{"a"\n{"a": 3}\n')
    with pytest.raises(RecordError, match=r"rows\.jsonl, line 2: not JSON"):
        files.read_lines(tmp_path / "rows.jsonl", "delete it")


def test_evaluations_and_notes(tmp_path):
    record = Record.open(tmp_path / "run", CONFIG)
    assert record.evaluation("preference", "before") is None
    record.write_evaluation("preference", "before", [{"id": "test/0", "score": float("nan")}])
    assert record.evaluation("preference", "before") == [{"id": "test/0", "score": None}]
    record.update(parents={"sft": "abc"}, notes=["template given"])
    record.update(parents={"judge": "def"}, notes=["template given", "pad reused"])
    manifest = json.loads((tmp_path / "run" / "manifest.json").read_text())
    assert manifest["parents"] == {"sft": "abc", "judge": "def"}
    assert manifest["notes"] == ["template given", "pad reused"]


def test_other_processes_of_the_run_write_nothing(tmp_path, monkeypatch):
    monkeypatch.setenv("RANK", "1")
    monkeypatch.setenv("WORLD_SIZE", "2")
    record = Record.open(tmp_path / "run", CONFIG)
    record.log_metrics(1, {"loss": 1.0})
    record.rewind(0)
    record.update(notes=["x"])
    record.finish(Status.ok, "evaluate")
    assert not (tmp_path / "run").exists()


def test_the_error_and_its_traceback_are_kept(tmp_path):
    record = Record.open(tmp_path / "run", CONFIG)
    try:
        raise ValueError("bad row 7")
    except ValueError as error:
        record.finish(Status.failed, "build", error=error)
    assert record.result["error"] == {"type": "ValueError", "message": "bad row 7", "traceback": "error.txt"}
    assert "raise ValueError" in (tmp_path / "run" / "error.txt").read_text()


def test_the_record_needs_no_torch():
    code = "import rlpipe.records.record, rlpipe.records.checkpoints, rlpipe.core.signals, sys\n"
    code += "import rlpipe.core.terminal, rlpipe.core.progress, rlpipe.core.logs\n"
    code += "import rlpipe.trackers.wandb, rlpipe.trackers.tensorboard, rlpipe.trackers.guarded\n"
    code += "assert not {'torch', 'transformers', 'datasets', 'wandb'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"status": "well"}', '{"status": "ok", "metrics": 3}', "\0" * 50])
def test_a_damaged_result_is_named_and_the_advice_helps(tmp_path, content):
    Record.open(tmp_path / "run", CONFIG).finish(Status.ok, "evaluate")
    (tmp_path / "run" / "result.json").write_text(content)
    with pytest.raises(RecordError, match=r"result\.json: damaged .*\n.*move it away and give the run's command again"):
        Record.open(tmp_path / "run", CONFIG)
    (tmp_path / "run" / "result.json").rename(tmp_path / "away.json")
    again = Record.open(tmp_path / "run", CONFIG)
    assert not again.finished
    again.finish(Status.ok, "evaluate")
    assert again.result["attempts"] == 2
