"""The conformance checks find what is wrong, and rlpipe's own plugins pass them."""

from __future__ import annotations

import copy
import random
import threading
from dataclasses import dataclass

import pytest
from hydra.core.config_store import ConfigStore

from rlpipe import testing
from rlpipe.config import hydra, plugins
from rlpipe.config.kinds import DatasetConfig, MethodConfig
from rlpipe.datasets.base import Dataset
from rlpipe.datasets.forms import Completion, Text
from rlpipe.engines.rollout import Score
from rlpipe.environments.base import Environment, Step
from rlpipe.evaluations.base import Evaluation
from rlpipe.methods.base import Method
from rlpipe.rewards.base import Case, Reward
from rlpipe.tools.base import Tool

MODULES = sorted({plugin.cls.__module__ for known in plugins.table().values() for plugin in known.values()})


def test_importing_every_plugin_is_light():
    testing.check_light(MODULES)


def test_a_heavy_module_is_named(monkeypatch):
    monkeypatch.setattr("rlpipe.testing.config.HEAVY", ("omegaconf",))
    with pytest.raises(AssertionError, match=r"rlpipe.config.schema imports omegaconf: move the import"):
        testing.check_light(["rlpipe.config.schema"])


@pytest.fixture
def light(monkeypatch):
    """Leave the subprocess out: one test stands for all modules."""
    monkeypatch.setattr("rlpipe.testing.plugins.check_light", lambda modules: None)


@pytest.mark.usefixtures("light")
@pytest.mark.parametrize("name", plugins.BUILT_IN["dataset"])
def test_built_in_datasets_conform(name):
    settings = {}
    if name == "reasoning_gym":
        pytest.importorskip("reasoning_gym", reason="reasoning-gym is not installed")
        settings = {"task": "leg_counting"}
    testing.check_dataset(plugins.load("dataset", name), **settings)


@pytest.mark.slow
@pytest.mark.parametrize("name", plugins.BUILT_IN["method"])
def test_built_in_methods_conform(name, tmp_path, monkeypatch, trained_run):
    monkeypatch.setenv("RLPIPE_STORE", str(tmp_path / "store"))
    # a model of random weights ends no response by itself
    settings = {"ai_feedback": ["method.cut=keep"], "distill": [f"method.teacher.model='{trained_run / 'model'}'"]}
    result = testing.check_method(plugins.load("method", name), tmp_path, *settings.get(name, []))
    assert result["status"] == "ok"


class Good(Dataset):
    """Numbers and their doubles."""

    form = Completion
    columns = ("number",)

    def example(self, row, id):
        return Completion(
            id, [{"role": "user", "content": str(row["number"])}], [{"role": "assistant", "content": "2"}]
        )

    def sample(self, split, count, seed):
        start = 0 if split == "train" else count
        return ({"number": start + number} for number in range(count))


class SameInBoth(Good):
    """Rows of the train split in the test split."""

    def sample(self, split, count, seed):
        return ({"number": number} for number in range(count))


class Endless(Good):
    """Rows without end."""

    def sample(self, split, count, seed):
        number = 0
        while True:
            yield {"number": number}
            number += 1


class Restless(Good):
    """Other rows every time."""

    called = 0

    def sample(self, split, count, seed):
        Restless.called += 1
        return ({"number": 1000 * Restless.called + number} for number in range(count))


class LacksColumn(Good):
    """Rows without a declared column."""

    columns = ("number", "answer")


class OtherForm(Good):
    """Declares one form and gives another."""

    form = Text


class Forgetful(Good):
    """Makes up its own ids."""

    def example(self, row, id):
        return Completion("0", [], [{"role": "assistant", "content": str(row["number"])}])


class Meddler(Good):
    """Changes rows."""

    def example(self, row, id):
        row["seen"] = True
        return super().example(row, id)


class Undocumented(Good):
    """A field without a string under it."""

    @dataclass
    class Config(DatasetConfig):
        """Something."""

        mystery: int = 1


class Formless(Dataset):
    """No form."""

    columns = ()

    def example(self, row, id):
        raise ValueError


@pytest.mark.usefixtures("light")
def test_a_good_dataset_passes():
    testing.check_dataset(Good)


@pytest.mark.usefixtures("light")
@pytest.mark.parametrize(
    ("cls", "complaint"),
    [
        (SameInBoth, "rows stand in both splits"),
        (Endless, "gives 65 rows where 64 are asked for"),
        (Restless, "other rows at the second call"),
        (LacksColumn, r"lacks the columns \['answer'\]"),
        (OtherForm, "gives completion, not text"),
        (Forgetful, "does not keep the id"),
        (Meddler, "changes the row"),
        (Undocumented, "Config.mystery has no documentation"),
        (Formless, "form is no form"),
        (Method, "is no subclass of"),
    ],
)
def test_a_dataset_that_breaks_the_contract_is_told_how(cls, complaint):
    with pytest.raises(AssertionError, match=complaint):
        testing.check_dataset(cls)


class Idle(Method):
    """Trains nothing."""

    takes = ()


class ListOfForms(Idle):
    """A list where a tuple belongs."""

    takes = [Text]  # noqa: RUF012


class ForeignConfig(Idle):
    """A config of nobody's."""

    Config = DatasetConfig


class Nameless(Idle):
    __doc__ = ""
    Config = MethodConfig


@pytest.mark.usefixtures("light")
@pytest.mark.parametrize(
    ("cls", "complaint"),
    [
        (Idle, "Idle is not registered"),
        (ListOfForms, "takes is no tuple"),
        (ForeignConfig, "does not inherit from MethodConfig"),
        (Nameless, "has no docstring"),
    ],
)
def test_a_method_that_breaks_the_contract_is_told_how(cls, complaint, tmp_path):
    with pytest.raises(AssertionError, match=complaint):
        testing.check_method(cls, tmp_path)


@pytest.mark.usefixtures("light")
@pytest.mark.parametrize("name", plugins.BUILT_IN["reward"])
def test_built_in_rewards_conform(name):
    given = {"judge": {"url": "http://localhost:8000/v1", "model": "some"}, "reward_model": {"model": "some"}}
    if name == "reasoning_gym":
        pytest.importorskip("reasoning_gym", reason="reasoning-gym is not installed")
    given["math"] = {"timeout": 60.0}  # its worker process starts slowly on a busy machine
    testing.check_reward(plugins.load("reward", name), **given.get(name, {}))


@pytest.mark.usefixtures("light")
def test_built_in_tools_conform():
    testing.check_tool(plugins.load("tool", "calculator"), {"expression": "2 * 3"})


class Longer(Reward):
    """The number of words, at most ten."""

    def score(self, rollouts):
        return [Score(min(10.0, len(one.text.split()))) for one in rollouts]

    def cases(self):
        return [Case("one two", {}, 2.0), Case("", {}, 0.0)]


class Misjudging(Longer):
    """States a wrong case."""

    def cases(self):
        return [Case("one", {}, 2.0)]


class Caseless(Longer):
    """States no case."""

    def cases(self):
        return []


class Endlessly(Longer):
    """Gives what is no number."""

    def score(self, rollouts):
        return [Score(float("inf")) for _ in rollouts]


class TooFew(Longer):
    """Gives one score for all."""

    def score(self, rollouts):
        return super().score(rollouts)[:1]


class Relative(Longer):
    """Compares with the others of the call."""

    def score(self, rollouts):
        return [Score(one.value * (1 if len(rollouts) > 1 else 3)) for one in super().score(rollouts)]


class Overwriting(Longer):
    """Changes rollouts."""

    def score(self, rollouts):
        found = super().score(rollouts)
        for one in rollouts:
            one.reward = 1.0
        return found


class Columned(Longer):
    """Reads a column that its cases lack."""

    columns = ("answer",)


@pytest.mark.usefixtures("light")
def test_a_good_reward_passes():
    testing.check_reward(Longer)


@pytest.mark.usefixtures("light")
@pytest.mark.parametrize(
    ("cls", "complaint"),
    [
        (Misjudging, "scores its own case wrong: 'one' gets 1 instead of 2"),
        (Caseless, "cases is empty"),
        (Endlessly, "no finite number"),
        (TooFew, "gave 1 scores for 2 rollouts"),
        (Relative, "scores 2 among others and 6 alone"),
        (Overwriting, "changes the rollouts"),
        (Columned, r"lacks the columns \['answer'\]"),
        (Method, "is no subclass of"),
    ],
)
def test_a_reward_that_breaks_the_contract_is_told_how(cls, complaint):
    with pytest.raises(AssertionError, match=complaint):
        testing.check_reward(cls)


def schema(name="size", description="Count.", **properties):
    parameters = {"type": "object", "properties": properties}
    return {"type": "function", "function": {"name": name, "description": description, "parameters": parameters}}


class Coin(Environment):
    """Heads or tails, twice."""

    def reset(self, row, seed):
        self.random, self.left = random.Random(seed), 2
        return [{"role": "user", "content": "Heads or tails?"}]

    def step(self, text):
        self.left -= 1
        right = text == self.random.choice(["heads", "tails"])
        return Step([{"role": "user", "content": "Again?"}], float(right), not self.left, {"right": float(right)})


class Restart(Coin):
    """Tosses coins that others toss too."""

    shared = random.Random(0)

    def reset(self, row, seed):
        said = super().reset(row, seed)
        self.random = self.shared
        return said


class Unseeded(Coin):
    """Says something else each time."""

    def reset(self, row, seed):
        super().reset(row, seed)
        return [{"role": "user", "content": str(random.random())}]


class Strict(Coin):
    """Fails on what it does not know."""

    def step(self, text):
        return {"heads": super().step(text)}[text]


class Counting(Coin):
    """Gives a number that the reward gives itself."""

    def step(self, text):
        return super().step(text)._replace(numbers={"turns": 1.0})


class Greedy(Coin):
    """Changes its row."""

    columns = ("side",)

    def reset(self, row, seed):
        row.pop("side")
        return super().reset(row, seed)


@pytest.fixture
def light_environments(monkeypatch):
    monkeypatch.setattr("rlpipe.testing.environments.check_light", lambda modules: None)


@pytest.mark.usefixtures("light_environments")
def test_an_environment_that_keeps_its_contract_conforms():
    testing.check_environment(Coin, ["heads", "tails"])


@pytest.mark.usefixtures("light_environments")
@pytest.mark.parametrize(
    ("cls", "row", "what"),
    [
        (Restart, {}, "other answers for the same seed and turns"),
        (Unseeded, {}, "other words for the same row and seed"),
        (Strict, {}, "step failed: KeyError"),
        (Counting, {}, r"\['turns'\] are numbers that the reward gives itself"),
        (Greedy, {"side": 1}, "reset changes the row"),
        (Greedy, {}, r"reads the columns \['side'\]: give a `row`"),
    ],
)
def test_what_is_wrong_with_an_environment_is_found(cls, row, what):
    with pytest.raises(AssertionError, match=what):
        testing.check_environment(cls, ["heads"], row)


class Size(Tool):
    """Counts letters."""

    schema = schema(word={"type": "string"})

    def call(self, arguments):
        return str(len(arguments["word"]))


class Numeric(Size):
    """Returns a number."""

    def call(self, arguments):
        return len(arguments.get("word") or "")


class Failing(Size):
    """Fails at a good call."""

    def call(self, arguments):
        raise ValueError("no")


class Hanging(Size):
    """Hangs at a bad call."""

    def call(self, arguments):
        if not arguments:
            threading.Event().wait(3)
        return "3"


class Undescribed(Size):
    """Nothing to read."""

    schema = schema(description="", word={"type": "string"})


class OtherParameter(Size):
    """Names its parameter otherwise."""

    schema = schema(text={"type": "string"})


class Spaced(Size):
    """A name that is no name."""

    schema = schema(name="a size", word={"type": "string"})


@pytest.mark.usefixtures("light")
def test_a_good_tool_passes():
    testing.check_tool(Size, {"word": "abc"})


@pytest.mark.usefixtures("light")
@pytest.mark.parametrize(
    ("cls", "complaint"),
    [
        (Numeric, "returned int instead of text"),
        (Failing, "fails: error: no"),
        (Hanging, r"call\({}\) does not end within 0.1 s"),
        (Undescribed, "has no description"),
        (OtherParameter, r"has no parameters \['word'\]"),
        (Spaced, "no name of a function"),
        (Reward, "is no subclass of"),
    ],
)
def test_a_tool_that_breaks_the_contract_is_told_how(cls, complaint):
    with pytest.raises(AssertionError, match=complaint):
        testing.check_tool(cls, {"word": "abc"}, timeout=0.1)


class Words(Evaluation):
    """Nothing that is measured."""

    takes = (Completion,)

    def rows(self, loaded, examples):
        return [{"id": one.id, "score": 1.0} for one in examples]

    def summary(self, rows, start):
        return {"mean": sum(row["score"] for row in rows) / len(rows)}


class EndlessScores(Words):
    """Scores that are no numbers."""

    def rows(self, loaded, examples):
        return [{"id": one.id, "score": float("inf")} for one in examples]


class Anonymous(Words):
    """Rows without ids."""

    def rows(self, loaded, examples):
        return [{"score": 1.0} for _ in examples]


class Short(Words):
    """A row less than there are examples."""

    def rows(self, loaded, examples):
        return super().rows(loaded, examples)[1:]


class Numberless(Words):
    """A summary that is no number."""

    def summary(self, rows, start):
        return {"mean": float("nan") if start else 1.0}


@pytest.mark.usefixtures("light")
def test_an_evaluation_that_is_not_installed_is_told_so(tmp_path):
    with pytest.raises(AssertionError, match=r"entry-point group rlpipe\.evaluation"):
        testing.check_evaluation(Words, tmp_path)


@pytest.fixture
def install(monkeypatch):
    """Make a class of this file known as an evaluation, as if its package were installed."""

    def known(cls: type) -> None:
        table = plugins.table()
        plugin = plugins.Plugin("evaluation", "checked", "outside", cls=cls)
        monkeypatch.setitem(table, "evaluation", {**table["evaluation"], "checked": plugin})
        hydra.register.cache_clear()

    hydra.register()
    monkeypatch.setattr(ConfigStore.instance(), "repo", copy.deepcopy(ConfigStore.instance().repo))
    yield known
    hydra.register.cache_clear()


@pytest.mark.slow
@pytest.mark.usefixtures("light")
@pytest.mark.parametrize(
    ("cls", "complaint"),
    [
        (Words, None),
        (EndlessScores, "the score is None, which is no finite number"),
        (Anonymous, "has no id"),
        (Short, "gave 3 rows for 4 examples"),
        (Numberless, "summary: after/checked/mean is"),
    ],
)
def test_an_evaluation_that_breaks_the_contract_is_told_how(cls, complaint, install, tmp_path):
    install(cls)
    if complaint is None:
        assert testing.check_evaluation(cls, tmp_path)["metrics"]["after/checked/mean"] == 1.0
        return
    with pytest.raises(AssertionError, match=complaint):
        testing.check_evaluation(cls, tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["perplexity", "choice", "samples", "preference"])
def test_built_in_evaluations_conform(name, tmp_path):
    result = testing.check_evaluation(plugins.load("evaluation", name), tmp_path)
    assert name == "samples" or any(key.startswith(f"after/{name}/") for key in result["metrics"])


@pytest.fixture
def light_engines(monkeypatch):
    """Leave the subprocess out: one test stands for all modules."""
    monkeypatch.setattr("rlpipe.testing.engines.check_light", lambda modules: None)


@pytest.mark.slow
@pytest.mark.usefixtures("light_engines")
@pytest.mark.parametrize("options", [{}, {"rank": 4}], ids=["whole", "adapter"])
def test_the_policy_as_engine_conforms(options, tmp_path):
    testing.check_engine(plugins.load("engine", "transformers"), tmp_path, **options)


def unsure(rows, loaded):
    for row in rows:
        row.logps = [logp * 1.01 for logp in row.logps]


def careless(rows, loaded):
    for row in rows:
        row.ids[-1] = 300


def deaf(rows, loaded):
    for row in rows:
        row.calls.clear()


@pytest.mark.slow
@pytest.mark.usefixtures("light_engines")
@pytest.mark.parametrize(
    ("flaw", "match"),
    [
        (unsure, "has the log-probability .* with the engine and .* with the policy"),
        (careless, "with the policy"),
        (deaf, "a call is not run"),
    ],
)
def test_an_engine_that_draws_otherwise_is_caught(flaw, match, tmp_path):
    from rlpipe.engines.transformers import Transformers

    class Flawed(Transformers):
        """Does something to what was drawn."""

        def write(self, loaded, rows, sampling, endings):
            super().write(loaded, rows, sampling, endings)
            flaw(rows, loaded)

    with pytest.raises(AssertionError, match=match):
        testing.check_engine(Flawed, tmp_path)


@pytest.mark.slow
@pytest.mark.usefixtures("light_engines")
def test_an_engine_whose_draws_depend_on_their_neighbours_is_caught(tmp_path):
    from rlpipe.engines.transformers import Transformers

    class Neighbourly(Transformers):
        """Counts what it draws together."""

        def write(self, loaded, rows, sampling, endings):
            for row in rows:
                row.seed += len(rows)
            super().write(loaded, rows, sampling, endings)

    with pytest.raises(AssertionError, match="a draw depends on the ones beside it"):
        testing.check_engine(Neighbourly, tmp_path)


@pytest.mark.slow
@pytest.mark.usefixtures("light_engines")
@pytest.mark.parametrize(("settings", "match"), [({}, None), ({"max_gap": 1e9}, "draws from older weights")])
def test_an_engine_with_weights_of_its_own_must_follow_and_be_refused(settings, match, tmp_path):
    from tests.engines.engines import Copied

    if match is None:
        testing.check_engine(Copied, tmp_path, **settings)
        return
    with pytest.raises(AssertionError, match=match):
        testing.check_engine(Copied, tmp_path, **settings)
