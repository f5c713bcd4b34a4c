"""Text that cannot steer a terminal, whoever wrote it: rows of data, models, libraries' errors."""

from __future__ import annotations

import re

STEERING = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]")
"""Characters that steer a terminal, or turn the direction of what follows; line ends and tabs are none of them."""


def visible(text: str) -> str:
    """Return a text with characters that steer a terminal written out, as `\\x1b`: data must not redraw the screen."""
    return STEERING.sub(lambda found: repr(found[0])[1:-1], text)
