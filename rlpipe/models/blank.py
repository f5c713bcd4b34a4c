"""`blank`: a small Llama with weights made up from the seed, and rlpipe's own tokenizer. Needs no download."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rlpipe.config.kinds import Head, ModelConfig, Quantize
from rlpipe.config.settings import Changes, changing, setting
from rlpipe.core.errors import ModelError
from rlpipe.models.base import Loaded, Model
from rlpipe.models.pretrained import Pretrained, finish, load_tokenizer, weight_dtype

if TYPE_CHECKING:
    from transformers import PreTrainedModel

TOKENIZER = Path(__file__).parent / "tokenizer"
"""The shipped tokenizer: `train_tokenizer` makes it."""


@changing(Changes.result)
@dataclass
class BlankConfig(ModelConfig):
    """The shape of the network; the defaults give about a million weights."""

    dataset_source: str = "sample"
    hidden_size: int = setting(128, at_least=1, at_most=10**5)
    """Width of the residual stream."""
    layers: int = setting(4, at_least=1, at_most=1000)
    """Transformer blocks."""
    heads: int = setting(4, at_least=1, at_most=10**4)
    """Attention heads; must divide `hidden_size`."""
    kv_heads: int = setting(2, at_least=1, at_most=10**4)
    """Key and value heads, shared by the attention heads (arXiv:2305.13245); must divide `heads`."""
    intermediate_size: int = setting(384, at_least=1, at_most=10**6)
    """Width of the gated MLP."""
    context: int | None = 512


class Blank(Model):
    """A Llama with tied embeddings that knows nothing yet."""

    Config = BlankConfig
    config: BlankConfig
    made_of = TOKENIZER

    def load(self, source: str | None, head: Head, seed: int, device: str, scratch: Path) -> Loaded:
        """Make the weights up from `seed` and write them to `scratch`.

        With a `source` (a stage's folder, where a run starts from another run's model) it loads that
        instead. Raises ModelError for a shape that does not fit together, and for quantisation.
        """
        config = self.config
        if config.source is not None or config.revision is not None:
            raise ModelError(
                "model.source",
                "model=blank makes its weights up and reads none",
                "leave model.source and model.revision out, or load weights with model=hf",
            )
        if source is not None:
            return Pretrained(config).load(source, head, seed, device, scratch)
        if config.quantize is not Quantize.none:
            raise ModelError(
                f"model.quantize={config.quantize.value}",
                "weights that are not trained yet cannot be quantised",
                "model.quantize=none",
            )
        tokenizer = load_tokenizer(TOKENIZER)
        model = self._build(head, seed, len(tokenizer))
        notes = [f"weights: {model.num_parameters():,} made up from seed {seed}"]
        return finish(config, model, tokenizer, head, device, None, scratch, notes)

    def _build(self, head: Head, seed: int, vocabulary: int) -> PreTrainedModel:
        """Build the network with weights drawn from `seed` alone."""
        import torch
        from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification, LlamaConfig

        config = self.config
        self._check_shape()
        shape = LlamaConfig(
            vocab_size=vocabulary,
            hidden_size=config.hidden_size,
            num_hidden_layers=config.layers,
            num_attention_heads=config.heads,
            num_key_value_heads=config.kv_heads,
            intermediate_size=config.intermediate_size,
            max_position_embeddings=config.context or 0,
            tie_word_embeddings=True,
            bos_token_id=None,
            eos_token_id=None,
        )
        auto: Any = AutoModelForCausalLM
        if head is Head.reward:
            auto, shape.num_labels = AutoModelForSequenceClassification, 1
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            model: Any = auto.from_config(shape, dtype=torch.float32, attn_implementation=config.attention)
        built: PreTrainedModel = model.to(weight_dtype(config.precision))
        return built

    def _check_shape(self) -> None:
        """Raise ModelError for numbers that make no network."""
        config = self.config
        sizes = ("hidden_size", "layers", "heads", "kv_heads", "intermediate_size", "context")
        for name in sizes:
            if (getattr(config, name) or 0) < 1:
                raise ModelError(f"model.{name}={getattr(config, name)}", "must be 1 or more", "give a positive number")
        if config.hidden_size % (2 * config.heads):
            raise ModelError(
                f"model.heads={config.heads}",
                (
                    f"model.hidden_size={config.hidden_size} is no even multiple of it (rotary positions turn pairs "
                    "of numbers)"
                ),
                "take heads so that hidden_size / heads is even",
            )
        if config.heads % config.kv_heads:
            raise ModelError(
                f"model.kv_heads={config.kv_heads}",
                f"does not divide model.heads={config.heads}",
                "take a divisor of model.heads",
            )
