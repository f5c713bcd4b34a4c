"""What is known of a method before anything heavy is imported."""

from __future__ import annotations

import importlib
import subprocess
import sys
from pathlib import Path

import pytest

from rlpipe.config import plugins
from rlpipe.config.kinds import DatasetConfig, Head, LoraConfig, ModelConfig, TrackerConfig
from rlpipe.config.schema import RunConfig
from rlpipe.core.errors import Problem
from rlpipe.datasets import forms
from rlpipe.engines.frozen import ReferenceConfig
from rlpipe.engines.rollout import SamplingConfig
from rlpipe.methods.grpo import Normalise, Ratio, Surrogate
from rlpipe.methods.online import Aggregate, Correction, KLIn
from rlpipe.methods.online_dpo import PairsBy
from rlpipe.training.base import generator_module, trainer_module
from tests.composed import compose

METHODS = plugins.BUILT_IN["method"]
TAKES = {
    "sft": (forms.Chat, forms.Completion, forms.Text),
    "reward_model": (forms.Preference,),
    "dpo": (forms.Preference,),
    "kto": (forms.Labelled,),
    "orpo": (forms.Preference,),
    "simpo": (forms.Preference,),
    "rloo": (forms.Prompt,),
    "grpo": (forms.Prompt,),
    "reinforce": (forms.Prompt,),
    "ppo": (forms.Prompt,),
    "online_dpo": (forms.Prompt,),
    "distill": (forms.Prompt,),
    "trl_rloo": (forms.Prompt,),
    "trl_grpo": (forms.Prompt,),
    "ai_feedback": (forms.Prompt,),
    "none": (),
}
ONLINE = ("rloo", "grpo", "reinforce", "ppo", "online_dpo", "distill")


def plugin(name: str, **settings):
    module, _, attribute = METHODS[name].partition(":")
    cls = getattr(importlib.import_module(module), attribute)
    return cls(cls.Config(name=name, **settings))


def problems(name: str, lora_rank: int = 0, **settings) -> list[str]:
    if name == "distill":
        settings = {"teacher": ReferenceConfig(model="teacher"), **settings}
    method = plugin(name, **settings)
    model = ModelConfig(name="pretrained", lora=LoraConfig(rank=lora_rank))
    config = RunConfig(model, DatasetConfig(name="files"), method.config, tracker=TrackerConfig(name="none"))
    return [problem.where for problem in method.problems(config)]


def test_importing_the_methods_imports_nothing_heavy():
    code = "import sys\nfor m in {modules}: __import__(m)\nprint([h for h in {heavy} if h in sys.modules])".format(
        modules=[target.partition(":")[0] for target in METHODS.values()],
        heavy=["torch", "transformers", "trl", "datasets", "peft", "accelerate"],
    )
    root = str(Path(__file__).resolve().parents[2])
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=root)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize("name", METHODS)
def test_methods_say_what_they_take(name):
    method = plugin(name)
    assert method.takes == TAKES[name]
    assert method.head is (Head.reward if name == "reward_model" else Head.causal_lm)
    assert method.takes_reward is (forms.Prompt in method.takes and name != "distill")
    assert method.takes_tool is (name in ONLINE or name == "sft")


@pytest.mark.parametrize("name", METHODS)
def test_every_method_has_an_option(name):
    option = Path(__file__).resolve().parents[2] / "conf" / "method" / f"{name}.yaml"
    text = option.read_text()
    assert f"/schema/method/{name}@_here_" in text
    assert len(text.splitlines()) < 40


@pytest.mark.parametrize("name", METHODS)
def test_defaults_have_no_problems(name):
    if name != "none":
        assert problems(name) == []


def test_kto_needs_two_rows_in_a_micro_batch():
    assert problems("kto", micro_batch_size=1) == ["method.micro_batch_size"]


def test_kto_is_not_grouped_by_length():
    assert problems("kto", group_by_length=True) == ["method.group_by_length"]


@pytest.mark.parametrize(
    ("settings", "where"),
    [
        ({"loss": "sigmoi"}, "method.loss"),
        ({"loss": "sigmoid", "label_smoothing": 0.1}, "method.label_smoothing"),
        ({"loss": "exo_pair"}, "method.label_smoothing"),
        ({"sync_reference": True}, "method.sync_reference"),
        ({"sync_reference": True, "precompute_reference": False, "lora_rank": 8}, "method.sync_reference"),
    ],
)
def test_dpo_settings_that_do_not_fit_together(settings, where):
    assert problems("dpo", **settings) == [where]


@pytest.mark.parametrize("name", plugins.BUILT_IN["method"])
def test_the_module_that_runs_a_method_is_there(name):
    made = plugin(name)
    module = generator_module(made) if made.makes == "data" else trainer_module(made)
    assert (module is None) == (made.makes is None)


def test_none_trains_nothing():
    assert trainer_module(plugin("none")) is None


def test_simpos_margin_is_a_share_of_beta():
    assert plugin("simpo", beta=2.5, gamma_ratio=0.4).arguments()["simpo_gamma"] == pytest.approx(1.0)


def test_estimators_that_compare_completions_need_two():
    assert problems("rloo", group_size=1) == problems("grpo", group_size=1) == ["method.group_size"]
    assert problems("trl_rloo", group_size=1) == ["method.group_size"]
    assert problems("reinforce", group_size=1) == problems("ppo", group_size=1) == []


@pytest.mark.parametrize("name", ONLINE)
@pytest.mark.parametrize(
    ("settings", "where"),
    [
        ({"batch_size": 6, "group_size": 4}, "method.batch_size"),
        ({"max_length": 128, "sampling": SamplingConfig(max_tokens=128)}, "method.sampling.max_tokens"),
        ({"kl_coef": 0.0, "sync_reference": 10}, "method.sync_reference"),
    ],
)
def test_online_settings_that_do_not_fit_together(name, settings, where):
    always_held = name == "online_dpo" and "sync_reference" in settings
    assert problems(name, **settings) == ([] if always_held else [where])


@pytest.mark.parametrize(
    ("name", "settings", "where"),
    [
        ("reinforce", {"dynamic_sampling": 1}, "method.dynamic_sampling"),
        ("ppo", {"dynamic_sampling": 1}, "method.dynamic_sampling"),
        ("grpo", {"lag": 1}, "method.lag"),
        ("grpo", {"lag": 1, "correction": Correction.mask, "dynamic_sampling": 1}, "method.lag"),
        ("grpo", {"normalise": Normalise.each, "kl_in": KLIn.reward}, "method.kl_in"),
        ("grpo", {"ratio": Ratio.sequence, "lengths": Aggregate.token}, "method.ratio"),
        ("online_dpo", {"batch_size": 2, "group_size": 4, "minibatches": 2}, "method.batch_size"),
        ("online_dpo", {"correction": Correction.mask}, "method.correction"),
        ("online_dpo", {"pairs": PairsBy.comparison, "group_size": 4}, "method.group_size"),
        ("distill", {"teacher": ReferenceConfig()}, "method.teacher"),
        ("distill", {"teacher": ReferenceConfig(model="teacher", stage=["method=sft"])}, "method.teacher"),
        ("distill", {"overlong_buffer": 0.2}, "method.overlong_buffer"),
    ],
)
def test_settings_of_the_family_that_do_not_fit_together(name, settings, where):
    assert problems(name, **settings) == [where]


def test_pairs_may_lag_without_a_correction():
    assert problems("online_dpo", lag=1) == []


def asking(name: str, *rewards: str, **settings) -> list[Problem]:
    """Return what a method says of a run with these rewards."""
    method, model = plugin(name, **settings), ModelConfig(name="pretrained")
    chosen = {one: plugins.load("reward", one).Config(name=one) for one in rewards}
    tracker = TrackerConfig(name="none")
    return method.problems(RunConfig(model, DatasetConfig(name="files"), method.config, reward=chosen, tracker=tracker))


@pytest.mark.parametrize(
    ("rewards", "where"), [(("length",), "reward.length"), (("judge", "length"), "reward"), (("judge",), None)]
)
def test_a_comparison_asks_one_judge(rewards, where):
    found = asking("online_dpo", *rewards, pairs=PairsBy.comparison)
    assert [one.where for one in found] == ([where] if where else [])


def test_normalising_each_of_one_reward_is_worth_a_word():
    [problem] = asking("grpo", "length", normalise=Normalise.each)
    assert (problem.where, problem.fatal) == ("method.normalise", False)
    assert asking("grpo", "length", "format", normalise=Normalise.each) == []


@pytest.mark.slow
def test_options_of_grpo_are_what_their_papers_say():
    cispo, gspo, dapo = (compose(f"method={name}", "reward=length").method for name in ("cispo", "gspo", "dapo"))
    assert (cispo.surrogate, cispo.clip, cispo.clip_high, cispo.kl_coef) == (Surrogate.cispo, 1, 4, 0)
    assert (gspo.ratio, gspo.clip, gspo.clip_high, gspo.kl_coef) == (Ratio.sequence, 3e-4, 4e-4, 0)
    assert (dapo.lengths, dapo.clip_high, dapo.overlong_buffer) == (Aggregate.token, 0.28, 0.2)
    assert dapo.dynamic_sampling > 0


def test_groups_may_be_split_among_minibatches():
    assert problems("rloo", batch_size=6, group_size=4, minibatches=2) == []


def test_trl_knows_no_stop_strings():
    assert problems("trl_grpo", sampling=SamplingConfig(stop=["."])) == ["method.sampling.stop"]


def test_settings_of_trls_trainers_are_all_named_in_own():
    for name in ("trl_rloo", "trl_grpo"):
        assert set(plugin(name).arguments()) <= set(plugin(name).library_fields)
