"""The architectures that can be written as GGUF: their settings, and what llama.cpp lays out in another way.

What llama.cpp expects is what its converter writes (https://github.com/ggml-org/llama.cpp, `convert_hf_to_gguf.py`);
the names of tensors are those of the `gguf` package. Nothing here is heavy to import.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch


class Architecture:
    """One architecture: `config` is the model's, as transformers reads it."""

    name = ""
    """What GGUF calls it."""
    activations: tuple[str, ...] = ("silu",)
    """What llama.cpp computes between the layers of its feed-forward network."""
    unread: tuple[str, ...] = ()
    """Settings that the file holds and transformers does not read from it."""

    def __init__(self, config: Any):
        self.config = config

    def unsupported(self) -> Iterator[str]:
        """Yield the settings that llama.cpp would compute otherwise, so that the model would be another."""
        if self.activation not in self.activations:
            yield f"activation {self.activation}"

    @property
    def activation(self) -> str:
        """What the model computes between the layers of its feed-forward network."""
        return str(self.config.hidden_act)

    def describe(self, writer: Any) -> None:
        """Add the model's shape to a `gguf.GGUFWriter`."""
        config = self.config
        writer.add_context_length(config.max_position_embeddings)
        writer.add_embedding_length(config.hidden_size)
        writer.add_block_count(config.num_hidden_layers)
        writer.add_head_count(config.num_attention_heads)

    def ignored(self, name: str) -> bool:
        """Tell whether a tensor of the folder is no weight."""
        return name.endswith("rotary_emb.inv_freq")

    def transposed(self, name: str) -> bool:
        """Tell whether GGUF has a matrix of the folder with rows and columns exchanged."""
        return False

    def laid_out(self, name: str, weight: torch.Tensor) -> torch.Tensor:
        """Return a weight of the folder as llama.cpp has it."""
        return weight.T if self.transposed(name) else weight

    def computed(self) -> Mapping[str, torch.Tensor]:
        """Return tensors that the folder's config implies, by their names in GGUF."""
        return {}


class Llama(Architecture):
    """Llama, and with its settings also SmolLM2 and rlpipe's toy."""

    name = "llama"
    unread: tuple[str, ...] = ("rope_parameters",)

    def unsupported(self) -> Iterator[str]:
        """Yield what of the rotary embedding and the attention llama.cpp would compute otherwise."""
        yield from super().unsupported()
        if self.rope["rope_type"] not in ("default", "llama3"):
            yield f"rotary embedding {self.rope['rope_type']}"
        if "sliding_attention" in (getattr(self.config, "layer_types", None) or ()):
            yield "attention with a sliding window"

    @property
    def rope(self) -> dict[str, Any]:
        """The settings of the rotary embedding."""
        return dict(self.config.rope_parameters)

    @property
    def head_size(self) -> int:
        """Dimensions of one head's keys."""
        config = self.config
        return getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads

    def describe(self, writer: Any) -> None:
        """Add the model's shape, its normalisation and its rotary embedding."""
        super().describe(writer)
        writer.add_feed_forward_length(self.config.intermediate_size)
        writer.add_head_count_kv(self.config.num_key_value_heads)
        writer.add_layer_norm_rms_eps(self.config.rms_norm_eps)
        writer.add_rope_freq_base(self.rope["rope_theta"])
        writer.add_rope_dimension_count(self.head_size)
        writer.add_key_length(self.head_size)
        writer.add_value_length(self.head_size)

    def laid_out(self, name: str, weight: torch.Tensor) -> torch.Tensor:
        """Return a weight with the halves of each rotated head interleaved, as the first Llama had them."""
        heads = {"q_proj": self.config.num_attention_heads, "k_proj": self.config.num_key_value_heads}
        count = heads.get(name.split(".")[-2])
        if count is None:
            return weight
        halves = weight.reshape(count, 2, weight.shape[0] // count // 2, *weight.shape[1:])
        return halves.swapaxes(1, 2).reshape(weight.shape)

    def computed(self) -> Mapping[str, torch.Tensor]:
        """Return what Llama 3's rotary embedding divides each frequency by."""
        if self.rope["rope_type"] == "default":
            return {}
        import torch
        from transformers.modeling_rope_utils import ROPE_INIT_FUNCTIONS

        scaled, _ = ROPE_INIT_FUNCTIONS[self.rope["rope_type"]](self.config, torch.device("cpu"))
        places = torch.arange(0, self.head_size, 2, dtype=torch.float32) / self.head_size
        return {"rope_freqs.weight": 1 / self.rope["rope_theta"] ** places / scaled}


class Qwen2(Llama):
    """Qwen2 and Qwen2.5, whose heads lie as in transformers."""

    name = "qwen2"
    unread: tuple[str, ...] = ()

    def unsupported(self) -> Iterator[str]:
        """Yield what llama.cpp would compute otherwise; it scales no rotary embedding here by Llama 3's rule."""
        yield from super().unsupported()
        if self.rope["rope_type"] == "llama3":
            yield "rotary embedding llama3"

    def laid_out(self, name: str, weight: torch.Tensor) -> torch.Tensor:
        """Return a weight as it is."""
        return weight


class Qwen3(Qwen2):
    """Qwen3, with normalised heads and without biases."""

    name = "qwen3"
    unread = ("head_dim",)

    def unsupported(self) -> Iterator[str]:
        """Yield what llama.cpp would compute otherwise."""
        yield from super().unsupported()
        if self.config.attention_bias:
            yield "attention with biases"


class Gpt2(Architecture):
    """GPT-2, which keeps its matrices transposed."""

    name = "gpt2"
    activations = ("gelu_new",)
    unread = ("n_positions",)

    @property
    def activation(self) -> str:
        """What the model computes between the layers of its feed-forward network."""
        return str(self.config.activation_function)

    def unsupported(self) -> Iterator[str]:
        """Yield what of the attention's scale llama.cpp would compute otherwise."""
        yield from super().unsupported()
        if self.config.scale_attn_by_inverse_layer_idx or not self.config.scale_attn_weights:
            yield "attention with another scale"

    def describe(self, writer: Any) -> None:
        """Add the model's shape and its normalisation."""
        super().describe(writer)
        writer.add_feed_forward_length(self.config.n_inner or 4 * self.config.hidden_size)
        writer.add_layer_norm_eps(self.config.layer_norm_epsilon)

    def ignored(self, name: str) -> bool:
        """Tell whether a tensor is the causal mask, which old folders hold."""
        return name.endswith((".attn.bias", ".attn.masked_bias"))

    def transposed(self, name: str) -> bool:
        """Tell whether a weight is one of transformers' `Conv1D`."""
        return name.endswith((".c_attn.weight", ".c_proj.weight", ".c_fc.weight"))


ARCHITECTURES: dict[str, type[Architecture]] = {
    "LlamaForCausalLM": Llama,
    "Qwen2ForCausalLM": Qwen2,
    "Qwen3ForCausalLM": Qwen3,
    "GPT2LMHeadModel": Gpt2,
}
"""By the name of the model's class in transformers, as its config has it."""
