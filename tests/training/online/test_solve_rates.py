"""Prompts leave and enter by how often the policy solves them."""

from __future__ import annotations

import json
import shutil

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rlpipe.datasets.forms import Prompt
from rlpipe.engines.rollout import Finish, Rollout, Score
from rlpipe.methods.online import SolveRateConfig
from rlpipe.training.online.solve_rates import SolveRates

WINDOW = SolveRateConfig(least=0.2, most=0.8, retry=2)


def group(prompt: str, *values: float) -> list[Rollout]:
    made = [Rollout(Prompt(prompt, []), [1], [1], [0.0], [True], "", Finish.stop) for _ in values]
    for rollout, value in zip(made, values, strict=True):
        rollout.scores = {"right": Score(value), "style": Score(0.3)}
    return made


def test_a_rate_runs_and_decides_who_is_drawn():
    rates = SolveRates(WINDOW, ["right"])
    rates.note([group("easy", 1, 1), group("hard", 0, 0.9), group("good", 1, 0)], epoch=0)
    assert rates.rates == {"easy": 1, "hard": 0, "good": 0.5}
    assert [rates.due(one, 1) for one in ("easy", "hard", "good", "new")] == [False, False, True, True]
    assert rates.due("hard", 2), "it is tried again"
    assert rates.numbers() == {"solve_rate": 0.5, "left_out": pytest.approx(2 / 3)}
    rates.note([group("hard", 1, 0)], epoch=2)
    assert rates.rates["hard"] == 0.25
    assert rates.due("hard", 3), "it has entered"
    again = SolveRates(WINDOW, ["right"])
    again.restore(json.loads(json.dumps(rates.state())))
    assert again.state() == rates.state()


@given(st.dictionaries(st.integers(0, 9), st.sampled_from([0, 1, 2])), st.integers(1, 3))
@settings(max_examples=30)
def test_there_are_always_enough_prompts_and_none_is_twice_in_a_batch(solved, retry):
    from unittest.mock import Mock

    from rlpipe.methods.grpo import GRPO
    from rlpipe.training.online.drawing import Drawing
    from rlpipe.training.online.prompt_batches import fit

    window = SolveRateConfig(least=0.2, most=0.8, retry=retry)
    config = GRPO.Config(name="grpo", batch_size=8, group_size=2, solve_rate=window)
    prompts = fit([Prompt(str(row), []) for row in range(10)], [1] * 10, config, 0)
    drawing = Drawing(GRPO(config), Mock(), Mock(rewards={"right": Mock(verifies=True)}), prompts)
    after = 0
    for _ in range(12):
        taken, after = drawing._prompts(drawing.pending, after)
        assert len({one.id for one in taken}) == 4
        epoch = (after - 1) // prompts.batches
        right = [solved.get(int(one.id), 1) for one in taken]
        values = {one.id: [1] * count + [0] * (2 - count) for one, count in zip(taken, right, strict=True)}
        drawing.rates.note([group(id, *each) for id, each in values.items()], epoch)


class Verified:
    """Calls the completions of every third prompt right, of every third wrong, and half of the others' right."""

    def __init__(self):
        self.scored = []

    def __call__(self, rollouts):
        self.scored += [one.prompt.columns["row"] for one in rollouts[::4]]
        kinds = [one.prompt.columns["row"] % 3 for one in rollouts]
        return [Score(float(kind == 0 or (kind == 1 and place % 2 == 0))) for place, kind in enumerate(kinds)]


def train(training, small_model, folder, monkeypatch, checkpoint=None):
    """Train 6 batches of 4 prompts of 16; return the trainer and the rows of the prompts that were scored."""
    monkeypatch.setattr(training.Letters, "verifies", True)
    window = SolveRateConfig(least=0.1, most=0.9, retry=3)
    options = {"solve_rate": window, "minibatches": 1, "epochs_per_batch": 1, "batch_size": 16, "max_steps": 8}
    trainer = training.build(small_model, folder, "grpo", every=5, kl_coef=0.0, **options)
    trainer.collector.rewards.rewards["letters"].score = verified = Verified()
    trainer.train(resume_from_checkpoint=checkpoint)
    return trainer, verified.scored


def test_what_is_always_or_never_solved_is_passed_over(training, small_model, tmp_path, monkeypatch):
    trainer, scored = train(training, small_model, tmp_path, monkeypatch)
    assert sorted(scored[:16]) == list(range(16)), "all are tried once"
    assert {row % 3 for row in scored[16:20]} == {1}
    last = [row for row in trainer.state.log_history if "left_out" in row][-1]
    assert last["left_out"] == pytest.approx(11 / 16)
    assert trainer.collector.drawing.rates.rates["train/1"] == 0.5


@pytest.mark.slow
def test_a_resumed_run_passes_over_the_same_prompts(training, small_model, tmp_path, monkeypatch):
    """Step 5 lies where some prompts are left out, and some wait for the next batch."""
    whole, scored = train(training, small_model, tmp_path / "whole", monkeypatch)
    checkpoint = tmp_path / "again" / "checkpoints" / "checkpoint-5"
    shutil.copytree(tmp_path / "whole" / "checkpoints" / checkpoint.name, checkpoint)
    assert json.loads((checkpoint / "online_state.json").read_text())["solve_rates"]["rates"]
    again, rest = train(training, small_model, tmp_path / "again", monkeypatch, str(checkpoint))
    assert rest == scored[-len(rest) :]
    assert len(rest) == 12
    assert training.digest(again.model) == training.digest(whole.model)
