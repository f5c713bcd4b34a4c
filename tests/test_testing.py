"""The conformance checks find what is wrong, and rlpipe's own plugins pass them."""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from rlpipe import testing
from rlpipe.config import plugins
from rlpipe.config.kinds import DatasetConfig, MethodConfig
from rlpipe.datasets.base import Dataset
from rlpipe.datasets.forms import Completion, Text
from rlpipe.methods.base import Method

MODULES = sorted({plugin.cls.__module__ for known in plugins.table().values() for plugin in known.values()})


def test_importing_every_plugin_is_light():
    testing.check_light(MODULES)


def test_a_heavy_module_is_named(monkeypatch):
    monkeypatch.setattr(testing, "HEAVY", ("omegaconf",))
    with pytest.raises(AssertionError, match=r"rlpipe.config.schema imports omegaconf: move the import"):
        testing.check_light(["rlpipe.config.schema"])


@pytest.fixture
def light(monkeypatch):
    """Leave the subprocess out: one test stands for all modules."""
    monkeypatch.setattr(testing, "check_light", lambda modules: None)


@pytest.mark.usefixtures("light")
@pytest.mark.parametrize("name", plugins.BUILT_IN["dataset"])
def test_built_in_datasets_conform(name):
    testing.check_dataset(plugins.load("dataset", name))


@pytest.mark.slow
@pytest.mark.parametrize("name", plugins.BUILT_IN["method"])
def test_built_in_methods_conform(name, tmp_path, monkeypatch):
    monkeypatch.setenv("RLPIPE_STORE", str(tmp_path / "store"))
    # a model of random weights ends no response by itself
    settings = ["method.cut=keep"] if name == "ai_feedback" else []
    result = testing.check_method(plugins.load("method", name), tmp_path, *settings)
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
