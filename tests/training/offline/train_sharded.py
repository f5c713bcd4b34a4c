"""Train with every method in one process, or in several with their weights in shards: MODEL_FOLDER FOLDER [CASE …].

Writes, for each case, its losses and all its weights to FOLDER.
"""

from __future__ import annotations

import importlib.util
import json
import sys
import traceback
from pathlib import Path
from typing import Any

CASES: dict[str, dict[str, Any]] = {
    "sft": {"count": 22},  # the last batch of an epoch has 6 rows
    "sft-lora": {"lora_rank": 4},
    "sft-checkpointing": {"model": {"gradient_checkpointing": True}},
    "sft-bfloat16": {"model": {"precision": "bfloat16"}},
    "reward_model": {},
    "reward_model-lora": {"lora_rank": 4},
    "dpo": {},
    "dpo-lora": {"lora_rank": 4},
    "dpo-asked": {"precompute_reference": False},
    "kto": {},
    "kto-lora": {"lora_rank": 4},
    "orpo": {},
    "orpo-lora": {"lora_rank": 4},
    "simpo": {},
    "simpo-lora": {"lora_rank": 4},
}


def main(folder: str, target: str, *cases: str) -> None:
    import torch
    from safetensors.torch import save_file

    from rlpipe.config.kinds import Precision
    from rlpipe.config.schema import Sharding
    from rlpipe.core import distributed
    from rlpipe.models.sharding import whole

    spec = importlib.util.spec_from_file_location("shared_builders", Path(__file__).with_name("conftest.py"))
    builders = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(builders)
    distributed.start(on_cpu=True)
    sharding = Sharding.fsdp2 if distributed.world_size() > 1 else Sharding.none
    for case in cases or CASES:
        options = dict(CASES[case])
        if "precision" in (model := dict(options.get("model", {}))):
            options["model"] = {**model, "precision": Precision(model["precision"])}
        name = case.partition("-")[0]
        try:
            run = Path(target) / case
            settings = {"micro_batch_size": 2, "max_steps": 4, "sharding": sharding, **options}
            trainer = builders.build_trainer(Path(folder), run, name, **settings)
            trainer.train()
        except Exception:
            traceback.print_exc()
            print("FAILED", case, flush=True)
            continue
        weights = {weight: whole(value).contiguous() for weight, value in trainer.model.named_parameters()}
        if distributed.is_main():
            save_file(weights, run / "weights.safetensors")
            logged = [{key: row[key] for key in ("loss", "grad_norm")} for row in trainer.state.log_history if "loss" in row]
            (run / "losses.json").write_text(json.dumps(logged))
    distributed.finish()


if __name__ == "__main__":
    main(*sys.argv[1:])
