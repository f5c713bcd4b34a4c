from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from rlpipe.config.kinds import Head, ModelConfig
from rlpipe.models.base import Loaded
from rlpipe.models.blank import Blank, BlankConfig
from rlpipe.models.pretrained import Pretrained

Load = Callable[..., Loaded]


@pytest.fixture
def load(tmp_path: Path) -> Load:
    """Load a folder as `model=hf` does; keyword arguments are fields of the model's config."""

    def call(source: Path | str, head: Head = Head.causal_lm, seed: int = 0, **fields: object) -> Loaded:
        config = ModelConfig(name="pretrained", **fields)
        return Pretrained(config).load(str(source), head, seed, "cpu", tmp_path / "start")

    return call


@pytest.fixture
def make(tmp_path: Path) -> Load:
    """Build a small blank model."""

    def call(head: Head = Head.causal_lm, seed: int = 0, scratch: str = "start", **fields: object) -> Loaded:
        shape = {"hidden_size": 32, "layers": 2, "heads": 2, "kv_heads": 1, "intermediate_size": 48, "context": 128}
        config = BlankConfig(name="blank", **(shape | fields))
        return Blank(config).load(None, head, seed, "cpu", tmp_path / scratch)

    return call


@pytest.fixture(scope="session")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a small prepared model; tests that damage it copy it first."""
    folder = tmp_path_factory.mktemp("small") / "model"
    config = BlankConfig(name="blank", hidden_size=32, layers=2, heads=2, kv_heads=1, intermediate_size=48, context=128)
    Blank(config).load(None, Head.causal_lm, 0, "cpu", folder)
    return folder


@pytest.fixture
def copied(small: Path, tmp_path: Path) -> Path:
    """A copy of the small model's folder, to damage."""
    return Path(shutil.copytree(small, tmp_path / "copied"))


@pytest.fixture(scope="session")
def stories(shared_dir: Path) -> Path:
    """A real base model of 260 k weights: no chat template, no pad token, vocabulary 512."""
    return shared_dir / "models" / "stories260k"


@pytest.fixture(scope="session")
def qwen(shared_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Qwen2.5's real tokenizer and template on random weights of its shape, vocabulary padded to 151,936 as there."""
    import torch
    from transformers import Qwen2Config, Qwen2ForCausalLM

    folder = tmp_path_factory.mktemp("qwen") / "model"
    shape = Qwen2Config(
        vocab_size=151_936,
        hidden_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        num_key_value_heads=1,
        intermediate_size=32,
        max_position_embeddings=256,
        tie_word_embeddings=True,
        bos_token_id=151_643,
        eos_token_id=151_643,
    )
    torch.manual_seed(0)
    Qwen2ForCausalLM(shape).save_pretrained(folder)
    for file in (shared_dir / "models" / "qwen2.5-tokenizer").iterdir():
        shutil.copyfile(file, folder / file.name)
    return folder
