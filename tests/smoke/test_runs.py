"""Every way of training, two steps long, from the composed config to the record."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest

from rlpipe.config import plugins
from rlpipe.datasets.forms import Form, route
from rlpipe.methods.offline import OfflineMethod

pytestmark = pytest.mark.slow

SAMPLED = [name for name in plugins.BUILT_IN["dataset"] if name not in ("files", "mixture", "ai_feedback")]
"""What has sample rows of its own; tests/feedback trains on those that a run makes."""
METHODS = [name for name in plugins.BUILT_IN["method"] if issubclass(plugins.load("method", name), OfflineMethod)]


def way(method: str, dataset: str) -> tuple[Form, Form] | None:
    """Return the form of a dataset's examples and the one in which the method takes them, if it can."""
    native = plugins.load("dataset", dataset).form
    reached = route(native, plugins.load("method", method).takes)
    return None if reached is None else (native, reached[0])


PAIRS = [(method, dataset) for method in METHODS for dataset in SAMPLED if way(method, dataset) is not None]
"""Every method on fixed data with every dataset that serves it."""

FIRST = dict(reversed(PAIRS))
"""One dataset for each method."""
WAYS = {way(method, dataset): (method, dataset) for method, dataset in reversed(PAIRS)}
"""One pair for each way that rows go: what a method does with its own form does not depend on where it came from."""


def check(result, steps=2):
    """The run made its steps, with losses that are numbers, and learned at a rate above 0."""
    losses = [row["loss"] for row in result["rows"] if "loss" in row]
    assert len(losses) == steps
    assert all(math.isfinite(loss) for loss in losses)
    assert any(row.get("grad_norm", 0) > 0 for row in result["rows"])


def test_every_method_is_served():
    assert set(FIRST) == set(METHODS) >= {"sft", "reward_model", "dpo", "kto", "orpo", "simpo"}
    assert len(PAIRS) == 17


@pytest.mark.parametrize(("method", "dataset"), sorted({*FIRST.items(), *WAYS.values()}))
def test_every_method_trains_on_what_serves_it(finished, tmp_path, method, dataset):
    result = finished("model=blank", f"method={method}", f"dataset={dataset}")
    check(result)
    assert result["stage"] == "evaluate"
    assert any(key.startswith("after/") for key in result["metrics"]), result["metrics"]
    assert (tmp_path / "run" / "model" / "model.safetensors").is_file()
    assert (tmp_path / "run" / "model" / "tokenizer.json").is_file()


@pytest.mark.parametrize("precision", ["bfloat16", "pure_bfloat16"])
def test_every_precision_trains(finished, tmp_path, precision):
    from safetensors import safe_open

    check(finished("model=blank", "method=sft", "dataset=smoltalk", f"model.precision={precision}", "evaluation=none"))
    with safe_open(tmp_path / "run" / "model" / "model.safetensors", "pt") as weights:
        kept = {str(weights.get_tensor(name).dtype) for name in weights.keys()}  # noqa: SIM118
    assert kept == {"torch.bfloat16" if precision == "pure_bfloat16" else "torch.float32"}


@pytest.mark.parametrize("method", ["dpo", "reward_model"])
def test_adapters_are_saved_beside_the_merged_model(finished, tmp_path, method):
    """For both heads: that every method trains adapters is proved in tests/training/offline."""
    result = finished(
        "model=blank", f"method={method}", f"dataset={FIRST[method]}", "model.lora.rank=4", "evaluation=none"
    )
    check(result)
    assert (tmp_path / "run" / "model" / "adapter" / "adapter_model.safetensors").is_file()
    assert (tmp_path / "run" / "model" / "model.safetensors").is_file(), "the merged copy is there too"


@pytest.mark.parametrize(
    "option",
    [
        "method.packing=bfd",
        "method.packing=wrapped",
        "method.padding_free=true",
        "method.train_on=conversation",
        "model.gradient_checkpointing=true",
    ],
)
def test_every_option_of_sft_trains(finished, option):
    check(finished("model=blank", "method=sft", "dataset=smoltalk", "evaluation=none", option))


@pytest.mark.parametrize("until", ["build", "train"])
def test_a_run_stops_where_it_is_told_and_goes_on_from_there(finished, tmp_path, until):
    common = ("model=blank", "method=dpo", "dataset=ultrafeedback")
    stopped = finished(*common, f"until={until}")
    assert stopped["stage"] == until
    assert (tmp_path / "run" / "model").is_dir() == (until == "train")
    assert not any(key.startswith("after/") for key in stopped["metrics"])
    whole = finished(*common)
    check(whole)
    assert whole["stage"] == "evaluate"
    assert whole["attempts"] == 2


def test_until_check_leaves_nothing_behind(finished, tmp_path):
    from rlpipe.config.compose import compose
    from rlpipe.run.run import run

    assert run(compose("until=check", f"run_dir={tmp_path / 'run'}"), ["until=check"]) is None
    assert not (tmp_path / "run").exists()


def test_method_none_only_evaluates(finished, tmp_path):
    result = finished("model=blank", "method=none", "dataset=piqa")
    assert result["rows"] == []
    assert set(result["metrics"]) >= {"before/choice/accuracy", "before/preference/accuracy"}
    assert not any(key.startswith("after/") for key in result["metrics"])
    assert not (tmp_path / "run" / "model").exists()
    assert len((tmp_path / "run" / "evaluations" / "choice.before.jsonl").read_text().splitlines()) == 8


def test_accuracy_alone_measures_any_model(finished, tmp_path):
    overrides = ("evaluation=accuracy", "evaluation.accuracy.samples=2", "evaluation.accuracy.sampling.max_tokens=16")
    metrics = [
        finished("model=blank", "method=none", "dataset=countdown", "tool=calculator", *overrides, at=at)["metrics"]
        for at in ("one", "two")
    ]
    assert metrics[0] == metrics[1]
    assert {"before/accuracy/accuracy", "before/accuracy/pass@2", "before/accuracy/accuracy_without_tool"} <= set(
        metrics[0]
    )
    rows = (tmp_path / "one" / "evaluations" / "accuracy.before.jsonl").read_text().splitlines()
    assert len(rows) == 8
    assert {"id", "prompt", "completion", "score", "parts", "parsed", "finish", "calls", "samples"} <= set(
        json.loads(rows[0])
    )


def test_a_stage_is_built_once_and_reused(finished, tmp_path):
    """Two runs after the same SFT: the store holds one, made once, and both start from its weights."""
    store = tmp_path / "store"
    stage = "after=[method=sft,method.max_steps=2,method.batch_size=4,method.micro_batch_size=2,evaluation=none]"
    common = ("model=blank", "dataset=ultrafeedback", stage, f"store={store}", "evaluation=none")
    parents = []
    for method in ("dpo", "orpo"):
        check(finished(*common, f"method={method}", at=method))
        parents.append(json.loads((tmp_path / method / "manifest.json").read_text())["parents"])
    stages = list(store.glob("sft-*/"))
    assert [folder.name for folder in stages] == list(parents[0]) == list(parents[1])
    manifest = json.loads((stages[0] / "manifest.json").read_text())
    assert len(manifest["attempts"]) == 1
    assert manifest["fingerprint"] == parents[0][stages[0].name]


def test_the_objective_is_returned(tmp_path):
    from rlpipe.config.compose import compose
    from rlpipe.run.run import run

    overrides = ["model=blank", "method=none", "dataset=piqa", "dataset.sample_size=64", "dataset.test_limit=8"]
    overrides += ["objective=before/choice/accuracy", "log.progress=false", f"run_dir={tmp_path / 'run'}"]
    accuracy = run(compose(*overrides), overrides)
    assert accuracy is not None
    assert 0 <= accuracy <= 1


# -- real rows and real models


def test_real_ultrafeedback_with_a_real_model(finished, shared_dir, tmp_path):
    result = finished(
        *("model=hf", f"model.source={shared_dir / 'models' / 'stories260k'}", "method=dpo", "dataset=ultrafeedback"),
        *(
            f"dataset.source={shared_dir / 'data' / 'ultrafeedback'}",
            "method.overlong=truncate",
            "dataset.train_limit=64",
        ),
    )
    check(result)
    assert 0 <= result["metrics"]["after/preference/accuracy"] <= 1
    manifest = json.loads((tmp_path / "run" / "manifest.json").read_text())
    assert any("chatml" in note for note in manifest["notes"]), "a base model's template is recorded"


@pytest.mark.parametrize("method", ["sft", "dpo"])
def test_real_piqa_rows_are_trained_and_measured(finished, shared_dir, method):
    result = finished(
        *("model=hf", f"model.source={shared_dir / 'models' / 'stories260k'}", f"method={method}", "dataset=piqa"),
        *(f"dataset.source={shared_dir / 'data' / 'piqa'}", "dataset.train_split=valid", "dataset.test_split=null"),
        "dataset.train_limit=64",
    )
    check(result)
    assert {"before/choice/accuracy", "after/choice/accuracy"} <= set(result["metrics"])


@pytest.mark.parametrize("form", ["preference", "completion"])
def test_ones_own_rows(finished, tmp_path, form):
    answers = {"completion": "four"} if form == "completion" else {"chosen": "four", "rejected": "five"}
    rows = [{"prompt": f"What is {number} minus {number - 4}?", **answers} for number in range(4, 104)]
    file = tmp_path / "own rows.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    method = "sft" if form == "completion" else "dpo"
    check(
        finished("model=blank", f"method={method}", "dataset=files", f"dataset.source='{file}'", f"dataset.form={form}")
    )


def test_the_record_is_where_it_was_asked_for(finished, tmp_path):
    """What the pages call a run's folder is what a run leaves."""
    finished("model=blank", "method=sft", "dataset=warmstart")
    left = {entry.name for entry in Path(tmp_path / "run").iterdir() if not entry.name.startswith(".")}
    assert left >= {"manifest.json", "config.yaml", "metrics.jsonl", "evaluations", "checkpoints", "model", "log.txt"}
    assert left >= {"result.json", "audit.json"}


def test_a_run_leaves_its_page_however_it_ends(finished, tmp_path, monkeypatch):
    finished("model=blank", "method=dpo", "dataset=ultrafeedback")
    page = (tmp_path / "run" / "report.html").read_text()
    assert "before and after" in page.lower()

    from rlpipe.training import train

    def breaks(*_, **__):
        raise ValueError("torn <b>cable</b>")

    monkeypatch.setattr(train, "train", breaks)
    with pytest.raises(ValueError, match="torn"):
        finished("model=blank", "method=dpo", "dataset=ultrafeedback", at="failed")
    page = (tmp_path / "failed" / "report.html").read_text()
    assert "The run failed" in page
    assert "ValueError: torn &lt;b&gt;cable&lt;/b&gt;" in page
