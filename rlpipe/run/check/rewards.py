"""Do this dataset's prompts bring what rewards, and a curriculum, read of them?"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from rlpipe.core.errors import DataError, ModelError, Problem, guess
from rlpipe.datasets import local
from rlpipe.datasets.base import Dataset
from rlpipe.datasets.forms import Prompt, apply, route
from rlpipe.engines.frozen import FrozenModelConfig
from rlpipe.hub.facts import local_facts
from rlpipe.rewards.frozen_answer import FrozenAnswer, answer_problem
from rlpipe.run.check.subject import Subject


def settings(subject: Subject) -> Iterator[Problem]:
    """What rewards say about their own settings; weights that leave an objective."""
    for name, reward in subject.rewards.items():
        for problem in reward.problems():
            yield problem.below(f"reward.{name}")
    weights = [node.weight for node in subject.config.reward.values()]
    if weights and not any(weights):
        yield Problem("reward", "every weight is 0, so nothing can be learnt", "give one reward a weight")


def columns(subject: Subject) -> Iterator[Problem]:
    """The dataset's prompts have the columns that the rewards read."""
    if subject.method is None or not subject.method.takes_reward or subject.dataset is None:
        return
    given = prompt_columns(subject.dataset)
    if given is None:
        return
    for name, reward in subject.rewards.items():
        missing = [column for column in reward.columns if column not in given]
        if missing:
            what = (
                f"{reward.config.name} reads {', '.join(missing)}, which prompts of {subject.config.dataset.name} lack"
            )
            yield Problem(f"reward.{name}", what, f"choose a reward that fits the dataset; {guess(missing[0], given)}")


def answers(subject: Subject) -> Iterator[Problem]:
    """A frozen model that answers has room for what it reads."""
    for name, reward in subject.rewards.items():
        if isinstance(reward, FrozenAnswer):
            problem = answer_problem(reward.config, _context(subject, reward.config))
            if problem is not None:
                yield problem.below(f"reward.{name}")


def _context(subject: Subject, config: FrozenModelConfig) -> int | None:
    """Return the context of a reward's model, None where it is not known before loading."""
    if config.model is None and not config.stage:
        facts = subject.facts
        return subject.config.model.context or (facts.context if facts is not None else None)
    with contextlib.suppress(ModelError):  # `models.frozen` says why
        facts = local_facts(config.model) if config.model is not None else None
        return facts.context if facts is not None else None
    return None


def curriculum(subject: Subject) -> Iterator[Problem]:
    """The dataset's prompts have the column that a curriculum sorts by, and a reward knows what is solved."""
    rates = getattr(subject.config.method, "solve_rate", None)
    if rates is not None and rates.active and not any(one.verifies for one in subject.rewards.values()):
        fix = "add a reward that verifies (countdown, gsm8k, math), or leave method.solve_rate out"
        yield Problem("method.solve_rate", "no reward says which completions are right", fix)
    column = getattr(subject.config.method, "curriculum", None)
    if column is None or subject.dataset is None:
        return
    given = prompt_columns(subject.dataset)
    if given is not None and column not in given:
        what = f"prompts of {subject.config.dataset.name} have no column '{column}'"
        yield Problem("method.curriculum", what, f"name one that tells how hard a prompt is; {guess(column, given)}")


def prompt_columns(dataset: Dataset) -> set[str] | None:
    """Return the columns that a dataset's prompts bring, read off one row; None where none is at hand without a hub."""
    config, found = dataset.config, route(dataset.form, (Prompt,))
    row = None
    with contextlib.suppress(DataError, NotImplementedError):
        if config.source not in ("hub", "sample") and type(dataset).make_rows is Dataset.make_rows:
            _, rows = local.first_rows(dataset, local.existing(config.source), config.train_split, "train", limit=1)
            row = rows[0]
        elif type(dataset).sample is not Dataset.sample:
            row = next(iter(dataset.sample("train", 1, 0)), None)
    if row is None or found is None:
        return None
    try:
        made = apply(found[1], dataset.example(row, "train/0"))
        more = dataset.reward_columns(row)
    except (ValueError, KeyError):
        return None  # loading says what is wrong with the row
    return {*(column for one in made if isinstance(one, Prompt) for column in one.columns), *more}
