"""The model card: a header that the hub reads, and what the record says."""

from __future__ import annotations

import copy
import json

import pytest
from huggingface_hub import ModelCard

from rlpipe.models.card import card, hub_base, name


@pytest.fixture
def manifest(trained_run):
    return json.loads((trained_run / "manifest.json").read_text())


@pytest.fixture
def result(trained_run):
    return json.loads((trained_run / "result.json").read_text())


def on_the_hub(manifest: dict) -> dict:
    """The same run of a hub's model and rows."""
    changed = copy.deepcopy(manifest)
    changed["config"]["model"] |= {"name": "pretrained", "source": "Qwen/Qwen2.5-0.5B"}
    changed["data"]["train"]["source"] = "hub:HuggingFaceTB/smoltalk@abc"
    return changed


def test_the_header_is_what_the_hub_reads(manifest, result):
    data = ModelCard(card(on_the_hub(manifest), result, license="apache-2.0")).data
    assert data.base_model == "Qwen/Qwen2.5-0.5B"
    assert data.to_dict()["base_model_relation"] == "finetune"
    assert data.datasets == ["HuggingFaceTB/smoltalk"]
    assert (data.license, data.library_name, data.pipeline_tag) == ("apache-2.0", "transformers", "text-generation")
    assert data.tags == ["rlpipe", "sft"]
    measured = {one.metric_name: one.metric_value for one in data.eval_results}
    assert measured["perplexity/loss"] == result["metrics"]["after/perplexity/loss"]
    assert not any(one.startswith("before") for one in measured)


def test_what_is_not_known_is_left_out(manifest):
    data = ModelCard(card(manifest)).data
    assert (data.base_model, data.datasets, data.license, data.eval_results) == (None, None, None, None)


def test_numbers_stand_with_their_change_and_its_interval(manifest, result):
    text = card(manifest, result)
    metrics = result["metrics"]
    before, after = (f"{metrics[f'{when}/perplexity/loss']:.4g}" for when in ("before", "after"))
    assert f"| perplexity | loss | {before} | {after} |" in text
    assert f"{metrics['change/perplexity/low']:+.3g} … {metrics['change/perplexity/high']:+.3g}" in text
    assert "On 8 held-out rows" in text


def test_it_says_where_all_came_from(manifest, result):
    manifest["parents"] = {"sft-smoltalk-0123456789ab": "0123456789ab" + "c" * 52}
    text = card(manifest, result)
    attempt = manifest["attempts"][0]
    told = [manifest["id"], manifest["data"]["train"]["identity"], attempt["packages"]["torch"]]
    told += [manifest["parents"]["sft-smoltalk-0123456789ab"], "cost: ", f"| seed | {manifest['seed']} |"]
    told += ["rlpipe model=blank method=sft", "these rows are made up", attempt["hardware"]["cpu"]]
    for one in told:
        assert one in text
    assert "run_dir=" not in text


def test_text_of_the_record_cannot_break_a_table(manifest):
    manifest["config"]["method"]["extra"] = {"note": "a | b\nc"}
    line = next(line for line in card(manifest).splitlines() if line.startswith("| extra"))
    assert line == '| extra | {"note": "a \\| b\\nc"} |'


def test_a_folder_is_no_base_on_the_hub(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "org" / "name").mkdir(parents=True)
    sources = {"org/other": "org/other", "org/name": None, "./org/other": None, "/a/b": None, None: None}
    assert {source: hub_base({"model": {"source": source}}) for source in sources} == sources


def test_the_name_says_model_method_data_and_run(manifest):
    assert name(on_the_hub(manifest)) == f"qwen2.5-0.5b-sft-smoltalk-{manifest['id']}"
    manifest["config"]["model"] |= {"name": "pretrained", "stage": ["model=blank"]}
    assert name(manifest) == f"sft-smoltalk-{manifest['id']}"
