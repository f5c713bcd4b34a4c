"""Tokens as the columns that TRL's trainers and collators read."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from rlpipe.datasets.forms import Example
from rlpipe.models.tokens import Tokens

Columns = dict[str, list[Any]]

IGNORED = -100
"""The label of a token that is not trained."""


def language(examples: Sequence[Example], tokens: Sequence[Tokens], whole: bool = False) -> Columns:
    """Lay out for SFTTrainer: tokens and their labels; `whole` trains the prompt as well."""
    labels = []
    for row in tokens:
        answer = row.answers[0]
        spoken = row.spoken if row.spoken is not None else (True,) * len(answer)
        trained = [token if wanted else IGNORED for token, wanted in zip(answer, spoken, strict=True)]
        labels.append(row.prompt + answer if whole else [IGNORED] * len(row.prompt) + trained)
    return {"input_ids": [row.prompt + row.answers[0] for row in tokens], "labels": labels}


def pair(examples: Sequence[Example], tokens: Sequence[Tokens]) -> Columns:
    """Lay out for DPOTrainer: the prompt and its two completions."""
    return {
        "prompt_ids": [row.prompt for row in tokens],
        "chosen_ids": [row.answers[0] for row in tokens],
        "rejected_ids": [row.answers[1] for row in tokens],
    }


def sequences(examples: Sequence[Example], tokens: Sequence[Tokens]) -> Columns:
    """Lay out for RewardTrainer: two whole sequences."""
    return {
        "chosen_ids": [row.prompt + row.answers[0] for row in tokens],
        "rejected_ids": [row.prompt + row.answers[1] for row in tokens],
    }


def concatenated(examples: Sequence[Example], tokens: Sequence[Tokens]) -> Columns:
    """Lay out for ORPOTrainer and CPOTrainer: two whole sequences with masks and labels.

    Unlike TRL's own preparation no end-of-sequence token is put behind a template's end of turn: no
    generation would ever see it.
    """
    columns: Columns = {}
    for place, name in enumerate(("chosen", "rejected")):
        columns[f"{name}_input_ids"] = [row.prompt + row.answers[place] for row in tokens]
        columns[f"{name}_attention_mask"] = [[1] * len(ids) for ids in columns[f"{name}_input_ids"]]
        columns[f"{name}_labels"] = [[IGNORED] * len(row.prompt) + row.answers[place] for row in tokens]
    columns["prompt_input_ids"] = [row.prompt for row in tokens]
    columns["prompt_attention_mask"] = [[1] * len(row.prompt) for row in tokens]
    return columns


def labelled(examples: Sequence[Example], tokens: Sequence[Tokens], micro_batches: Sequence[int]) -> Columns:
    """Lay out for KTOTrainer: prompt, completion, label, and another row's completion.

    `micro_batches` are the rows of each, one after another. The mismatched completion that estimates the KL term is
    the one of the row before in the same micro-batch (arXiv:2402.01306, section 4.1), so its rows must stay together.
    """
    completions = [row.answers[0] for row in tokens]
    rotated: list[list[int]] = []
    for rows in micro_batches:
        part = completions[len(rotated) : len(rotated) + rows]
        rotated += part[-1:] + part[:-1]
    rotated += completions[len(rotated) :]  # these fill no micro-batch, and are not trained
    return {
        "prompt_ids": [row.prompt for row in tokens],
        "completion_ids": completions,
        "KL_completion_ids": rotated,
        "label": [example.label for example in examples],  # type: ignore[attr-defined]
    }
