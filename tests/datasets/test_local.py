"""Which files of a folder hold a split."""

from __future__ import annotations

from pathlib import Path

import pytest

from rlpipe.core.errors import DataError
from rlpipe.datasets.local import find


def touch(folder: Path, *names: str) -> None:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text("{}\n")


@pytest.mark.parametrize(
    "name",
    ["train.jsonl", "train.jsonl.gz", "train.json", "train.csv", "train.parquet", "data/train.jsonl", "main/train.csv",
     "data/main/train.parquet", "train-00000-of-00001.parquet", "data/train-00000-of-00001.parquet",
     "main/train-00000-of-00001.parquet", "main/train/0000.parquet"],
)  # fmt: skip
def test_the_hubs_layouts_are_known(tmp_path: Path, name: str) -> None:
    touch(tmp_path, name, "README.md", "test.jsonl")
    found = find(tmp_path, "main", "train", "train")
    assert found.files == [tmp_path / name]
    assert found.notes == []


def test_shards_come_in_order(tmp_path: Path) -> None:
    names = [f"data/train-0000{number}-of-00003.parquet" for number in range(3)]
    touch(tmp_path, *reversed(names))
    assert [str(path.relative_to(tmp_path)) for path in find(tmp_path, None, "train", "train").files] == names


def test_a_missing_shard_is_an_error(tmp_path: Path) -> None:
    touch(tmp_path, "train-00000-of-00003.parquet", "train-00002-of-00003.parquet")
    with pytest.raises(DataError, match="2 of 3 shards are there"):
        find(tmp_path, None, "train", "train")


def test_a_split_that_is_there_twice_is_an_error(tmp_path: Path) -> None:
    touch(tmp_path, "train.jsonl", "train.csv")
    with pytest.raises(DataError, match=r"there more than once: train\.jsonl, train\.csv"):
        find(tmp_path, None, "train", "train")


@pytest.mark.parametrize("name", ["test", "eval", "valid", "validation", "dev"])
def test_one_other_name_stands_for_the_test_split_and_is_said(tmp_path: Path, name: str) -> None:
    touch(tmp_path, "train.jsonl", f"{name}.jsonl")
    found = find(tmp_path, None, "test_prefs", "test")
    assert (found.name, found.files) == (name, [tmp_path / f"{name}.jsonl"])
    assert found.notes == [f"the folder has no split 'test_prefs'; its '{name}' stands for it"]


def test_the_exact_name_wins(tmp_path: Path) -> None:
    touch(tmp_path, "valid.jsonl", "test.jsonl")
    assert find(tmp_path, None, "valid", "test").notes == []


def test_several_other_names_are_not_guessed_from(tmp_path: Path) -> None:
    touch(tmp_path, "valid.jsonl", "test.jsonl")
    with pytest.raises(DataError, match=r"dataset\.test_split: .*several that may stand for it: test, valid"):
        find(tmp_path, None, "test_prefs", "test")


def test_a_missing_split_lists_what_is_there(tmp_path: Path) -> None:
    touch(tmp_path, "train.jsonl", "README.md")
    with pytest.raises(DataError, match=r"it holds: README\.md, train\.jsonl") as caught:
        find(tmp_path, None, "test", "test")
    assert "dataset.test_split=null" in str(caught.value)
