"""structlog without rich.

structlog imports rich, where there is one, for the tracebacks of a console renderer that we do not use: 4 MB
and 70 ms, for a process that is to be small on a machine that may be small itself.
"""

from __future__ import annotations

import sys
from importlib import import_module


def import_without_rich() -> None:
    """Import structlog, if nobody has, as if rich were not there. Others import rich as always."""
    if "structlog" in sys.modules or "rich" in sys.modules:
        return
    sys.modules["rich"] = None  # type: ignore[assignment] # Python's way to say that there is none
    try:
        import_module("structlog")
    finally:
        del sys.modules["rich"]
