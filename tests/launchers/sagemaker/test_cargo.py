"""What a container is given, and how it is laid out there."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from rlpipe.core.errors import LaunchError
from rlpipe.launchers.sagemaker import boot, cargo
from rlpipe.records.sweep import JOB_ID, Job, Kind


def lay_out(made, key: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[list[str], dict[str, str]]:
    """Lay a job's cargo out as SageMaker and a container do, on a machine without anything; return what it becomes."""
    made.launcher.prepare()
    given = cargo.cargo(made.sweep, made.launcher.config, made.jobs[key], "ID-1", made.launcher.bucket)
    for folder in (made.sweep.folder, tmp_path / "store", tmp_path / "data"):
        shutil.rmtree(folder, ignore_errors=True)
    channel = tmp_path / "ml" / "input" / "data" / "rlpipe"
    channel.mkdir(parents=True)
    for digest in given.contents:
        (channel / digest).write_bytes(made.s3.content[f"rlpipe/content/{digest}"])
    begins = channel / given.command[-1].rpartition("/")[2]
    became: list[tuple[list[str], dict[str, str]]] = []
    monkeypatch.setattr(os, "execvpe", lambda file, command, environment: became.append((command, environment)))
    monkeypatch.setattr(boot, "__file__", str(begins))
    monkeypatch.chdir(tmp_path)
    boot.main(*given.arguments)
    return became[0]


def test_a_container_has_what_its_job_needs_with_the_same_paths(make, tmp_path, monkeypatch):
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "rows.jsonl").write_text("{}\n")
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "plugin.py").write_text("")
    monkeypatch.setenv("HF_TOKEN", "secret")
    made = make(files=["mine"], environment=["HF_*"], setup=["HALF=whole"], python="python3 -I")
    weights = tmp_path / "store" / "sft" / "model" / "weights"
    weights.parent.mkdir()
    weights.write_text("heavy")
    (tmp_path / "store" / "sft" / "manifest.json").write_text("{}")
    (tmp_path / "store" / "sft" / "checkpoints").mkdir()
    (tmp_path / "store" / "sft" / "checkpoints" / "old").write_text("old")
    made.jobs["0"] = Job("0", Kind.arm, (), made.jobs["0"].run_dir, ("sft",), reads=(str(tmp_path / "data"),))
    config = made.sweep.frozen_config(made.jobs["0"])
    config.parent.mkdir()
    config.write_text("a: 1\n")
    command, environment = lay_out(made, "0", tmp_path, monkeypatch)
    checkpoints = tmp_path / "ml" / "checkpoints"
    assert made.sweep.folder.resolve() == checkpoints / "sweep"
    assert (checkpoints / "sweep" / ".launch" / "0" / "job.pkl").read_text() == "work of 0"
    assert (checkpoints / "sweep" / "0" / "config.yaml").read_text() == "a: 1\n"
    assert weights.read_text() == "heavy"
    assert not (tmp_path / "store" / "sft" / "checkpoints").exists()
    assert (tmp_path / "data" / "rows.jsonl").read_text() == "{}\n"
    assert (tmp_path / "mine" / "plugin.py").exists()
    assert (environment["HF_TOKEN"], environment[JOB_ID]) == ("secret", "ID-1")
    folder = made.sweep.job_folder(made.jobs["0"])
    assert command[:2] == ["sh", "-c"]
    assert "HALF=whole\nexec python3 -I -u -m rlpipe.launchers.sagemaker.task " in command[2]
    assert str(folder) in command[2]


def test_a_stage_is_built_among_the_checkpoints_and_goes_on_with_what_is_there(make, tmp_path, monkeypatch):
    made = make()
    there = tmp_path / "ml" / "checkpoints" / "run"
    there.mkdir(parents=True)
    (there / "saved").write_text("step 3")
    lay_out(made, "sft", tmp_path, monkeypatch)
    assert (tmp_path / "store" / "sft" / "saved").read_text() == "step 3"


def test_the_code_that_goes_along_is_this_one_and_says_which_it_is(make, tmp_path, monkeypatch):
    made = make()
    _, environment = lay_out(made, "2", tmp_path, monkeypatch)
    code = tmp_path / "ml" / "code"
    assert environment["PYTHONPATH"].split(os.pathsep)[0] == str(code)
    program = (
        "from importlib.metadata import version\n"
        "from pathlib import Path\n"
        "import json, rlpipe.core.paths as paths\n"
        "from rlpipe.records import provenance\n"
        "states = [provenance.code(place)[0] for place in (Path.cwd(), paths.PACKAGE)]\n"
        "print(json.dumps([str(paths.conf_dir()), version('rlpipe'), states]))\n"
    )
    environment = {**os.environ, "PYTHONPATH": str(code)}
    done = subprocess.run(
        [sys.executable, "-c", program], env=environment, cwd="/", capture_output=True, text=True, check=True
    )
    from rlpipe.core.paths import PACKAGE
    from rlpipe.records import provenance

    states = [provenance.code(tmp_path)[0], provenance.code(PACKAGE)[0]]
    assert json.loads(done.stdout) == [str(code / "rlpipe" / "conf"), provenance.rlpipe_version(), states]


def test_what_is_there_already_is_not_sent_again(make):
    made = make()
    first = cargo.cargo(made.sweep, made.launcher.config, made.jobs["2"], "ID-1", made.launcher.bucket)
    sent = len(made.s3.uploads)
    again = made.another()
    assert cargo.cargo(made.sweep, again.config, made.jobs["2"], "ID-1", again.bucket) == first
    assert len(made.s3.uploads) == sent


def test_secrets_are_in_no_job_s_description(make, monkeypatch):
    monkeypatch.setenv("WANDB_API_KEY", "secret-key-of-mine")
    made = make()
    made.launcher.submit([made.jobs["2"]])
    assert "secret-key-of-mine" not in str(made.cloud.requests)
    assert any(b"secret-key-of-mine" in content for content in made.s3.content.values())


def test_a_file_that_is_not_there_is_named(make, tmp_path):
    made = make()
    made.jobs["2"] = Job("2", Kind.arm, (), made.jobs["2"].run_dir, reads=(str(tmp_path / "gone.jsonl"),))
    with pytest.raises(LaunchError, match=r"gone\.jsonl: is not there, and job 2 needs it"):
        cargo.cargo(made.sweep, made.launcher.config, made.jobs["2"], "ID-1", made.launcher.bucket)
