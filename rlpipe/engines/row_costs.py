"""What rows of tokens cost on their way through a network. Nothing here imports torch."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Costs:
    """What a forward and backward pass costs, in units of one token's way through the linear layers.

    A row of T tokens costs `T + causal · T²` with one completion and `T + masked · T²` with several; R rows padded to T
    tokens cost `call` more than R times that. `shared_prefix.costs` derives the numbers from a model.
    """

    share: bool
    """Whether completions may share a row at all."""
    causal: float = 0.0
    """Attention within a row that holds one completion, per squared token."""
    masked: float = 0.0
    """Attention within a row that holds several completions (dense mask), per squared token."""
    call: float = 0.0
    """What every micro-batch costs, whatever its size, in tokens."""

    def row(self, length: int, completions: int) -> float:
        """Return the cost of a row of `length` tokens that holds this many completions."""
        return length + (self.causal if completions == 1 else self.masked) * length**2
