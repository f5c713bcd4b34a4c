"""What all tests share: no network, one thread, and the way to real material where it is there."""

from __future__ import annotations

import gc
import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.update(HF_HUB_OFFLINE="1", TOKENIZERS_PARALLELISM="false", WANDB_MODE="offline", WANDB_SILENT="true")

import pytest
from hypothesis import settings

from tests.house.collecting import Imports

# Composing makes many small objects; beside torch's modules, Python's collector would take a quarter of its time.
gc.set_threshold(100_000, 50, 100)


# The first example of a test imports what all others use, and a busy machine is slow: time says nothing of the claim.
settings.register_profile("timeless", settings.default, deadline=None)
settings.load_profile("timeless")


def pytest_configure(config: pytest.Config) -> None:
    config.pluginmanager.register(Imports(), "imports")
    if hasattr(config, "workerinput"):  # a worker ends with its parent; its tests send what `nohup pytest` ignores
        for number in (signal.SIGHUP, signal.SIGQUIT):
            signal.signal(number, signal.SIG_DFL)


@pytest.fixture(scope="session", autouse=True)
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A store of these tests' own, unless they are given one: runs keep there what they have measured."""
    with pytest.MonkeyPatch.context() as patch:
        folder = Path(os.environ.get("RLPIPE_STORE") or tmp_path_factory.mktemp("store"))
        patch.setenv("RLPIPE_STORE", str(folder))
        yield folder


@pytest.hookimpl(trylast=True)
def pytest_runtest_teardown() -> None:
    """Leave what modules hold out of later collections: each training collects, which takes longer than a small one.

    What a test made is gone by now, or is garbage that is collected before.
    """
    global _modules
    if len(sys.modules) > _modules + 20:
        gc.collect()
        gc.freeze()
        _modules = len(sys.modules)


_modules = 0
"""How many modules there were when their objects were set aside."""


@pytest.fixture(scope="session")
def shared_dir() -> Path:
    """The folder of real data and models that nobody in this project made."""
    folder = Path(os.environ.get("RLPIPE_SHARED", Path(__file__).resolve().parents[2] / "shared"))
    if not (folder / "data").is_dir():
        pytest.skip(f"no real data and models at {folder} (set RLPIPE_SHARED)")
    return folder


CHATML = (
    "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\n' }}"
    "{% if message['role'] == 'assistant' %}{% generation %}{{ message['content'] + '<|im_end|>' }}{% endgeneration %}"
    "{% else %}{{ message['content'] + '<|im_end|>' }}{% endif %}{{ '\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)


@pytest.fixture(scope="session")
def small_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a Llama of 20 thousand random weights and a byte-level tokenizer with a chat template."""
    import torch
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    folder = tmp_path_factory.mktemp("small_model")
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    plain = Tokenizer(models.BPE({letter: place for place, letter in enumerate(letters)}, []))
    plain.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    plain.decoder = decoders.ByteLevel()
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=plain, eos_token="<|im_end|>", pad_token="<|pad|>", additional_special_tokens=["<|im_start|>"]
    )
    tokenizer.chat_template = CHATML
    tokenizer.save_pretrained(folder)
    torch.manual_seed(0)
    sizes = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2}
    ids = {"eos_token_id": tokenizer.eos_token_id, "pad_token_id": tokenizer.pad_token_id, "bos_token_id": None}
    config = LlamaConfig(vocab_size=len(tokenizer), max_position_embeddings=512, **sizes, **ids)
    LlamaForCausalLM(config).save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def gpt2(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a GPT-2 of random weights as the hub has the real ones: no prefix, masks among the weights, one
    special token, no chat template."""
    import torch
    from safetensors.torch import save_file
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import GPT2Config, GPT2LMHeadModel, PreTrainedTokenizerFast

    folder = tmp_path_factory.mktemp("gpt2") / "model"
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    words = {letter: place for place, letter in enumerate([*letters, "<|endoftext|>"])}
    plain = Tokenizer(models.BPE(words, []))
    plain.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    plain.decoder = decoders.ByteLevel()
    special = dict.fromkeys(("bos_token", "eos_token", "unk_token"), "<|endoftext|>")
    PreTrainedTokenizerFast(tokenizer_object=plain, **special).save_pretrained(folder)
    torch.manual_seed(0)
    sizes = {"n_embd": 32, "n_layer": 2, "n_head": 2, "n_positions": 512, "vocab_size": len(words)}
    model = GPT2LMHeadModel(GPT2Config(**sizes, bos_token_id=256, eos_token_id=256))
    model.save_pretrained(folder)
    weights = {f"h.{layer}.attn.bias": torch.ones(1, 1, 512, 512).tril() for layer in range(2)}
    weights |= {name.removeprefix("transformer."): weight for name, weight in model.named_parameters()}
    save_file(weights, folder / "model.safetensors", {"format": "pt"})
    return folder


@pytest.fixture(scope="session")
def trained_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a finished run: two steps of SFT of a small random model. Tests read it and leave it as it is."""
    from rlpipe.config.compose import compose
    from rlpipe.run.run import run

    folder = tmp_path_factory.mktemp("trained") / "run"
    small = ("method.max_steps=2", "method.batch_size=4", "method.micro_batch_size=2", "method.max_length=256")
    shown = ("dataset.sample_size=64", "dataset.test_limit=8", "log.every=1", "log.progress=false")
    chosen = ("model=blank", "method=sft", "dataset=smoltalk", "evaluation=perplexity", "hardware.device=cpu")
    overrides = [*chosen, *small, *shown, f"run_dir='{folder}'"]
    run(compose(*overrides), overrides)
    return folder


@pytest.fixture
def hydras_old_defaults() -> Iterator[None]:
    """Hydra 1.1's defaults, which its own tests of launchers expect; what ran before may have asked for newer ones."""
    from hydra.version import VersionBase
    from packaging.version import Version

    state = VersionBase.instance()
    before = state.version_base
    state.setbase(Version("1.1"))
    yield
    state.version_base = before
