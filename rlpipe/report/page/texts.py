"""Numbers as the page writes them."""

from __future__ import annotations

import math

MINUS = "−"


def number(value: float | None) -> str:
    """Return a number for a table: about four digits, those of a column with as many after the point; – for none."""
    if value is None or math.isnan(value):
        return "–"
    size = abs(value)
    if isinstance(value, int) or 1e3 <= size < 1e7:
        text = f"{value:,.0f}"
    elif size >= 1e7 or 0 < size < 1e-4:
        text = f"{value:.1e}"
    else:
        text = f"{value:.{_decimals(size)}f}"
    return text.replace("-", MINUS, 1) if text.startswith("-") else text


def _decimals(size: float) -> int:
    if 0 < size < 1e-3:
        return 4
    return 3 if size < 10 else 2 if size < 100 else 1


def signed(value: float | None) -> str:
    """Return a difference with its sign."""
    text = number(value)
    return f"+{text}" if value is not None and value > 0 else text


def brief(value: float | None) -> str:
    """Return a number for a sentence: three digits."""
    return "–" if value is None else f"{value:.3g}".replace("-", MINUS, 1)


def plus(value: float | None) -> str:
    """Return a difference for a sentence: two digits and its sign."""
    return "–" if value is None else f"{value:+.2g}".replace("-", MINUS, 1) if value else "0"


def pvalue(value: float | None) -> str:
    """Return a p-value: three digits after the point, or that it is below them; nothing for none."""
    if value is None:
        return ""
    return "< 0.001" if value < 0.001 else f"{value:.3f}"
