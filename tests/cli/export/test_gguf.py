"""GGUF files: transformers and llama.cpp read the run's own tokens and logits from them, and what is wrong is seen."""

from __future__ import annotations

import json
import urllib.request
from pathlib import Path
from typing import Any

import pytest

from rlpipe.core.errors import ModelError, RecordError

pytestmark = pytest.mark.slow

TEXTS = [
    "It’s 3 × 12 = 36,\n\n  isn't it?  \n\n\n5  7\t\t8   x",
    "a<think>12</think><|im_end|>\n<|im_start|>user\nI'LL we'll 12345 ½ ³ ٣ 你好 🙂",
]
CONVERSATION = [
    {"role": "system", "content": "Be kind."},
    {"role": "user", "content": "Hi 12"},
    {"role": "assistant", "content": "Yes?"},
    {"role": "user", "content": "Go on"},
]
SCALED = {
    "rope_type": "llama3",
    "rope_theta": 500.0,
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 64,
}


@pytest.fixture(autouse=True)
def _installed() -> None:
    pytest.importorskip("gguf", reason="gguf is not installed")


def config_of(name: str) -> Any:
    import transformers

    from tests.engines import families

    if name == "gpt2":
        sizes = {"vocab_size": families.SHAPE["vocab_size"], "n_embd": 32, "n_layer": 2, "n_head": 4}
        return transformers.GPT2Config(**sizes, n_positions=256, bos_token_id=None, eos_token_id=None)
    if name == "llama3":
        return transformers.LlamaConfig(**families.SHAPE, rope_parameters=SCALED)
    return families.config_of(name)


@pytest.fixture
def folder(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """A model of the family that a test names, as a run leaves it."""
    import torch

    from tests.engines import families

    loaded = families.loaded(config_of(request.param))
    with torch.no_grad():
        for name, weight in loaded.model.named_parameters():
            if name.endswith("bias"):
                weight.normal_(std=0.5)
            elif weight.dim() == 1:
                weight.add_(torch.randn_like(weight) / 5)
    loaded.model.save_pretrained(tmp_path / "model")
    loaded.tokenizer.save_pretrained(tmp_path / "model")
    return tmp_path / "model"


def converted(folder: Path, kind: str | None = None) -> tuple[Path, str, list[str]]:
    from rlpipe.cli.export.gguf import convert

    file = folder.parent / f"{kind}.gguf"
    return file, *convert(folder, file, kind, "a-name", "mit")


FAMILIES = ["llama", "smollm", "llama3", "qwen2", "qwen3", "gpt2"]


@pytest.mark.parametrize("folder", FAMILIES, indirect=True)
def test_llama_cpp_reads_the_models_own_tokens_template_and_logits(folder):
    xllamacpp = pytest.importorskip("xllamacpp", reason="no llama.cpp is installed")
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    file, verified, lost = converted(folder)
    assert "rounding to f32 moves logits by up to 0," in verified
    assert lost == []
    server = served(xllamacpp, file)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    for text in TEXTS:
        asked = {"content": text, "add_special": True, "parse_special": True}
        assert post(server, "/tokenize", asked)["tokens"] == tokenizer(text).input_ids
    text = tokenizer.apply_chat_template(CONVERSATION, tokenize=False, add_generation_prompt=True)
    assert post(server, "/apply-template", {"messages": CONVERSATION})["prompt"] == text
    model = AutoModelForCausalLM.from_pretrained(folder).eval()
    ids = (tokenizer(TEXTS[0]).input_ids * 5)[:150]
    close = 5e-3 if model.config.model_type == "gpt2" else 1e-4  # its activation is looked up in 16-bit floats
    compared = 0
    for length in (1, 20, 60, 150):
        asked = {"prompt": ids[:length], "n_predict": 1, "temperature": 0, "n_probs": 30, "cache_prompt": False}
        answer = post(server, "/completion", asked)
        with torch.inference_mode():
            expected = model(torch.tensor([ids[:length]])).logits[0, -1].log_softmax(-1)
        for step in answer.get("completion_probabilities", ()):  # none of half a character
            for token in step["top_logprobs"]:
                assert token["logprob"] == pytest.approx(float(expected[token["id"]]), abs=close)
                compared += 1
    assert compared >= 60


def served(xllamacpp: Any, file: Path) -> Any:
    """Return llama.cpp's server of a file, with keys and values as 32-bit floats."""
    settings = xllamacpp.CommonParams()
    settings.model.path, settings.n_ctx, settings.n_parallel, settings.port = str(file), 256, 1, 0
    settings.n_gpu_layers, settings.warmup, settings.use_jinja, settings.verbosity = 0, False, True, -1
    settings.cpuparams.n_threads = settings.cpuparams_batch.n_threads = 1
    settings.cache_type_k = settings.cache_type_v = xllamacpp.ggml_type.GGML_TYPE_F32
    settings.flash_attn_type = xllamacpp.llama_flash_attn_type.LLAMA_FLASH_ATTN_TYPE_DISABLED
    return xllamacpp.Server(settings)


def post(server: Any, path: str, body: dict[str, Any]) -> dict[str, Any]:
    head = {"Content-Type": "application/json"}
    request = urllib.request.Request(server.listening_address + path, json.dumps(body).encode(), head)
    with urllib.request.urlopen(request, timeout=60) as answer:
        return json.load(answer)


ODD = "2 matrices as q8_0, for their rows are no multiple of 32 (they are f16): model.layers.1.mlp.down_proj.weight …"


@pytest.mark.parametrize(
    ("folder", "kind", "lost"),
    [
        ("llama", "f16", []),
        ("qwen2", "bf16", []),
        ("gpt2", "q8_0", []),
        ("qwen3", "q8_0", [ODD]),
    ],
    indirect=["folder"],
)
def test_rounding_is_measured(folder, kind, lost):
    from gguf import GGUFReader

    file, verified, said = converted(folder, kind)
    moved = float(verified.partition("logits by up to ")[2].partition(",")[0])
    assert 0 < moved < 0.5
    assert said == lost
    kinds = {tensor.tensor_type.name for tensor in GGUFReader(file).tensors if len(tensor.shape) > 1}
    assert kinds == {kind.upper(), *(["F16"] if lost else [])}


@pytest.mark.parametrize("folder", ["llama"], indirect=True)
def test_the_file_says_what_the_model_is(folder):
    from gguf import GGUFReader
    from transformers import AutoTokenizer

    fields = GGUFReader(converted(folder)[0]).fields
    tokenizer = AutoTokenizer.from_pretrained(folder)
    say = {name.removeprefix("tokenizer."): field.contents() for name, field in fields.items()}
    assert (say["general.name"], say["general.license"]) == ("a-name", "mit")
    assert say["ggml.eos_token_id"] == tokenizer.eos_token_id
    assert say["ggml.padding_token_id"] == tokenizer.pad_token_id
    assert (say["ggml.add_bos_token"], say["ggml.pre"]) == (False, "smollm")
    assert "endif" in say["chat_template"]
    assert "generation %}" not in say["chat_template"].replace("add_generation_prompt %}", "")
    assert say["ggml.tokens"][tokenizer.eos_token_id] == "<|im_end|>"


@pytest.mark.parametrize("folder", ["llama"], indirect=True)
@pytest.mark.parametrize("broken", ["weights", "merges"])
def test_a_file_of_another_model_does_not_pass(folder, broken, monkeypatch):
    from rlpipe.cli.export import vocabulary
    from rlpipe.cli.export.architectures import Llama

    if broken == "weights":  # heads that are not interleaved
        monkeypatch.setattr(Llama, "laid_out", lambda self, name, weight: weight)
        with pytest.raises(ModelError, match="other logits"):
            converted(folder)
    else:
        special = vocabulary.Vocabulary.write

        def without_the_last(self: Any, writer: Any, rows: int) -> None:
            special(self, writer, rows)
            key = writer.kv_data[0]["tokenizer.ggml.merges"]
            key.value = key.value[: len(key.value) // 2]

        monkeypatch.setattr(vocabulary.Vocabulary, "write", without_the_last)
        with pytest.raises(ModelError, match="other tokens"):
            converted(folder)


@pytest.mark.parametrize("folder", ["qwen2_window"], indirect=True)
def test_what_llama_cpp_computes_otherwise_is_refused(folder):
    with pytest.raises(ModelError, match="sliding window"):
        converted(folder)


@pytest.mark.parametrize("folder", ["llama"], indirect=True)
def test_numbers_that_do_not_fit_are_refused(folder):
    from safetensors.torch import load_file, save_file

    weights = load_file(folder / "model.safetensors")
    weights["model.layers.0.mlp.up_proj.weight"][0, 0] = 1e6
    save_file(weights, folder / "model.safetensors", {"format": "pt"})
    with pytest.raises(ModelError, match="beyond what 16-bit floats can") as error:
        converted(folder, "f16")
    assert "model.layers.0.mlp.up_proj.weight" in error.value.where


@pytest.mark.parametrize("folder", ["llama"], indirect=True)
def test_a_full_disk_is_told(folder, monkeypatch):
    from gguf import GGUFWriter

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(GGUFWriter, "write_tensor_data", full)
    with pytest.raises(RecordError, match="No space left"):
        converted(folder)


def trained_tokenizer(name: str) -> Any:
    """Return a tokenizer that splits text as one of those that GGUF has a name for, trained on rlpipe's sample rows."""
    from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, pre_tokenizers, processors, trainers
    from transformers import PreTrainedTokenizerFast

    from rlpipe.cli.export.vocabulary import LLAMA3, QWEN2
    from rlpipe.datasets.samples import gsm8k, smoltalk
    from rlpipe.models.train_tokenizer import _strings

    words = pre_tokenizers.ByteLevel(add_prefix_space=False)
    steps = {"gpt-2": words, "smollm": pre_tokenizers.Sequence([pre_tokenizers.Digits(True), words])}
    for split, pattern in (("qwen2", QWEN2), ("llama-bpe", LLAMA3)):
        cut = pre_tokenizers.Split(Regex(pattern), "isolated")
        steps[split] = pre_tokenizers.Sequence([cut, pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)])
    made = Tokenizer(models.BPE(ignore_merges=name == "llama-bpe"))
    made.pre_tokenizer, made.decoder = steps[name], decoders.ByteLevel()
    special = [AddedToken(one, special=True, normalized=False) for one in ("<|begin|>", "<|end|>", "<pad>")]
    trainer = trainers.BpeTrainer(
        vocab_size=700,
        special_tokens=special,
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    rows = [row for source in (gsm8k, smoltalk) for row in source.rows("train", 100, 0)]
    made.train_from_iterator(
        [*(text for row in rows for text in _strings(row)), *["12 345\n\n\n  x\t\t'LL"] * 50], trainer
    )
    if name == "llama-bpe":
        made.post_processor = processors.TemplateProcessing("<|begin|> $A", special_tokens=[("<|begin|>", 0)])
    return PreTrainedTokenizerFast(
        tokenizer_object=made, bos_token="<|begin|>", eos_token="<|end|>", pad_token="<pad>", chat_template=CHATML
    )


CHATML = "{% for m in messages %}{{ m.role + ': ' + m.content + '<|end|>' }}{% endfor %}"


@pytest.mark.parametrize("name", ["gpt-2", "smollm", "qwen2", "llama-bpe"])
def test_llama_cpp_splits_text_as_the_tokenizer_does(tmp_path, name):
    xllamacpp = pytest.importorskip("xllamacpp", reason="no llama.cpp is installed")
    from transformers import LlamaConfig, LlamaForCausalLM

    from rlpipe.datasets.samples import countdown, ultrafeedback
    from rlpipe.models.train_tokenizer import _strings

    tokenizer = trained_tokenizer(name)
    sizes = {"hidden_size": 32, "intermediate_size": 32, "num_hidden_layers": 1, "num_attention_heads": 1}
    config = LlamaConfig(vocab_size=len(tokenizer) + 5, **sizes, eos_token_id=1, bos_token_id=0)
    LlamaForCausalLM(config).save_pretrained(tmp_path / "model")
    tokenizer.save_pretrained(tmp_path / "model")
    file, _, lost = converted(tmp_path / "model")
    assert lost == []
    server = served(xllamacpp, file)
    rows = [row for source in (ultrafeedback, countdown) for row in source.rows("test", 4, 0)]
    for text in [*TEXTS, "\r\n\r\n 12\n 345 \u00a0 67", *(text for row in rows for text in _strings(row))]:
        asked = {"content": text, "add_special": True, "parse_special": True}
        assert post(server, "/tokenize", asked)["tokens"] == tokenizer(text).input_ids, text
