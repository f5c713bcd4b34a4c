"""Tokens of a large dataset as an Arrow file of the store: made once for all runs of the same rows and tokenizer.

The file is mapped, so that a run has in memory what it comes to, and the lengths of all.
"""

from __future__ import annotations

import bisect
import hashlib
import itertools
import json
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rlpipe.core import distributed
from rlpipe.core.files import explained, json_text, write_atomic
from rlpipe.datasets.base import Split
from rlpipe.datasets.lazily import Lazy, picked
from rlpipe.models.tokens import Tokens
from rlpipe.stages.entries import by_main, entry, lent
from rlpipe.stages.identity import code
from rlpipe.training.offline.tokenized import BATCH, Fitting, TokenizedExamples, tokenize_examples

if TYPE_CHECKING:
    import pyarrow
    from transformers import PreTrainedTokenizerBase

    from rlpipe.methods.offline import OfflineMethod
    from rlpipe.tools.protocols import Protocol
    from rlpipe.training.base import Parts

TOKENS, COUNTS = "tokens.arrow", "counts.json"


def tokenized(method: OfflineMethod, parts: Parts, protocol: Protocol | None) -> TokenizedExamples:
    """Return the tokens of a run's train examples; of a large dataset as the store has them, made first if need be.

    They are in use until `parts.uses` is closed.
    """
    split, tokenizer = parts.data.train, parts.loaded.tokenizer
    fitting = Fitting(tokenizer, method.config, method.marks_speaker)
    large = isinstance(split.examples, Lazy) and tokenizer.is_fast
    needed = entry("tokens", parts.config, _inputs(split, fitting)) if large else None
    if needed is None or not distributed.broadcast(needed.usable):
        return tokenize_examples(split.examples, tokenizer, method.config, method.marks_speaker, protocol)

    def compute(folder: Path) -> None:
        by_main(_written(fitting, split.examples, folder))

    folder, _ = parts.uses.enter_context(lent(needed, parts.run_dir, compute))
    return _read(folder, split)


def _inputs(split: Split, fitting: Fitting) -> dict[str, Any]:
    """Return all that the tokens depend on."""
    return {
        "rows": split.report.identity,
        "forms": split.report.converted,
        "tokenizer": _identity(fitting.tokenizer),
        "length": [fitting.config.max_length, fitting.config.overlong.value],
        "mark": fitting.mark,
        "code": code(),
    }


def _identity(tokenizer: PreTrainedTokenizerBase) -> str:
    """Hash what decides what a fast tokenizer makes of conversations."""
    backend: Any = tokenizer
    said = [type(tokenizer).__name__, tokenizer.chat_template, tokenizer.special_tokens_map, tokenizer.padding_side]
    text = json.dumps([*said, backend.backend_tokenizer.to_str()], sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()


def _schema() -> pyarrow.Schema:
    import pyarrow as pa

    ids = pa.list_(pa.int32())
    fields = {"number": pa.int64(), "length": pa.int32(), "prompt": ids, "answers": pa.list_(ids)}
    return pa.schema({**fields, "spoken": pa.list_(pa.bool_())})


def _written(fitting: Fitting, examples: Sequence[Any], folder: Path) -> Iterator[None]:
    import pyarrow as pa

    schema = _schema()
    with (
        explained(folder, setting="store"),
        pa.OSFile(str(folder / TOKENS), "wb") as file,
        pa.ipc.new_file(file, schema) as writer,
    ):
        for part in _batches(fitting.fit(examples)):
            rows = [{"number": number, "length": one.length, **vars(one)} for number, one in part]
            writer.write_batch(pa.RecordBatch.from_pylist(rows, schema=schema))
            yield
    counts = {"seen": fitting.seen, "dropped": fitting.dropped, "cut": fitting.cut}
    write_atomic(folder / COUNTS, json_text(counts))


def _batches(rows: Iterable[tuple[int, Tokens]]) -> Iterator[list[tuple[int, Tokens]]]:
    found = iter(rows)
    while part := list(itertools.islice(found, BATCH)):
        yield part


def _read(folder: Path, split: Split) -> TokenizedExamples:
    import pyarrow as pa

    reader = pa.ipc.open_file(pa.memory_map(str(folder / TOKENS)))
    batches = [reader.get_batch(number) for number in range(reader.num_record_batches)]
    ends = list(itertools.accumulate(len(batch) for batch in batches))

    def tokens(wanted: Sequence[int]) -> list[Tokens]:
        found = []
        for place in wanted:
            part = bisect.bisect_right(ends, place)
            row = place - (ends[part - 1] if part else 0)
            prompt, answers, spoken = (batches[part][name][row].as_py() for name in ("prompt", "answers", "spoken"))
            found.append(Tokens(prompt, tuple(answers), None if spoken is None else tuple(spoken)))
        return found

    numbers, lengths = (
        [value for batch in batches for value in batch[name].to_pylist()] for name in ("number", "length")
    )
    counts = json.loads((folder / COUNTS).read_bytes())
    lazily = Lazy(ends[-1], tokens)
    return TokenizedExamples(picked(split.examples, numbers), lazily, lengths, numbers, **counts)
