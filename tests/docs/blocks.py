"""The fenced blocks of Markdown pages."""

from __future__ import annotations

import re
import shlex
from dataclasses import dataclass
from pathlib import Path

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
        """The arguments of every `python -m rlpipe` in it."""
        return [line[line.index("rlpipe") + 1 :] for line in self._words if "rlpipe" in line]

    @property
    def others(self) -> list[tuple[str, list[str]]]:
        """The name and the arguments of every `python -m rlpipe.NAME` in it."""
        found = [(place, line) for line in self._words for place in range(len(line)) if line[place][:7] == "rlpipe."]
        return [(line[place].removeprefix("rlpipe."), line[place + 1 :]) for place, line in found]

    @property
    def _words(self) -> list[list[str]]:
        return [shlex.split(line, comments=True) for line in self.text.splitlines() if "-m rlpipe" in line]


def blocks(page: Path, *languages: str) -> list[Block]:
    """Return the fenced blocks of these languages, in order."""
    found, heading = [], ""
    pattern = r"^#+ (?P<heading>[^\n]+)$|^```(?P<language>\w+)\n(?P<text>.*?)^```$"
    for match in re.finditer(pattern, page.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL):
        heading = match["heading"] or heading
        if match["language"] in languages:
            found.append(Block(match["language"], match["text"], heading))
    return found
