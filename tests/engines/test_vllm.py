"""vLLM in this process: what is found wrong early, and, where a real one is, that it draws what the policy would."""

from __future__ import annotations

import dataclasses
import json
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from rlpipe.config.compose import compose
from rlpipe.core.errors import ConfigError, ModelError
from rlpipe.datasets.forms import Prompt
from rlpipe.engines import vllm
from rlpipe.engines.rollout import SamplingConfig
from rlpipe.engines.rows import Endings
from rlpipe.engines.vllm import Vllm, VllmConfig
from rlpipe.run.check.check import problems
from rlpipe.testing import check_engine
from tests.engines.families import family

if TYPE_CHECKING:
    from rlpipe.models.base import Loaded

RLOO = ("method=rloo", "dataset=countdown", "reward=countdown", "engine=vllm", "evaluation=none")


def found(*overrides: str) -> dict[str, str]:
    """Return what the checks say of the engine."""
    said = problems(compose(*RLOO, *overrides))
    return {one.where: one.what for one in said if "vLLM" in one.what or "engine" in one.where}


@pytest.fixture
def there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(vllm, "installed", lambda: f"{vllm.FITTING}.1")


def test_what_is_tested_is_what_the_extra_installs() -> None:
    project = tomllib.loads((Path(__file__).resolve().parents[2] / "pyproject.toml").read_text())["project"]
    major, minor = vllm.FITTING.split(".")
    assert project["optional-dependencies"]["vllm"] == [f"vllm>={vllm.FITTING},<{major}.{int(minor) + 1}"]


@pytest.mark.parametrize(
    ("version", "said"),
    [
        (None, "is not installed here"),
        ("0.29.4", "vLLM 0.29.4 is installed, and 0.30 is the one that fits"),
        ("0.31.0", "vLLM 0.31.0 is installed"),
        ("0.300.0", "vLLM 0.300.0 is installed"),
    ],
)
def test_a_vllm_that_does_not_fit_is_named(monkeypatch: pytest.MonkeyPatch, version: str | None, said: str) -> None:
    monkeypatch.setattr(vllm, "installed", lambda: version)
    assert said in found()["engine=vllm"]


@pytest.mark.usefixtures("there")
@pytest.mark.parametrize(
    ("overrides", "where", "said"),
    [
        ((), None, ""),
        (("model=qwen2.5-0.5b", "model.lora.rank=512"), None, ""),
        (("model=qwen2.5-0.5b", "model.lora.rank=513"), "model.lora.rank", "adapters up to rank 512"),
        (("model.quantize=nf4", "model.lora.rank=8"), "model.quantize", "whole weights"),
        (("model.lora.rank=8", "model.lora.dora=true"), "model.lora.dora", "no such adapters"),
        (("model.lora.dora=true",), None, ""),
        (("method.sampling.temperature=0.005",), "method.sampling.temperature", "vLLM draws at 0.01"),
        (("method=trl_rloo",), "engine=vllm", "trl_rloo draws by means of its own"),
        (("method=dpo", "dataset=ultrafeedback", "reward=none"), "engine=vllm", "nothing in this run draws"),
        (("method=dpo", "dataset=ultrafeedback", "reward=none", "evaluation=samples"), None, ""),
        (("method=ai_feedback", "dataset=ultrafeedback", "reward=length"), None, ""),
        (("method.correction=mask", "method.sampling.top_p=0.9"), "method.correction", "would be biased"),
        (("method.correction=mask",), None, ""),
    ],
)
def test_what_cannot_be_drawn_is_said_before_anything_starts(
    overrides: tuple[str, ...], where: str | None, said: str
) -> None:
    known = {one.where: one.what for one in problems(compose(*RLOO, *overrides))}
    known = {key: what for key, what in known.items() if key in ("engine=vllm", where) or "engine" in key}
    assert list(known) == ([where] if where else [])
    assert said in known.get(where, "")


@pytest.mark.usefixtures("there")
def test_one_process_has_one_vllm(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    assert "it serves one process, and this run has 2" in found()["engine=vllm"]


def test_requests_are_drawn_as_ours_are() -> None:
    one = family("llama")
    sampling = SamplingConfig(temperature=0.7, top_p=0.9, top_k=5, min_p=0.1, stop=["END"])
    endings = Endings(one, sampling)
    given = vllm.sampling_parameters(sampling, endings)
    assert (given["temperature"], given["top_p"], given["top_k"], given["min_p"]) == (0.7, 0.9, 5, 0.1)
    assert given["stop"] == ["END"]
    assert given["stop_token_ids"] == sorted(endings.tokens)
    assert vllm.sampling_parameters(SamplingConfig(temperature=0), endings)["temperature"] == 0
    with pytest.raises(ConfigError, match=r"vLLM draws at 0.01 where 0.001"):
        vllm.sampling_parameters(SamplingConfig(temperature=0.001), endings)


@pytest.mark.parametrize(
    ("autocast", "rank", "dtype", "bound"), [(False, 0, "float32", None), (True, 9, "bfloat16", 16)]
)
def test_vllm_is_told_of_the_model(autocast: bool, rank: int, dtype: str, bound: int | None) -> None:
    from peft import LoraConfig

    one = dataclasses.replace(family("llama"), autocast=autocast, peft=LoraConfig(r=rank) if rank else None)
    given = vllm.arguments(one, Path("words"))
    assert (given["dtype"], given.get("max_lora_rank")) == (dtype, bound)
    assert given["logprobs_mode"] == "processed_logprobs"


# With a real vLLM


@pytest.mark.vllm
@pytest.mark.parametrize("options", [{"tied": True}, {"tied": False}, {"rank": 5}], ids=["tied", "untied", "adapter"])
def test_vllm_conforms(options: dict[str, Any], tmp_path: Path) -> None:
    check_engine(Vllm, tmp_path, cache_gb=1, **options)


@pytest.mark.vllm
def test_more_prompts_than_one_step_reads(tmp_path: Path) -> None:
    """A prompt that a step reads in parts would end vLLM on a CPU, where draws have seeds of their own."""
    from rlpipe.engines.base import drawn_by
    from rlpipe.engines.sampler import Sampler
    from rlpipe.testing.engines import PROMPTS, small_model

    with drawn_by(Vllm(VllmConfig(cache_gb=1)), small_model(tmp_path, tied=True, rank=0)) as loaded:
        groups = Sampler(loaded, SamplingConfig(max_tokens=2)).sample(PROMPTS, 400, 0)
    assert [len(group) for group in groups] == [400] * len(PROMPTS)


@pytest.fixture
def story(shared_dir: Path, tmp_path: Path) -> Loaded:
    from rlpipe.config.kinds import Head, ModelConfig
    from rlpipe.models.pretrained import Pretrained

    source = str(shared_dir / "models" / "stories15m")
    return Pretrained(ModelConfig(name="pretrained")).load(source, Head.causal_lm, 0, "cpu", tmp_path / "start")


@pytest.mark.vllm
def test_a_model_that_vllm_does_not_serve_is_said_to_be_one(story: Loaded, tmp_path: Path) -> None:
    import shutil

    folder = tmp_path / "unknown"
    shutil.copytree(story.path, folder)
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "architectures": ["NobodyKnowsForCausalLM"]}))
    engine = Vllm(VllmConfig(cache_gb=1, extra={"model_impl": "vllm"}))
    try:
        with pytest.raises(ModelError, match="cannot start on"):
            engine.start(dataclasses.replace(story, path=str(folder)))
    finally:
        engine.close()


@pytest.mark.vllm
@pytest.mark.parametrize("rank", [0, 4])
def test_a_run_trains_and_measures_what_it_has_trained(rank: int, tmp_path: Path) -> None:
    """After training, vLLM's greedy completions are those of the model that the run has saved."""
    from rlpipe.config.kinds import Head, ModelConfig
    from rlpipe.engines.sampler import Sampler
    from rlpipe.models.pretrained import Pretrained
    from rlpipe.run.run import run

    folder = tmp_path / "run"
    small = ("method.batch_size=4", "method.group_size=2", "method.max_steps=2", "method.sampling.max_tokens=8")
    chosen = ("model=blank", "method=rloo", "dataset=countdown", "reward=length", "engine=vllm", "engine.cache_gb=1")
    learns = ("method.learning_rate=1e-2", f"model.lora.rank={rank}", "method.correction=truncate")
    shown = ("evaluation=samples", "evaluation.samples.max_tokens=8", "log.every=1", "log.progress=false")
    where = ("hardware.device=cpu", f"run_dir='{folder}'")
    overrides = [*chosen, *small, *learns, *shown, *where]
    run(compose(*overrides), overrides)
    rows = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    gaps = [row["engine/gap_largest"] for row in rows if "engine/gap_largest" in row]
    assert len(gaps) == 2
    assert max(gaps) < 1e-4
    saved = Pretrained(ModelConfig(name="pretrained")).load(
        str(folder / "model"), Head.causal_lm, 0, "cpu", tmp_path / "again"
    )
    measured = [json.loads(line) for line in (folder / "evaluations" / "samples.after.jsonl").read_text().splitlines()]
    prompts = [Prompt(row["id"], [{"role": "user", "content": row["prompt"]}]) for row in measured]
    groups = Sampler(saved, SamplingConfig(temperature=0, max_tokens=8)).sample(prompts, 1, 0)
    assert [rollout.text for (rollout,) in groups] == [row["completion"] for row in measured]


@pytest.mark.vllm
def test_responses_to_be_judged_are_drawn_too(tmp_path: Path) -> None:
    from rlpipe.methods.ai_feedback import AIFeedback
    from rlpipe.testing import check_method

    chosen = ("engine=vllm", "engine.cache_gb=1", "method.cut=keep", "dataset.train_limit=8", "dataset.test_limit=2")
    assert check_method(AIFeedback, tmp_path, *chosen)["status"] == "ok"
