from __future__ import annotations

import json
import shutil
import subprocess
import sys

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from rlpipe.core.errors import ModelError
from rlpipe.hub.facts import check_files, local_facts, read_tensors, weights_folder
from rlpipe.hub.files import locate
from rlpipe.stages import identity


def test_facts_of_a_real_model(stories):
    facts = local_facts(stories)
    assert facts is not None
    assert (facts.context, facts.vocabulary, facts.layers, facts.hidden_size) == (512, 512, 5, 64)
    assert facts.intermediate_size == 172
    assert facts.parameters == 260_032
    assert facts.linear_modules["model.layers.4.mlp.down_proj"] == (64, 172)
    assert len(facts.linear_modules) == 5 * 7
    assert not facts.reward_head


def test_parameters_are_those_of_the_loaded_model(small, load):
    assert local_facts(small).parameters == load(small).model.num_parameters()


def test_hub_id_has_no_local_facts():
    assert local_facts("Qwen/Qwen2.5-0.5B") is None


def test_needs_no_torch(small):
    code = (
        "import sys; from rlpipe.models.memory import local_facts; "
        f"local_facts({str(small)!r}); print('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout.strip() == "False"


@pytest.mark.parametrize("name", ["config.json", "model.safetensors", "tokenizer.json"])
def test_missing_file_is_named(copied, name):
    (copied / name).unlink()
    with pytest.raises(ModelError, match=name):
        check_files(copied)


def test_pickled_weights_are_refused(copied):
    (copied / "model.safetensors").rename(copied / "pytorch_model.bin")
    with pytest.raises(ModelError, match="run code"):
        check_files(copied)


def test_missing_shard_is_named(copied):
    index = {"weight_map": {"a": "model.safetensors", "b": "model-00002-of-00002.safetensors"}}
    (copied / "model.safetensors.index.json").write_text(json.dumps(index))
    with pytest.raises(ModelError, match="model-00002-of-00002"):
        check_files(copied)


def test_config_that_is_no_json(copied):
    (copied / "config.json").write_text("{")
    with pytest.raises(ModelError, match=r"config\.json: is damaged"):
        check_files(copied)
    (copied / "config.json").write_text("[]")
    with pytest.raises(ModelError, match="JSON object"):
        check_files(copied)


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(cut=st.floats(0, 0.999))
def test_cut_off_weights_are_found(copied, cut):
    file = copied / "model.safetensors"
    whole = file.read_bytes()
    try:
        file.write_bytes(whole[: int(len(whole) * cut)])
        with pytest.raises(ModelError, match="is damaged"):
            read_tensors(copied)
    finally:
        file.write_bytes(whole)


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(junk=st.binary(max_size=200))
def test_junk_is_never_read_as_weights(copied, junk):
    file = copied / "model.safetensors"
    file.write_bytes(junk)
    with pytest.raises(ModelError, match="is damaged"):
        read_tensors(copied)


def test_a_runs_folder_stands_for_the_model_inside(small_model, tmp_path):
    run = tmp_path / "run"
    shutil.copytree(small_model, run / "model")
    (run / "manifest.json").write_text("{}")
    assert weights_folder(run) == run / "model"
    assert weights_folder(small_model) == small_model
    assert local_facts(run) == local_facts(small_model)
    folder, notes = locate(str(run), None)
    assert folder == run / "model"
    assert notes == [f"{run}: a run's folder, whose model/ is taken"]
    assert identity.weights(str(run), None) == identity.weights(str(small_model), None)
    (run / "model" / "config.json").unlink()
    with pytest.raises(ModelError, match=r"is the folder of a run that has no trained model"):
        local_facts(run)
