"""Resume, cached reference log-probabilities, and losses that are not numbers."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

METHODS = ("sft", "reward_model", "dpo", "kto", "orpo", "simpo")
SYNCED = {"precompute_reference": False, "sync_reference": True, "extra": {"ref_model_sync_steps": 2}}
CASES = [
    ("sft", {"lora_rank": 4}),
    *(
        pytest.param(name, options, marks=pytest.mark.slow)
        for name, options in [
            ("dpo", SYNCED),
            *((name, {}) for name in METHODS),
            *((name, {"lora_rank": 4}) for name in ("dpo", "kto", "orpo", "simpo")),
            ("sft", {"every": 1}),
            ("sft", {"group_by_length": False}),
        ]
    ),
]


@pytest.mark.parametrize(("name", "options"), CASES, ids=str)
def test_resumed_run_ends_with_the_same_weights(build, weights, tmp_path, name, options):
    """21 examples are 3 steps an epoch, the last of 5 rows: the checkpoint at step 4 lies inside the second epoch."""
    options = {"every": 4, "count": 21, **options}
    whole = build(tmp_path / "whole", name, **options)
    whole.train()
    checkpoint = tmp_path / "again" / "checkpoints" / f"checkpoint-{options['every']}"
    shutil.copytree(tmp_path / "whole" / "checkpoints" / checkpoint.name, checkpoint)
    again = build(tmp_path / "again", name, **options)
    before = weights(again.model)
    again.train(resume_from_checkpoint=str(checkpoint))
    assert weights(again.model) == weights(whole.model) != before
    counts = [row["num_tokens"] for row in whole.state.log_history if "loss" in row]
    assert [row["num_tokens"] for row in again.state.log_history if "loss" in row] == counts


@pytest.mark.slow
def test_where_trl_counts_no_tokens_they_are_counted_as_it_does_for_dpo(build, tmp_path):
    counts = []
    for name in ("dpo", "orpo", "simpo"):
        trainer = build(tmp_path / name, name, max_steps=3)  # one epoch, whatever the order
        trainer.train()
        counts.append([row["num_tokens"] for row in trainer.state.log_history if "loss" in row][-1])
    assert counts[0] == counts[1] == counts[2] > 0


@pytest.mark.parametrize("name", ["dpo", "kto"])
def test_reference_is_not_computed_again_in_the_same_run(build, tmp_path, monkeypatch, name):
    build(tmp_path, name)
    calls = []
    base = type(build(tmp_path / "other", name)).__mro__[2]
    monkeypatch.setattr(base, "compute_ref_log_probs", lambda *args: calls.append(args))
    again = build(tmp_path, name)
    assert not calls
    assert {"ref_chosen_logps", "ref_logps"} & set(again.train_dataset.column_names)


def test_data_of_other_content_lies_apart(build, tmp_path):
    build(tmp_path, "dpo", count=24)
    build(tmp_path, "dpo", count=25)
    assert len(list((tmp_path / "data").iterdir())) == 2


def test_order_is_the_same_for_every_number_of_micro_batches(build, tmp_path):
    def fed(trainer) -> list[list[int]]:
        trainer.order.set_epoch(1)
        return [list(trainer.order)[step * 8 : step * 8 + 8] for step in range(3)]

    one, two = (build(tmp_path / str(size), "sft", micro_batch_size=size) for size in (2, 8))
    assert fed(one) == fed(two)


def test_how_the_last_batch_is_cut_changes_the_result_by_rounding_only(build, tmp_path):
    """5 rows in micro-batches of 3 and 2, and in one: the library would count each of the 2 more than each of the 3."""
    losses = []
    for size in (4, 8):
        trainer = build(tmp_path / str(size), "dpo", micro_batch_size=size, count=13, max_steps=2)
        trainer.train()
        losses.append([(row["loss"], row["grad_norm"]) for row in trainer.state.log_history if "loss" in row])
    for one, other in zip(*losses, strict=True):
        assert one == pytest.approx(other, rel=1e-4)


@pytest.mark.parametrize("name", ["sft", "kto"])
def test_an_epoch_trains_every_row(build, tmp_path, monkeypatch, name):
    fed = []
    trainer = build(tmp_path, name, count=21, max_steps=None, epochs=1)
    collate = trainer.data_collator
    monkeypatch.setattr(trainer, "data_collator", lambda rows: fed.append(len(rows)) or collate(rows))
    trainer.train()
    assert fed == [4, 4, 4, 4, 3, 2]
    assert trainer.state.global_step == 3


def test_kto_rows_are_shuffled_but_stay_with_their_micro_batch(build, tmp_path):
    trainer = build(tmp_path, "kto", count=21)
    assert [example.id for example in trainer.tokenized.examples] != [f"train/{row}" for row in range(21)]
    completions, rotated = trainer.train_dataset["completion_ids"], trainer.train_dataset["KL_completion_ids"]
    for rows in trainer.micro_batches:
        assert sorted(completions[row] for row in rows) == sorted(rotated[row] for row in rows)
        assert rotated[rows[1]] == completions[rows[0]]


def test_no_library_says_anything_while_building(build, tmp_path, capfd):
    build(tmp_path, "dpo", max_steps=1).train()
    printed = capfd.readouterr()
    assert "Computing reference" not in printed.err
    assert "Map" not in printed.err
    assert "'loss'" not in printed.out


def test_folder_of_checkpoints_is_the_runs(build, tmp_path):
    build(tmp_path, "sft", max_steps=1).train()
    assert (Path(tmp_path) / "checkpoints" / "checkpoint-1" / "offline_state.json").exists()


@pytest.mark.slow
def test_the_watched_loss_has_an_interval(build, tmp_path):
    """24 rows in three batches of 8: the mean is the library's, the interval is that of the three."""
    trainer = build(tmp_path, "sft")
    trainer.eval_dataset = trainer.train_dataset
    for _ in range(2):  # the second time counts nothing of the first
        found = trainer.validate()
        assert len(trainer.batch_losses) == 3
    assert found["loss"] == pytest.approx(sum(trainer.batch_losses) / 3)
    assert found["loss_low"] < found["loss"] < found["loss_high"]


@pytest.mark.slow
@pytest.mark.parametrize("name", ["dpo", "kto", "orpo", "simpo", "reward_model"])
def test_losses_and_gradients_are_the_same_where_prompts_are_shared(build, tmp_path, name, monkeypatch):
    from rlpipe.engines import shared_prompts
    from rlpipe.engines.row_costs import Costs

    monkeypatch.setattr(shared_prompts, "costs", lambda model: Costs(share=True))
    found = []
    for share in (False, True):
        trainer = build(
            tmp_path / str(share), name, max_steps=3, share_prompt=share, lora_rank=0 if name == "reward_model" else 2
        )
        seen: list[int] = []
        watch = trainer.model.get_input_embeddings().register_forward_hook(
            lambda _, given, __, seen=seen: seen.append(given[0].numel())
        )
        trainer.train()
        watch.remove()
        found.append(
            ([(row["loss"], row["grad_norm"]) for row in trainer.state.log_history if "loss" in row], sum(seen))
        )
    (plain, tokens), (ours, fewer) = found
    assert fewer < (1.0 if name == "kto" else 0.9) * tokens
    for one, other in zip(plain, ours, strict=True):
        assert one == pytest.approx(other, rel=1e-4)
