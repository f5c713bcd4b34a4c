"""Comparisons of runs as they are found on a disk: the good ones, and all that can be wrong."""

import json

import numpy as np
import pytest

from rlpipe.core.errors import RlpipeError
from rlpipe.core.files import write_lines
from rlpipe.records.record import Record, Status
from rlpipe.records.runs import find
from rlpipe.records.sweep import Job, Kind, Sweep
from rlpipe.report.compare import compare
from rlpipe.report.page import provenance
from tests.report.recorded import PROTOCOL, config, recorded, rows

DRAW = np.random.default_rng(0)
START = DRAW.bit_generator.state
N = 60


@pytest.fixture(autouse=True)
def same_numbers():
    """Every test draws the same numbers, whichever ran before."""
    DRAW.bit_generator.state = START


def scores(mean, count=N, spread=0.3):
    return [float(one) for one in np.round(DRAW.normal(mean, spread, count), 4)]


def binary(rate, count=N):
    return [float(place < rate * count) for place in range(count)]


def two_arms(folder, gap=0.5, seeds=(0, 1, 2), **settings):
    """Arms beta=0.1 and beta=0.2, of which the second is better by `gap`."""
    examples = np.array(scores(0.0))
    for seed in seeds:
        for beta in (0.1, 0.2):
            own = examples + gap * (beta == 0.2) + DRAW.normal(0, 0.1, N) + DRAW.normal(0, 0.02)
            recorded(folder / f"{beta}-{seed}", [float(one) for one in own], seed=seed, method__beta=beta, **settings)
    return find([folder])


def test_a_clear_difference_is_found_with_its_size(tmp_path):
    found = compare(two_arms(tmp_path))
    (evaluation,) = found.evaluations
    assert found.baseline == "beta=0.1"
    assert [arm.label for arm in found.arms] == ["beta=0.1", "beta=0.2"]
    (difference,) = evaluation.differences
    assert difference.verdict == "better"
    assert difference.low < 0.5 < difference.high
    assert difference.high - difference.low < 0.3
    assert difference.p_holm < 0.05
    assert difference.paired == "seeds and examples"
    assert (difference.seeds, difference.examples) == (3, N)
    assert difference.words.startswith("better than beta=0.1: +0.")
    assert difference.settle == ""
    for arm in evaluation.arms:
        assert len(arm.seeds) == 3
        assert arm.low < arm.mean < arm.high
        assert arm.note == ""
    assert all(arm.cost["tokens"] == 30 for arm in found.arms)


def test_another_baseline_turns_the_difference_round(tmp_path):
    runs = two_arms(tmp_path)
    one, other = (compare(runs, baseline=label).evaluations[0].differences[0] for label in ("beta=0.1", "beta=0.2"))
    assert other.verdict == "worse"
    assert other.value == pytest.approx(-one.value)
    assert other.low == pytest.approx(-one.high)
    assert other.p == pytest.approx(one.p)


def test_a_small_difference_is_not_separable_and_says_what_would_settle_it(tmp_path):
    (difference,) = compare(two_arms(tmp_path, gap=0.02, seeds=(0, 1))).evaluations[0].differences
    assert difference.verdict == "not separable"
    assert difference.words.startswith("not separable from beta=0.1")
    assert "would settle" in difference.settle
    assert difference.low < 0 < difference.high


def test_an_arm_that_is_the_baseline_itself_differs_in_nothing(tmp_path):
    for beta in (0.1, 0.2):
        recorded(tmp_path / str(beta), binary(0.5), method__beta=beta)
    (difference,) = compare(find([tmp_path])).evaluations[0].differences
    assert difference.value == 0
    assert difference.verdict == "not separable"
    assert difference.p == 1
    assert difference.low < 0 < difference.high


def test_numbers_are_those_of_the_scores(tmp_path):
    recorded(tmp_path / "a", [1.0, 0.0, 1.0, 1.0], method__beta=0.1)
    recorded(tmp_path / "b", [0.0, 0.0, 1.0, 0.0], method__beta=0.2)
    (evaluation,) = compare(find([tmp_path])).evaluations
    assert [arm.mean for arm in evaluation.arms] == [0.75, 0.25]
    assert evaluation.differences[0].value == -0.5
    assert all("one seed" in arm.note for arm in evaluation.arms)
    assert "how far seeds matter is not known" in evaluation.differences[0].words


def test_many_comparisons_are_corrected_together(tmp_path):
    for place in range(6):
        recorded(tmp_path / str(place), scores(0.08 * place), method__beta=float(place))
    differences = compare(find([tmp_path])).evaluations[0].differences
    assert len(differences) == 5
    assert all(one.p <= one.p_holm <= 5 * one.p + 1e-12 for one in differences)
    assert "corrected for 5 comparisons" in differences[0].words


def test_one_arm_is_compared_with_its_own_start(tmp_path):
    for seed in (0, 1, 2):
        before = scores(0.0)
        after = [one + 0.3 + float(DRAW.normal(0, 0.05)) for one in before]
        recorded(tmp_path / str(seed), after, before=before, seed=seed)
    found = compare(find([tmp_path]))
    (difference,) = found.evaluations[0].differences
    assert found.baseline == difference.baseline == "before"
    assert difference.verdict == "better"
    assert difference.value == pytest.approx(0.3, abs=0.02)
    assert "better than its own start" in difference.words


def test_arms_without_shared_seeds_are_compared_without_pairing_them(tmp_path):
    for beta, seeds in ((0.1, (0, 1)), (0.2, (2, 3, 4))):
        for seed in seeds:
            recorded(tmp_path / f"{seed}", scores(beta * 10), seed=seed, method__beta=beta)
    (difference,) = compare(find([tmp_path])).evaluations[0].differences
    assert difference.paired == "examples"
    assert difference.seeds == 2
    assert difference.value == pytest.approx(1, abs=0.15)
    assert difference.low < difference.value < difference.high
    assert "share no two seeds" in difference.words


def test_a_seed_that_is_missing_in_one_arm_leaves_the_others_paired(tmp_path):
    two_arms(tmp_path)
    (tmp_path / "0.2-2/result.json").unlink()
    (tmp_path / "0.2-2/evaluations/accuracy.after.jsonl").unlink()
    found = compare(find([tmp_path]))
    (difference,) = found.evaluations[0].differences
    assert difference.seeds == 2
    assert "on the 2 seeds that both have, of 3" in difference.words
    assert [run.standing for run in found.arms[1].runs] == ["ok", "ok", "killed"]


# -- what can be wrong


def test_different_tasks_are_refused_and_named(tmp_path):
    recorded(tmp_path / "a", binary(0.5))
    recorded(tmp_path / "b", binary(0.7), protocol=PROTOCOL | {"dataset": {"name": "math"}}, dataset__name="math")
    recorded(tmp_path / "c", binary(0.9), dataset__name="other", name="win_rate")
    found = compare(find([tmp_path]))
    accuracy = found.evaluations[0]
    assert [evaluation.name for evaluation in found.evaluations] == ["accuracy", "win_rate"]
    assert accuracy.differences == []
    (refusal,) = accuracy.refused
    assert (refusal.arm, refusal.runs) == ("math", ["b"])
    assert refusal.reasons == ['dataset.name: "math" against "gsm8k"']
    # its own mean stands all the same
    assert accuracy.arms[1].mean == pytest.approx(0.7)
    assert accuracy.arms[2].mean is None


def test_no_common_examples(tmp_path):
    recorded(tmp_path / "a", [1.0, 0.0])
    recorded(tmp_path / "b", [1.0, 0.0], ids=["x", "y"], method__beta=0.2)
    (evaluation,) = compare(find([tmp_path])).evaluations
    assert evaluation.differences == []
    assert "no common examples" in evaluation.refused[0].reasons[0]


def test_one_example(tmp_path):
    for beta in (0.1, 0.2):
        recorded(tmp_path / str(beta), [beta], method__beta=beta)
    (evaluation,) = compare(find([tmp_path])).evaluations
    (difference,) = evaluation.differences
    assert evaluation.arms[0].note == "one example: no interval"
    assert evaluation.arms[0].low is None
    assert difference.verdict == "not separable"
    assert difference.p is None
    assert "one common example says nothing about others" in difference.words


@pytest.mark.parametrize("value", [1.0, 0.37])
def test_scores_that_are_all_equal(tmp_path, value):
    for beta in (0.1, 0.2):
        recorded(tmp_path / str(beta), [value] * 30, method__beta=beta)
    (evaluation,) = compare(find([tmp_path])).evaluations
    (difference,) = evaluation.differences
    assert difference.value == 0
    assert difference.verdict == "not separable"
    if value == 1.0:  # right and wrong: even 30 of 30 leave room for a few wrong ones
        assert evaluation.arms[0].low < 0.95
        assert evaluation.arms[0].high == 1
    else:
        assert evaluation.arms[0].note == "all scores are equal: no interval"
        assert "every number is the same in both" in difference.words


def test_numbers_that_are_none_are_left_out_and_counted(tmp_path):
    recorded(tmp_path / "a", [None, *binary(0.5, 20)])
    recorded(tmp_path / "b", binary(0.5, 21), method__beta=0.2)
    recorded(tmp_path / "c", [None] * 21, method__beta=0.3)
    (evaluation,) = compare(find([tmp_path])).evaluations
    assert evaluation.notes == [
        "a: 1 examples without a finite number are left out",
        "c: no example has a finite number",
    ]
    assert evaluation.differences[0].examples == 20
    assert [arm.mean is None for arm in evaluation.arms] == [False, False, True]
    assert evaluation.arms[2].note == "no result"


def test_runs_that_go_on_failed_or_never_began_are_shown(tmp_path):
    sweep = Sweep.create(tmp_path / "sweep", command="x")
    seeds = [Job(str(seed), Kind.arm, (f"seed={seed}",), run_dir=str(sweep.folder / str(seed))) for seed in range(4)]
    sweep.add(seeds)
    recorded(sweep.folder / "0", binary(0.5), before=binary(0.4))
    recorded(sweep.folder / "1", seed=1, status=Status.failed, error=ValueError("boom"))
    going = Record.open(sweep.folder / "2", config(2), overrides=["seed=2"])
    found = compare(find([tmp_path]))
    (arm,) = found.arms
    assert [(run.seed, run.standing) for run in arm.runs] == [(0, "ok"), (1, "failed"), (2, "running"), (3, "missing")]
    assert arm.absent[0].error == "ValueError: boom"
    assert any("still going" in note for note in found.notes)
    assert any("not begun" in note for note in found.notes)
    assert len(found.evaluations[0].arms[0].seeds) == 1
    going.close()


def test_unlike_tools_are_said_and_compared(tmp_path):
    plain = recorded(tmp_path / "plain", [1.0, 0.0])
    helped = recorded(tmp_path / "helped", [1.0, 1.0], tool={"calculator": {"name": "calculator"}})
    found = compare(find([plain, helped]))
    [note] = [note for note in found.notes if note.startswith("tools belong to what is compared: ")]
    assert "no tool: " in note
    assert "calculator: " in note
    assert not any("tool" in note for note in compare(find([plain])).notes)


def test_a_run_that_went_on_with_other_processes_is_named(tmp_path):
    folder = recorded(tmp_path / "run", binary(0.5))
    manifest = json.loads((folder / "manifest.json").read_text())
    manifest["attempts"] = [{**manifest["attempts"][0], "processes": one} for one in (4, 2)]
    manifest["attempts"][1] |= {"resumed_from": 3, "resumed_processes": 4}
    (folder / "manifest.json").write_text(json.dumps(manifest))
    [run] = find([folder])
    assert any(note.startswith("run: went on with another number of processes") for note in compare([run]).notes)
    [row] = provenance.table([("arm", run)])
    assert ["in place of" in attempt for attempt in row["attempts"]] == [False, True]
    assert "from step 3, 2 processes in place of 4" in row["attempts"][1]
    manifest["attempts"][1]["resumed_processes"] = 2
    (folder / "manifest.json").write_text(json.dumps(manifest))
    assert not any("number of processes" in note for note in compare(find([folder])).notes)


def test_a_damaged_line_is_skipped_counted_and_said(tmp_path):
    recorded(tmp_path / "run", binary(0.5), before=binary(0.4))
    with open(tmp_path / "run/evaluations/accuracy.after.jsonl", "a") as file:
        file.write('{"id": "x", "score\n')
    found = compare(find([tmp_path]))
    assert found.evaluations[0].arms[0].examples == N
    assert "run: 1 damaged line of evaluations/accuracy.after.jsonl skipped" in found.notes


def test_nothing_to_compare_yet_is_no_error(tmp_path):
    record = Record.open(tmp_path / "run", config(0))
    found = compare(find([tmp_path]))
    assert found.evaluations == []
    assert "no run has results to compare (yet)" in found.notes
    record.close()


def test_a_run_of_the_same_arm_and_seed_does_not_count_twice(tmp_path):
    for name in ("first", "second"):
        recorded(tmp_path / name, binary(0.5), before=binary(0.4))
    found = compare(find([tmp_path]))
    assert len(found.evaluations[0].arms[0].seeds) == 1
    assert any("of the same arm and seed as another run" in note for note in found.notes)


def test_a_baseline_without_a_result_is_said(tmp_path):
    recorded(tmp_path / "a", status=Status.failed, error=ValueError("x"))
    recorded(tmp_path / "b", binary(0.5), method__beta=0.2)
    runs = find([tmp_path])
    (evaluation,) = compare(runs, baseline="beta=0.1").evaluations
    assert evaluation.differences == []
    assert "beta=0.1: no result to compare with" in evaluation.notes
    assert compare(runs).baseline == "beta=0.2"


def test_names_that_there_are_not_are_guessed(tmp_path):
    runs = two_arms(tmp_path, seeds=(0,), metrics={"after/accuracy/accuracy": 0.5})
    with pytest.raises(RlpipeError, match="no run has rows of an evaluation 'acuracy'\n    → did you mean 'accuracy'"):
        compare(runs, "acuracy")
    with pytest.raises(RlpipeError, match=r"no arm is called 'beta=0\.11'\n    → did you mean 'beta=0\.1'"):
        compare(runs, baseline="beta=0.11")
    with pytest.raises(RlpipeError, match="no numbers under 'scores'\n    → did you mean 'score'"):
        compare(runs, "accuracy", "scores")
    with pytest.raises(RlpipeError, match="no run has a number 'after/accuracy/acc'\n    → did you mean"):
        compare(runs, score="after/accuracy/acc")
    with pytest.raises(RlpipeError, match="no runs"):
        compare([])


# -- other numbers than scores


def test_another_field_of_the_rows_is_higher_or_lower_not_better(tmp_path):
    for beta in (0.1, 0.2):
        folder = recorded(tmp_path / str(beta), binary(0.5), method__beta=beta)
        found = rows(binary(0.5))
        for place, row in enumerate(found):
            row["tokens"] = 100 * beta + place
        write_lines(folder / "evaluations/accuracy.after.jsonl", found)
    (evaluation,) = compare(find([tmp_path]), score="tokens").evaluations
    assert evaluation.score == "tokens"
    assert evaluation.differences[0].value == pytest.approx(10)
    assert "every difference is the same" in evaluation.differences[0].words


def test_a_summary_number_is_compared_over_seeds_alone(tmp_path):
    key = "after/preference/margin"
    for beta in (0.1, 0.2):
        for seed in range(4):
            number = beta * 10 + seed + float(DRAW.normal(0, 0.05))
            recorded(tmp_path / f"{beta}-{seed}", seed=seed, method__beta=beta, metrics={key: number})
    (evaluation,) = compare(find([tmp_path]), score=key).evaluations
    (difference,) = evaluation.differences
    assert evaluation.kind == "seeds"
    assert evaluation.name == "preference"
    assert difference.verdict == "higher"
    assert difference.paired == "seeds"
    assert difference.seeds == 4
    assert difference.low < 1 < difference.high
    # the seeds differ far more than the arms: only pairing can tell
    assert evaluation.arms[0].high > evaluation.arms[1].low


def test_a_summary_number_of_one_arm_is_compared_with_that_before_training(tmp_path):
    for seed in range(4):
        start = 5.0 * seed
        numbers = {"before/x/y": start, "after/x/y": start + 1 + 0.01 * seed}
        recorded(tmp_path / str(seed), seed=seed, metrics=numbers)
    found = compare(find([tmp_path]), score="after/x/y")
    (difference,) = found.evaluations[0].differences
    assert (difference.baseline, difference.verdict, difference.seeds) == ("before", "higher", 4)
    assert difference.value == pytest.approx(1.015)
    assert compare(find([tmp_path]), score="before/x/y").evaluations[0].differences == []


def test_a_summary_number_of_one_seed_has_no_interval(tmp_path):
    for beta, number in ((0.1, 1.0), (0.2, 2.0), (0.3, float("nan"))):
        recorded(tmp_path / str(beta), method__beta=beta, metrics={"after/x/y": number})
    (evaluation,) = compare(find([tmp_path]), score="after/x/y").evaluations
    (difference,) = evaluation.differences
    assert difference.value == 1
    assert difference.p is None
    assert "nothing to test" in difference.words
    assert "0.3: after/x/y is no finite number, and is left out" in evaluation.notes


def test_a_comparison_is_plain_json(tmp_path):
    found = compare(two_arms(tmp_path, seeds=(0, 1)))
    assert json.loads(json.dumps(found.to_plain(), allow_nan=False))["baseline"] == "beta=0.1"


@pytest.mark.slow
def test_a_thousand_runs_are_compared(tmp_path):
    log = tmp_path / "metrics.jsonl"
    write_lines(log, ({"step": step, **{f"m{place}": step / 7 for place in range(12)}} for step in range(2000)))
    for place in range(1000):
        folder = recorded(tmp_path / "runs" / str(place), scores(0.0, 200), seed=place % 5, method__beta=place // 5)
        (folder / "metrics.jsonl").unlink()
        (folder / "metrics.jsonl").hardlink_to(log)
    found = compare(find([tmp_path / "runs"]))
    assert len(found.arms) == 200
    assert len(found.evaluations[0].differences) == 199
