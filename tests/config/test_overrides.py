"""A run's predecessor written out on the command line."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rlpipe.cli import main as cli
from rlpipe.config.compose import compose
from rlpipe.config.overrides import as_options, as_typed, split
from rlpipe.core.errors import ConfigError
from rlpipe.run import run
from rlpipe.stages.lineage import start_parent


@pytest.mark.slow
@pytest.mark.parametrize(
    "override",
    [
        "after=[method=sft,dataset=gsm8k]",
        "after=[ method=sft , dataset=gsm8k ]",
        "after=['method=sft',\"dataset=gsm8k\"]",
        "after=[\"method=sft\", 'dataset=gsm8k']",
    ],
)
def test_a_literal_list_is_the_run_before(override):
    config = compose("model=blank", "seed=3", override)
    assert config.after == ["method=sft", "dataset=gsm8k"]
    before = start_parent(config)
    assert before is not None
    assert (before.method.name, before.dataset.name, before.seed, before.model.name) == ("sft", "gsm8k", 3, "blank")


def test_a_run_before_the_run_before():
    config = compose("model=blank", "after=[method=dpo,after=[method=sft,method.max_steps=3]]")
    first = start_parent(start_parent(config))
    assert first.method.name == "sft"
    assert first.method.max_steps == 3


@pytest.mark.parametrize(
    ("override", "value"),
    [
        ("model.stage=[method=sft,dataset=ultrafeedback]", ["method=sft", "dataset=ultrafeedback"]),
        ("model.stage=['method=sft',\"dataset=piqa\"]", ["method=sft", "dataset=piqa"]),
        (
            "dataset.stage=[method=ai_feedback,after=[method=sft,seed=1]]",
            ["method=ai_feedback", "after=[method=sft,seed=1]"],
        ),
        ("+method.reference.stage=[a=${scaled:1e-5},b={c: 1}]", ["a=${scaled:1e-5}", "b={c: 1}"]),
        ("reward.judge.stage=[]", []),
    ],
)
def test_a_list_in_a_field_needs_no_quotes(override, value):
    from hydra.core.override_parser.overrides_parser import OverridesParser

    [ready] = as_options([override])
    parsed = OverridesParser.create().parse_override(ready)
    assert parsed.value() == value
    assert as_typed([ready]) == [override]


def test_a_field_s_list_reaches_the_run():
    config = compose(
        "model=blank", "method=ppo", "reward=reward_model", "reward.reward_model.stage=[method=reward_model]"
    )
    assert config.reward["reward_model"].stage == ["method=reward_model"]


def test_a_sweep_over_lists():
    choices = ["after=[method=sft,seed=1]", "after=sft", "after=[method=dpo,after=[method=sft]]"]
    together = "after=" + ",".join(choice.removeprefix("after=") for choice in choices)
    [ready] = as_options([together])
    each = [f"after={name}" for name in ready.removeprefix("after=").split(",")]
    assert as_typed(each) == choices
    assert as_typed([ready]) == [together]
    assert [compose(one).after for one in each][2] == ["method=dpo", "after=[method=sft]"]


@pytest.mark.parametrize("override", ["after=sft", "after=[sft]", "after=none", "seed=1", "reward=[length]"])
def test_other_overrides_stay_as_they_are(override):
    assert as_options([override]) == [override]


def test_records_show_what_was_typed(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    calls = []
    monkeypatch.setattr(run, "run", lambda config, overrides: calls.append((config.after, overrides)))
    typed = ["seed=1", "after=[method=sft,method.extra={a: 1, b: [2,3]}]"]
    assert cli.status(typed) == cli.DONE
    assert calls == [(["method=sft", "method.extra={a: 1, b: [2,3]}"], typed)]


def test_mistakes_inside_are_found_by_the_checks():
    from rlpipe.run.check.check import problems

    config = compose("model=blank", "after=[method=sft,metod.epochs=1]")
    [problem] = problems(config)
    assert problem.where == "after: metod.epochs=1"


def test_an_option_that_is_not_there_is_still_named():
    with pytest.raises(ConfigError, match="no option 'sftt'"):
        compose("after=[sftt]")


WORDS = st.from_regex(r"[a-z._]{1,8}=[a-z0-9.]{1,5}", fullmatch=True)


@pytest.mark.slow
@given(st.lists(WORDS | st.builds("x=[{}]".format, st.lists(WORDS, min_size=1).map(",".join)), min_size=1, max_size=5))
def test_lists_split_into_what_they_were_joined_from(parts):
    assert split(",".join(parts)) == parts
    assert split(" , ".join(parts)) == parts
    assert split(",".join(f'"{part}"' for part in parts)) == parts
    literal = f"after=[{','.join(parts)}]"
    assert as_typed(as_options([literal])) == [literal]


@given(st.lists(st.text("ab=. '\\\"", min_size=1, max_size=8), min_size=1, max_size=3))
def test_quotes_are_hydra_s_own(parts):
    from hydra.core.override_parser.overrides_parser import OverridesParser

    from rlpipe.config.overrides import _quoted

    parsed = OverridesParser.create().parse_override(f"model.stage=[{','.join(map(_quoted, parts))}]")
    assert parsed.value() == parts
