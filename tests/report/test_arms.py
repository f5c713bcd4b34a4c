"""Which runs are one arm, and what arms are called."""

import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rlpipe.records.runs import Run, Standing, find
from rlpipe.report.arms import group
from rlpipe.report.labels import LONGEST
from tests.report.recorded import config, recorded


def made(seed=0, overrides=(), standing=Standing.ok, created="2025", name=None, sweep=None, empty=False, **fields):
    known = {} if empty else config(seed, **fields)
    folder = Path(name or f"/{seed}-{json.dumps(fields, sort_keys=True)}")
    return Run(folder, standing, {"created": created}, known, list(overrides), sweep=sweep)


def labels(*runs):
    return [arm.label for arm in group(runs)]


def test_seeds_of_one_config_are_one_arm():
    arms = group([made(2), made(0), made(1, method__beta=0.5), made(0, method__beta=0.5)])
    assert [[run.seed for run in arm.runs] for arm in arms] == [[0, 2], [0, 1]]
    assert [arm.label for arm in arms] == ["beta=0.1", "beta=0.5"]


@pytest.mark.parametrize(
    "same",
    [
        {"run_dir": "/elsewhere"},
        {"tracker": {"name": "wandb"}},
        {"log": {"every": 1}},
        {"hardware__device": "cuda"},
        {"model__parameters": 7},
        {"dataset__test_limit": 9},
        {"evaluation": {"samples": {"name": "samples"}}},
    ],
)
def test_what_changes_no_result_makes_no_arm(same):
    assert len(group([made(0), made(1, **same)])) == 1


@pytest.mark.parametrize(
    "other",
    [
        {"method__beta": 0.2},
        {"model__source": "/x"},
        {"dataset__source": "/x"},
        {"after": ["method=sft"]},
        {"reward": {"length": {"name": "length"}}},
    ],
)
def test_what_changes_the_result_makes_an_arm(other):
    assert len(group([made(0), made(1, **other)])) == 2


def test_what_changes_nothing_makes_no_arm():
    judge = {"name": "judge", "model": "m", "max_dollars": 1.0, "concurrency": 2}
    key = "key_env"
    assert len(group([made(0, reward={"judge": {**judge, key: 1}}), made(1, reward={"judge": {**judge, key: 2}})])) == 1
    assert len(group([made(0, reward={"judge": judge}), made(1, reward={"judge": {**judge, "model": "n"}})])) == 2


def test_a_parent_with_the_runs_own_seed_is_no_arm_of_its_own():
    runs = [made(seed, after=["method=sft", f"seed={seed}"]) for seed in (0, 1)]
    assert len(group(runs)) == 1
    assert len(group([*runs, made(2, after=["method=sft", "seed=7"])])) == 2


def test_measuring_differently_makes_arms_only_where_a_seed_repeats():
    hot, cold = ({"accuracy": {"name": "accuracy", "temperature": one}} for one in (1.0, 0.0))
    assert len(group([made(0, evaluation=hot), made(1, evaluation=cold)])) == 1
    assert labels(made(0, evaluation=hot), made(0, evaluation=cold)) == ["temperature=1", "temperature=0"]


def test_methods_stand_first_and_only_fields_that_tell_apart_are_named():
    kto = {"name": "kto", "beta": 0.1, "learning_rate": 1e-6}
    runs = [made(0, method__beta=beta) for beta in (0.1, 0.2)] + [made(0, method=kto)]
    assert labels(*runs) == ["dpo beta=0.1", "dpo beta=0.2", "kto"]


def test_a_field_of_the_command_line_is_preferred_to_one_that_follows_from_it():
    runs = [made(0, [f"method.beta={b}"], method__beta=b, method__aaa=b * 2, method__zzz=b) for b in (0.1, 0.2)]
    assert labels(*runs) == ["beta=0.1", "beta=0.2"]


def test_arms_of_a_study_are_called_by_their_experiments():
    base = [made(seed, ["experiment=piqa_base", f"seed={seed}"], method__name="none") for seed in (0, 1)]
    tuned = [made(seed, ["experiment=piqa_dpo", f"seed={seed}"]) for seed in (0, 1)]
    assert labels(*base, *tuned) == ["piqa_base", "piqa_dpo"]
    assert labels(*base, *tuned, made(0)) != ["piqa_base", "piqa_dpo", "dpo"]
    again = [made(0, ["experiment=piqa_dpo", "method.beta=0.5"], method__beta=0.5)]
    assert labels(*tuned, *again) == ["beta=0.1", "beta=0.5"]


def test_arms_that_differ_in_what_they_come_after_are_called_by_it():
    judged = ["experiment=chat_judged"]
    sft, dpo = (
        [made(seed, [*judged, f"after={name}", f"seed={seed}"], after=[f"experiment={name}"]) for seed in (0, 1)]
        for name in ("chat_sft", "chat_dpo")
    )
    assert labels(*sft, *dpo) == ["chat_sft", "chat_dpo"]
    other = [made(0, [*judged, "after=chat_rlaif", "method.beta=0.5"], method__beta=0.5)]
    assert labels(*sft, *other) != ["chat_sft", "chat_rlaif"]


def test_arms_that_differ_in_their_reward_are_called_by_it():
    told = ["experiment=gsm8k_context"]
    rewards = {"gsm8k": {"gsm8k": {"cue": None}}, "answer_hybrid": {"perplexity": {"cue": "####", "mode": "hybrid"}}}
    runs = [
        made(seed, [*told, f"reward={name}", f"seed={seed}"], reward=nodes)
        for name, nodes in rewards.items()
        for seed in (0, 1)
    ]
    assert labels(*runs) == ["gsm8k", "answer_hybrid"]


def test_a_grid_is_named_by_both_fields():
    runs = [made(0, method__beta=beta, method__learning_rate=rate) for beta in (0.1, 0.2) for rate in (1e-5, 1e-4)]
    found = labels(*runs)
    assert found[0] == "beta=0.1 learning_rate=1e-05"
    assert len(set(found)) == 4


def test_fields_of_one_name_are_told_apart_and_one_arm_is_called_by_its_method():
    runs = [made(0, x__scale=a, y__scale=b) for a, b in ((1, 1), (1, 2), (2, 1))]
    assert labels(*runs) == ["x.scale=1 y.scale=1", "x.scale=1 y.scale=2", "x.scale=2"]
    assert labels(made(0)) == ["dpo"]


def test_long_values_are_cut_where_they_stay_different():
    runs = [made(0, model__source=f"/{'very/' * 30}{end}") for end in ("a", "b")]
    found = labels(*runs)
    assert found[0] != found[1]
    assert max(map(len, found)) <= LONGEST + 1
    runs = [made(0, model__source=f"/{'very/' * 30}{middle}{'/long' * 30}") for middle in ("a", "b")]
    assert len(set(labels(*runs))) == 2


@settings(max_examples=60)
@given(st.lists(st.tuples(st.text(max_size=3), st.sampled_from([0.1, 1, None, True, "1", [1]])), max_size=7))
def test_labels_are_never_the_same_and_never_empty(values):
    arms = group([made(place, a=one, b__c=two) for place, (one, two) in enumerate(values)])
    assert len({arm.label for arm in arms}) == len(arms)
    assert all(arm.label for arm in arms)
    assert sum(len(arm.runs) + len(arm.repeated) for arm in arms) == len(values)


def test_of_a_repeated_seed_the_finished_and_newest_run_counts():
    runs = [
        made(0, created="1", name="/old"),
        made(0, created="2", name="/new"),
        made(0, created="3", name="/failed", standing=Standing.failed),
    ]
    (arm,) = group(runs)
    assert [run.name for run in arm.runs] == ["new"]
    assert {run.name for run in arm.repeated} == {"old", "failed"}


def test_arms_without_a_config_join_those_of_the_same_overrides():
    sweep = Path("/sweep")
    beta = ["method.beta=0.2"]
    known = made(0, [*beta, "seed=0"], sweep=sweep, method__beta=0.2)
    same = made(0, [*beta, "seed=1"], Standing.missing, name="/sweep/1", sweep=sweep, empty=True)
    other = made(0, ["method.beta=0.3", "seed=1"], Standing.missing, name="/sweep/2", sweep=sweep, empty=True)
    again = made(0, ["method.beta=0.3", "seed=2"], Standing.missing, name="/sweep/3", sweep=sweep, empty=True)
    arms = group([known, same, other, again])
    assert [[run.seed for run in arm.runs] for arm in arms] == [[0, 1], [1, 2]]
    assert "0.3" in arms[1].label


def test_runs_that_nothing_is_known_of_are_called_by_their_folder(tmp_path):
    recorded(tmp_path / "good", [1.0])
    (tmp_path / "bad").mkdir()
    (tmp_path / "bad/manifest.json").write_text("{")
    assert {arm.label.split("=")[-1] for arm in group(find([tmp_path]))} >= {"bad"}
