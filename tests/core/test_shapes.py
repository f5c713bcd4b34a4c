"""What has another shape than it must have is said with its place."""

from __future__ import annotations

import pytest

from rlpipe.core.shapes import NUMBER, misfit

SHAPE = {
    "name": str,
    "count?": int,
    "rows": [{"step": int, "loss?": NUMBER}],
    "by": {str: NUMBER},
    "end?": {"ok", "no"},
}
FITS = {"name": "a", "rows": [{"step": 1, "loss": 0.5}, {"step": 2}], "by": {"x": 1, "y": 2.0}, "more": object()}


@pytest.mark.parametrize("changes", [{}, {"count": 3}, {"count": None}, {"end": "ok"}, {"rows": []}, {"by": {}}])
def test_what_fits(changes):
    assert misfit({**FITS, **changes}, SHAPE) is None


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ([], "it is a list, not an object"),
        (None, "it is null, not an object"),
        ({}, "it has no `name`"),
        ({**FITS, "name": 3}, "`name` is a whole number, not a text"),
        ({**FITS, "count": True}, "`count` is true or false, not a whole number"),
        ({**FITS, "count": 1.5}, "`count` is a number, not a whole number"),
        ({**FITS, "rows": {}}, "`rows` is an object, not a list"),
        ({**FITS, "rows": [{"step": 1}, {"step": "2"}]}, "`rows[1].step` is a text, not a whole number"),
        ({**FITS, "rows": [{}]}, "it has no `rows[0].step`"),
        ({**FITS, "rows": [{"step": 1, "loss": True}]}, "`rows[0].loss` is true or false, not a number"),
        ({**FITS, "by": {"x": None}}, "`by.x` is null, not a number"),
        ({**FITS, "end": "soon"}, "`end` is 'soon', none of no, ok"),
        ({**FITS, "end": []}, "`end` is a list, none of no, ok"),
    ],
)
def test_what_does_not_fit(value, words):
    assert misfit(value, SHAPE) == words
