"""Configs as their difference from the baseline's: one row an arm, one column a field that differs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import yaml

from rlpipe.core.files import Row
from rlpipe.report.labels import value_text

MOST_FIELDS = 24
"""Columns of the table; what more differs is named."""


def varied(arms: Sequence[Row]) -> dict[str, list[Any]]:
    """Return the settings in which arms differ, each with its value in every arm (None where it has none).

    An arm is given by its settings as dotted keys (`arms.settings`), none where they are not known.
    """
    known = [settings for settings in arms if settings]
    keys = dict.fromkeys(key for settings in known for key in settings)
    differing = [key for key in keys if len({value_text(settings.get(key)) for settings in known}) > 1]
    return {key: [settings.get(key) for settings in arms] for key in differing}


def differences(labels: Sequence[str], arms: Sequence[Row], baseline: int, whole: Row) -> Row:
    """Return the table of arms, given by their settings, as the page's template takes it.

    Each row has its cells as (text, whether it differs from the baseline's); `whole` is the baseline's config.
    """
    fields = varied(arms)
    shown = list(fields)[:MOST_FIELDS]
    rows = []
    for place, label in enumerate(labels):
        cells = [
            (value_text(fields[name][place]), value_text(fields[name][place]) != value_text(fields[name][baseline]))
            for name in shown
        ]
        rows.append({"arm": place, "label": label, "baseline": place == baseline, "cells": cells})
    full = yaml.safe_dump(whole, sort_keys=False, allow_unicode=True)
    return {"fields": shown, "more": list(fields)[MOST_FIELDS:], "rows": rows, "full": full}
