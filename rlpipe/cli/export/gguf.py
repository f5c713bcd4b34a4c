"""`--to gguf`: a run's model as one file for llama.cpp and all that is built on it, read again and compared.

Importing this module imports torch.
"""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import redirect_stderr
from io import StringIO
from pathlib import Path
from typing import Any

import numpy
import torch

from rlpipe.cli.export.architectures import ARCHITECTURES, Architecture
from rlpipe.cli.export.verify import CONVERSATION
from rlpipe.cli.export.vocabulary import Vocabulary, read
from rlpipe.core.errors import ModelError
from rlpipe.core.files import explained
from rlpipe.hub.facts import read_config

TEXTS = ("It’s 3 × 12 = 36,\n\n  isn't it?  ", "def f(x):\n\treturn x['y']  # 1,234.5", "Привет 你好 🙂 e\u0301")
"""What both tokenizers are given beside a conversation."""
CLOSE = 1e-4
"""How far logits may be apart, for the largest of them: GGUF keeps settings as 32-bit floats."""
BUG = "report this: it is a bug"


def convert(model: Path, file: Path, kind: str | None, name: str, licence: str | None) -> tuple[str, list[str]]:
    """Write a model's folder as a GGUF file, read that again, and return what was compared, and what was lost.

    `kind` is how the matrices are kept: f32, f16, bf16 or q8_0; None for what they are in the folder. Raises ModelError
    for what llama.cpp cannot compute or hold, and where the file does not give the model's own tokens and logits.
    """
    from transformers import AutoConfig, AutoTokenizer

    architecture = architecture_of(model, AutoConfig.from_pretrained(model, local_files_only=True))
    tokenizer: Any = AutoTokenizer.from_pretrained(model, local_files_only=True)
    vocabulary = read(model, tokenizer)
    kind = kind or _kind_of(model)
    with explained(file):
        odd = _write(model, file, kind, architecture, vocabulary, name, licence)
    lost = list(vocabulary.notes)
    if odd:
        lost.append(f"{len(odd)} matrices as q8_0, for their rows are no multiple of 32 (they are f16): {odd[-1]} …")
    return _verified(model, file, kind, architecture, tokenizer), lost


def architecture_of(model: Path, config: Any) -> Architecture:
    """Return a model's architecture. Raises ModelError for one that is not converted, or not with its settings."""
    architecture = ARCHITECTURES[read_config(model)["architectures"][0]](config)
    if unsupported := list(architecture.unsupported()):
        what = f"llama.cpp would compute it otherwise: {', '.join(unsupported)}"
        raise ModelError(model, what, "serve it with --to vllm")
    return architecture


def _kind_of(model: Path) -> str:
    names = {"float32": "f32", "float16": "f16", "bfloat16": "bf16"}
    return names.get(str(read_config(model).get("dtype")), "f32")


def _weights(model: Path, architecture: Architecture) -> Iterator[tuple[str, Any]]:
    """Yield the name of each weight in the folder, with its unread slice of the file; always in the same order."""
    from safetensors import safe_open

    for file in sorted(model.glob("*.safetensors")):
        with safe_open(file, "pt") as tensors:
            for name in sorted(tensors.keys()):
                if not architecture.ignored(name):
                    yield name, tensors.get_slice(name)


def _write(
    model: Path,
    file: Path,
    kind: str,
    architecture: Architecture,
    vocabulary: Vocabulary,
    name: str,
    licence: str | None,
) -> list[str]:
    """Write the file, one weight in memory at a time; return the weights that are not kept as asked for."""
    from gguf import GGUFWriter, get_tensor_name_map
    from gguf.constants import GGML_QUANT_VERSION, MODEL_ARCH_NAMES, LlamaFileType

    writer = GGUFWriter(file, architecture.name)
    try:
        writer.add_name(name)
        if licence is not None:
            writer.add_license(licence)
        architecture.describe(writer)
        vocabulary.write(writer, architecture.config.vocab_size)
        writer.add_file_type(LlamaFileType["ALL_F32" if kind == "f32" else f"MOSTLY_{kind.upper()}"])
        writer.add_quantization_version(GGML_QUANT_VERSION)
        number = next(number for number, known in MODEL_ARCH_NAMES.items() if known == architecture.name)
        names = get_tensor_name_map(number, architecture.config.num_hidden_layers)
        odd = []
        for source, part in _weights(model, architecture):
            target = names.get_name(source, try_suffixes=(".weight", ".bias"))
            if target is None:
                raise ModelError(model, f"GGUF has no place for its tensor {source}", "serve it with --to vllm")
            shape = tuple(part.get_shape())[:: -1 if architecture.transposed(source) else 1]
            _announce(writer, target, shape, _stored(shape, kind))
            odd += [source] if kind == "q8_0" and len(shape) > 1 and _stored(shape, kind) != kind else []
        computed = architecture.computed()
        for target, weight in computed.items():
            _announce(writer, target, tuple(weight.shape), "f32")
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_ti_data_to_file()
        for source, part in _weights(model, architecture):
            weight = architecture.laid_out(source, part[:])
            writer.write_tensor_data(_packed(weight, _stored(tuple(weight.shape), kind), source))
        for weight in computed.values():
            writer.write_tensor_data(_packed(weight, "f32", ""))
    finally:
        writer.close()
    return odd


def _stored(shape: tuple[int, ...], kind: str) -> str:
    """Return how a weight is kept: biases and norms exactly, rows of other than whole blocks not in blocks."""
    if len(shape) < 2:
        return "f32"
    return "f16" if kind == "q8_0" and shape[-1] % 32 else kind


def _announce(writer: Any, name: str, shape: tuple[int, ...], kind: str) -> None:
    """Tell a writer of a tensor that is written later."""
    from gguf import GGML_QUANT_SIZES

    block, size = GGML_QUANT_SIZES[_ggml(kind)]
    count = int(numpy.prod(shape))
    writer.add_tensor_info(name, shape, numpy.dtype(numpy.float32), count // block * size, raw_dtype=_ggml(kind))


def _packed(weight: torch.Tensor, kind: str, name: str) -> numpy.ndarray:
    """Return a weight's numbers as the file holds them. Raises ModelError where they do not fit."""
    from gguf import quantize

    numbers = weight.float().contiguous().numpy()
    with numpy.errstate(over="ignore"):
        packed = quantize(numbers, _ggml(kind))
    if kind == "f16" and not numpy.isfinite(packed).all():
        raise ModelError(name, "holds numbers beyond what 16-bit floats can", "take --type bf16 or f32")
    return packed


def _ggml(kind: str) -> Any:
    from gguf import GGMLQuantizationType

    return GGMLQuantizationType[kind.upper()]


def _verified(model: Path, file: Path, kind: str, architecture: Architecture, tokenizer: Any) -> str:
    """Return how a file compares with the model, in words. Raises ModelError where it is another one.

    Transformers reads it. What GGUF has only a name for (how text is split) is taken from the run's tokenizer, and
    settings that transformers does not read from the run's config.
    """
    import transformers
    from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer

    place: dict[str, Any] = {
        "pretrained_model_name_or_path": file.parent,
        "gguf_file": file.name,
        "local_files_only": True,
    }
    read_tokenizer: Any = AutoTokenizer.from_pretrained(**place)
    _same_tokens(file, tokenizer, read_tokenizer)
    ids = torch.tensor([tokenizer(TEXTS[0] + TEXTS[1]).input_ids])
    own: Any = AutoModelForCausalLM.from_pretrained(model, dtype=torch.float32, local_files_only=True)
    before = _logits(own, ids)
    _round(own, kind, architecture)
    expected = _logits(own, ids)
    del own
    gc.collect()
    config = AutoConfig.from_pretrained(**place)
    for setting in architecture.unread:
        setattr(config, setting, getattr(architecture.config, setting))
    with redirect_stderr(StringIO()):  # a bar that no setting of transformers switches off
        other: Any = AutoModelForCausalLM.from_pretrained(**place, config=config, dtype=torch.float32)
    got = _logits(other, ids)
    largest = float(expected.abs().max())
    if got.shape != expected.shape or float((got - expected).abs().max()) > CLOSE * largest:
        apart = float((got - expected).abs().max()) if got.shape == expected.shape else float("nan")
        what = f"gives other logits than the run's own model (up to {apart:.3g} apart)"
        raise ModelError(file, what, BUG)
    moved = float((got - before).abs().max())
    return (
        f"transformers {transformers.__version__} reads it and gives the run's own tokens; rounding to {kind} moves "
        f"logits by up to {moved:.2g}, of up to {largest:.3g}"
    )


def _same_tokens(file: Path, own: Any, other: Any) -> None:
    backend, source = other.backend_tokenizer, own.backend_tokenizer
    backend.pre_tokenizer = source.pre_tokenizer
    if source.normalizer is not None:
        backend.normalizer = source.normalizer
    backend.model.ignore_merges = source.model.ignore_merges
    template = own.chat_template
    texts = [own.apply_chat_template(CONVERSATION, tokenize=False)] if template else []
    if template and other.apply_chat_template(CONVERSATION, tokenize=False) != texts[0]:
        raise ModelError(file, "its chat template writes another text than the run's", BUG)
    for text in (*TEXTS, *texts):
        if own(text).input_ids != other(text).input_ids:
            raise ModelError(file, f"its tokenizer gives other tokens than the run's for {text!r}", BUG)


def _round(model: Any, kind: str, architecture: Architecture) -> None:
    """Give a model the weights that the file has."""
    from gguf import dequantize

    with torch.no_grad():
        for name, weight in model.named_parameters():
            turned = weight.T if architecture.transposed(name) else weight
            stored = _stored(tuple(turned.shape), kind)
            numbers = torch.from_numpy(dequantize(_packed(turned, stored, name), _ggml(stored)).copy())
            weight.copy_(numbers.T if architecture.transposed(name) else numbers)


def _logits(model: Any, ids: torch.Tensor) -> torch.Tensor:
    with torch.inference_mode():
        logits: torch.Tensor = model.eval()(input_ids=ids).logits
    return logits
