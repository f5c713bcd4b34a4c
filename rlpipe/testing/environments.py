"""What is asked of an environment."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from rlpipe.config.kinds import EnvironmentConfig
from rlpipe.core.errors import PluginError
from rlpipe.datasets.forms import Prompt
from rlpipe.environments.base import Environment
from rlpipe.environments.episode import Episode, Turn
from rlpipe.testing.config import check_config, check_light

HOSTILE = ("", " ", "\x00", "no move at all", "9" * 5000, "<|im_end|>", "[[[((( {", "🂡 ٣", "\ud800")
"""Turns that nobody expects: an environment answers them like any other."""
EPISODES = 3
"""How many episodes are played of each kind."""


def check_environment(
    cls: type[Environment], turns: Sequence[str], row: Mapping[str, Any] | None = None, **settings: Any
) -> None:
    """Check an environment class: light module, documented config, and episodes that go by the contract.

    `turns` is what is said in it, over and over until the episode is over or `max_turns` are made; `row` holds the
    columns that it reads, `settings` are fields of its Config. The same seed must give the same episode, also where
    another one is played at the same time, and turns that nobody expects must be answered too.
    """
    assert issubclass(cls, Environment), f"{cls.__name__} is no subclass of rlpipe.Environment"
    check_light([cls.__module__])
    check_config(cls, EnvironmentConfig)
    columns = cls.columns
    assert isinstance(columns, tuple), f"{cls.__name__}.columns is no tuple of column names"
    missing = sorted(set(columns) - set(row or {}))
    assert not missing, f"{cls.__name__} reads the columns {missing}: give a `row` that has them"
    assert turns, f"{cls.__name__}: give the turns that are to be said"
    config = cls.Config(**{"name": "checked", **settings})
    problems = cls(config).problems()
    assert not problems, f"{cls.__name__}: {problems[0]}"
    try:
        for number in range(EPISODES):
            _check_alike(cls, config, row or {}, turns, f"checked/{number}")
            _play(_begun(cls, config, row or {}, f"hostile/{number}"), HOSTILE)
    except PluginError as error:
        raise AssertionError(f"{cls.__name__}: {error}") from error


def _check_alike(
    cls: type[Environment], config: EnvironmentConfig, row: Mapping[str, Any], turns: Sequence[str], id: str
) -> None:
    """An episode of a row and a seed is the same again, whatever is played beside it."""
    first = _begun(cls, config, row, id)
    alone = _play(first, turns)
    again = _begun(cls, config, row, id)
    assert again.opening == first.opening, f"{cls.__name__}.reset: other words for the same row and seed"
    beside, played = _begun(cls, config, row, f"beside/{id}"), _turns(again, turns)
    both: list[Turn] = []
    for turn, _ in zip(played, _forever(beside), strict=False):
        both.append(turn)
    assert both == alone, f"{cls.__name__}.step: other answers for the same seed and turns, with an episode beside it"
    again.close()
    beside.close()


def _begun(cls: type[Environment], config: EnvironmentConfig, row: Mapping[str, Any], id: str) -> Episode:
    given = copy.deepcopy(dict(row))
    episode = Episode(cls(config), Prompt(id, [], given))
    assert given == row, f"{cls.__name__}.reset changes the row that it is given"
    return episode


def _play(episode: Episode, turns: Sequence[str]) -> list[Turn]:
    """Play an episode to its end."""
    played = list(_turns(episode, turns))
    episode.close()
    return played


def _turns(episode: Episode, turns: Sequence[str]) -> Iterator[Turn]:
    """Say turns, over and over, until the episode is over."""
    while not episode.exhausted:
        turn = episode.step(turns[len(episode.turns) % len(turns)], 0)
        reserved = sorted({"turns", "finished"} & set(turn.numbers))
        name = type(episode.environment).__name__
        assert not reserved, f"{name}.step: {reserved} are numbers that the reward gives itself"
        yield turn
        if turn.done:
            return


def _forever(episode: Episode) -> Iterator[None]:
    """Play an episode as far as it goes, then stand still."""
    for _ in _turns(episode, HOSTILE):
        yield
    while True:
        yield
