"""Rows of local files, as they would be trained on: read whole where that is quick, else in samples."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from rlpipe.config import plugins
from rlpipe.core.errors import DataError, ModelError, PluginError, Problem
from rlpipe.datasets import local
from rlpipe.datasets.base import Dataset, LoadReport
from rlpipe.datasets.forms import Example, Form, body, route
from rlpipe.datasets.load import data_problems, load
from rlpipe.datasets.signal import weaknesses
from rlpipe.datasets.splitting import BEYOND, HELD_OUT
from rlpipe.hub.facts import weights_folder
from rlpipe.methods.offline import OfflineConfig, OfflineMethod, Overlong
from rlpipe.methods.online import OnlineConfig
from rlpipe.rewards.combine import unscorable, verified_columns
from rlpipe.run.check.subject import Subject

WHOLE = 50_000_000
"""Bytes of a file that a check reads; of a larger one it looks at samples, and says so."""
MANY = 0.1
"""Share of rows left out that is worth a word."""
SHORTEST = 32
"""Examples that are looked at to see whether all are too long."""


def rows(subject: Subject) -> Iterator[Problem]:
    """Rows of a local file can be read and used, fill a batch, and teach something."""
    method, dataset = subject.method, subject.dataset
    if method is None or dataset is None or not subject.reads_data or not _is_local(dataset):
        return
    takes = method.takes or (dataset.form,)
    broken = any(problem.fatal for problem in data_problems(dataset, subject.reads_train))
    if broken or route(dataset.form, takes) is None:  # other rules say so
        return
    found = _look(subject, dataset, takes)
    yield from found.problems
    if found.whole and method.takes:
        yield from _batch(subject, found.count)
        yield from _length(subject, found.shortest)


def limits(subject: Subject) -> Iterator[Problem]:
    """Limits on rows leave enough of them for a batch."""
    method, dataset = subject.method, subject.dataset
    if method is None or dataset is None or not method.takes or _is_local(dataset):
        return
    config = dataset.config
    made = config.source == "sample" and not config.stage and type(dataset).make_rows is Dataset.make_rows
    knconfig = [limit for limit in (config.train_limit, config.sample_size if made else None) if limit is not None]
    one_each = dataset.form in method.takes or isinstance(subject.config.method, OnlineConfig)
    if knconfig and one_each:  # a pair, say, becomes two labelled examples
        yield from _batch(subject, min(knconfig))


@dataclass(frozen=True)
class Found:
    """What reading the rows of a local source came to."""

    problems: list[Problem]
    count: int = 0
    """Examples to train on."""
    whole: bool = False
    """Whether all rows were read."""
    shortest: tuple[str, ...] = ()
    """The texts of the shortest examples."""


_known: dict[tuple[object, ...], Found] = {}
"""By files and settings: the arms of a sweep mostly read the same rows."""


def _look(subject: Subject, dataset: Dataset, takes: tuple[Form, ...]) -> Found:
    files = local.files_of(dataset, subject.reads_train)
    seed = subject.config.seed if dataset.config.train_limit else None  # else no row depends on it
    rewards = repr(list(subject.config.reward.values()))
    settings = (repr(dataset.config), tuple(form.__name__ for form in takes), subject.reads_train, seed, rewards)
    key = (*(_state(file) for file in files), *settings)
    if key not in _known:
        _known[key] = _read(subject, dataset, takes)
    return _known[key]


def _state(file: Path) -> tuple[str, int, int]:
    about = os.stat(file)
    return str(file), about.st_size, about.st_mtime_ns


def _read(subject: Subject, dataset: Dataset, takes: tuple[Form, ...]) -> Found:
    rewards = list(subject.rewards.values())
    try:
        with plugins.blame("dataset", subject.config.dataset.name):
            splits = load(
                dataset, takes, subject.config.seed, unscorable(rewards), train=subject.reads_train, largest=WHOLE
            )
    except DataError as error:
        return Found(error.problems)
    except PluginError as error:
        return Found([error.at("dataset")])
    reports = [report for report in (splits.train.report, splits.test.report) if report.read]
    sampled = [note for report in reports for note in report.notes if note.startswith(local.SAMPLED)]
    problems = [_note("dataset.source", note, "the rest is looked at as the run begins") for note in sampled]
    guesses = dataset.notes() if hasattr(dataset.config, "form") else []
    problems += [_note("dataset.form", note, "if that is wrong, say which: dataset.form=…") for note in guesses]
    problems += [left_out for report in reports if (left_out := _left_out(report)) is not None]
    examples = splits.train.examples
    problems += weaknesses(examples, splits.train.native, verified_columns(rewards))
    texts = sorted((_text(example) for example in examples), key=len)[:SHORTEST]
    return Found(list(dict.fromkeys(problems)), len(examples), not sampled, tuple(texts))


def _is_local(dataset: Dataset) -> bool:
    return dataset.config.source not in ("hub", "sample") and type(dataset).make_rows is Dataset.make_rows


def _note(where: str, what: str, fix: str) -> Problem:
    return Problem(where, what, fix, fatal=False)


def _left_out(report: LoadReport) -> Problem | None:
    """Say which rows are left out, where they are many."""
    reasons = {why: count for why, count in report.dropped.items() if why not in (HELD_OUT, BEYOND)}
    count = sum(reasons.values())
    if count <= MANY * report.read:
        return None
    what = f"{count} of {report.read} rows are left out ({'; '.join(f'{why}: {n}' for why, n in reasons.items())})"
    return _note(report.source, what, "look whether the right columns are read (dataset.columns), and fix the rows")


def _text(example: Example) -> str:
    """Return the words of an example, of its answers the longest, without anything a chat template puts around them."""
    fields = body(example)
    fields.pop("tools", None)
    answers = [fields.pop(name) for name in ("chosen", "rejected") if name in fields]
    texts = [text for name, value in fields.items() if name != "columns" for text in _strings(value)]
    longest = max((list(_strings(answer)) for answer in answers), key=lambda part: sum(map(len, part)), default=[])
    return "\n".join([*texts, *longest])


def _strings(value: object) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, list):
        for message in value:
            yield str(message.get("content") or "") if isinstance(message, dict) else str(message)


def _batch(subject: Subject, count: int) -> Iterator[Problem]:
    """There are enough examples for one batch."""
    config, method = subject.config.method, subject.method
    needed = config.prompts_per_batch if isinstance(config, OnlineConfig) else config.batch_size
    packed = isinstance(method, OfflineMethod) and method.packs
    if count < needed and not packed and isinstance(config, OnlineConfig | OfflineConfig):
        what = f"a batch needs {needed} examples, and there are {count} to train on"
        yield Problem("method.batch_size", what, f"lower it (method.batch_size={max(1, count)}), or use more data")


def _length(subject: Subject, shortest: tuple[str, ...]) -> Iterator[Problem]:
    """Not all examples are too long; laid out by the chat template they are longer than counted here."""
    config = subject.config.method
    if isinstance(config, OfflineConfig) and config.overlong is Overlong.drop:
        room, fields = config.max_length, "method.max_length"
    elif isinstance(config, OnlineConfig):
        room, fields = config.max_length - config.sampling.max_tokens, "what method.sampling.max_tokens leaves of it"
    else:
        return
    source = subject.config.model.source
    if source is None or not shortest or len(shortest[0]) <= room:  # a token has a character at least
        return
    counts = _tokens(Path(source).expanduser(), shortest)
    if counts and min(counts) > room:
        what = f"even the shortest of the examples have {min(counts)} tokens and more, and {fields} is {room}"
        yield Problem("method.max_length", what, "raise it if the model can take more, or use shorter rows")


def _tokens(folder: Path, texts: tuple[str, ...]) -> list[int]:
    """Count tokens by a local folder's tokenizer.json; nothing where there is none that can be read."""
    from tokenizers import Tokenizer

    if not folder.is_dir():
        return []
    try:
        file = weights_folder(folder) / "tokenizer.json"
        if not file.is_file():
            return []
        tokenizer = Tokenizer.from_file(str(file))
    except ModelError:
        return []
    except Exception:  # the library raises bare Exception for a damaged file, of which loading the model tells
        return []
    return [len(one.ids) for one in tokenizer.encode_batch(list(texts), add_special_tokens=False)]
