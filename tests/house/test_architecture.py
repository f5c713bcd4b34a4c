"""The page of the house says what the code is: its floors, its rooms in their own words, and files that exist."""

from __future__ import annotations

import ast
import re

from tests.house.parsed import parsed
from tests.house.test_floors import FLOORS, PACKAGE

PAGE = (PACKAGE.parent / "docs" / "architecture.md").read_text(encoding="utf-8")


def own_words(room: str) -> str:
    """Return the first line of a room's docstring."""
    file = PACKAGE / room / "__init__.py"
    file = file if file.exists() else PACKAGE / f"{room}.py"
    return (ast.get_docstring(parsed(file)) or "").partition("\n")[0]


def test_the_table_is_the_floors_that_the_code_keeps():
    rows = re.findall(r"^\| (\d+) \| `(\w+)` \| (.+) \|$", PAGE, flags=re.MULTILINE)
    floors = reversed(list(enumerate(FLOORS, 1)))
    assert rows == [(str(number), room, own_words(room)) for number, rooms in floors for room in rooms]


def test_every_file_that_the_page_names_is_there():
    named = re.findall(r"`([\w/]+\.py)`", PAGE)
    assert len(named) > 30
    assert [name for name in named if not (PACKAGE / name).is_file()] == []


def test_every_folder_of_code_says_what_it_is_for():
    silent = [str(file) for file in PACKAGE.rglob("__init__.py") if file.parent != PACKAGE and not file.read_text()]
    assert not silent
