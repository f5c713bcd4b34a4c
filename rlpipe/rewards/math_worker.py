"""The guarded process in which math-verify runs: a line of JSON in, a line of JSON out.

{"reference": …, "text": …}  →  {"reference": can it be read?, "parsed": …, "equal": …}
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import sys
from typing import Any

MEMORY = 4 * 2**30
"""Bytes of address space that the process may take."""


def compare(reference: str, text: str) -> dict[str, bool]:
    """Return whether both texts can be read as mathematics, and whether they are equal."""
    from math_verify import parse, verify

    laid_out = reference if "$" in reference or "\\boxed" in reference else f"${reference}$"
    # No time limits of its own: those need signals, and the process that asks keeps the time.
    wanted = parse(laid_out, parsing_timeout=None)
    found = parse(text, parsing_timeout=None)
    equal = bool(wanted and found) and verify(wanted, found, timeout_seconds=None)
    return {"reference": bool(wanted), "parsed": bool(found), "equal": bool(equal)}


def main() -> None:
    """Answer lines until there are no more; says `{}` once it is ready."""
    with contextlib.suppress(ImportError, ValueError, OSError):  # not every system can limit memory
        import resource

        resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "w", encoding="utf-8")
    sys.stdout = sys.stderr  # what libraries print must not get between the answers
    logging.disable(logging.CRITICAL)
    compare("1", "1")

    def answer(content: dict[str, Any]) -> None:
        answers.write(json.dumps(content) + "\n")
        answers.flush()

    answer({})
    for line in sys.stdin:
        answer(compare(**json.loads(line)))


if __name__ == "__main__":
    main()
