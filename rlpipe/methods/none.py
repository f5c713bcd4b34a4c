"""No training: the run only evaluates its model."""

from __future__ import annotations

from rlpipe.config.kinds import MethodConfig
from rlpipe.methods.base import Method


class NoTraining(Method):
    """Leaves the model as it is."""

    Config = MethodConfig
    takes = ()
    makes = None
