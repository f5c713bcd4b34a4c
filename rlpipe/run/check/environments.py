"""Does an environment fit the run: who plays it, what it reads of rows, what reads it, and the room for its turns?"""

from __future__ import annotations

from collections.abc import Iterator

from rlpipe.config.kinds import EnvironmentConfig
from rlpipe.core.errors import Problem, guess
from rlpipe.datasets.forms import Prompt, route
from rlpipe.run.check.choices import measures
from rlpipe.run.check.rewards import prompt_columns
from rlpipe.run.check.subject import Subject, classes

SHORTEST = 2
"""Tokens of the shortest turn: a word, and the end of the turn."""


def settings(subject: Subject) -> Iterator[Problem]:
    """What the environment says about its own settings, a package that is not installed among them."""
    if subject.environment is not None:
        for problem in subject.environment.problems():
            yield problem.below("environment")


def players(subject: Subject) -> Iterator[Problem]:
    """An environment is given only where completions are episodes of it: in training, or in a required evaluation."""
    method, node = subject.method, subject.config.environment
    if node is None or method is None or method.takes_environment:
        return
    if any(one.config.required and one.takes_environment for one in subject.evaluations.values()):
        return
    users = [name for name, cls in classes("method").items() if cls.takes_environment]  # type: ignore[attr-defined]
    what = f"{subject.config.method.name} trains on completions of one turn, and no required evaluation plays it"
    fix = f"drop environment=…, choose a method that plays it ({', '.join(users)}), or measure it: evaluation=accuracy"
    yield Problem(f"environment={node.name}", what, fix)


def rewards(subject: Subject) -> Iterator[Problem]:
    """What reads an episode has one to read, and what an episode earns is not lost."""
    config, method = subject.config, subject.method
    readers = [name for name, reward in subject.rewards.items() if reward.reads_episode]
    if config.environment is None:
        for name in readers:
            what = f"{config.reward[name].name} reads what an environment gave, and there is none"
            yield Problem(f"reward.{name}", what, f"give environment=… ({', '.join(classes('environment'))})")
    elif method is not None and method.takes_reward and readers and not method.takes_environment:
        what = f"{config.method.name} trains on completions of one turn, and {readers[0]} reads episodes"
        yield Problem(f"reward.{readers[0]}", what, "choose a method that plays the environment (method=rloo)")
    elif method is not None and method.takes_reward and not readers:
        what = f"nothing that is learnt from reads what {config.environment.name} gives for an episode"
        yield Problem("reward", what, "add the reward environment: reward=[environment,…]", fatal=False)


def columns(subject: Subject) -> Iterator[Problem]:
    """The dataset holds prompts, and they bring what the environment reads of a row."""
    environment, dataset = subject.environment, subject.dataset
    if environment is None or dataset is None or route(dataset.form, (Prompt,)) is None:
        return
    given, where = prompt_columns(dataset), f"environment={environment.config.name}"
    missing = [] if given is None else [column for column in environment.columns if column not in given]
    if missing:
        what = f"it begins from the columns {', '.join(missing)}, which prompts of {dataset.config.name} lack"
        yield Problem(where, what, f"choose a dataset that fits the environment; {guess(missing[0], given or ())}")


def budgets(subject: Subject) -> Iterator[Problem]:
    """The tokens of a completion hold the turns of an episode."""
    node = subject.config.environment
    if node is None:
        return
    for where, tokens in _drawers(subject):
        if node.max_turns * SHORTEST > tokens:
            what = f"{tokens} tokens cannot hold the {node.max_turns} turns of an episode (environment.max_turns)"
            yield Problem(where, what, f"raise it to {node.max_turns * SHORTEST} or far more, or lower max_turns")
        elif node.turn_tokens is not None and node.max_turns * node.turn_tokens > tokens:
            longest = f"{node.max_turns} turns of {node.turn_tokens} tokens"
            what = f"{tokens} tokens hold fewer than {longest} (environment.max_turns, turn_tokens): some will be cut"
            yield Problem(where, what, f"raise it above {node.max_turns * node.turn_tokens}", fatal=False)


def _drawers(subject: Subject) -> Iterator[tuple[str, int]]:
    """Yield the settings that bound an episode, each with its tokens; none twice that follows from another."""
    method, node = subject.config.method, subject.config.environment
    assert isinstance(node, EnvironmentConfig)
    trained: int | None = None
    if subject.method is not None and subject.method.takes_environment:
        trained = method.sampling.max_tokens  # type: ignore[attr-defined]
        yield "method.sampling.max_tokens", trained
    for name, one in subject.evaluations.items():
        if not one.takes_environment or not measures(subject, one):
            continue
        _, tokens = one.drawn(subject.config)
        if tokens != trained:
            yield f"evaluation.{name}", tokens
