"""Runs on a small random model: examples of every form, configs without Hydra, and built trainers."""

from __future__ import annotations

import dataclasses
import hashlib
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from rlpipe.config import plugins
from rlpipe.config.kinds import DatasetConfig, Head, LoraConfig, ModelConfig, Precision, TrackerConfig
from rlpipe.config.resolved import resolve
from rlpipe.config.schema import CheckpointConfig, Device, HardwareConfig, LogConfig, RunConfig, Sharding
from rlpipe.datasets import forms
from rlpipe.datasets.base import LoadReport, Split, Splits
from rlpipe.datasets.lazily import Lazy
from rlpipe.methods.base import Method
from rlpipe.models.base import Loaded
from rlpipe.training.base import Parts, trainer_module

METHODS = ("sft", "reward_model", "dpo", "kto", "orpo", "simpo")


def examples(form: forms.Form, count: int = 24, seed: int = 0) -> list[forms.Example]:
    """Make examples of one form, of quite different lengths."""
    rng = random.Random(seed)

    def said(role: str) -> list[forms.Message]:
        words = " ".join(rng.choice(["red", "green", "blue", "seven", "is"]) for _ in range(rng.randint(1, 12)))
        return [{"role": role, "content": words}]

    made: list[forms.Example] = []
    for row in range(count):
        id, prompt = f"train/{row}", said("user")
        if form is forms.Chat:
            made.append(forms.Chat(id, prompt + said("assistant") + said("user") + said("assistant")))
        elif form is forms.Completion:
            made.append(forms.Completion(id, prompt, said("assistant")))
        elif form is forms.Preference:
            made.append(forms.Preference(id, prompt, said("assistant"), said("assistant")))
        elif form is forms.Labelled:
            made.append(forms.Labelled(id, prompt, said("assistant"), label=row % 2 == 0))
        else:
            made.append(forms.Text(id, said("user")[0]["content"]))
    return made


def columns_of(example: forms.Example) -> dict[str, Any]:
    """Return an example as the columns that TRL takes."""
    return {name: value for name, value in dataclasses.asdict(example).items() if name != "id"}


def load(folder: Path, head: Head = Head.causal_lm, peft: Any = None) -> Loaded:
    """Load the model as the model plugins would."""
    from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification, AutoTokenizer, set_seed

    set_seed(0)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    if head is Head.reward:
        model = AutoModelForSequenceClassification.from_pretrained(folder, num_labels=1)
    else:
        model = AutoModelForCausalLM.from_pretrained(folder)
    return Loaded(model, tokenizer, str(folder), peft=peft)


def method(name: str, **settings: Any) -> Method:
    """Make a method plugin with small batches."""
    cls = plugins.BUILT_IN["method"][name]
    module, _, attribute = cls.partition(":")
    import importlib

    plugin = getattr(importlib.import_module(module), attribute)
    small = {"batch_size": 8, "micro_batch_size": 4, "max_length": 256, "learning_rate": 1e-3, "max_steps": 6}
    return plugin(plugin.Config(name=name, **{**small, **settings}))


def run_config(
    plugin: Method,
    lora_rank: int = 0,
    every: int = 3,
    seed: int = 1,
    sharding: Sharding = Sharding.none,
    store: Path | None = None,
    **model_settings: Any,
) -> RunConfig:
    """Make the config around a method."""
    model = ModelConfig(name="pretrained", lora=LoraConfig(rank=lora_rank), **model_settings)
    return RunConfig(
        model=model,
        dataset=DatasetConfig(name="files"),
        method=plugin.config,
        tracker=TrackerConfig(name="none"),
        seed=seed,
        hardware=HardwareConfig(device=Device.cpu, sharding=sharding),
        checkpoint=CheckpointConfig(every=every),
        log=LogConfig(every=1, progress=False),
        store=None if store is None else str(store),
    )


def splits(rows: list[forms.Example], lazily: bool = False) -> Splits:
    """Make both splits of the same rows; `lazily` as those of a large dataset, made when they are looked at."""
    identity = hashlib.sha256(repr(rows).encode()).hexdigest()
    made: Any = Lazy(len(rows), lambda places: [rows[place] for place in places]) if lazily else rows
    split = Split(made, LoadReport("train", "test", identity))
    return Splits(split, split)


Build = Callable[..., Any]


def build_trainer(folder: Path, run_dir: Path, name: str, form: forms.Form | None = None, **options: Any) -> Any:
    """Build the trainer of a method.

    `lora_rank`, `count`, `every`, `callbacks`, `template`, `sharding`, `model`, `lazily` and `store` (default: one of
    the run's own) are no settings of the method.
    """
    rank, count, every = options.pop("lora_rank", 0), options.pop("count", 24), options.pop("every", 3)
    callbacks, template = options.pop("callbacks", []), options.pop("template", None)
    sharding, model_settings = options.pop("sharding", Sharding.none), options.pop("model", {})
    store, lazily = options.pop("store", run_dir / "store"), options.pop("lazily", False)
    from rlpipe.models.sharding import wanted

    plugin = method(name, **options)
    peft = None
    if rank:
        from peft import LoraConfig as PeftConfig

        task = "SEQ_CLS" if plugin.head is Head.reward else "CAUSAL_LM"
        peft = PeftConfig(r=rank, lora_alpha=16, target_modules="all-linear", task_type=task)
    rows = examples(form or plugin.takes[0], count)
    config = run_config(plugin, rank, every, sharding=sharding, store=store, **model_settings)
    loaded = load(folder, plugin.head, peft)
    loaded.tokenizer.chat_template = template or loaded.tokenizer.chat_template
    loaded.autocast = config.model.precision is Precision.bfloat16
    loaded.sharded = wanted(config.hardware)
    return trainer_module(plugin).build(
        plugin, Parts(resolve(config), loaded, splits(rows, lazily), run_dir, callbacks)
    )


@pytest.fixture(scope="session")
def build(small_model: Path) -> Build:
    """Give the function that builds a trainer on the small model: `build(run_dir, method, **settings)`."""
    return lambda run_dir, name, *form, **options: build_trainer(small_model, run_dir, name, *form, **options)


def digest(model: Any) -> str:
    """Hash all weights."""
    state = hashlib.sha256()
    for name, tensor in sorted(model.state_dict().items()):
        state.update(name.encode())
        state.update(tensor.detach().cpu().contiguous().numpy().tobytes())
    return state.hexdigest()


@pytest.fixture(scope="session")
def weights() -> Callable[[Any], str]:
    return digest


@pytest.fixture(scope="session")
def make() -> dict[str, Callable[..., Any]]:
    """Give the other builders by name."""
    return {"examples": examples, "load": load, "method": method, "run_config": run_config, "splits": splits}
