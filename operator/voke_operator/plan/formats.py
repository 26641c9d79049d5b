"""Which format a gateway's bundle is written in: the newest that operator and gateway both know.

A gateway says at ``/status`` what it reads, and the bundle itself what it is written in, so nothing has to be
remembered. In an upgrade the image comes first and the format follows, when the new process has answered.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

from voke_api.bundle import FORMATS
from voke_api.resources.common import listed


def bundle_format(
    reads: Collection[int] | None, held: int | None, known: Sequence[int] = FORMATS
) -> int | None:
    """The format of a gateway's next bundle; None: there is none that both know.

    While a gateway has not answered, its bundle stays what it is. A new one begins with the oldest format: every
    gateway reads that which this operator goes with, whatever image its pool names.

    Args:
        reads: What the gateway says it reads; None: it has not answered yet.
        held: What the bundle is written in; None: there is none.
        known: What this operator writes, the oldest first.
    """
    if reads is not None:
        return max(set(known).intersection(reads), default=None)
    return known[0] if held is None else held


def mismatch(reads: Collection[int], known: Sequence[int] = FORMATS) -> str:
    """What is wrong if there is no format that both know, and what has to change, for people."""
    is_old = max(reads, default=0) < known[0]
    remedy = "a newer image, or an older operator" if is_old else "an older image, or a newer operator"
    return (
        f"it reads bundle format {_numbers(reads)} and this operator writes {_numbers(known)}: take {remedy}"
    )


def _numbers(formats: Collection[int]) -> str:
    return listed(map(str, sorted(formats)))
