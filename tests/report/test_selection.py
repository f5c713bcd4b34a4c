"""What a report says of a sweep's best arm: that it is selected, that it was confirmed, and what was pruned."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from rlpipe.records.attempts import Status
from rlpipe.records.runs import find
from rlpipe.records.sweep import Confirmation, Job, Kind, Sweep, setting_of
from rlpipe.report.compare import compare
from rlpipe.report.page.headline import main_evaluation, of_comparison
from rlpipe.report.tables import markdown
from tests.report.recorded import recorded


def swept(folder: Path, confirms: bool = False, held_out: bool = True) -> Path:
    """A sweep of beta 0.1 to 0.4 with two seeds each, of which 0.4 is best; one seed of 0.2 and all of 0.3 pruned."""
    sweep = Sweep.create(folder, launcher="local", objective=None)
    planned = [(beta, seed, False) for beta in (0.1, 0.2, 0.3, 0.4) for seed in (0, 1)]
    planned += [(0.4, seed, True) for seed in (2, 3, 4)] if confirms else []
    jobs = []
    for number, (beta, seed, confirming) in enumerate(planned):
        overrides = (f"method.beta={beta}", f"seed={seed}")
        pruned = beta == 0.3 or (beta, seed) == (0.2, 1)
        scores = [float(one) for one in beta + np.random.default_rng(number).normal(0, 0.02, 30)]
        ended = {"status": Status.pruned, "scores": None} if pruned else {"scores": scores}
        recorded(folder / str(number), seed=seed, method__beta=beta, overrides=overrides[:1], **ended)
        jobs.append(Job(str(number), Kind.arm, overrides, str(folder / str(number)), confirms=confirming))
    if confirms:
        setting = setting_of(jobs[-1].overrides)
        sweep.data["confirmation"] = vars(Confirmation(setting, 4, "accuracy/score on watched rows", held_out))
    sweep.add(jobs)
    return folder


def headline(folder: Path) -> dict:
    found = compare(find([folder]))
    return of_comparison(found, main_evaluation(found, None))


def test_pruned_arms_are_named_and_compared_with_nothing(tmp_path):
    found = compare(find([swept(tmp_path / "sweep")]))
    [evaluation] = found.evaluations
    assert [(arm.arm, len(arm.seeds)) for arm in evaluation.arms] == [
        ("beta=0.1", 2), ("beta=0.2", 1), ("beta=0.3", 0), ("beta=0.4", 2)
    ]  # fmt: skip
    assert {one.arm for one in evaluation.differences} == {"beta=0.2", "beta=0.4"}
    assert "sweep/3, sweep/4, sweep/5: pruned at a rung before the end, and not compared" in found.notes
    assert "beta=0.2: 1 of 2 seeds were pruned, and the others are its luckier ones" in found.notes
    assert "1 ok, 1 pruned" in markdown(found)


def test_without_confirmation_the_winner_s_number_is_said_to_flatter(tmp_path):
    folder = swept(tmp_path / "sweep")
    found = compare(find([folder]))
    [note] = [note for note in found.notes if "flatters it" in note]
    assert "best of these 4 arms" in note
    assert f"rlpipe sweep {folder} confirm" in note
    said = headline(folder)
    assert said["text"].startswith("beta=0.4 is better than beta=0.1")
    assert any("flatters it" in line for line in said["lines"])
    assert found.confirmed is None


@pytest.mark.parametrize("held_out", [True, False])
def test_the_headline_is_the_confirmed_number_with_what_it_was_chosen_from(tmp_path, held_out):
    folder = swept(tmp_path / "sweep", confirms=True, held_out=held_out)
    found = compare(find([folder]))
    arms = {arm.arm: arm for arm in found.evaluations[0].arms}
    fresh = arms["beta=0.4 (confirmed)"]
    assert [seed.seed for seed in fresh.seeds] == [2, 3, 4]
    assert [seed.seed for seed in arms["beta=0.4"].seeds] == [0, 1]
    assert fresh.low < 0.4 < fresh.high
    said = headline(folder)
    sure = f"{fresh.mean:.3g} (95 % interval {fresh.low:.3g} to {fresh.high:.3g})"
    assert said["text"] == (
        f"beta=0.4 (confirmed) scores {sure} on accuracy, over 3 fresh seeds; "
        "it was chosen from 4 arms by accuracy/score on watched rows."
    )
    assert any("luck is still in its number" in line for line in said["lines"]) is not held_out
    assert not any("confirm" in note and "flatters" in note for note in found.notes)
    assert found.to_plain()["confirmed"]["candidates"] == 4


def test_a_comparison_of_a_few_runs_is_no_selection(tmp_path):
    for beta in (0.1, 0.2, 0.3):
        recorded(tmp_path / str(beta), [beta] * 5, method__beta=beta)
    assert not any("flatters" in note for note in compare(find([tmp_path])).notes)
