"""Whether an exported folder is what the run has trained: plain transformers loads it and gives the run's own logits.

Importing this module imports torch.
"""

from __future__ import annotations

import gc
from pathlib import Path
from typing import Any

import torch

from rlpipe.cli.export.folder import ADAPTER, Wanted, adapter_base
from rlpipe.config.kinds import Head, ModelConfig
from rlpipe.core.errors import ModelError
from rlpipe.hub.files import locate

CONVERSATION = [
    {"role": "user", "content": "What is 12 times 3? Say it in words."},
    {"role": "assistant", "content": "Twelve times three is thirty-six."},
    {"role": "user", "content": "Thanks; and “½ + ½”?"},
]


def verify(wanted: Wanted, folder: Path) -> str:
    """Load the folder as its users will, and return what was compared, in words.

    Raises ModelError when it does not load, tokenises otherwise, or gives other logits than the run's own model.
    """
    import transformers
    from transformers import AutoTokenizer

    tokenizer: Any = AutoTokenizer.from_pretrained(folder, local_files_only=True)
    source: Any = AutoTokenizer.from_pretrained(wanted.model, local_files_only=True)
    ids, expected_ids = (one.apply_chat_template(CONVERSATION, return_dict=False) for one in (tokenizer, source))
    if ids != expected_ids:
        raise ModelError(folder, "its tokenizer gives other tokens than the run's", "report this: it is a bug")
    want = (
        _adapted(adapter_base(wanted.model), wanted.model / ADAPTER, ids)
        if wanted.adapter
        else _exported_from(wanted, ids)
    )
    got = _adapted(str(wanted.base), folder, ids) if wanted.adapter else _plain(folder, ids)
    if not torch.equal(got, want):
        apart = float((got.float() - want.float()).abs().max()) if got.shape == want.shape else float("nan")
        where = f"{wanted.base} with the adapter" if wanted.adapter else str(folder)
        fix = "--base must name exactly those weights" if wanted.adapter else "report this: it is a bug"
        raise ModelError(where, f"gives other logits than the run's own model (up to {apart:.3g} apart)", fix)
    return f"transformers {transformers.__version__} loads it and gives the run's own logits, bit for bit"


def _exported_from(wanted: Wanted, ids: list[int]) -> torch.Tensor:
    """Return the logits of the run's model as rlpipe loads it."""
    from rlpipe.models.pretrained import Pretrained

    is_reward = _auto(wanted.model).__name__ == "AutoModelForSequenceClassification"
    config = ModelConfig(name="pretrained", precision=_precision(wanted))
    head = Head.reward if is_reward else Head.causal_lm
    loaded = Pretrained(config).load(str(wanted.model), head, 0, "cpu", wanted.model / "unused")
    return _logits(loaded.model, ids)


def _precision(wanted: Wanted) -> Any:
    from rlpipe.config.kinds import Precision
    from rlpipe.hub.facts import read_config

    dtype = read_config(wanted.model).get("dtype")
    return Precision.pure_bfloat16 if dtype == "bfloat16" else Precision.float32


def _plain(folder: Path, ids: list[int]) -> torch.Tensor:
    """Return the logits of a folder as anybody loads it."""
    return _logits(_auto(folder).from_pretrained(folder, dtype="auto", local_files_only=True), ids)


def _adapted(base: str, adapter: Path, ids: list[int]) -> torch.Tensor:
    """Return the logits of an adapter on its base."""
    from peft import PeftModel

    folder, _ = locate(base, None)
    model = _auto(folder).from_pretrained(folder, dtype="auto", local_files_only=True)
    return _logits(PeftModel.from_pretrained(model, str(adapter)), ids)


def _auto(folder: Path) -> Any:
    from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification

    from rlpipe.hub.facts import read_config

    architecture = (read_config(folder).get("architectures") or [""])[0]
    return AutoModelForSequenceClassification if "SequenceClassification" in architecture else AutoModelForCausalLM


def _logits(model: Any, ids: list[int]) -> torch.Tensor:
    with torch.inference_mode():
        logits: torch.Tensor = model.eval()(input_ids=torch.tensor([ids])).logits
    del model
    gc.collect()
    return logits
