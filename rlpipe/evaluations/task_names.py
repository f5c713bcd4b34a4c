"""The names that lm-evaluation-harness knows, read off its YAML files as text.

The harness itself parses all of them, which takes many seconds; a check must not.
"""

from __future__ import annotations

import importlib.util
import re
from collections.abc import Iterator, Sequence
from pathlib import Path

OWN_TASKS = Path(__file__).parent / "tasks"
"""The folder of rlpipe's own tasks for the harness."""
NO_TASKS = (".py", ".pyc", ".md", ".json", ".jsonl", ".txt", ".csv", ".tsv", ".ipynb")
_NAME = re.compile(r"""^['"]?(?:task|group)['"]?\s*:\s*(['"]?)([^\s'"#\[\]{]+)\1\s*(?:\#.*)?$""", re.MULTILINE)
_TAGS = re.compile(r"""^['"]?tag['"]?\s*:(.*(?:\n[ \t]*-.*)*)""", re.MULTILINE)
_WORD = re.compile(r"""[^\s,'"\[\]-][^\s,'"\[\]]*""")


def harness_folder() -> Path | None:
    """Return the folder of the harness's own tasks, None where it is not installed."""
    spec = importlib.util.find_spec("lm_eval")
    places = list(spec.submodule_search_locations or []) if spec is not None else []
    return Path(places[0]) / "tasks" if places else None


def unknown(names: Sequence[str], folders: Sequence[Path]) -> tuple[list[str], frozenset[str]]:
    """Return which names no file of the folders defines, and the names that were seen while looking for them."""
    missing, seen = list(names), set()
    for folder in folders:
        for found in _defined(folder):
            if not missing:
                break
            seen |= found
            missing = [name for name in missing if name not in found]
    return missing, frozenset(seen)


def _defined(folder: Path) -> Iterator[set[str]]:
    """Yield the tasks, groups and tags that each file defines; what other files include has no ending of its own."""
    for file in folder.rglob("*"):
        if file.suffix not in NO_TASKS and file.is_file():
            text = file.read_text(encoding="utf-8", errors="replace")
            names = {match[2] for match in _NAME.finditer(text)}
            yield names | {word for match in _TAGS.finditer(text) for word in _WORD.findall(match[1])}
