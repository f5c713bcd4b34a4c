"""How much memory training will take, estimated before anything is loaded: plain arithmetic, no torch.

The terms, with P all weights, T the trained ones (P, or the adapters'), b bytes of a weight:

    weights        P·b             b = 4; 2 for pure_bfloat16; 0.56 for nf4 (4 bits, and a scale every 64 weights)
                 + P·2             bfloat16 only: autocast's copies, which the backward pass keeps
    gradients      T·b             adapters are trained in float32
    optimizer      2·T·b           AdamW's two moments, in the weights' type
    reference      P·b             a second frozen model; none under LoRA (the adapters are switched off)
                 + F·b             a third one of F weights, a teacher
    activations    tokens · layers · (9·hidden·e + 4·intermediate·f)
                                   what a Llama block keeps for its backward pass; e, f bytes per number
    logits         logit tokens · vocabulary · 8      float32 logits and their gradient

Gradient checkpointing keeps one hidden vector a layer and token, and recomputes one layer at a time. The counts
9 and 4 and the bytes e, f were measured on a Llama with SDPA attention (saved tensors of one block). Left out:
the allocator's slack, CUDA's own context (about 0.5 GB), buffers of the attention kernel. Eager attention
keeps heads · length² more numbers a layer, which is not estimated.
"""

from __future__ import annotations

from dataclasses import dataclass, fields, replace

from rlpipe.config.kinds import Precision, Quantize
from rlpipe.hub.facts import Facts, local_facts

__all__ = ["Facts", "Memory", "estimate", "local_facts"]

WEIGHT_BYTES = {Precision.float32: 4.0, Precision.bfloat16: 4.0, Precision.pure_bfloat16: 2.0}
NF4_BYTES = 0.5 + 4 / 64
HIDDEN_BYTES = {Precision.float32: 4.0, Precision.bfloat16: 3.6, Precision.pure_bfloat16: 2.5}
"""Bytes per kept hidden number: the norms stay in float32 under autocast."""
SHARED = ("weights", "gradients", "optimizer", "reference")
"""What weights in shards divide; the block that is gathered while it computes comes on top, and is not estimated."""
INTERMEDIATE_BYTES = {Precision.float32: 4.0, Precision.bfloat16: 2.0, Precision.pure_bfloat16: 2.0}


@dataclass(frozen=True)
class Memory:
    """Estimated bytes at the peak of a training step, by what takes them."""

    weights: int
    gradients: int
    optimizer: int
    reference: int
    teacher: int
    activations: int
    logits: int

    @property
    def total(self) -> int:
        """All of it, in bytes."""
        return sum(getattr(self, entry.name) for entry in fields(self))

    def shared(self, processes: int) -> Memory:
        """Return what each of several processes takes where all share weights, gradients, optimiser and reference."""
        shares = {name: -(-getattr(self, name) // processes) for name in SHARED}
        return replace(self, **shares)

    def __str__(self) -> str:
        taken = {entry.name: getattr(self, entry.name) for entry in fields(self)}
        parts = [f"{name} {taken[name] / 1e9:.2f}" for name in taken if taken[name] or name != "teacher"]
        return f"{self.total / 1e9:.2f} GB ({', '.join(parts)})"


def estimate(
    parameters: int,
    *,
    precision: Precision,
    tokens: int,
    trainable: int | None = None,
    quantize: Quantize = Quantize.none,
    gradient_checkpointing: bool = False,
    reference: bool = False,
    teacher: int = 0,
    logit_tokens: int | None = None,
    facts: Facts | None = None,
) -> Memory:
    """Estimate the bytes that one device needs for a training step.

    `parameters` is P; `trainable` the number of adapter weights (`lora.parameter_count`), None when all
    weights are trained, 0 for evaluation alone; `tokens` the padded tokens of one micro-batch;
    `logit_tokens` those whose logits exist at once (None: all of them); `reference` whether a second
    model is kept, `teacher` the weights of another one. Without `facts` the shape is guessed from P: 64 numbers of
    width a layer.
    """
    full = trainable is None
    trained = parameters if trainable is None else trainable
    weight = NF4_BYTES if quantize is Quantize.nf4 else WEIGHT_BYTES[precision]
    casts = parameters * 2 if precision is Precision.bfloat16 and quantize is Quantize.none else 0
    trained_weight = weight if full else 4.0
    layers, hidden, intermediate, vocabulary = _shape(parameters, facts)
    layer_token = 9 * hidden * HIDDEN_BYTES[precision] + 4 * intermediate * INTERMEDIATE_BYTES[precision]
    if trained == 0:
        activations = tokens * layer_token
    elif gradient_checkpointing:
        stream = 2 if precision is Precision.pure_bfloat16 else 4
        activations = tokens * (layers * hidden * stream + layer_token)
    else:
        activations = tokens * layers * layer_token
    return Memory(
        weights=round(parameters * weight + casts),
        gradients=round(trained * trained_weight),
        optimizer=round(2 * trained * trained_weight),
        reference=round(parameters * (reference and full) * weight),
        teacher=round(teacher * weight),
        activations=round(activations),
        logits=(tokens if logit_tokens is None else logit_tokens) * vocabulary * 8,
    )


def _shape(parameters: int, facts: Facts | None) -> tuple[int, int, int, int]:
    """Return (layers, hidden, intermediate, vocabulary), guessed from the number of weights where unknown."""
    hidden = facts.hidden_size if facts and facts.hidden_size else round((parameters * 64 / 12) ** (1 / 3))
    layers = facts.layers if facts and facts.layers else max(1, round(hidden / 64))
    intermediate = facts.intermediate_size if facts and facts.intermediate_size else 4 * hidden
    vocabulary = facts.vocabulary if facts and facts.vocabulary else 32_000
    return layers, hidden, intermediate, vocabulary
