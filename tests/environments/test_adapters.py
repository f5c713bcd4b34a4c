"""GEM's and TextArena's environments: stand-ins of their interface, and the packages where they are installed."""

from __future__ import annotations

import logging
import random
import sys
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from rlpipe.core.errors import PluginError
from rlpipe.datasets.forms import Prompt
from rlpipe.environments.episode import Episode
from rlpipe.environments.gem import Gem, GemConfig
from rlpipe.environments.textarena import TextArena, TextArenaConfig
from rlpipe.testing import check_environment

GUESS = "guess:Any-v0"


class Guess:
    """GEM's interface: a number of the process's random ones."""

    def __init__(self, most: int = 9):
        self.most = most

    def reset(self, seed):
        random.seed(seed)
        self.secret = random.randint(1, self.most)
        return f"Guess one of {self.most}.", {"suffix": "Now."}

    def step(self, action):
        random.random()
        return "No.", 1.0 if action == str(self.secret) else -0.1, False, action == "stop", {"tries": 1, "note": "x"}


class Game:
    """TextArena's interface, of one player who may err once."""

    def __init__(self, most: int = 9):
        self.most, self.errors, self.seen = most, 0, []

    def reset(self, num_players, seed):
        assert num_players == self.most // 9, "The number of players has to be 2"
        random.seed(seed)
        self.secret = random.randint(1, self.most)
        self.seen = [(-1, "Guess.", None)]

    def get_observation(self):
        seen, self.seen = self.seen, []
        return 0, seen

    def step(self, action):
        self.seen += [(0, action, None), (-1, "No.", None)]
        self.errors += not action.isdigit()
        self.won = action == str(self.secret)
        return self.won or self.errors > 1, {}

    def close(self):
        return {0: float(self.won)}, {0: {"reason": "Over.", "invalid_move": self.errors > 1}}


@pytest.fixture
def packages(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, interface in (("gem", Guess), ("textarena", Game)):
        one, envs, registration = (ModuleType(part) for part in (name, f"{name}.envs", f"{name}.envs.registration"))
        one.__spec__ = SimpleNamespace()  # type: ignore[assignment]
        one.make = lambda id, interface=interface, **options: interface(**options)  # type: ignore[attr-defined]
        registration.ENV_REGISTRY = {GUESS: None, f"{GUESS}-raw": None}  # type: ignore[attr-defined]
        for module in (one, envs, registration):
            monkeypatch.setitem(sys.modules, module.__name__, module)


def episode(cls: Any, row: int = 0, **options: Any) -> Episode:
    config = cls.Config(name="checked", id=GUESS, options=options)
    return Episode(cls(config), Prompt(f"train/{row}", []))


@pytest.mark.usefixtures("packages")
def test_gem_says_what_its_interface_gives():
    one = episode(Gem, most=5)
    assert one.opening == [{"role": "user", "content": "Guess one of 5.\nNow."}]
    turn = one.step("0", 0)
    assert (turn.messages[0]["content"], turn.reward, turn.done, turn.numbers) == ("No.", -0.1, False, {"tries": 1.0})
    assert one.step("stop", 0).done
    assert one.step(str(one.environment.env.secret), 0).reward == 1.0


@pytest.mark.usefixtures("packages")
def test_textarena_rewards_at_the_end_and_repeats_no_move():
    one = episode(TextArena)
    assert one.opening == [{"role": "user", "content": "Guess."}]
    turn = one.step("0", 0)
    assert (turn.messages, turn.reward, turn.done) == ([{"role": "user", "content": "No."}], 0.0, False)
    one.step("what", 0)
    turn = one.step("again", 0)
    assert (turn.messages[0]["content"], turn.reward, turn.done) == ("Over.", 0.0, True)
    assert turn.numbers == {"invalid_move": 1.0}
    other = episode(TextArena)
    assert other.step(str(other.environment.game.secret), 0).reward == 1.0


@pytest.mark.usefixtures("packages")
@pytest.mark.parametrize("cls", [Gem, TextArena])
def test_the_process_keeps_its_random_numbers_and_each_episode_has_its_own(cls):
    random.seed(5)
    expected = random.random()
    random.seed(5)
    secrets = []
    for row in range(9):
        one = episode(cls, row)
        inner = one.environment.env if cls is Gem else one.environment.game
        secrets.append(inner.secret)
        one.step("0", 0)
    assert random.random() == expected
    assert len(set(secrets)) > 3


@pytest.mark.usefixtures("packages")
@pytest.mark.parametrize(("cls", "config"), [(Gem, GemConfig), (TextArena, TextArenaConfig)])
def test_names_are_looked_up_before_a_run(cls, config):
    assert cls(config(name="checked", id=GUESS)).problems() == []
    [problem] = cls(config(name="checked", id="gues:Any-v0")).problems()
    assert (problem.where, f"did you mean '{GUESS}'?" in problem.fix) == ("id", True)
    handlers = list(logging.getLogger().handlers)
    assert logging.getLogger().handlers == handlers


@pytest.mark.usefixtures("packages")
def test_a_game_of_several_players_is_refused():
    with pytest.raises(PluginError, match="is not played by one player"):
        episode(TextArena, most=20)


@pytest.mark.parametrize(
    ("cls", "config", "extra"), [(Gem, GemConfig, "gem"), (TextArena, TextArenaConfig, "textarena")]
)
def test_a_package_that_is_not_there_is_named(cls, config, extra, monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    [problem] = cls(config(name="checked", id=GUESS)).problems()
    assert problem.fix == f"pip install 'rlpipe[{extra}]'"


@pytest.mark.parametrize(
    ("cls", "package", "id", "turns"),
    [
        (Gem, "gem", "game:GuessTheNumber-v0-easy", [r"\boxed{3}", r"\boxed{5}"]),
        (Gem, "gem", "game:Sokoban-v0-easy", [r"\boxed{up}", r"\boxed{left}"]),
        (TextArena, "textarena", "GuessTheNumber-v0", ["[3]", "[5]"]),
        (TextArena, "textarena", "2048-v0", ["[up]", "[left]"]),
    ],
)
def test_the_packages_conform(cls, package, id, turns):
    pytest.importorskip(package, reason=f"{package} is not installed")
    check_environment(cls, turns, id=id, max_turns=6)
