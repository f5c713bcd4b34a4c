"""One object holds a run's plugins: made once where they only answer questions, anew where they are started."""

from __future__ import annotations

import ast
import gc
import weakref
from dataclasses import replace
from pathlib import Path

import pytest

import rlpipe
from rlpipe.config import plugins
from rlpipe.config.resolved import default, plugin_class, resolve
from rlpipe.core.errors import PluginError
from tests.composed import compose
from tests.house.parsed import parsed

PACKAGE = Path(rlpipe.__file__).parent
LOOK_UPS = {"make", "load"}
REGISTRY = {"config/plugins.py", "config/resolved.py"}

BY_NAME = {
    "cli/chat/main.py": "the engine that the command line names",
    "config/compose.py": "a record's config, which is to become a run's",
    "datasets/mixture.py": "the datasets that are mixed",
    "evaluations/accuracy.py": "the verifier that a dataset names",
    "launchers/base.py": "the launcher that a sweep's folder names",
    "models/card.py": "the method of a run's record",
    "rewards/perplexity.py": "the verifier that is added",
    "rewards/frozen_answer.py": "the verifier of the answer",
    "run/summary.py": "the method and the dataset of a run's record",
}
"""Who looks up a plugin by a name that is not in a run's config, and whose name it is."""


def imported(tree: ast.AST, module: str) -> dict[str, str]:
    """Return the names that a file gives to what it imports from a module, each with its name there."""
    nodes = [node for node in ast.walk(tree) if isinstance(node, ast.ImportFrom) and node.module == module]
    return {one.asname or one.name: one.name for node in nodes for one in node.names}


def look_ups(tree: ast.AST) -> list[int]:
    """Return the lines that take `make` or `load` from the registry, called or not."""
    direct = {name for name, own in imported(tree, "rlpipe.config.plugins").items() if own in LOOK_UPS}
    whole = {name for name, own in imported(tree, "rlpipe.config").items() if own == "plugins"}
    lines = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Name) and node.id in direct:
            lines.append(node.lineno)
        if isinstance(node, ast.Attribute) and node.attr in LOOK_UPS:
            owner = ast.unparse(node.value)
            if owner in whole or owner == "rlpipe.config.plugins":
                lines.append(node.lineno)
    return sorted(lines)


def files() -> dict[str, ast.AST]:
    """Return the syntax tree of every file of the package."""
    return {file.relative_to(PACKAGE).as_posix(): parsed(file) for file in PACKAGE.rglob("*.py")}


def test_plugins_are_looked_up_in_one_place():
    found = {name: look_ups(tree) for name, tree in files().items() if name not in REGISTRY}
    assert {name: lines for name, lines in found.items() if lines} == {}, "ask the run's Resolved"


@pytest.mark.parametrize(
    "code",
    [
        "from rlpipe.config import plugins\nplugins.load('method', 'dpo')",
        "from rlpipe.config import plugins as known\nmap(known.make, [])",
        "from rlpipe.config.plugins import make as made\nmade('method', None)",
        "import rlpipe.config.plugins\nrlpipe.config.plugins.load('method', 'dpo')",
    ],
)
def test_a_look_up_is_seen_however_it_is_written(code):
    assert look_ups(ast.parse(code)) == [2]
    assert look_ups(ast.parse("import pickle\npickle.load(file)\nmaker.make(making)")) == []


def test_who_looks_up_by_a_name_of_its_own_is_known():
    found = {name: imported(tree, "rlpipe.config.resolved").values() for name, tree in files().items()}
    assert {name for name, own in found.items() if {"plugin_class", "default"} & set(own)} == set(BY_NAME)


def test_a_config_has_one_while_somebody_holds_it():
    config = compose("method=dpo", "dataset=ultrafeedback")
    held = resolve(config)
    assert resolve(config) is held
    assert resolve(replace(config)) is not held, "an equal config is another run's"
    gone = weakref.ref(held)
    del held
    gc.collect()
    assert gone() is None, "nothing keeps what no run needs any more"


def test_what_answers_questions_is_made_once():
    run = resolve(compose("method=rloo", "dataset=countdown", "reward=countdown", "evaluation=accuracy"))
    assert run.method is run.method
    assert run.dataset is run.dataset
    assert run.model is run.model
    assert run.reward("countdown") is run.reward("countdown")
    assert run.evaluation("accuracy") is run.evaluation("accuracy")
    assert (run.trains, run.reads_data) == (True, True)


def test_what_is_started_is_made_for_each_use():
    overrides = ("method=rloo", "dataset=countdown", "reward=countdown", "evaluation=accuracy", "tool=calculator")
    run = resolve(compose(*overrides))
    rewards = [run.reward("countdown"), run.make_reward("countdown"), *run.make_rewards().values()]
    evaluations = [run.evaluation("accuracy"), run.make_evaluation("accuracy"), run.make_evaluation("accuracy")]
    others = [*run.make_tools(), *run.make_tools(), run.make_tracker(), run.make_tracker()]
    made = [*rewards, *evaluations, *others]
    assert len({id(one) for one in made}) == len(made) == 10
    assert all(one.config is run.config.reward["countdown"] for one in rewards)


def test_what_an_evaluation_starts_is_let_go(tmp_path):
    """A judge may have loaded a model of billions of weights."""
    from types import SimpleNamespace

    from rlpipe.evaluations.base import EvaluationContext

    config = compose("method=rloo", "dataset=countdown", "reward=countdown", "evaluation=win_rate")
    one = resolve(config).make_evaluation("win_rate")
    one.start(EvaluationContext(config, tmp_path, "win_rate"))
    policy = SimpleNamespace(path="policy", model=SimpleNamespace(device=SimpleNamespace(type="cpu")))
    judge = weakref.ref(one._started(policy).rewards["countdown"])
    assert judge() not in (None, resolve(config).reward("countdown"))
    one.finish([], "before")
    gc.collect()
    assert judge() is None


def test_a_reward_that_the_run_lacks_is_the_plugin_as_it_comes():
    run = resolve(compose("method=rloo", "dataset=countdown", "reward=countdown", "reward.countdown.format_score=0.2"))
    assert run.make_reward("countdown").config.format_score == 0.2
    assert run.make_reward("length").config == plugin_class("reward", "length").Config(name="length")
    with pytest.raises(PluginError, match="did you mean 'countdown'"):
        run.make_reward("countdwn")


def test_a_plugin_that_cannot_be_used_hurts_only_who_wants_it(monkeypatch):
    config = compose("method=rloo", "dataset=countdown", "reward=[countdown,length]")
    broken = plugins.Plugin("reward", "length", "their-package", error="ImportError: no such thing")
    monkeypatch.setitem(plugins.table()["reward"], "length", broken)
    run = resolve(config)
    assert run.reward("countdown").config.name == "countdown"
    for ask in (lambda: run.reward("length"), lambda: run.make_reward("length"), run.make_rewards):
        with pytest.raises(PluginError, match="'their-package' cannot be used: ImportError: no such thing"):
            ask()
    [problem] = run.unusable()
    assert problem.where == "reward.length"


def test_a_default_takes_the_settings_that_are_given():
    made = default("dataset", "countdown", source="sample", sample_size=64)
    assert (made.config.name, made.config.source, made.config.sample_size) == ("countdown", "sample", 64)
    with pytest.raises(PluginError, match="no dataset plugin"):
        default("dataset", "nowhere")


def test_what_a_local_folder_says_is_known_before_anything_is_loaded(small_model):
    local = resolve(compose("model=hf", f"model.source={small_model}", "dataset.source=sample"))
    assert local.facts is not None
    assert local.parameters == local.facts.parameters
    assert resolve(compose("model=tiny")).facts is None, "another run makes it"
    assert resolve(compose("model=blank")).facts.layers == 4
    assert resolve(compose("model=blank", "model.parameters=7")).parameters == 7
