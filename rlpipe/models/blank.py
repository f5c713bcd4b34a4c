"""`blank`: a small Llama with weights made up from the seed, and rlpipe's own tokenizer. Needs no download."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rlpipe.config.kinds import Head, ModelConfig, Quantize
from rlpipe.config.settings import Changes, changing, setting
from rlpipe.core.errors import ModelError, Problem
from rlpipe.hub.facts import Facts
from rlpipe.hub.inspection import vocabulary
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
    hidden_size: int = setting(128, at_least=1, at_most=10**5, timed=True)
    """Width of the residual stream."""
    layers: int = setting(4, at_least=1, at_most=1000, timed=True)
    """Transformer blocks."""
    heads: int = setting(4, at_least=1, at_most=10**4, timed=True)
    """Attention heads; must divide `hidden_size`."""
    kv_heads: int = setting(2, at_least=1, at_most=10**4, timed=True)
    """Key and value heads, shared by the attention heads (arXiv:2305.13245); must divide `heads`."""
    intermediate_size: int = setting(384, at_least=1, at_most=10**6, timed=True)
    """Width of the gated MLP."""
    context: int | None = 512


class Blank(Model):
    """A Llama with tied embeddings that knows nothing yet."""

    Config = BlankConfig
    config: BlankConfig
    made_of = TOKENIZER

    def problems(self) -> list[Problem]:
        """Say which numbers make no network, and what weights that are made up cannot be."""
        return list(self._problems())

    def _problems(self) -> Iterator[Problem]:
        config = self.config
        if config.source is not None or config.revision is not None:
            what = "model=blank makes its weights up and reads none"
            yield Problem("source", what, "leave source and revision out, or load weights with model=hf")
        if config.quantize is not Quantize.none:
            yield Problem("quantize", "weights that are not trained yet cannot be quantised", "model.quantize=none")
        if config.context is None:
            yield Problem("context", "is not given: a new network has no length of its own", "give one, such as 512")
        if config.heads > 0 and config.hidden_size % (2 * config.heads):
            what = f"{config.heads} does not divide hidden_size={config.hidden_size} into even parts"
            fix = "take heads so that hidden_size / heads is even (rotary positions turn pairs of numbers)"
            yield Problem("heads", what, fix)
        if config.kv_heads > 0 and config.heads % config.kv_heads:
            yield Problem(
                "kv_heads", f"{config.kv_heads} does not divide heads={config.heads}", "take a divisor of heads"
            )

    def facts(self) -> Facts:
        """Return the shape of the network; its embedding is tied to the head, and counts once."""
        config = self.config
        words, hidden = max((vocabulary(TOKENIZER) or {"": 0}).values()) + 1, config.hidden_size
        grouped = hidden // max(1, config.heads) * config.kv_heads
        shapes = {
            **{f"self_attn.{name}": (hidden, hidden) for name in ("q_proj", "o_proj")},
            **{f"self_attn.{name}": (grouped, hidden) for name in ("k_proj", "v_proj")},
            **{f"mlp.{name}": (config.intermediate_size, hidden) for name in ("gate_proj", "up_proj")},
            "mlp.down_proj": (hidden, config.intermediate_size),
        }
        modules = {f"model.layers.{n}.{name}": shape for n in range(config.layers) for name, shape in shapes.items()}
        matrices = sum(rows * columns for rows, columns in modules.values())
        return Facts(
            parameters=words * hidden + matrices + (2 * config.layers + 1) * hidden,
            context=config.context,
            vocabulary=words,
            layers=config.layers,
            hidden_size=hidden,
            intermediate_size=config.intermediate_size,
            reward_head=False,
            linear_modules=modules,
        )

    def load(self, source: str | None, head: Head, seed: int, device: str, scratch: Path) -> Loaded:
        """Make the weights up from `seed` and write them to `scratch`.

        With a `source` (a stage's folder, where a run starts from another run's model) it loads that
        instead. Raises ModelError for a shape that does not fit together, and for quantisation.
        """
        config = self.config
        if source is not None:
            return Pretrained(config).load(source, head, seed, device, scratch)
        for problem in self.problems():
            raise ModelError(f"model.{problem.where}", problem.what, problem.fix)
        tokenizer = load_tokenizer(TOKENIZER)
        model = self._build(head, seed, len(tokenizer))
        notes = [f"weights: {model.num_parameters():,} made up from seed {seed}"]
        return finish(config, model, tokenizer, head, device, None, scratch, notes)

    def _build(self, head: Head, seed: int, vocabulary: int) -> PreTrainedModel:
        """Build the network with weights drawn from `seed` alone."""
        import torch
        from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification, LlamaConfig

        config = self.config
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
