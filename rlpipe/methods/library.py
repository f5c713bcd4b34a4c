"""The base of every method whose trainer is built on another library's, with that library's own config class."""

from __future__ import annotations

import importlib
from enum import Enum
from typing import TYPE_CHECKING, Any, ClassVar

from rlpipe.methods.base import Method

if TYPE_CHECKING:
    from transformers import Trainer


class LibraryMethod(Method):
    """A method whose settings end up in a library's config class (`training.offline.arguments.training_arguments`)."""

    library: ClassVar[tuple[str, str, str]]
    """Where the library has it: module, config class, trainer class."""
    library_fields: ClassVar[dict[str, str]] = {}
    """The library's config fields that this method sets, and the fields of `Config` that they come from."""
    micro_batched: ClassVar[bool] = True
    """Whether the library's own accumulation makes `batch_size` out of micro-batches of `micro_batch_size`."""

    @classmethod
    def library_config(cls) -> type:
        """Return the library's config class (a heavy import)."""
        module, config, _ = cls.library
        return getattr(importlib.import_module(module), config)

    @classmethod
    def library_trainer(cls) -> type[Trainer]:
        """Return the library's trainer class (a heavy import)."""
        module, _, trainer = cls.library
        return getattr(importlib.import_module(module), trainer)

    def arguments(self) -> dict[str, Any]:
        """Return the library's arguments that this method sets."""
        values = {key: getattr(self.config, field) for key, field in self.library_fields.items()}
        return {key: value.value if isinstance(value, Enum) else value for key, value in values.items()}
