"""The fenced blocks of Markdown pages."""

from __future__ import annotations

import re
import shlex
from dataclasses import dataclass
from pathlib import Path

from rlpipe.cli.commands import COMMANDS

ROOT = Path(__file__).resolve().parents[2]
PAGES = [
    ROOT / "README.md",
    ROOT / "CHANGELOG.md",
    *sorted((ROOT / "docs").glob("*.md")),
    ROOT / "benchmarks/README.md",
]


@dataclass(frozen=True)
class Block:
    """One fenced block, under the nearest heading above it."""

    language: str
    text: str
    heading: str

    @property
    def runs(self) -> list[list[str]]:
        """The arguments of every `rlpipe` in it that is no command: overrides and flags."""
        return [line for line in self._lines if not line or line[0] not in COMMANDS]

    @property
    def others(self) -> list[list[str]]:
        """The words of every `rlpipe COMMAND …` in it, the command's first."""
        return [line for line in self._lines if line and line[0] in COMMANDS]

    @property
    def _lines(self) -> list[list[str]]:
        lines = [words(line) for line in self.text.splitlines()]
        return [line[line.index("rlpipe") + 1 :] for line in lines if "rlpipe" in line]


def words(line: str) -> list[str]:
    """Return the words of a line of shell."""
    return shlex.split(line, comments=True)


def blocks(page: Path, *languages: str) -> list[Block]:
    """Return the fenced blocks of these languages, in order."""
    found, heading = [], ""
    pattern = r"^#+ (?P<heading>[^\n]+)$|^```(?P<language>\w+)\n(?P<text>.*?)^```$"
    for match in re.finditer(pattern, page.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL):
        heading = match["heading"] or heading
        if match["language"] in languages:
            found.append(Block(match["language"], match["text"], heading))
    return found
