"""The hub: unreachable, cached, and what the library's errors are turned into."""

from __future__ import annotations

import builtins
import json
import os
import shutil
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

import rlpipe
from rlpipe.config.kinds import DatasetConfig
from rlpipe.core.errors import DataError
from rlpipe.datasets import hub
from rlpipe.hub import files

LOAD = """
import sys
from rlpipe.config import plugins
from rlpipe.datasets.load import load, summed_up
cls = plugins.load("dataset", "gsm8k")
dataset = cls(cls.Config(name="gsm8k", source="hub"))
splits = load(dataset, (dataset.form,), 0)
print(summed_up("files", splits.train.report, splits.test.report))
print("torch" in sys.modules)
"""


def run(code: str, cache: Path, **variables: str) -> tuple[subprocess.CompletedProcess, float]:
    """Run code in a fresh process in which HF_HUB_OFFLINE is not set, unless a variable sets it."""
    environment = {name: value for name, value in os.environ.items() if name != "HF_HUB_OFFLINE"}
    environment["PYTHONPATH"] = str(Path(rlpipe.__file__).parents[1])
    environment |= {"HF_HOME": str(cache), "HF_DATASETS_CACHE": str(cache), **variables}
    start = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-c", code],
        env=environment,
        cwd=cache,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    return done, time.monotonic() - start


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A cache that holds 30 train and 5 test rows of openai/gsm8k, laid out as a download leaves it."""
    import datasets

    folder = tmp_path_factory.mktemp("cache")
    files = {}
    for split, count in (("train", 30), ("test", 5)):
        files[split] = str(folder / f"{split}.jsonl")
        rows = [{"question": f"{split} {n}?", "answer": f"It is {n}.\n#### {n}"} for n in range(count)]
        Path(files[split]).write_text("".join(json.dumps(row) + "\n" for row in rows))
    builder = datasets.load_dataset_builder("json", "main", data_files=files, cache_dir=str(folder / "made"))
    builder.download_and_prepare()
    place = folder / "openai___gsm8k" / "main" / "0.0.0" / ("0" * 40)
    place.mkdir(parents=True)
    for file in Path(builder.cache_dir).iterdir():
        shutil.copy(file, place / file.name.replace("json-", "gsm8k-"))
    info = json.loads((place / "dataset_info.json").read_text()) | {"config_name": "main", "dataset_name": "gsm8k"}
    (place / "dataset_info.json").write_text(json.dumps(info))
    return folder


@pytest.mark.slow
def test_an_unreachable_hub_is_an_error_within_seconds(tmp_path: Path) -> None:
    done, seconds = run(LOAD, tmp_path, HF_ENDPOINT="http://127.0.0.1:9")
    assert done.returncode == 1
    assert "openai/gsm8k is not in the cache, and the hub cannot be reached (http://127.0.0.1:9: " in done.stderr
    assert "set dataset.source=sample for made-up rows, or dataset.source=PATH" in done.stderr
    assert seconds < 30  # a busy machine starts slowly; left alone, the hub's client tries for minutes


@pytest.mark.slow
def test_a_cached_dataset_works_while_the_hub_is_unreachable(cache: Path) -> None:
    done, seconds = run(LOAD, cache, HF_ENDPOINT="http://127.0.0.1:9")
    assert done.returncode == 0, done.stderr
    assert "30 rows to train on" in done.stdout
    assert "hub:openai/gsm8k@cache: 30 rows to train on, 5 held out" in done.stdout
    assert "the hub could not be reached (http://127.0.0.1:9" in done.stdout
    assert done.stdout.endswith("False\n")
    assert seconds < 30  # a busy machine starts slowly; left alone, the hub's client tries for minutes


@pytest.fixture
def silent_server() -> Iterator[str]:
    """A server that takes connections and never answers."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        taken: list[socket.socket] = []
        threading.Thread(target=lambda: taken.append(server.accept()[0]), daemon=True).start()
        yield f"http://127.0.0.1:{server.getsockname()[1]}"


@pytest.mark.timeout(60)
def test_a_hub_that_never_answers_is_given_up(silent_server: str, monkeypatch: pytest.MonkeyPatch) -> None:
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "ENDPOINT", silent_server)
    monkeypatch.setattr(files, "REACH_SECONDS", 0.3)
    assert "timed out" in str(files.reach())


def test_offline_mode_is_not_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    assert files.reach() == "HF_HUB_OFFLINE is set"


def in_cache(cache: Path, monkeypatch: pytest.MonkeyPatch, **settings: str | None) -> DatasetConfig:
    import datasets

    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", cache)
    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", True)
    return DatasetConfig(name="gsm8k", source="hub", **{"hub": "openai/gsm8k", "subset": "main", **settings})


def test_rows_are_taken_in_any_order(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hub, "BATCH", 4)
    train, test = hub.read_splits(in_cache(cache, monkeypatch))
    assert test is not None
    assert (len(train.rows), len(test.rows)) == (30, 5)
    order = [7, 3, 29, 0, 11, 12]
    assert [row["question"] for row in train.take(order)] == [f"train {n}?" for n in order]


def test_an_unknown_split_lists_the_known_ones(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = in_cache(cache, monkeypatch, test_split="tset")
    with pytest.raises(DataError, match=r"dataset\.test_split: openai/gsm8k has no split 'tset'") as caught:
        hub.read_splits(config)
    assert "['train', 'test']" in str(caught.value)


def test_an_unknown_subset_lists_the_known_ones(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(DataError, match=r"dataset\.subset: openai/gsm8k has no subset 'mein'") as caught:
        hub.read_splits(in_cache(cache, monkeypatch, subset="mein"))
    assert "['main']" in str(caught.value)


@pytest.mark.parametrize(
    ("kind", "text", "where", "said"),
    [
        ("DatasetNotFoundError", "Dataset 'x/y' doesn't exist on the Hub", "dataset.hub", "doesn't exist on the Hub"),
        ("DatasetNotFoundError", "Revision 'z' doesn't exist", "dataset.hub", "dataset.revision"),
        ("ValueError", "BuilderConfig 'z' not found. Available: ['main']", "dataset.subset", "['main']"),
        ("ValueError", "Config name is missing.\nPick one among the available: ['main']", "dataset.subset", "['main']"),
        ("RuntimeError", "Dataset scripts are no longer supported", "dataset.hub", "no longer supported"),
        ("ConnectionError", "reset by peer", "dataset.hub", "reset by peer"),
    ],
)
def test_the_librarys_errors_are_said_plainly(
    monkeypatch: pytest.MonkeyPatch, kind: str, text: str, where: str, said: str
) -> None:
    import datasets.exceptions

    known = {**vars(builtins), **vars(datasets.exceptions)}

    def fail(*_: object, **__: object) -> None:
        raise known[kind](text)

    monkeypatch.setattr(hub, "reach", lambda: None)
    monkeypatch.setattr("datasets.load_dataset", fail)
    with pytest.raises(DataError) as caught:
        hub.read_splits(DatasetConfig(name="x", hub="x/y", source="hub"))
    assert str(caught.value).startswith(where)
    assert said in str(caught.value)


def test_a_local_folder_of_the_hubs_name_is_not_read_silently(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "openai" / "gsm8k").mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(DataError, match="a local folder 'openai/gsm8k' hides the hub's dataset"):
        hub.read_splits(DatasetConfig(name="gsm8k", hub="openai/gsm8k", source="hub"))


def test_no_hub_id(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(DataError, match=r"dataset\.hub: no hub id is given"):
        hub.read_splits(DatasetConfig(name="files", source="hub"))
