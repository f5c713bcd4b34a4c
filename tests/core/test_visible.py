"""Nothing that data, models or libraries say steers the terminal, whichever way it gets there."""

from __future__ import annotations

import io
import logging
import sys

import pytest

from rlpipe.core.visible import visible

HOSTILE = "a\x1b[2J\x9b31m\x07b\r\x08\u202ec"
SHOWN = r"a\x1b[2J\x9b31m\x07b\r\x08\u202ec"


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        (HOSTILE, SHOWN),
        ("two\nlines\tand é 日本 🙂 \u200d", "two\nlines\tand é 日本 🙂 \u200d"),
        ("\x00\x7f\u2028", r"\x00\x7f\u2028"),
    ],
)
def test_what_steers_is_written_out(text: str, shown: str) -> None:
    assert visible(text) == shown


def drawn(renderable: object) -> str:
    from rlpipe.core.terminal import SafeConsole

    out = io.StringIO()
    SafeConsole(file=out, force_terminal=True, width=200, color_system=None).print(renderable)
    return out.getvalue()


def test_tables_styled_text_and_groups_stay_text() -> None:
    from rich.console import Group
    from rich.table import Table
    from rich.text import Text

    table = Table("name", title=HOSTILE)
    table.add_row(HOSTILE)
    table.add_row(Text(HOSTILE, style="bold"))
    for renderable in (HOSTILE, Text(HOSTILE), table, Group(HOSTILE, Text(HOSTILE))):
        shown = drawn(renderable)
        assert r"\x1b[2J\x9b31m" in shown
        assert not {"\x1b", "\x9b", "\x07", "\u202e"} & set(shown)


def test_a_progress_bar_keeps_what_it_is_called_text() -> None:
    from rich.progress import Progress, TextColumn

    from rlpipe.core.terminal import SafeConsole

    out = io.StringIO()
    bar = Progress(TextColumn("{task.description}"), console=SafeConsole(file=out, force_terminal=True, width=100))
    bar.add_task(HOSTILE, total=1)
    with bar:
        pass
    assert r"\x1b[2J" in out.getvalue()
    assert "\x1b[2J" not in out.getvalue()


def test_an_audit_shows_tokens_of_control_characters() -> None:
    from rlpipe.training.audit import Audit

    tokens = [{"text": visible(HOSTILE), "trained": True, "stop": False}]
    shown = drawn(Audit(shown=[{"title": HOSTILE, "prefix": HOSTILE, "tokens": tokens}]))
    assert shown.count(r"\x1b[2J") == 3
    assert "\x1b" not in shown


def test_words_errors_and_log_lines(capsys: pytest.CaptureFixture[str]) -> None:
    from rlpipe.cli.exits import say as leave
    from rlpipe.core.logs import _Terminal
    from rlpipe.core.terminal import say

    say(HOSTILE)
    leave(HOSTILE, 2)
    handler = _Terminal()
    handler.emit(logging.LogRecord("x", logging.ERROR, "", 0, HOSTILE, (), None))
    sys.stderr.flush()
    told = capsys.readouterr().err
    assert told.count(SHOWN) == 3
    assert "\x1b" not in told
