"""The rewards that read an answer: their own cases, real rows, and hostile text."""

from __future__ import annotations

import json
from fractions import Fraction
from functools import partial
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as some

from rlpipe.config import plugins
from rlpipe.datasets.gsm8k import final_answer
from rlpipe.datasets.samples.countdown import puzzle
from rlpipe.rewards.combine import prove
from rlpipe.rewards.countdown import CountdownReward, last_answer
from rlpipe.rewards.format import Format
from rlpipe.rewards.gsm8k import Extraction, Gsm8kReward, flexible, right_answer, strict
from rlpipe.rewards.length import Length
from rlpipe.rewards.matrix import MatrixReward

COUNTDOWN = CountdownReward(CountdownReward.Config(name="countdown"))
GSM8K = {mode: Gsm8kReward(Gsm8kReward.Config(name="gsm8k", mode=mode)) for mode in Extraction}
MATRIX = MatrixReward(MatrixReward.Config(name="matrix"))
WITH_CASES = [
    COUNTDOWN,
    CountdownReward(CountdownReward.Config(name="countdown", format_score=0.0)),
    *GSM8K.values(),
    Format(Format.Config(name="format")),
    Format(Format.Config(name="format", opened=True)),
    Format(Format.Config(name="format", tags=["plan", "code", "result"])),
    MATRIX,
    MatrixReward(MatrixReward.Config(name="matrix", partial=0.5)),
    Length(Length.Config(name="length")),
    Length(Length.Config(name="length", words=1)),
]


@pytest.mark.parametrize("reward", WITH_CASES, ids=lambda one: type(one).__name__)
def test_every_verifier_scores_its_own_cases(reward):
    values = {case.value for case in reward.cases()}
    assert {0.0, 1.0} <= values
    assert not reward.problems()
    prove(reward.config.name, reward)


ELSEWHERE = {"math", "reward_model", "perplexity", "frozen_answer", "judge", "environment", "reasoning_gym"}
"""What is scored by a process, a model, a service, an episode or a package: in files of their own."""


def test_every_torch_free_reward_has_cases():
    proved = {reward.config.name for reward in WITH_CASES}
    assert proved | ELSEWHERE == set(plugins.BUILT_IN["reward"])


HOSTILE = [
    "<answer>" + "1" * 1_000_000 + "</answer>",
    "<answer>" + "(" * 1_000_000 + "</answer>",
    "<answer>" * 100_000,
    "<answer></answer>" * 50_000,
    "#### " + "1," * 500_000,
    "####" * 250_000,
    "$" * 1_000_000,
    "-.,$" * 250_000,
    "1.1." * 250_000,
    "\x00" * 1_000_000,
    "<think>" * 100_000 + "</think>" * 100_000,
    "<answer>9**9**9</answer>",
    "<answer>__import__('os').system('true')</answer>",
    "<answer>٩+٩</answer>",
]


@pytest.mark.parametrize("text", HOSTILE, ids=lambda text: text[:20].encode("unicode_escape").decode())
def test_hostile_completions_earn_nothing_and_cost_nothing(quick, finished, text):
    rollouts = [finished(text, nums=[9, 9], target=18, answer="18")]
    for reward in [COUNTDOWN, *GSM8K.values(), MATRIX, WITH_CASES[4]]:
        [score] = quick(partial(reward.score, rollouts))
        assert score.value == 0.0


@given(some.text())
def test_no_text_breaks_a_verifier(finished, text):
    rollouts = [finished(made, nums=[1, 2], target=3, answer="3") for made in (text, f"<answer>{text}</answer>")]
    for reward in WITH_CASES[:-2]:
        for score in reward.score(rollouts):
            assert 0.0 <= score.value <= 1.0


@given(some.integers(0, 10_000))
def test_made_up_puzzles_are_solved_by_their_own_expression(finished, seed):
    made = puzzle(Random(seed))
    columns = {"nums": made.nums, "target": made.target}
    solution = made.solution.expression
    texts = [f"<answer>{solution}</answer>", f"<answer>{solution} + 1</answer>", solution]
    scores = COUNTDOWN.score([finished(text, **columns) for text in texts])
    assert [score.value for score in scores] == [1.0, 0.1, 0.0]
    assert [score.parsed for score in scores] == [True, True, False]


@pytest.mark.parametrize(
    ("answer", "value"),
    [
        ("8 / (3 - 8/3)", 1.0),
        ("8/(3-8/3", 0.0),
        ("2**3 * 3", 0.1),
        ("24", 0.1),
        ("3 * 8", 0.1),
        ("3 * 8 * 8 / 8", 0.1),
        ("8 / (3 - 8/3) = 24", 0.1),
        ("24 = 8 / (3 - 8/3)", 0.1),
        ("x = 24", 0.0),
        ("-(8 / (8/3 - 3))", 1.0),
        ("8 // (3 - 8/3)", 0.1),
        ("8/(3 - 8/3.0)", 1.0),
        ("8.3 * 8.3", 0.1),
    ],
)
def test_countdown_by_its_rules(finished, answer, value):
    [score] = COUNTDOWN.score([finished(f"<answer>{answer}</answer>", nums=[8, 3, 8, 3], target=24)])
    assert score.value == value


def test_last_answer():
    assert last_answer("<answer>1</answer><answer> 2 </answer>") == "2"
    assert last_answer("<answer>1</answer><answer>2") == "1"
    assert last_answer("</answer>1<answer>") is None
    assert last_answer("") is None


@pytest.mark.slow
def test_worked_countdown_answers_earn_everything(finished, shared_dir):
    import pyarrow.parquet

    rows = pyarrow.parquet.read_table(
        shared_dir / "data/countdown/train.parquet", columns=["answer", "nums", "target"]
    ).to_pylist()
    rollouts = [finished(row["answer"], nums=row["nums"], target=row["target"]) for row in rows]
    assert len(rows) == 10_240
    assert {score.value for score in COUNTDOWN.score(rollouts)} == {1.0}
    for one, other in zip(rollouts, [*rollouts[1:], rollouts[0]], strict=True):
        one.prompt.columns["target"] = other.prompt.columns["target"] + 1000
    assert {score.value for score in COUNTDOWN.score(rollouts)} == {0.1}


@pytest.mark.slow
def test_gold_answers_of_gsm8k_earn_everything_both_ways(finished, shared_dir):
    lines = (shared_dir / "data/gsm8k/train.jsonl").read_text().splitlines()
    rows = [json.loads(line) for line in lines]
    assert len(rows) == 7473
    rollouts = [finished(row["answer"], answer=final_answer(row["answer"])) for row in rows]
    for reward in GSM8K.values():
        scores = reward.score(rollouts)
        assert {score.value for score in scores} == {1.0}
        assert all(score.parts == {"strict": 1.0, "flexible": 1.0} for score in scores)
    cut = [finished(row["answer"].rpartition("####")[0], answer=final_answer(row["answer"])) for row in rows]
    assert {score.value for score in GSM8K[Extraction.strict].score(cut)} == {0.0}
    flexibly = [score.value for score in GSM8K[Extraction.flexible].score(cut)]
    assert sum(flexibly) / len(flexibly) > 0.9


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("it is $1,234.56.", 1234.56),
        ("-$5", -5),
        ("$-5", -5),
        ("--5", -5),
        ("5.-3", 3),
        ("3 - 5", 5),
        ("10-5", 5),
        ("x = -5", -5),
        ("it is −5", -5),
        ("\\$20", 20),
        ("\\boxed{7}", 7),
        ("1,2", None),
        ("5,72", None),
        ("1,00072", None),
        ("[72,72]", None),
        ("0x72", None),
        ("1e72", None),
        ("1_072", None),
        ("72, 73", 73),
        ("so...72", 72),
        ("72.", 72),
        ("72kg", 72),
        ("72 m2", 72),
        ("1,234,567", 1234567),
        ("version 1.2.3", None),
        (".5", 0.5),
        ("20%", 20),
        ("7" * 41, None),
        ("none", None),
        ("1" + " " * 4000, None),
    ],
)
def test_the_last_number(text, number):
    assert flexible(text) == (None if number is None else pytest.approx(number))


@given(
    some.integers(-(10**9), 10**9), some.sampled_from(["{:d}", "{:,d}", "${:,d}", "{:d}.00", " {:,d}.", "{:d} apples"])
)
def test_integers_are_read_however_they_are_written(number, form):
    said = form.format(number)
    assert strict(f"so\n#### {said}") == number
    assert flexible(f"so it is {said}") == number


@pytest.mark.parametrize(
    ("answer", "number"),
    [
        (72, 72),
        (0.1, Fraction(1, 10)),
        (-3, -3),
        ("72", 72),
        ("$1,234.50", Fraction("1234.5")),
        ("72 km/h", 72),
        ("10 m2", 10),
        ("50%", 50),
        ("48+24 = <<48+24=72>>72\n#### 72", 72),
        ("70 to 72", None),
        ("many", None),
        ("1,00072", None),
        (None, None),
        (True, None),
        (float("nan"), None),
        (["72"], None),
    ],
)
def test_right_answers_as_columns_hold_them(finished, answer, number):
    reward = GSM8K[Extraction.flexible]
    assert right_answer(answer) == number
    if number is not None:
        assert reward.unscorable({"answer": answer}) is None
        assert reward.score([finished(f"so {float(number)}", answer=answer)])[0].value == 1.0
    elif answer is None:
        assert reward.unscorable({"answer": answer}) == "nothing in column 'answer'"
    else:
        assert reward.unscorable({"answer": answer}) == "no single number in column 'answer'"


def test_a_right_answer_that_is_no_number_is_an_error(finished):
    with pytest.raises(ValueError, match="holds no single number: 'many'"):
        GSM8K[Extraction.strict].score([finished("#### 1", answer="many")])


@pytest.mark.parametrize(
    ("reward", "where"),
    [
        (Format(Format.Config(name="format", tags=[])), "tags"),
        (Format(Format.Config(name="format", tags=["a b"])), "tags"),
        (Format(Format.Config(name="format", tags=["a", "a"])), "tags"),
    ],
)
def test_settings_that_make_no_sense(reward, where):
    assert [problem.where for problem in reward.problems()] == [where]
