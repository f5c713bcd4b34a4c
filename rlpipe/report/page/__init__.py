"""One static HTML page of a comparison: opens anywhere, asks for nothing from outside."""

from rlpipe.report.page.page import write

__all__ = ["write"]
