"""Every rule finds what it is for, says where and what to do, and lets good configs pass."""

from __future__ import annotations

import copy
import json
import shutil
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from rlpipe.config.compose import to_plain
from rlpipe.config.schema import RunConfig
from rlpipe.core.errors import ConfigError, Problem
from rlpipe.run.check import capacity, models, ranges
from rlpipe.run.check.check import RULES, check, problems
from tests.composed import compose
from tests.run.check import folders

PAIR = {
    "prompt": "Why?",
    "chosen": [{"role": "user", "content": "Why?"}, {"role": "assistant", "content": "So."}],
    "rejected": [{"role": "user", "content": "Why?"}, {"role": "assistant", "content": "No."}],
}


@pytest.fixture(autouse=True)
def _hub(monkeypatch: pytest.MonkeyPatch) -> None:
    """A hub that has every model."""
    monkeypatch.setattr(models, "cannot_be_had", lambda source, revision: None)


@pytest.fixture(scope="module")
def blank() -> RunConfig:
    """A good config without runs before it: to be copied, then spoilt."""
    return compose("model=blank")


def found(*overrides: str) -> list[Problem]:
    if not any(override.startswith("model=") for override in overrides):
        overrides = ("model=blank", *overrides)  # `tiny` would bring the run that makes it
    return problems(compose(*overrides), overrides)


def one(where: str, *overrides: str, fatal: bool = True) -> Problem:
    """Return the one problem at `where`."""
    listed = found(*overrides)
    [problem] = [problem for problem in listed if problem.where == where] or pytest.fail(f"not at {where}: {listed}")
    assert problem.fatal is fatal
    assert problem.fix
    return problem


@pytest.mark.slow
@pytest.mark.parametrize(
    "overrides",
    [
        (),
        ("method=none",),
        ("method=kto",),
        ("method=sft", "dataset=gsm8k"),
        ("method=dpo", "dataset=piqa"),
        ("method=reward_model", "after=sft"),
        ("model=qwen2.5-0.5b", "method.micro_batch_size=1", "method.max_length=512"),
    ],
)
def test_what_the_readme_shows_passes(overrides):
    assert found(*overrides) == []


@pytest.mark.parametrize(
    "wrong",
    [
        *("seed=-1", "method.learning_rate=0", "method.learning_rate=nan", "method.epochs=0", "method.max_steps=0"),
        *("method.batch_size=0", "method.micro_batch_size=0", "method.max_length=1", "method.warmup=1"),
        *("method.warmup=-0.1", "method.weight_decay=-1", "method.max_grad_norm=-1", "model.lora.rank=-1"),
        *("model.lora.alpha=0", "model.lora.dropout=1", "model.context=1", "model.parameters=0"),
        *(
            "model.learning_rate_scale=0",
            "hardware.threads=0",
            "checkpoint.every=0",
            "checkpoint.keep=1",
            "log.every=0",
        ),
        *("evaluation.preference.limit=0", "evaluation.preference.batch_tokens=0", "dataset.train_limit=0"),
        *("dataset.test_fraction=1", "dataset.sample_size=0"),
    ],
)
def test_numbers_out_of_range(blank, wrong):
    config = copy.deepcopy(blank)
    where, _, value = wrong.partition("=")
    *path, last = where.split(".")
    node = config
    for name in path:
        node = node[name] if isinstance(node, dict) else getattr(node, name)
    setattr(node, last, float(value))
    [problem] = [problem for problem in problems(config) if problem.where == where]
    assert problem.fatal
    assert value in problem.what
    assert problem.fix


def test_schedules_are_the_librarys():
    assert "did you mean 'cosine'?" in one("method.schedule", "method.schedule=cosin").fix


@pytest.mark.slow
def test_the_listed_schedules_are_those_of_transformers():
    from transformers.trainer_utils import SchedulerType

    needs_a_metric = {"reduce_lr_on_plateau", "greedy"}
    assert set(ranges.SCHEDULES) == {kind.value for kind in SchedulerType} - needs_a_metric


def test_forms_that_do_not_fit_name_what_does():
    problem = one("method=dpo dataset=gsm8k", "method=dpo", "dataset=gsm8k")
    assert "gsm8k holds completion examples, and dpo takes preference" in problem.what
    assert "sft" in problem.fix.split(" or a dataset")[0]
    assert "kto" not in problem.fix.split(" or a dataset")[0]
    assert "ultrafeedback" in problem.fix.split(" or a dataset")[1]
    assert "gsm8k" not in problem.fix.split(" or a dataset")[1]


def test_a_reward_or_tool_that_nobody_uses(monkeypatch):
    assert "dpo learns from no reward" in one("reward", "reward=length").what
    config = compose("model=blank", "tracker=none")
    config.tool = {"calculator": SimpleNamespace(name="calculator")}
    assert any(problem.where == "tool" for problem in problems(config))


@pytest.mark.parametrize(("form", "ignored"), [("chat", True), ("completion", False)])
def test_a_tool_that_nothing_in_the_rows_calls(form, ignored):
    """Rows of one's own have the form that the config names."""
    listed = found("method=sft", "dataset=files", f"dataset.form={form}", "tool=calculator")
    assert any(problem.where == "tool" for problem in listed) is ignored


def test_an_on_policy_method_needs_a_reward(monkeypatch):
    from rlpipe.methods.dpo import DPO

    monkeypatch.setattr(DPO, "takes_reward", True)
    assert "length" in one("reward", "method=dpo").fix
    assert not any(problem.where == "reward" for problem in found("method=dpo", "reward=length"))


def test_a_required_evaluation_must_fit():
    assert "it looks at choice" in one("evaluation.choice", "evaluation=choice").what
    assert found("evaluation=choice", "evaluation.choice.required=false") == []
    assert "reward head" in one("evaluation.perplexity", "evaluation=perplexity", "method=reward_model").what


def test_a_real_model_never_meets_sample_rows_by_accident(tmp_path):
    real = ("model=hf", f"model.source={folders.model(tmp_path / 'real')}")
    assert not [problem for problem in found(*real) if problem.where == "dataset.source"]
    config = compose(*real, "dataset.source=sample")
    assert "on purpose" in next(p for p in problems(config) if p.where == "dataset.source").fix
    assert problems(config, ["dataset.source=sample"]) == []
    assert problems(compose(*real, "dataset.source=sample", "after=sft"), ["dataset.source=sample"]) == []


def test_a_toy_model_with_real_rows_is_a_warning():
    one("dataset.source", "dataset.source=hub", fatal=False)


def test_keys_that_rlpipe_sets_itself_are_refused():
    assert one("method.extra.output_dir", "+method.extra.output_dir=x").fix == "set run_dir instead"
    assert one("method.extra.beta", "+method.extra.beta=1").fix == "set method.beta instead"
    assert found("+method.extra.optim=sgd") == []


def test_a_methods_own_verdict_counts():
    assert "KL" in one("method.micro_batch_size", "method=kto", "method.micro_batch_size=1").what


# -- files and folders


def test_local_rows_that_are_missing_or_lack_a_column(tmp_path):
    rows = tmp_path / "rows.jsonl"
    pairs = [{"prompt": f"Why {n}?", "chosen": "So.", "rejected": "No."} for n in range(64)]
    rows.write_text("".join(json.dumps(pair) + "\n" for pair in pairs))
    assert all(not problem.fatal for problem in found(f"dataset.source={rows}"))
    rows.write_text(json.dumps({"prompt": "Why?", "chosen": "So."}) + "\n")
    fatal = [problem for problem in found(f"dataset.source={rows}") if problem.fatal]
    assert any("rejected" in problem.what + problem.fix for problem in fatal)
    fatal = [problem for problem in found("dataset.source=nowhere.jsonl") if problem.fatal]
    assert any("nowhere.jsonl" in problem.what for problem in fatal)


@pytest.mark.parametrize("source", ["/nowhere/model", "./nowhere", "~/nowhere", "a/b/c", "here/nowhere"])
def test_a_model_folder_that_is_not_there(tmp_path, source):
    (tmp_path / "here").mkdir()
    assert "there is no folder" in one("model.source", "model=hf", f"model.source='{source}'").what


def test_hub_ids_are_not_taken_for_folders():
    assert not [problem for problem in found("model=hf", "model.source=org/name") if problem.where == "model.source"]
    assert one("model.source", "model=hf").what == "is not given"


def test_a_damaged_model_folder(tmp_path):
    folder = folders.model(tmp_path / "model")
    (folder / "model.safetensors").write_bytes(b"short")
    assert "damaged" in one("model.source", "model=hf", f"model.source={folder}").what


def test_a_chat_template_that_is_not_there():
    one("model.chat_template", "model.chat_template=nowhere.jinja")


@pytest.mark.slow
def test_the_output_folder(tmp_path):
    config = compose("run_dir=mine")
    (tmp_path / "mine").mkdir()
    manifest = tmp_path / "mine" / "manifest.json"
    empty = {"overrides": [], "attempts": []}
    manifest.write_text(json.dumps({"config": to_plain(config), **empty}))
    assert problems(config) == []
    manifest.write_text(json.dumps({"config": to_plain(compose("run_dir=mine", "seed=7")), **empty}))
    assert "seed: 7 there, 0 here" in one("run_dir", "run_dir=mine").what
    manifest.unlink()
    (tmp_path / "mine" / "thesis.tex").touch()
    assert "thesis.tex" in one("run_dir", "run_dir=mine").what
    assert "is a file" in one("run_dir", "run_dir=mine/thesis.tex/run").what


def test_the_disk_must_hold_the_checkpoints(monkeypatch):
    monkeypatch.setattr(shutil, "disk_usage", lambda path: SimpleNamespace(free=10**9))
    problem = one("run_dir", "model=qwen2.5-0.5b", "method.max_length=64", "method.micro_batch_size=1")
    assert "3 checkpoints of about 5.9 GB" in problem.what
    assert found() == []


# -- the machine


SHARDED = "hardware.sharding=fsdp2"
SFT = ("method=sft", "dataset=smoltalk")
DPO = ("method=dpo", "dataset=ultrafeedback")
RLOO = ("method=rloo", "dataset=countdown", "reward=countdown")


def test_layers_thaw_in_one_process_where_gradients_are_exchanged_by_torch(monkeypatch):
    freeze = "method.freeze=['top:1@0',all@3]"
    monkeypatch.setenv("WORLD_SIZE", "2")
    assert "one process" in one("method.freeze", "method=sft", "dataset=smoltalk", freeze).fix
    monkeypatch.delenv("WORLD_SIZE")
    for method in (SFT, RLOO):
        assert "one process" in one("method.freeze", *method, freeze, SHARDED).fix
    monkeypatch.setenv("WORLD_SIZE", "2")
    assert "method.freeze" not in {problem.where for problem in found(*RLOO, freeze)}


@pytest.mark.parametrize(
    ("where", "overrides"),
    [
        ("hardware.sharding", ("method=trl_rloo", "dataset=countdown", "reward=countdown")),
        ("hardware.sharding", ("method=none", "dataset=ultrafeedback")),
        ("engine", (*RLOO, "engine=vllm_server")),
        ("method.reference", (*RLOO, "method.reference.model=somebody/model")),
        ("model.lora.dora", (*DPO, "model.lora.rank=4", "model.lora.dora=true")),
        ("method.reference", (*DPO, "method.reference.model=somebody/model")),
        ("method.extra.optim", (*SFT, "+method.extra.optim=adafactor")),
        ("evaluation.win_rate", (*DPO, "evaluation=win_rate", "reward=length")),
        ("evaluation.lm_eval", (*DPO, "evaluation=lm_eval")),
    ],
)
def test_what_cannot_be_sharded_is_said_with_what_to_do(where, overrides, monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "2")
    [problem] = [problem for problem in found(*overrides, SHARDED) if problem.where == where and problem.fatal]
    assert "hardware.sharding=none" in problem.fix
    assert problem not in found(*overrides)


def test_quantised_weights_are_not_sharded(monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "2")
    real = ("model=qwen2.5-0.5b", "model.quantize=nf4", "model.lora.rank=8")
    assert "model.quantize=none" in one("hardware.sharding", *SFT, *real, SHARDED).fix


def test_methods_are_sharded_over_several_processes(monkeypatch):
    assert "torchrun" in one("hardware.sharding", *DPO, SHARDED, fatal=False).fix
    monkeypatch.setenv("WORLD_SIZE", "2")
    for method in (DPO, RLOO):
        assert "hardware.sharding" not in {problem.where for problem in found(*method, SHARDED)}


@pytest.mark.parametrize(("world", "local", "says", "fatal"), [(4, 1, "one process", False), (5, 2, "same", True)])
def test_hybrid_shards_want_as_many_processes_on_each_node(world, local, says, fatal, monkeypatch):
    hybrid, sizes = "hardware.sharding=hybrid", {"WORLD_SIZE": world, "LOCAL_WORLD_SIZE": local}
    for name, size in sizes.items():
        monkeypatch.setenv(name, str(size))
    size = ("method.batch_size=20", "method.micro_batch_size=1")
    assert says in one("hardware.sharding", *DPO, *size, hybrid, fatal=fatal).what
    monkeypatch.setenv("WORLD_SIZE", "4")
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "2")
    assert "hardware.sharding" not in {problem.where for problem in found(*DPO, *size, hybrid)}


def test_a_model_that_processes_share_fits_where_a_whole_one_does_not(monkeypatch):
    large = ("model=hf", "model.source=somebody/model", "model.parameters=2000000000", *SFT)
    monkeypatch.setattr(capacity, "gpu_memory", lambda: 16 * 10**9)
    assert "32.0 GB" in one("model", *large).what
    assert "more processes" in one("model", *large, SHARDED, "until=check", fatal=False).fix
    assert "more processes" in one("model", *large, SHARDED).fix
    monkeypatch.setenv("WORLD_SIZE", "4")
    assert "model" not in {problem.where for problem in found(*large, SHARDED)}


def test_batches_that_do_not_divide(monkeypatch):
    named = ("method.batch_size=30", "method.micro_batch_size=8")
    assert "method.micro_batch_size=6" in one("method.batch_size", *named).fix
    assert compose("model=blank", "method.batch_size=30").method.micro_batch_size == 6, "where none is named it fits"
    monkeypatch.setenv("WORLD_SIZE", "3")
    assert "on 3 processes" in one("method.batch_size").what
    assert not [problem for problem in found("method.batch_size=48") if problem.where == "method.batch_size"]


def test_adapters_and_context_are_checked_against_a_local_model(tmp_path):
    real = ("model=hf", f"model.source={folders.model(tmp_path / 'real', max_position_embeddings=200)}")
    assert one("method.max_length", *real, "method.max_length=201").fix == "set method.max_length=200"
    assert compose(*real).method.max_length == 200, "a default fits itself to the model"
    lora = (*real, "model.lora.rank=4")
    assert found(*lora) == []
    problem = one("model.lora.target_modules", *lora, "model.lora.target_modules=[q_prj]")
    assert "q_proj" in problem.fix


def test_quantisation_needs_adapters_a_gpu_and_a_package(tmp_path, monkeypatch):
    real = ("model=hf", f"model.source={folders.model(tmp_path / 'real')}", "model.quantize=nf4")
    listed = [problem.what for problem in found(*real) if problem.where == "model.quantize=nf4"]
    assert any("needs a GPU" in what for what in listed)
    assert any("cannot be trained" in what for what in listed)
    monkeypatch.setattr(capacity, "gpu_memory", lambda: 80 * 10**9)
    monkeypatch.setattr(capacity.importlib.util, "find_spec", lambda name: object())
    assert found(*real, "model.lora.rank=2") == []
    assert any("needs a GPU" in p.what for p in found(*real, "model.lora.rank=2", "hardware.device=cpu"))


def test_a_gpu_that_is_asked_for_must_be_there(monkeypatch):
    one("hardware.device", "hardware.device=cuda")
    monkeypatch.setattr(capacity, "gpu_memory", lambda: 80 * 10**9)
    assert found("hardware.device=cuda") == []


def test_memory(monkeypatch):
    big = ("model=llama-3.2-1b", "method.micro_batch_size=1", "method.max_length=64")
    assert "16.0 GB" in one("model", *big).what
    monkeypatch.setattr(capacity, "gpu_memory", lambda: 80 * 10**9)
    assert found(*big) == []
    one("method.micro_batch_size", "model=llama-3.2-1b", "method.micro_batch_size=32", fatal=False)


def test_an_engine_needs_its_share_of_the_gpu_beside_the_policy(monkeypatch):
    """Two billion weights with their optimiser keep 24 GB, and a step takes 8 GB of gradients more."""
    monkeypatch.setattr(capacity, "gpu_memory", lambda: 40 * 10**9)
    monkeypatch.setattr("rlpipe.engines.vllm.installed", lambda: "0.30.0")
    chosen = ("method=rloo", "dataset=countdown", "reward=countdown", "evaluation=none", "method.kl_coef=0")
    big = ("model=llama-3.2-1b", "model.parameters=2000000000", "method.micro_batch_tokens=64", "method.max_length=256")

    def said(*overrides):
        """Return what is fatal, by where."""
        return {problem.where: problem.what for problem in found(*chosen, *big, *overrides) if problem.fatal}

    assert said("engine=vllm") == {}
    assert "beside the 20.0 GB of engine=vllm" in said("engine=vllm", "engine.memory=0.5")["engine.memory"]
    assert "what engine=vllm leaves of the GPU: 28.0 GB" in said("engine=vllm", "engine.sleep=false")["model"]
    assert set(said("engine=vllm_server")) == {"model", "engine.memory"}
    assert said("engine=vllm_server", "engine.gpus='1'") == {}
    assert said("engine=vllm_server", "engine.url=http://there:8000") == {}


def test_nvidia_smi_is_read(monkeypatch, tmp_path):
    monkeypatch.undo()
    capacity.gpu_memory.cache_clear()
    smi = tmp_path / "nvidia-smi"
    smi.write_text("#!/bin/sh\necho 81559\n")
    smi.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    assert capacity.gpu_memory() == 81559 * 2**20
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    capacity.gpu_memory.cache_clear()
    assert capacity.gpu_memory() is None
    capacity.gpu_memory.cache_clear()
    assert capacity.main_memory() > 10**8


# -- all together


def test_the_runs_before_are_checked_too():
    config = compose("after=sft")
    config.after = ["method=sft", "method.warmup=3", "dataset=ultrafeedback"]
    [problem] = problems(config)
    assert problem.where == "after: method.warmup"
    config.after = ["method=sftt"]
    [problem] = problems(config)
    assert problem.where == "after: method=sftt"
    assert "did you mean 'sft'?" in problem.fix


def test_a_circle_of_runs_is_named(monkeypatch):
    config = compose("after=sft")
    monkeypatch.setattr("rlpipe.stages.lineage.parent_config", lambda config, path: config)
    [problem] = problems(config)
    assert problem.where == "after: after: a circle"
    assert problem.what.startswith("after=[method=sft] → after=[method=sft] leads back")


def test_all_problems_come_at_once_and_fatal_ones_stop():
    bad = compose("method.warmup=2", "checkpoint.every=0", "reward=length", "dataset.source=hub")
    with pytest.raises(ConfigError) as stopped:
        check(bad)
    assert [problem.where for problem in stopped.value.problems][:3] == ["method.warmup", "checkpoint.every", "reward"]
    assert all(problem.fatal for problem in stopped.value.problems)
    warnings = check(compose("dataset.source=hub"))
    assert [problem.fatal for problem in warnings] == [False]


def test_a_broken_plugin_is_one_problem(monkeypatch):
    from rlpipe.config import plugins

    broken = plugins.Plugin("method", "dpo", "their-package", error="ImportError: no module named theirs")
    monkeypatch.setitem(plugins.table()["method"], "dpo", broken)
    [problem] = found()
    assert problem.where == "method"
    assert "their-package" in problem.what
    assert "no module named theirs" in problem.what


def test_every_rule_is_named_once_and_says_what_holds():
    assert len(set(RULES)) == len(RULES)
    assert all((rule.__doc__ or "").strip().endswith(".") for rule in RULES)


@pytest.mark.slow
def test_checking_is_light(tmp_path):
    """Neither a good config, nor one whose library, model or tracker must be looked into, imports anything heavy."""
    folder = folders.model(tmp_path / "model")
    lines = [
        ["after=sft", "method=kto"],
        ["model=hf", f"model.source={folder}", "+method.extra.optim=paged_adamw_8bit", "tracker=tensorboard"],
        ["model=blank", "method=trl_grpo", "dataset=gsm8k", "reward=gsm8k", "+method.extra.use_vllm=true"],
        ["model=hf", "model.source=organisation/none", "method=reward_model", "objective=after/preference/accuracy"],
    ]
    program = (
        "import json, sys; from rlpipe.config.compose import compose; from rlpipe.run.check.check import problems;"
        "from rlpipe.testing import HEAVY;"
        "[problems(compose(*line), line) for line in json.loads(sys.argv[1])];"
        "print([name for name in HEAVY if name in sys.modules])"
    )
    command = [sys.executable, "-c", program, json.dumps(lines)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=Path(__file__).parents[3])
    assert done.stdout.strip() == "[]", done.stderr
