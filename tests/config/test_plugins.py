"""How a name becomes a class, and whose fault it is when that fails."""

from __future__ import annotations

import io
from dataclasses import dataclass, field
from importlib.metadata import EntryPoint

import pytest

from rlpipe.config import plugins
from rlpipe.config.compose import compose
from rlpipe.config.kinds import DatasetConfig, MethodConfig
from rlpipe.core.errors import DataError, PluginError, Stopped
from rlpipe.datasets.base import Dataset
from rlpipe.methods.base import Method
from rlpipe.methods.dpo import DPO


def test_every_built_in_name_leads_to_a_class_of_its_kind():
    for kind, targets in plugins.BUILT_IN.items():
        for name, target in targets.items():
            assert plugins.load(kind, name).__name__ == target.split(":")[1]
            assert plugins.table()[kind][name].origin == "rlpipe"


def test_make_hands_the_config_over():
    config = compose("method=dpo", "method.beta=0.3")
    method = plugins.make("method", config.method)
    assert isinstance(method, DPO)
    assert method.config.beta == 0.3


def test_an_unknown_name_gets_a_guess():
    with pytest.raises(PluginError, match=r"no method plugin 'dop'\n    → did you mean 'dpo'\?"):
        plugins.load("method", "dop")


@pytest.mark.parametrize(
    ("target", "reason"),
    [
        ("rlpipe.nowhere:Method", "No module named 'rlpipe.nowhere'"),
        ("rlpipe.methods.dpo:Nothing", "has no attribute 'Nothing'"),
        ("rlpipe.datasets.piqa:Piqa", "is no subclass of rlpipe.methods.base.Method"),
        ("json:dumps", "is no subclass of rlpipe.methods.base.Method"),
    ],
)
def test_what_cannot_be_used_is_kept_with_its_reason(monkeypatch, target, reason):
    entry = EntryPoint("theirs", target, "rlpipe.method")
    monkeypatch.setattr(EntryPoint, "dist", type("Dist", (), {"name": "their-package"})(), raising=False)
    plugin = plugins._load("method", entry)
    assert plugin.cls is None
    assert plugin.origin == "their-package"
    assert reason in plugin.error


class Unusable(Dataset):
    """Its config has a field of a type that no config can hold."""

    @dataclass
    class Config(DatasetConfig):
        """Unusable."""

        handle: io.StringIO = field(default_factory=io.StringIO)

    def example(self, row, id):
        raise ValueError


def test_a_config_that_cannot_be_one_is_kept_with_its_reason(monkeypatch):
    monkeypatch.setattr(EntryPoint, "load", lambda entry: Unusable)
    plugin = plugins._load("dataset", EntryPoint("theirs", "theirs:Unusable", "rlpipe.dataset"))
    assert plugin.cls is None
    assert "its Config cannot be a config" in plugin.error
    assert "StringIO" in plugin.error


class Theirs(Method):
    """Somebody's method."""

    Config = MethodConfig
    takes = ()


@pytest.fixture
def _theirs(monkeypatch):
    monkeypatch.setitem(
        plugins.table()["method"], "theirs", plugins.Plugin("method", "theirs", "their-package", Theirs)
    )


@pytest.mark.usefixtures("_theirs")
def test_a_plain_error_of_a_plugin_is_attributed_to_it():
    def fail() -> None:
        with plugins.blame("method", "theirs"):
            raise KeyError("beta")

    with pytest.raises(PluginError, match=r"method=theirs \(package 'their-package'\) failed: KeyError: 'beta'"):
        fail()


@pytest.mark.usefixtures("_theirs")
@pytest.mark.parametrize("error", [DataError("", "rows", ""), Stopped("", "stopped", ""), KeyboardInterrupt()])
def test_what_is_nobodys_fault_passes(error):
    def fail() -> None:
        with plugins.blame("method", "theirs"):
            raise error

    with pytest.raises(type(error)):
        fail()


def test_our_own_bugs_stay_our_own():
    def fail() -> None:
        with plugins.blame("method", "dpo"):
            raise ZeroDivisionError("a bug")

    with pytest.raises(ZeroDivisionError):
        fail()


def test_bases_are_no_plugins():
    assert all(cls is not Dataset for known in plugins.table().values() for cls in [p.cls for p in known.values()])
