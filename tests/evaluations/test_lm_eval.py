"""lm-evaluation-harness on our model in memory, against the harness's own command line."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from rlpipe.evaluations.lm_eval import LmEval, LmEvalConfig, _add
from rlpipe.evaluations.task_names import harness_folder, unknown
from rlpipe.run.check.check import problems
from rlpipe.run.run import run
from tests.composed import compose

pytest.importorskip("lm_eval")


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    """Keep what the datasets library makes of these rows out of its real cache."""
    import datasets

    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    monkeypatch.setenv("HF_DATASETS_CACHE", str(tmp_path / "cache"))


LONGEST = 480
"""Characters of an answer that surely fit into 512 tokens; the harness stops at a longer one."""

TASK = """
task: {name}
dataset_path: json
dataset_kwargs: {{data_files: {{validation: {file}}}}}
output_type: multiple_choice
validation_split: validation
doc_to_text: "Question: {{{{goal}}}}\\nAnswer:"
doc_to_target: label
doc_to_choice: "{{{{[sol1, sol2]}}}}"
metric_list:
  - {{metric: acc, aggregation: mean, higher_is_better: true}}
  - {{metric: acc_norm, aggregation: mean, higher_is_better: true}}
metadata: {{version: 1.0}}
"""


def task(folder: Path, rows: list[dict], name: str = "piqa_rows") -> Path:
    """Write PIQA's own task, reading local rows."""
    folder.mkdir(exist_ok=True)
    file = folder / f"{name}.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    (folder / f"{name}.yaml").write_text(TASK.format(name=name, file=file))
    return folder


def real_rows(shared_dir: Path) -> list[dict]:
    folder = shared_dir / "data" / "piqa"
    labels = (folder / "valid-labels.lst").read_text().split()
    lines = (folder / "valid.jsonl").read_text().splitlines()
    rows = [{**json.loads(line), "label": int(label)} for line, label in zip(lines, labels, strict=True)]
    return [row for row in rows if max(len(row["sol1"]), len(row["sol2"])) <= LONGEST][:60]


@pytest.mark.slow
def test_real_piqa_equals_the_harnesses_own_command_line(shared_dir, tmp_path):
    """The validation questions on a model trained here: ours in memory, the harness's from the saved folder."""
    folder = task(tmp_path / "tasks", real_rows(shared_dir))
    asked = [
        *("model=hf", f"model.source={shared_dir / 'models' / 'stories260k'}", "method=sft", "method.max_steps=2"),
        *("dataset=ultrafeedback", "dataset.source=sample", "dataset.sample_size=64", "method.overlong=truncate"),
        *("method.batch_size=4", "method.micro_batch_size=2", "hardware.device=cpu", "log.progress=false"),
        *("evaluation=lm_eval", "evaluation.lm_eval.tasks=[piqa_rows]", f"evaluation.lm_eval.include_path={folder}"),
        f"run_dir={tmp_path / 'run'}",
    ]
    run(compose(*asked), asked)
    ours = json.loads((tmp_path / "run" / "result.json").read_text())["metrics"]
    command = [sys.executable, "-m", "lm_eval", "run", "--model", "hf", "--tasks", "piqa_rows", "--batch_size", "16"]
    command += ["--model_args", f"pretrained={tmp_path / 'run' / 'model'},dtype=float32", "--device", "cpu"]
    command += ["--include_path", str(folder), "--output_path", str(tmp_path / "cli"), "--log_samples"]
    done = subprocess.run(command, capture_output=True, text=True, env={**os.environ, "HF_HUB_OFFLINE": "1"})
    assert done.returncode == 0, done.stderr[-3000:]
    (file,) = (tmp_path / "cli").rglob("results_*.json")
    theirs = json.loads(file.read_text())["results"]["piqa_rows"]
    for metric in ("acc", "acc_norm", "acc_stderr", "acc_norm_stderr"):
        assert ours[f"after/lm_eval/piqa_rows/{metric}"] == theirs[f"{metric},none"]
    (file,) = (tmp_path / "cli").rglob("samples_*.jsonl")
    logged = {row["doc_id"]: row for row in map(json.loads, file.read_text().splitlines())}
    rows = [
        json.loads(line) for line in (tmp_path / "run" / "evaluations" / "lm_eval.after.jsonl").read_text().splitlines()
    ]
    assert len(rows) == len(logged) == 60
    for number, row in enumerate(rows):
        assert row["id"] == f"piqa_rows/{number}"
        assert (row["score"], row["parts"]["acc_norm,none"]) == (logged[number]["acc"], logged[number]["acc_norm"])
        choices = [logged[number]["doc"][key] for key in ("sol1", "sol2")]
        assert (row["completion"] == choices[logged[number]["doc"]["label"]].strip()) == (row["score"] == 1.0)


@pytest.mark.slow
def test_method_none_reads_no_dataset_and_measures_tasks(tmp_path, small_model):
    rows = [{"goal": f"Open box {n}", "sol1": "lift the lid", "sol2": "sing", "label": n % 2} for n in range(6)]
    folder = task(tmp_path / "tasks", rows, "boxes")
    asked = [
        *("model=hf", f"model.source={small_model}", "method=none", "hardware.device=cpu", "log.progress=false"),
        *("evaluation=lm_eval", "evaluation.lm_eval.tasks=[boxes]", f"evaluation.lm_eval.include_path={folder}"),
        *("evaluation.lm_eval.limit=4", f"run_dir={tmp_path / 'run'}"),
    ]
    assert [one for one in problems(compose(*asked), asked) if one.fatal] == []
    run(compose(*asked), asked)
    metrics = json.loads((tmp_path / "run" / "result.json").read_text())["metrics"]
    assert set(metrics) == {
        f"before/lm_eval/boxes/{name}" for name in ("acc", "acc_norm", "acc_stderr", "acc_norm_stderr")
    }
    evaluations = tmp_path / "run" / "evaluations"
    lines = (evaluations / "lm_eval.before.jsonl").read_text().splitlines()
    assert [json.loads(line)["id"] for line in lines] == [f"boxes/{n}" for n in range(4)]
    protocol = json.loads((evaluations / "lm_eval.protocol.json").read_text())
    assert protocol["versions"]["boxes"] == 1.0
    assert protocol["settings"] == {"tasks": ["boxes"], "num_fewshot": None, "apply_chat_template": False}


@pytest.mark.slow
def test_piqa_in_the_harnesses_words_is_scored_as_the_harness_does(tmp_path, gpt2):
    """On GPT-2 with adapters, trained by DPO: the evaluation `choice` and the harness see the same text."""
    asked = [
        *("model=hf", f"model.source={gpt2}", "model.chat_template=plain", "model.lora.rank=4", "method=dpo"),
        *("dataset=piqa", "dataset.source=sample", "dataset.wording=question", "dataset.sample_size=256"),
        *("method.max_steps=2", "method.batch_size=8", "method.micro_batch_size=8", "method.learning_rate=1e-2"),
        *("evaluation=[choice,lm_eval]", "evaluation.lm_eval.tasks=[piqa_samples]", "evaluation.lm_eval.limit=32"),
        *("hardware.device=cpu", "log.progress=false", f"run_dir={tmp_path / 'run'}"),
    ]
    config = compose(*asked)
    assert [one for one in problems(config, asked) if one.fatal] == []
    run(config, asked)
    rows = {
        name: [
            json.loads(line)
            for line in (tmp_path / "run" / "evaluations" / f"{name}.jsonl").read_text().split("\n")[:-1]
        ]
        for name in ("choice.before", "choice.after", "lm_eval.before", "lm_eval.after")
    }
    for when in ("before", "after"):
        ours, theirs = rows[f"choice.{when}"], rows[f"lm_eval.{when}"]
        assert len(ours) == len(theirs) == 32
        assert [row["score"] for row in ours] == [row["score"] for row in theirs]
    before, after = ([row["logps"] for row in rows[f"choice.{when}"]] for when in ("before", "after"))
    assert before != after


@pytest.mark.slow
@pytest.mark.parametrize(
    ("settings", "where", "words"),
    [
        ({}, "tasks", "names no task"),
        ({"tasks": ["piqq"]}, "tasks", "did you mean 'piqa'"),
        ({"tasks": ["piqa"], "include_path": "nowhere"}, "include_path", "there is no folder"),
    ],
)
def test_what_cannot_work_is_found_before_anything_starts(settings, where, words):
    (found,) = LmEval(LmEvalConfig(name="lm_eval", **settings)).problems()
    assert found.where == where
    assert words in f"{found.what} {found.fix}"


def test_without_the_harness_its_package_is_named(monkeypatch):
    monkeypatch.setattr("rlpipe.evaluations.lm_eval.harness_folder", lambda: None)
    (found,) = LmEval(LmEvalConfig(name="lm_eval", tasks=["piqa"])).problems()
    assert "rlpipe[eval]" in found.fix


@pytest.mark.slow
def test_data_that_cannot_be_had_is_said_with_its_task(tmp_path, small_model):
    from rlpipe.core.errors import DataError
    from rlpipe.evaluations.harness import Tasks

    task(tmp_path, [{"goal": "a", "sol1": "b", "sol2": "c", "label": 0}], "gone")
    (tmp_path / "gone.jsonl").unlink()
    with pytest.raises(DataError, match=r"the data of task 'gone' cannot be had.*\n.*include_path"):
        Tasks(["gone"], [tmp_path])


@pytest.mark.slow
def test_the_names_read_off_the_files_are_those_of_the_harness():
    from lm_eval.tasks._index import TaskIndex

    folder = harness_folder()
    known = set(TaskIndex().build([folder]))
    assert len(known) > 10_000
    _, seen = unknown(["no such task"], [folder])
    assert known <= seen
    assert len(seen - known) < 20


@pytest.mark.slow
def test_an_answer_longer_than_the_context_is_said(tmp_path, blank_loaded):
    from rlpipe.core.errors import DataError
    from rlpipe.evaluations.harness import Tasks, measure

    folder = task(tmp_path / "tasks", [{"goal": "a", "sol1": "b " * 2000, "sol2": "c", "label": 0}], "long")
    with pytest.raises(DataError, match="cannot measure long: an answer is longer than the 512 tokens"):
        measure(blank_loaded, Tasks(["long"], [folder]), None, None, 1, False)


def test_every_filter_of_a_document_stands_in_its_row():
    generated = {"doc_id": 3, "arguments": [("Q: 1+1?", {})], "resps": [["2 #### 2"]], "target": "2"}
    row: dict = {}
    for name, answer, value in (("strict-match", "2", 1.0), ("flexible-extract", "2", 0.0)):
        _add(row, {**generated, "filter": name, "filtered_resps": [answer], "metrics": ["em"], "em": value})
    assert row["parts"] == {"em,strict-match": 1.0, "em,flexible-extract": 0.0}
    assert (row["score"], row["completion"], row["reference"]) == (1.0, "2 #### 2", "2")
    pair: dict = {}
    _add(pair, {**generated, "filter": "none", "filtered_resps": [(-3.0,)], "metrics": ["ppl"], "ppl": (-3.0, 2)})
    assert (pair["score"], pair["values"]) == (None, {"ppl,none": (-3.0, 2)})
