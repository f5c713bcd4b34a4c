"""On-policy runs on the small model: prompts, a reward for one letter, and a plain sampler to compare with.

Also a script: MODEL_FOLDER RUN_DIR METHOD [key=value …] trains in a process of its own and prints a JSON line with
losses, rewards and the weights' hash; it goes on from the newest checkpoint. With `pause` each step takes that many
seconds longer, so that a test can kill the process in between.
"""

from __future__ import annotations

import hashlib
import importlib
import json
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from rlpipe.config import plugins
from rlpipe.config.kinds import DatasetConfig, LoraConfig, ModelConfig, RewardConfig, TrackerConfig
from rlpipe.config.resolved import resolve
from rlpipe.config.schema import CheckpointConfig, Device, HardwareConfig, LogConfig, RunConfig, Sharding
from rlpipe.datasets.base import LoadReport, Split, Splits
from rlpipe.datasets.forms import Prompt
from rlpipe.engines.rollout import Rollout, SamplingConfig, Score
from rlpipe.methods.base import Method
from rlpipe.methods.online import Correction
from rlpipe.models.base import Loaded
from rlpipe.rewards.base import Reward
from rlpipe.training.base import Parts, trainer_module


@dataclass
class LettersConfig(RewardConfig):
    """Which letters are liked."""

    letters: str = "abcdefghijklmnopqrstuvwxyz"


class Letters(Reward):
    """The share of tokens that are one of some letters."""

    Config = LettersConfig

    def score(self, rollouts: Sequence[Rollout]) -> list[Score]:
        """Count letters, with a small part for length that is different for almost all completions."""
        liked = [sum(letter in self.config.letters for letter in one.text) for one in rollouts]
        return [Score(count / max(1, len(one.ids))) for count, one in zip(liked, rollouts, strict=True)]


def prompts(count: int = 16) -> list[Prompt]:
    words = ["red", "green", "blue", "seven"]
    return [
        Prompt(f"train/{row}", [{"role": "user", "content": " ".join(words[: row % 4 + 1])}], {"row": row})
        for row in range(count)
    ]


def load(folder: Path, rank: int = 0) -> Loaded:
    from transformers import AutoModelForCausalLM, AutoTokenizer, set_seed

    set_seed(0)
    peft = None
    if rank:
        from peft import LoraConfig as PeftConfig

        peft = PeftConfig(r=rank, lora_alpha=16, lora_dropout=0.1, target_modules="all-linear", task_type="CAUSAL_LM")
    return Loaded(
        AutoModelForCausalLM.from_pretrained(folder), AutoTokenizer.from_pretrained(folder), str(folder), peft=peft
    )


def method(name: str, **settings: Any) -> Method:
    """Make a method with small batches: 8 completions, 4 a prompt, 2 minibatches, 2 epochs a batch."""
    module, _, attribute = plugins.BUILT_IN["method"][name].partition(":")
    plugin = getattr(importlib.import_module(module), attribute)
    sampling = SamplingConfig(**{"max_tokens": 6, **settings.pop("sampling", {})})
    small = {"batch_size": 8, "group_size": 4, "minibatches": 2, "epochs_per_batch": 2, "max_length": 128}
    if "correction" in settings:
        settings["correction"] = Correction(settings["correction"])
    rest = {"learning_rate": 1e-3, "max_steps": 6, "sampling": sampling, "warmup": 0.0}
    if not name.startswith("trl_"):
        rest["micro_batch_tokens"] = 128
    return plugin(plugin.Config(name=name, **{**small, **rest, **settings}))


def build(folder: Path, run_dir: Path, name: str, **options: Any) -> Any:
    """Build a trainer; `lora_rank`, `count`, `every`, `callbacks`, `reward`, `seed`, `engine`, `environment` and
    `sharding` are not the method's.
    """
    rank, count, every = options.pop("lora_rank", 0), options.pop("count", 16), options.pop("every", 1)
    engine, environment = options.pop("engine", None), options.pop("environment", None)
    callbacks, seed, sharding = options.pop("callbacks", []), options.pop("seed", 1), options.pop("sharding", "none")
    reward = options.pop("reward", {"letters": LettersConfig(name="letters")})
    plugins.table()["reward"]["letters"] = plugins.Plugin("reward", "letters", "tests", cls=Letters)
    from rlpipe.models.sharding import wanted

    plugin = method(name, **options)
    config = RunConfig(
        model=ModelConfig(name="pretrained", lora=LoraConfig(rank=rank)),
        dataset=DatasetConfig(name="files"),
        method=plugin.config,
        reward=reward,
        environment=environment,
        tracker=TrackerConfig(name="none"),
        seed=seed,
        hardware=HardwareConfig(device=Device.cpu, sharding=Sharding(sharding)),
        checkpoint=CheckpointConfig(every=every),
        log=LogConfig(every=1, progress=False),
    )
    loaded = replace(load(folder, rank), engine=engine, sharded=wanted(config.hardware))
    split = Split(list(prompts(count)), LoadReport("train", "test", "none"))
    return trainer_module(plugin).build(
        plugin, Parts(resolve(config), loaded, Splits(split, split), run_dir, callbacks)
    )


def digest(model: Any) -> str:
    """Hash all weights."""
    state = hashlib.sha256()
    for name, tensor in sorted(model.state_dict().items()):
        state.update(name.encode())
        state.update(tensor.detach().cpu().contiguous().numpy().tobytes())
    return state.hexdigest()


def main(folder: str, run_dir: str, name: str, *settings: str) -> None:
    from transformers import TrainerCallback
    from transformers.trainer_utils import get_last_checkpoint

    options = {key: json.loads(value) for key, value in (setting.split("=", 1) for setting in settings)}
    pause = options.pop("pause", 0)

    class Pause(TrainerCallback):
        def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
            time.sleep(pause)

    trainer = build(Path(folder), Path(run_dir), name, callbacks=[Pause()], **options)
    checkpoints = Path(run_dir) / "checkpoints"
    trainer.train(resume_from_checkpoint=get_last_checkpoint(str(checkpoints)) if checkpoints.exists() else None)
    if trainer.is_world_process_zero():
        rows = [row for row in trainer.state.log_history if "loss" in row]
        told = {key: [row[key] for row in rows] for key in ("loss", "grad_norm", "entropy")}
        told["reward"] = [row["reward"] for row in rows if "reward" in row]
        print(json.dumps({**told, "weights": digest(trainer.model)}), flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
