"""Exported folders: the run's own weights, everything beside them, verified; and what is refused."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from rlpipe.cli.exits import exit_code
from rlpipe.cli.export import folder
from rlpipe.cli.export import main as command
from rlpipe.core.errors import ModelError, RecordError
from rlpipe.core.files import hashes
from rlpipe.records.runs import Run
from rlpipe.stages.named import run_named

pytestmark = pytest.mark.slow

IDS = [[5, 20, 30, 40, 7]]


def export(capsys, *arguments: object) -> tuple[int, str]:
    """Run the command; return its code and what it said on standard error."""
    parsed = command.parser().parse_args(list(map(str, arguments)))
    code = exit_code(lambda: command.run(parsed))
    return code, capsys.readouterr().err


def copied(run: Path, to: Path) -> Path:
    return Path(shutil.copytree(run, to, ignore=shutil.ignore_patterns("checkpoints", "data")))


def result(run: Path, **changes) -> None:
    file = run / "result.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), **changes}))


def test_plain_transformers_loads_the_runs_own_weights(trained_run, tmp_path, capsys):
    code, told = export(capsys, trained_run, tmp_path / "out")
    assert code == 0, told
    assert "verified" in told
    assert "licence" in told
    own, out = hashes(trained_run / "model"), hashes(tmp_path / "out")
    assert {name: out[name] for name in own if name != "README.md"} == {
        k: v for k, v in own.items() if k != "README.md"
    }
    assert {"config.json", "generation_config.json", "model.safetensors", "chat_template.jinja", "README.md"} <= set(
        out
    )
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


@pytest.mark.slow
def test_a_fresh_process_gets_the_same_logits(trained_run, tmp_path, capsys):
    import torch
    from transformers import AutoModelForCausalLM

    assert export(capsys, trained_run, tmp_path / "out")[0] == 0
    program = (
        "import sys, torch; from transformers import AutoModelForCausalLM, AutoTokenizer, pipeline\n"
        "model = AutoModelForCausalLM.from_pretrained(sys.argv[1]); AutoTokenizer.from_pretrained(sys.argv[1])\n"
        f"torch.save(model(torch.tensor({IDS})).logits, sys.argv[2])\n"
        "said = pipeline('text-generation', sys.argv[1])([{'role': 'user', 'content': 'Hi'}], max_new_tokens=4)\n"
        "assert said[0]['generated_text'][-1]['role'] == 'assistant'\n"
    )
    line = [sys.executable, "-c", program, str(tmp_path / "out"), str(tmp_path / "logits.pt")]
    done = subprocess.run(line, capture_output=True, text=True, check=False, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    want = AutoModelForCausalLM.from_pretrained(trained_run / "model")(torch.tensor(IDS)).logits
    assert torch.equal(torch.load(tmp_path / "logits.pt"), want)


def test_a_lora_run_is_exported_merged(lora_run, tmp_path, capsys):
    import torch
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    assert export(capsys, lora_run, tmp_path / "out")[0] == 0
    assert not (tmp_path / "out" / "adapter").exists()
    merged = AutoModelForCausalLM.from_pretrained(tmp_path / "out")
    base = AutoModelForCausalLM.from_pretrained(folder.adapter_base(lora_run / "model"))
    adapted = PeftModel.from_pretrained(base, lora_run / "model" / "adapter")
    before = merged(torch.tensor(IDS)).logits
    assert torch.allclose(before, adapted(torch.tensor(IDS)).logits, atol=1e-4)
    with adapted.disable_adapter():
        assert not torch.allclose(before, adapted(torch.tensor(IDS)).logits, atol=1e-3), "training changed nothing"


def test_the_adapter_alone_names_its_base(lora_run, small_model, tmp_path, capsys):
    import torch
    from peft import PeftModel
    from transformers import AutoModelForCausalLM, AutoTokenizer

    assert export(capsys, lora_run, tmp_path / "out", "--adapter", "--base", small_model)[0] == 0
    named = json.loads((tmp_path / "out" / "adapter_config.json").read_text())
    assert named["base_model_name_or_path"] == str(small_model)
    assert not (tmp_path / "out" / "model.safetensors").exists()
    assert AutoTokenizer.from_pretrained(tmp_path / "out").chat_template
    model = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(small_model), tmp_path / "out")
    own = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(small_model), lora_run / "model" / "adapter")
    assert torch.equal(model(torch.tensor(IDS)).logits, own(torch.tensor(IDS)).logits)


def test_an_adapter_without_a_base_that_others_have_is_refused(lora_run, tmp_path, capsys):
    code, told = export(capsys, lora_run, tmp_path / "out", "--adapter")
    assert (code, list(tmp_path.iterdir())) == (2, [])
    assert "stands on weights that only this machine has" in told
    assert "--base" in told


def test_an_adapter_on_another_base_is_refused(lora_run, trained_run, tmp_path, capsys):
    """A base of the same size whose weights differ in one number."""
    from safetensors.torch import load_file, save_file

    other = tmp_path / "other"
    shutil.copytree(folder.adapter_base(lora_run / "model"), other)
    weights = load_file(other / "model.safetensors")
    weights["model.norm.weight"][0] += 0.5
    save_file(weights, other / "model.safetensors", {"format": "pt"})
    code, told = export(capsys, lora_run, tmp_path / "out", "--adapter", "--base", other)
    assert code == 2
    assert "gives other logits than the run's own model" in told
    assert [path.name for path in tmp_path.iterdir()] == ["other"], "what is wrong is not left there"
    code, told = export(capsys, trained_run, tmp_path / "out", "--adapter")
    assert (code, "leave --adapter out" in told) == (2, True)


def test_a_reward_model_is_exported_as_one(reward_run, tmp_path, capsys):
    import torch
    from transformers import AutoModelForSequenceClassification

    assert export(capsys, reward_run, tmp_path / "out")[0] == 0
    got = AutoModelForSequenceClassification.from_pretrained(tmp_path / "out")(torch.tensor(IDS)).logits
    want = AutoModelForSequenceClassification.from_pretrained(reward_run / "model")(torch.tensor(IDS)).logits
    assert torch.equal(got, want)
    assert got.shape == (1, 1)
    assert "pipeline_tag: text-classification" in (tmp_path / "out" / "README.md").read_text()


def test_nothing_of_this_machine_goes_along(trained_run, lora_run, tmp_path, capsys):
    """No path of the run's folder, in any file that others read (the card repeats the command without `run_dir`)."""
    for number, run in enumerate((trained_run, lora_run)):
        assert export(capsys, run, tmp_path / str(number))[0] == 0
        for file in (tmp_path / str(number)).iterdir():
            assert str(run).encode() not in file.read_bytes(), file.name


@pytest.mark.parametrize("file", ["model.safetensors", "tokenizer_config.json", "generation_config.json"])
def test_a_broken_copy_does_not_pass(trained_run, tmp_path, file):
    from safetensors.torch import load_file, save_file

    from rlpipe.cli.export.verify import verify

    wanted = folder.check(run_named(str(trained_run)), adapter=False, base=None, force=False)
    folder.write(wanted, tmp_path / "out", None)
    assert "bit for bit" in verify(wanted, tmp_path / "out")
    if file == "model.safetensors":
        weights = load_file(tmp_path / "out" / file)
        weights["model.norm.weight"][0] += 0.5
        save_file(weights, tmp_path / "out" / file, {"format": "pt"})
        with pytest.raises(ModelError, match="gives other logits"):
            verify(wanted, tmp_path / "out")
    elif file == "tokenizer_config.json":
        (tmp_path / "out" / "chat_template.jinja").write_text("{% for m in messages %}{{ m.content }}{% endfor %}")
        with pytest.raises(ModelError, match="other tokens"):
            verify(wanted, tmp_path / "out")
    else:
        (tmp_path / "out" / "config.json").write_text("{}")
        with pytest.raises((ModelError, ValueError, KeyError)):
            verify(wanted, tmp_path / "out")


def test_a_target_that_holds_something_is_refused(trained_run, tmp_path, capsys):
    (tmp_path / "out").mkdir()
    assert export(capsys, trained_run, tmp_path / "out")[0] == 0, "an empty folder will do"
    code, told = export(capsys, trained_run, tmp_path / "out")
    assert (code, "is there already and not empty" in told) == (2, True)
    (tmp_path / "file").write_text("mine")
    assert export(capsys, trained_run, tmp_path / "file")[0] == 2
    assert (tmp_path / "file").read_text() == "mine"


def test_without_a_target_the_name_says_what_it_is(trained_run, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert export(capsys, trained_run)[0] == 0
    [made] = (tmp_path / "exports").iterdir()
    assert made.name == f"blank-sft-smoltalk-{run_named(str(trained_run)).id}"


def test_a_run_that_ended_badly_needs_force_and_the_card_says_so(trained_run, tmp_path, capsys):
    run = copied(trained_run, tmp_path / "run")
    result(run, status="failed", error={"type": "DataError", "message": "no rows", "traceback": "error.txt"})
    code, told = export(capsys, run, tmp_path / "out")
    assert (code, "has not ended well (failed: DataError: no rows)" in told) == (2, True)
    assert export(capsys, run, tmp_path / "out", "--force")[0] == 0
    assert "The run has not ended well (failed)" in (tmp_path / "out" / "README.md").read_text()


def test_weights_that_changed_since_are_refused(trained_run, tmp_path, capsys):
    run = copied(trained_run, tmp_path / "run")
    (run / "model" / "config.json").write_text((run / "model" / "config.json").read_text() + " ")
    code, told = export(capsys, run, tmp_path / "out", "--force")
    assert (code, "changed since the run wrote it (config.json)" in told) == (2, True)


@pytest.mark.parametrize("gone", [("model",), ("result.json",), ("manifest.json", "manifest.copy.json")])
def test_a_run_without_its_parts_is_refused(trained_run, tmp_path, capsys, gone):
    run = copied(trained_run, tmp_path / "run")
    for name in gone:
        shutil.rmtree(run / name) if name == "model" else (run / name).unlink()
    code, told = export(capsys, run, tmp_path / "out")
    assert code == 2
    assert "→" in told
    assert not (tmp_path / "out").exists()


def test_a_place_that_cannot_be_written_is_told(trained_run, tmp_path, capsys):
    (tmp_path / "file").write_text("")
    code, told = export(capsys, trained_run, tmp_path / "file" / "out")
    assert (code, "cannot make it" in told) == (2, True)


def test_what_is_checked_is_a_run(trained_run):
    run = run_named(str(trained_run))
    assert isinstance(run, Run)
    run.manifest.pop("model")
    with pytest.raises(RecordError, match="ended while it saved"):
        folder.check(run, adapter=False, base=None, force=True)
