"""What rows a run reads, by their content: found once for all runs and processes that read the same.

`.identities/<64 hex>.json` of the store keeps it under all that it depends on, where that is known: settings, files by
their content, and rlpipe's own code.
"""

from __future__ import annotations

import hashlib
import json
import sys
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from rlpipe.config import plugins
from rlpipe.config.resolved import resolve
from rlpipe.config.schema import RunConfig
from rlpipe.core.errors import RecordError
from rlpipe.core.files import json_text, write_atomic
from rlpipe.core.paths import store_dir
from rlpipe.datasets.base import Dataset
from rlpipe.datasets.forms import CONVERTERS, Example, Form
from rlpipe.stages import identity

FOLDER = ".identities"
FIRST = 64


@dataclass(frozen=True)
class Data:
    """The rows that a run would read."""

    train: str
    """The hash of the train rows' content."""
    test: str
    rows: int
    """Number of train rows."""
    held_out: int
    """Number of test rows."""
    drawn: bool
    """Whether the seed decides which rows they are."""
    first: tuple[Example, ...]
    """The first train examples, to tell by how long they are."""


_known: dict[str, Data] = {}


def data(config: RunConfig) -> Data:
    """Return the identity of a run's rows. Raises DataError where they cannot be read."""
    resolved = resolve(config)
    dataset: Dataset = resolved.dataset
    takes = resolved.method.takes or (dataset.form,)
    trains = bool(resolved.method.takes)
    settings = [asdict(config.dataset), [form.__name__ for form in takes], trains]
    key = json_text([*settings, identity.files(dataset.config)])
    found = _known.get(key) or _known.get(f"{key} {config.seed}")
    if found is None:
        always, drawn = (_file(dataset, settings, config, seed) for seed in (None, config.seed))
        found = _read(always) or _read(drawn)
        if found is None:
            with plugins.blame("dataset", config.dataset.name):
                found = _load(dataset, takes, config, trains)
            _write(found, drawn if found.drawn else always)
        _known[f"{key} {config.seed}" if found.drawn else key] = found
    return found


def _load(dataset: Dataset, takes: tuple[Form, ...], config: RunConfig, trains: bool) -> Data:
    from rlpipe.datasets.load import load

    splits = load(dataset, takes, config.seed, train=trains)
    train, test = splits.train.report, splits.test.report
    first = tuple((splits.train.examples or splits.test.examples)[:FIRST])
    limit = config.dataset.train_limit  # the seed shuffles rows where there are more
    drawn = limit is not None and max(train.kept, train.read) >= limit
    drawn |= type(dataset).make_rows is not Dataset.make_rows
    return Data(train.identity, test.identity, train.kept, test.kept, drawn, first)


def _file(dataset: Dataset, settings: Sequence[Any], config: RunConfig, seed: int | None) -> Path | None:
    """Return where the store has the identity of the rows that a seed draws, or of those of any seed.

    None where the rows depend on what is not known here.
    """
    content: Any = None
    source = dataset.config.source  # some datasets read other rows than their config names
    if source not in ("hub", "sample"):
        content = identity.local_content(dataset) if type(dataset).__module__.startswith("rlpipe.") else None
    elif source == "sample" and _fixed(dataset):
        content = list(sys.version_info[:2])  # of Python's random numbers
    if content is None:
        return None
    whole = json_text([settings, content, seed, identity.code()])
    return store_dir(config.store) / FOLDER / f"{hashlib.sha256(whole.encode()).hexdigest()}.json"


def _fixed(dataset: Dataset) -> bool:
    """Return whether sample rows are always the same; what a class says counts for it alone, not for subclasses."""
    return bool(vars(type(dataset)).get("fixed")) and all(_fixed(part) for part in dataset.parts())


def _read(kept: Path | None) -> Data | None:
    """Return what a file of ours says; one that is damaged, or that cannot be read, is as good as none."""
    if kept is None:
        return None
    with suppress(OSError, ValueError, KeyError, TypeError):
        said = json.loads(kept.read_bytes())
        first = tuple(_FORMS[one.pop("form")](**one) for one in said.pop("first"))
        return Data(**said, first=first)
    return None


def _write(found: Data, kept: Path | None) -> None:
    first = [{"form": type(one).__name__, **vars(one)} for one in found.first]
    with suppress(RecordError):  # in a store that cannot be written it is found each time
        if kept is not None:
            write_atomic(kept, json_text({**vars(found), "first": first}))


_FORMS = {form.__name__: form for pair in CONVERTERS for form in pair}
