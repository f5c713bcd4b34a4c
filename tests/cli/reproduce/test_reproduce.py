"""Runs made again: bit for bit the same on this machine, with all that differs said."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from rlpipe.cli.exits import exit_code
from rlpipe.cli.reproduce import main as command
from rlpipe.config.compose import to_plain
from rlpipe.config.kinds import ModelConfig
from rlpipe.config.schema import RunConfig
from rlpipe.core.files import sha256
from rlpipe.stages.identity import named
from tests.composed import once

pytestmark = pytest.mark.slow

SMALL = (
    *("model=blank", "dataset.sample_size=64", "dataset.test_limit=8", "method.max_steps=2", "method.batch_size=4"),
    *("method.max_length=256", "log.every=1", "log.progress=false", "hardware.device=cpu"),
)
MICRO = "method.micro_batch_size=2"
STAGE = f"after=[method=sft,dataset=smoltalk,method.max_steps=2,method.batch_size=4,{MICRO},evaluation=none]"
METHODS = {
    "sft": ("method=sft", "dataset=smoltalk", MICRO, "evaluation=perplexity"),
    "dpo": ("method=dpo", MICRO, "model.lora.rank=4", "model.lora.dropout=0.1", STAGE, "evaluation=preference"),
    "grpo": (
        *("method=grpo", "dataset=countdown", "reward=countdown", "tool=calculator", "method.group_size=2"),
        *(
            "method.sampling.max_tokens=12",
            "method.max_length=480",
            "evaluation=[accuracy,samples]",
            "evaluation.samples.max_tokens=12",
        ),
    ),
}


@pytest.fixture(autouse=True)
def store(tmp_path, monkeypatch):
    monkeypatch.setenv("RLPIPE_STORE", str(tmp_path / "store"))
    monkeypatch.setenv("COLUMNS", "300")
    return tmp_path / "store"


def made(folder: Path, *overrides: str) -> Path:
    from rlpipe.config.compose import compose
    from rlpipe.run.run import run

    asked = once(*SMALL, *overrides, f"run_dir='{folder}'")
    run(compose(*asked), asked)
    return folder


def reproduce(capsys, *arguments: object) -> tuple[int, str, str]:
    """Run the command; return its code, what it printed, and what it said on standard error."""
    parsed = command.parser().parse_args(list(map(str, arguments)))
    capsys.readouterr()
    code = exit_code(lambda: command.run(parsed))
    out, err = capsys.readouterr()
    return code, " ".join(out.split()), err


@pytest.fixture
def run(trained_run, tmp_path) -> Path:
    """A copy of a finished run whose record may be changed."""
    return Path(shutil.copytree(trained_run, tmp_path / "run", ignore=shutil.ignore_patterns("checkpoints")))


def manifest_of(run: Path) -> dict:
    return json.loads((run / "manifest.json").read_text())


def record(run: Path, manifest: dict) -> None:
    (run / "manifest.json").write_text(json.dumps(manifest))


@pytest.mark.slow
@pytest.mark.parametrize("method", METHODS)
def test_the_same_again_is_bit_identical(tmp_path, capsys, method):
    made(tmp_path / "one", *METHODS[method])
    code, out, err = reproduce(capsys, tmp_path / "one", "--run-dir", tmp_path / "two")
    assert code == 0, out + err
    assert "identical, bit for bit" in out
    assert "different" not in out
    digests = {sha256(tmp_path / one / "model" / "model.safetensors") for one in ("one", "two")}
    assert len(digests) == 1
    ids = {manifest_of(tmp_path / one)["id"] for one in ("one", "two")}
    assert len(ids) == 2, "it is another run"


@pytest.mark.slow
def test_another_seed_is_noticed_everywhere(tmp_path, capsys):
    """What would be compared with is a run of another seed: nothing about it passes as the same."""
    made(tmp_path / "one", *METHODS["sft"])
    manifest = manifest_of(tmp_path / "one")
    manifest["config"]["seed"] = 1
    record(tmp_path / "one", manifest)
    code, out, _ = reproduce(capsys, tmp_path / "one", "--run-dir", tmp_path / "two")
    assert code == 1
    out = out.replace("│ ", "")
    assert "weights different other hashes: model.safetensors; up to" in out
    assert "numbers different" in out
    assert "logged numbers different differ from step" in out
    assert "not identical: weights, numbers, logged numbers, perplexity before, perplexity after" in out


def test_the_same_again_in_this_very_place(run, tmp_path, capsys):
    """The fast one: every fast test run makes a run again."""
    code, out, _ = reproduce(capsys, run, "--run-dir", tmp_path / "again")
    assert code == 0, out
    assert "identical, bit for bit" in out


def flip(file: Path) -> None:
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    file.write_bytes(content)


def test_one_bit_of_the_old_model_is_enough_to_say_so(run, tmp_path, capsys):
    """Its record still has the hashes of what was written, and they are those of the new model."""
    flip(run / "model" / "model.safetensors")
    code, out, _ = reproduce(capsys, run, "--run-dir", tmp_path / "again")
    assert code == 1
    words = "has another content than it was written with"
    assert f"model/model.safetensors │ as it was written │ {words}" in out
    assert "not identical: weights, the old run's files (" in out.replace("│ ", "")


@pytest.mark.parametrize("file", ["evaluations/perplexity.after.jsonl", "metrics.jsonl", "result.json", "audit.json"])
def test_files_that_are_not_as_written_are_named_first(run, capsys, file):
    flip(run / file)
    code, out, err = reproduce(capsys, run, "--check")
    assert code in (1, 2), "a damaged result.json cannot be read at all"
    assert file in out + err


def test_check_alone_makes_nothing(run, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    shutil.rmtree(run / "model")  # not needed for looking
    manifest = manifest_of(run)
    manifest["attempts"][-1]["code"] = {"commit": None, "why": "no repository"}
    manifest["attempts"][-1].pop("diff", None)
    record(run, manifest)
    code, out, _ = reproduce(capsys, run, "--check")
    assert (code, "commit │ unknown: no repository" in out) == (1, True)
    assert not (tmp_path / "runs").exists()


def model_at(folder: Path) -> dict:
    """The recorded config of a model's folder."""
    return to_plain(RunConfig(model=ModelConfig(name="pretrained", source=str(folder))))["model"]


def changed(run: Path, what: str) -> None:
    """Make the record tell of other conditions."""
    manifest = manifest_of(run)
    attempt = manifest["attempts"][-1]
    match what:
        case "commit":
            attempt["code"]["commit"] = "f" * 40
        case "uncommitted changes":
            attempt["diff"] = "code.diff"
            (run / "code.diff").write_text("- one\n+ other\n")
        case "untracked files":
            attempt["code"]["untracked"] = ["surely_not_there.py"]
        case "torch":
            attempt["packages"]["torch"] = "1.0.0"
        case "vllm":
            attempt["packages"]["vllm"] = "0.99"
        case "cpu":
            attempt["hardware"]["cpu"] = "Zuse Z3"
        case "gpus":
            attempt["hardware"]["gpus"] = ["NVIDIA H200, 143771 MiB"]
        case "processes":
            attempt["processes"] = 4
        case "train rows":
            manifest["data"]["train"]["identity"] = "0123456789abcdef"
        case "rlpipe":
            manifest["rlpipe"] = "0.0.1"
        case "parent":
            manifest["parents"] = {"sft-smoltalk-0123456789ab": "0123456789ab" + "0" * 52}
    record(run, manifest)


CONDITIONS = {
    "commit": "f" * 40,
    "uncommitted changes": "2 lines, ",
    "untracked files": "surely_not_there.py",
    "torch": "1.0.0",
    "vllm": "0.99 │ –",
    "cpu": "Zuse Z3",
    "gpus": "NVIDIA H200, 143771 MiB",
    "processes": "4",
    "train rows": "0123456789abcdef",
    "rlpipe": "0.0.1",
    "parent": "sft-smoltalk-0123456789ab",
}


@pytest.mark.parametrize("what", CONDITIONS)
def test_every_condition_that_differs_is_named_with_both_values(run, capsys, what):
    before = reproduce(capsys, run, "--check")[1]
    changed(run, what)
    code, out, _ = reproduce(capsys, run, "--check")
    assert code == 1
    row = f"{what} │ {CONDITIONS[what]}"
    assert row in out
    assert row not in before


def test_without_git_that_is_said(run, capsys, monkeypatch):
    monkeypatch.setenv("PATH", "/nowhere")
    if manifest_of(run)["attempts"][-1]["code"]["commit"] is None:
        pytest.skip("the run was not made in a repository")
    code, out, _ = reproduce(capsys, run, "--check")
    assert code == 1
    assert "unknown: git is not installed" in out


def test_rows_and_weights_that_are_gone_stop_it_all_at_once(run, tmp_path, capsys):
    manifest = manifest_of(run)
    manifest["config"]["dataset"]["source"] = str(tmp_path / "gone.jsonl")
    manifest["config"]["model"] = model_at(tmp_path / "gone_model")
    record(run, manifest)
    code, _, err = reproduce(capsys, run, "--run-dir", tmp_path / "again")
    assert code == 2
    assert "cannot be made again here" in err
    assert "gone.jsonl" in err
    assert "gone_model: there is no such folder here" in err
    assert not (tmp_path / "again").exists()


def test_a_parent_whose_rows_are_gone_stops_it(run, tmp_path, capsys):
    manifest = manifest_of(run)
    manifest["config"]["after"] = ["method=sft", "dataset=smoltalk", f"dataset.source={tmp_path / 'gone.jsonl'}"]
    record(run, manifest)
    code, _, err = reproduce(capsys, run, "--check")
    assert (code, "gone.jsonl" in err) == (2, True)


def test_a_start_model_that_changed_is_noticed(run, small_model, tmp_path, capsys):
    copy = shutil.copytree(small_model, tmp_path / "model")
    manifest = manifest_of(run)
    manifest["config"]["model"] = model_at(copy)
    manifest["start_model"] = named(str(copy), None)
    record(run, manifest)
    assert "model.source" not in reproduce(capsys, run, "--check")[1]
    (copy / "config.json").write_text((copy / "config.json").read_text() + " ")
    assert "model.source" in reproduce(capsys, run, "--check")[1]


@pytest.mark.parametrize("status", ["failed", "stopped", None])
def test_a_run_that_has_not_ended_well_is_refused(run, capsys, status):
    result = json.loads((run / "result.json").read_text())
    (run / "result.json").unlink()
    if status is not None:
        (run / "result.json").write_text(json.dumps({**result, "status": status}))
    code, _, err = reproduce(capsys, run)
    assert (code, "has not ended well" in err) == (2, True)
    assert "go on with it: rlpipe model=blank" in err


def test_a_secret_that_was_not_recorded_is_named(run, capsys):
    manifest = manifest_of(run)
    manifest["config"]["method"]["extra"] = {"hub_token": "<hidden>"}
    record(run, manifest)
    code, _, err = reproduce(capsys, run, "--check")
    assert (code, "secrets are not recorded (method.extra.hub_token)" in err) == (2, True)


def test_a_config_of_another_version_is_told(run, capsys):
    manifest = manifest_of(run)
    manifest["config"]["method"]["gone_field"] = 1
    record(run, manifest)
    code, _, err = reproduce(capsys, run, "--check")
    assert (code, "does not fit this version of rlpipe" in err) == (2, True)


def test_a_folder_that_holds_something_is_refused(run, tmp_path, capsys):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "notes.txt").write_text("mine")
    code, _, err = reproduce(capsys, run, "--run-dir", tmp_path / "mine")
    assert (code, "not empty" in err) == (2, True)


def test_weights_that_differ_say_by_how_much(run, tmp_path, capsys):
    from safetensors.torch import load_file, save_file

    weights = load_file(run / "model" / "model.safetensors")
    weights["model.norm.weight"][3] += 0.25
    save_file(weights, run / "model" / "model.safetensors", {"format": "pt"})
    manifest = manifest_of(run)
    manifest["model"]["model.safetensors"] = sha256(run / "model" / "model.safetensors")
    record(run, manifest)
    code, out, _ = reproduce(capsys, run, "--run-dir", tmp_path / "again")
    assert code == 1
    assert "up to 0.25 apart, in model.norm.weight" in out
    assert "not identical: weights (" in out
