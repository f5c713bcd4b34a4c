"""Log-probabilities for ORPO's and CPO's losses without the logits of all positions.

Their trainers ask the model for the logits [2B, T, V] of every token, padding included, and take two numbers of each
row from them. TRL's fused head (`add_fused_lm_head`, as its DPO uses it) gives these numbers chunk by chunk, for the
tokens that count alone. Importing this module imports torch.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from rlpipe.engines.decoder import causal_lm

AVERAGED = ("ipo", "simpo")
"""CPO's losses of the mean log-probability of a token; ORPO's is one too, and the others sum."""


def fuse(model: nn.Module) -> None:
    """Give the model the fused head, beside its own forward."""
    from trl.trainer.utils import add_fused_lm_head

    add_fused_lm_head(causal_lm(model), outputs=("log_probs", "mean_logits"))


def concatenated_forward(trainer: Any, model: nn.Module, batch: dict[str, Any]) -> tuple[Tensor, ...]:
    """Return what TRL's method of this name does; each B rows, chosen and rejected.

    Log-probabilities of the completions [B] and [B], their mean logits at each token that counts, and the negative
    log-likelihood of a chosen token (ORPO: of the whole sequence, prompt included, as TRL's trainer has it).
    """
    whole = trainer.method.trains_chosen_prompt
    inputs = trainer.concatenated_inputs(
        batch, padding_value=trainer.processing_class.pad_token_id, device=trainer.accelerator.device
    )
    ids, seen, labels = (inputs[f"concatenated_{name}"] for name in ("input_ids", "attention_mask", "labels"))
    pairs = len(batch["chosen_labels"])
    wanted = labels.clone()
    if whole:
        wanted[:pairs] = ids[:pairs].masked_fill(seen[:pairs] == 0, -100)
    aux = {"output_router_logits": True} if trainer.aux_loss_enabled else {}
    made = model(ids, attention_mask=seen, labels=wanted, use_cache=False, fused_lm_head=True, **aux)
    completion = labels[:, 1:] != -100
    sums = (made.log_probs * completion).sum(-1)
    averaged = getattr(trainer, "loss_type", AVERAGED[0]) in AVERAGED
    logps = sums / completion.sum(-1) if averaged else sums
    logits = [part[kept] for part, kept in zip(made.mean_logits.split(pairs), completion.split(pairs), strict=True)]
    likelihood = _likelihood(trainer, made.log_probs[:pairs], wanted[:pairs, 1:] != -100)
    found = (*logps.split(pairs), *logits, likelihood)
    return (*found, made.aux_loss) if aux else found


def _likelihood(trainer: Any, logps: Tensor, counted: Tensor) -> Tensor:
    """Return the mean negative log-likelihood of the tokens that count; 0 where CPO's loss leaves it out."""
    if getattr(trainer, "cpo_alpha", 1.0) == 0:
        return torch.tensor(0.0, device=logps.device)
    return -logps[counted].mean()
