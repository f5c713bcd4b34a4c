"""`pretrained`: weights from a local folder or the hub."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from rlpipe.config.kinds import Head, ModelConfig, Precision, Quantize
from rlpipe.core.errors import ModelError
from rlpipe.hub.facts import Facts, check_files, local_facts, read_config
from rlpipe.hub.files import locate
from rlpipe.models.base import Loaded, Model
from rlpipe.models.chat_template import prepare
from rlpipe.models.export import materialise
from rlpipe.models.lora import peft_config
from rlpipe.models.special_tokens import embedding_rows

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel, PreTrainedTokenizerBase


class Pretrained(Model):
    """A model whose weights somebody trained before: any causal LM that transformers itself implements.

    Code from a model's repository is never run (`trust_remote_code` is off).
    """

    def facts(self) -> Facts | None:
        """Return what the local folder says, None where there is none. Raises ModelError for a damaged one."""
        return None if self.config.source is None else local_facts(self.config.source)

    def load(self, source: str | None, head: Head, seed: int, device: str, scratch: Path) -> Loaded:
        """Load weights and tokenizer from `source`; `seed` decides the weights of a new reward head.

        Raises ModelError: no source, hub out of reach, files missing or damaged, wrong kind of model,
        template that cannot be rendered, LoRA target that is not in the model, quantisation without GPU.
        """
        if source is None:
            raise ModelError(
                "model.source", "is not given", "give a hub id or a folder, for example model.source=path/to/model"
            )
        check_quantization(self.config)
        folder, notes = locate(source, self.config.revision)
        check_files(folder)
        _check_head(folder, head)
        tokenizer = load_tokenizer(folder)
        model, load_notes = self._load_model(folder, head, seed, device)
        return finish(self.config, model, tokenizer, head, device, folder, scratch, notes + load_notes)

    def _load_model(self, folder: Path, head: Head, seed: int, device: str) -> tuple[PreTrainedModel, list[str]]:
        """Load the weights; all must come from the files, but for a new reward head."""
        import torch
        import transformers
        from safetensors import SafetensorError

        arguments: dict[str, Any] = {"num_labels": 1} if head is Head.reward else {}
        if self.config.quantize is Quantize.nf4:
            arguments |= {"quantization_config": nf4(), "device_map": {"": device}}
        auto = _auto_class(head)
        try:
            with torch.random.fork_rng(devices=[]):
                torch.manual_seed(seed)
                model, info = auto.from_pretrained(
                    folder,
                    dtype=weight_dtype(self.config.precision),
                    attn_implementation=self.config.attention,
                    local_files_only=True,
                    trust_remote_code=False,
                    output_loading_info=True,
                    **arguments,
                )
        except (OSError, ValueError, KeyError, RuntimeError, ImportError, SafetensorError) as error:
            raise ModelError(
                folder,
                f"transformers {transformers.__version__} cannot load it: {error}",
                "check model.source and model.attention; models that need code from their repository are refused",
            ) from error
        return model, _check_loaded(folder, head, set(info["missing_keys"]))


def finish(
    config: ModelConfig,
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    head: Head,
    device: str,
    folder: Path | None,
    scratch: Path,
    notes: list[str],
) -> Loaded:
    """Prepare a built model for training: tokens, template, a folder that holds its weights, adapters.

    `folder` is where the weights came from, None when they stand nowhere yet.
    """
    rows = embedding_rows(model)
    added, prepared = prepare(tokenizer, model, config)
    changed = bool(added) or embedding_rows(model) != rows
    if folder is None or changed:
        folder = materialise(model, tokenizer, scratch)
    model.name_or_path = model.config._name_or_path = str(folder)
    peft = peft_config(config.lora, model, head) if config.lora.rank > 0 else None
    if config.quantize is Quantize.none:
        cast("Any", model).to(device)
    autocast = config.precision is Precision.bfloat16
    return Loaded(model, tokenizer, str(folder), head, autocast, notes + prepared, peft)


def load_tokenizer(folder: Path) -> PreTrainedTokenizerBase:
    """Load a folder's tokenizer. Raises ModelError when its files cannot be read."""
    from transformers import AutoTokenizer

    try:
        return AutoTokenizer.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    except Exception as error:  # the tokenizers library raises bare Exception for a damaged file
        raise ModelError(
            folder, f"its tokenizer cannot be read: {error}", "fetch or copy the tokenizer's files again"
        ) from error


def weight_dtype(precision: Precision) -> torch.dtype:
    """Return the type that weights are kept in."""
    import torch

    return torch.bfloat16 if precision is Precision.pure_bfloat16 else torch.float32


def check_quantization(config: ModelConfig) -> None:
    """Raise ModelError, with everything that is missing, when `quantize` cannot be had here."""
    if config.quantize is Quantize.none:
        return
    import torch

    missing = []
    if not torch.cuda.is_available():
        missing.append("no CUDA GPU is visible")
    if importlib.util.find_spec("bitsandbytes") is None:
        missing.append("bitsandbytes is not installed (pip install 'rlpipe[quant]')")
    if missing:
        raise ModelError(
            f"model.quantize={config.quantize.value}",
            ", and ".join(missing),
            "use a machine with both, or model.quantize=none",
        )


def nf4() -> Any:
    """Return QLoRA's quantisation: 4-bit NormalFloat, doubly quantised, bfloat16 arithmetic (arXiv:2305.14314)."""
    import torch
    from transformers import BitsAndBytesConfig

    return BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=torch.bfloat16,
    )


def _auto_class(head: Head) -> Any:
    from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification

    return AutoModelForSequenceClassification if head is Head.reward else AutoModelForCausalLM


def _check_head(folder: Path, head: Head) -> None:
    """Refuse a reward model as a language model: its next-token head would be made up."""
    architecture = (read_config(folder).get("architectures") or [""])[0]
    if head is Head.causal_lm and "SequenceClassification" in architecture:
        raise ModelError(
            folder,
            f"holds a reward model ({architecture}), and this run needs one that writes text",
            "give the model that the reward model was trained from",
        )


def _check_loaded(folder: Path, head: Head, missing: set[str]) -> list[str]:
    """Refuse weights that were made up because the files lack them; a new reward head is a note."""
    new_head = {name for name in missing if head is Head.reward and name.split(".")[-2:] == ["score", "weight"]}
    if missing - new_head:
        names = ", ".join(sorted(missing - new_head)[:5])
        raise ModelError(
            folder,
            f"its files lack {len(missing - new_head)} weights of this architecture ({names} …)",
            "the folder is incomplete, or config.json belongs to another model: fetch it again",
        )
    return ["reward head: new, from the seed"] if new_head else []
