"""One run, from a composed config to its record.

The room may be called: `rlpipe.run(config)` is `rlpipe.run.run.run(config)`. Python binds a room's name in the package
when anything in it is imported, so the public function of the same name would be there or not by what was imported
before; a module that can be called is right in either order.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from types import ModuleType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rlpipe.config.schema import RunConfig


class _Room(ModuleType):
    def __call__(self, config: RunConfig, overrides: Sequence[str] = ()) -> float | None:
        """Run a config as the command line would; see `rlpipe.run.run.run`."""
        from rlpipe.run.run import run

        return run(config, overrides)


sys.modules[__name__].__class__ = _Room
