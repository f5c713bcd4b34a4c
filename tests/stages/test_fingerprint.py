"""What changes a stage's fingerprint and what does not: every field of every plugin stands in one of two lists."""

from __future__ import annotations

import copy
import dataclasses
import json
import shutil
from pathlib import Path

import pytest

from rlpipe.config import plugins
from rlpipe.config.compose import to_plain
from rlpipe.config.schema import RunConfig
from rlpipe.models.blank import Blank
from rlpipe.records.provenance import NUMERIC_PACKAGES
from rlpipe.stages import fingerprint
from rlpipe.stages.fingerprint import describe, relevant
from tests.composed import compose

CHANGES = {
    "run": "model dataset method reward tool environment seed",
    "model": """
        name precision quantize lora.rank lora.alpha lora.rslora lora.dora lora.dropout lora.target_modules
        chat_template attention gradient_checkpointing heads hidden_size intermediate_size kv_heads layers""",
    "dataset": """
        name hub subset revision columns system train_split test_split test_fraction train_limit deduplicate sample_size
        form instruction parts prompt wording numbers guesses task options tasks sizes entries""",
    "method": """
        name learning_rate epochs max_steps batch_size max_length schedule warmup weight_decay max_grad_norm extra
        micro_batch_size micro_batch_tokens overlong group_by_length packing padding_free train_on curriculum
        beta loss label_smoothing reference_free precompute_reference sync_reference sync_weight desirable_weight
        undesirable_weight gamma_ratio margin center_rewards_coefficient
        group_size sampling.temperature sampling.top_p sampling.top_k sampling.min_p sampling.max_tokens sampling.stop
        lag correction correction_level correction_cap entropy_coef overlong_buffer dynamic_sampling
        solve_rate.least solve_rate.most solve_rate.newest solve_rate.retry normalise surrogate pairs freeze layer_decay
        epochs_per_batch minibatches kl_coef kl_in kl_estimator clip clip_high gamma lam whiten value value_coef
        value_clip value_rate scale scale_rewards lengths loss_type
        samples mode cut ratio weight""",
    "reward": """
        name weight attribute column comparison cue form format_score high low max_tokens mode opened partial precision
        rubric stop tags url verification verifier verifier_weight words""",
    "tool": "name max_calls protocol timeout",
    "environment": "name max_turns turn_tokens seed numbers guesses id options",
}
"""The fields of each kind's plugins that determine the result."""

CHANGES_NOT = {
    "run": "evaluation tracker after until run_dir store objective hardware checkpoint log watch engine",
    "model": "source revision stage dataset_source learning_rate_scale lora.learning_rate_scale parameters context",
    "dataset": "source stage test_limit puzzles puzzles_test_split",
    "method": """reference.model reference.revision reference.stage teacher.model teacher.revision
        teacher.stage samples_every chunk share_prompt""",
    "reward": "model revision stage batch_tokens budget cache concurrency key_env on_failure retries timeout",
    "tool": "",
    "environment": "",
}
"""Those that do not, or that count by content: rows by their hash, models by their files' or their stage's."""

UNUSED = {
    "ai_feedback": """
        learning_rate epochs max_steps batch_size schedule warmup weight_decay max_grad_norm freeze layer_decay
        extra""",
}
"""Further fields that change nothing, of methods that train nothing."""


def leaves(node, prefix=""):
    for field in dataclasses.fields(node):
        value = getattr(node, field.name)
        yield from leaves(value, f"{prefix}{field.name}.") if dataclasses.is_dataclass(value) else [prefix + field.name]


def kept(plain: dict, path: str) -> bool:
    """Whether a dotted key stands in what the fingerprint is made from."""
    for part in path.split("."):
        if not isinstance(plain, dict) or part not in plain:
            return False
        plain = plain[part]
    return True


def of(kind: str):
    for name, plugin in plugins.table()[kind].items():
        if plugin.origin == "rlpipe":
            yield name, plugin.cls.Config(name=name)


@pytest.mark.parametrize("kind", ["model", "dataset", "method", "reward", "tool", "environment"])
def test_every_field_of_every_plugin_is_in_one_list(composed, kind):
    changes, not_changes = set(CHANGES[kind].split()), set(CHANGES_NOT[kind].split())
    assert not changes & not_changes
    found = set()
    for name, node in of(kind):
        several = kind in plugins.SEVERAL
        config = dataclasses.replace(composed, **{kind: {name: node} if several else node})
        plain = relevant(config)[kind]
        for field in leaves(node):
            found.add(field)
            assert field in changes | not_changes, f"{kind}={name}: say of {field} whether it changes the result"
            expected = field in changes and field not in UNUSED.get(name, "").split()
            assert kept(plain[name] if several else plain, field) is expected, f"{kind}={name}: {field}"
    assert changes | not_changes == found, "a field that no plugin has"


def test_every_part_of_a_run_is_in_one_list(composed):
    parts = {field.name for field in dataclasses.fields(RunConfig)}
    assert parts == set(CHANGES["run"].split()) | set(CHANGES_NOT["run"].split())
    assert set(relevant(composed)) == set(CHANGES["run"].split()) - {"environment"}, "none: as before there were some"
    node = plugins.load("environment", "guessing").Config(name="guessing")
    assert "environment" in relevant(dataclasses.replace(composed, environment=node))


def test_held_out_rows_count_for_runs_that_make_rows(composed):
    node = plugins.load("method", "ai_feedback").Config(name="ai_feedback")
    config = dataclasses.replace(composed, method=node)
    assert kept(relevant(config), "dataset.test_limit")


def changed(config, **settings):
    other = copy.deepcopy(config)
    for path, value in settings.items():
        *outer, last = path.split("__")
        node = other
        for part in outer:
            node = getattr(node, part)
        setattr(node, last, value)
    return describe(other).fingerprint


def test_what_changes_it(config, monkeypatch):
    first = describe(config).fingerprint
    assert changed(config) == first
    for settings in (
        {"seed": 1},
        {"method__learning_rate": 0.1},
        {"method__max_length": 64},
        {"model__chat_template": "chatml"},
        {"model__layers": 1},
        {"dataset__sample_size": 17},
    ):
        assert changed(config, **settings) != first, settings
    for package in NUMERIC_PACKAGES:
        monkeypatch.setattr(fingerprint, "_version", lambda name, package=package: "99" if name == package else "1")
        assert describe(config).inputs["versions"][package] == "99"
        assert describe(config).fingerprint != first


def test_what_does_not(config, tmp_path):
    first = describe(config).fingerprint
    settings = {"run_dir": str(tmp_path), "store": str(tmp_path), "objective": "loss", "log__every": 3}
    settings |= {"checkpoint__every": 7, "hardware__threads": 2, "dataset__test_limit": 3, "evaluation": {}}
    settings |= {"model__parameters": 5, "model__dataset_source": "hub"}
    for name, value in settings.items():
        assert changed(config, **{name: value}) == first, name


def test_rows_count_by_content_wherever_they_lie(tmp_path):
    rows = [json.dumps({"prompt": f"{n}?", "completion": f"{n}!"}) for n in range(40)]

    def print_of(folder, lines):
        folder.mkdir(exist_ok=True)
        (folder / "train.jsonl").write_text("\n".join(lines))
        config = compose(
            "model=blank", "method=sft", "dataset=files", f"dataset.source={folder}", "dataset.form=completion"
        )
        return describe(config).fingerprint

    here, there = tmp_path / "here", tmp_path / "there"
    first = print_of(here, rows)
    assert print_of(there, rows) == first
    assert print_of(here, [*rows[:-1], rows[-1].replace("!", ".")]) != first, "read again, for the file has changed"
    assert print_of(here, rows) == first


def test_models_count_by_content_wherever_they_lie(config, small_model, tmp_path):
    def print_of(source, revision=None):
        return changed(
            config, model=dataclasses.replace(compose("model=hf").model, source=str(source), revision=revision)
        )

    first = print_of(small_model)
    copied = shutil.copytree(small_model, tmp_path / "copy")
    assert print_of(copied) == first
    (copied / "generation_config.json").write_text("{}")
    assert print_of(copied) != first
    assert print_of("some/model") != print_of("some/other") != print_of("some/other", "a1")


def test_the_files_that_a_new_model_is_made_of_count(config, tmp_path, monkeypatch):
    first = changed(config)
    monkeypatch.setattr(Blank, "made_of", Path(shutil.copytree(Blank.made_of, tmp_path / "tokenizer")))
    assert changed(config) == first
    (tmp_path / "tokenizer" / "tokenizer.json").write_text("{}")
    assert changed(config) != first


def test_parents_count_by_their_fingerprint():
    own = ("model=blank", "method=dpo", "dataset=ultrafeedback", "dataset.sample_size=16", "method.max_steps=1")

    def print_of(*more):
        return describe(compose(*own, *more)).fingerprint

    first = print_of("after=sft")
    assert print_of("after=[method=sft]") == first == print_of("after=[method=sft,log.every=3]")
    assert first not in (print_of(), print_of("after=[method=sft,method.learning_rate=0.3]"))
    reference = "method.reference.stage=[method=sft]"
    assert print_of("after=sft", reference) != first
    assert print_of(reference) != print_of("method.reference.stage=[method=sft,method.max_steps=3]")
    assert print_of("method.reference.model=a/b") != print_of(
        "method.reference.model=a/b", "method.reference.revision=x"
    )


def test_rows_made_by_a_run_count_by_its_fingerprint():
    made = "dataset.stage=[method=ai_feedback,dataset=ultrafeedback,dataset.sample_size=16,reward=length{}]"

    def stage_of(more=""):
        return describe(compose("model=blank", "method=dpo", "dataset=ultrafeedback", made.format(more)))

    first = stage_of()
    run = compose(
        "model=blank", "method=ai_feedback", "dataset=ultrafeedback", "dataset.sample_size=16", "reward=length"
    )
    assert first.inputs["data"] == describe(run).fingerprint
    assert describe(run).product == describe(run).folder / "data"
    assert stage_of(",method.sampling.temperature=0.5").fingerprint != first.fingerprint


def test_rows_are_read_once_for_all_seeds(config, monkeypatch):
    monkeypatch.setattr("rlpipe.stages.data._known", {})
    loads = []
    from rlpipe.datasets import load as module

    original = module.load
    monkeypatch.setattr(module, "load", lambda *given, **named: loads.append(1) or original(*given, **named))
    for seed in range(3):
        changed(config, seed=seed)
    assert len(loads) == 1
    limited = dataclasses.replace(config, dataset=dataclasses.replace(config.dataset, train_limit=5))
    prints = {changed(limited, seed=seed) for seed in range(3)}
    assert len(loads) == 4
    assert len(prints) == 3


def test_plain_configs_are_what_omegaconf_makes_of_them():
    from omegaconf import OmegaConf

    for overrides in (["model=tiny", "after=sft"], ["method=grpo", "dataset=countdown", "reward=[countdown,judge]"]):
        config = compose(*overrides)
        made = OmegaConf.to_container(OmegaConf.structured(config), resolve=True, enum_to_str=True)
        assert json.dumps(to_plain(config)) == json.dumps(made)
