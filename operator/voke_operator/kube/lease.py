"""Who leads: one Lease, taken and kept by updates that carry its ``resourceVersion``.

A leader may believe in itself for ``Timing.renew_within`` after the *beginning* of its last successful renewal, by
a clock that goes on while the machine sleeps or the process is stopped; others wait longer than that before they
take over. ``check`` is asked before every write, so one that wakes up late finds out before it writes.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Self

from voke_operator.kube.client import Client
from voke_operator.names import LEASE


@dataclass(frozen=True, slots=True)
class Timing:
    """Seconds, as everybody sets them for Leases."""

    duration: float = 15.0
    """Others take over when the Lease has not changed for so long."""
    renew_within: float = 10.0
    """The leader gives up when it could not renew for so long."""
    retry: float = 2.0
    """Between two renewals, and between two looks of those who wait."""


class Lease:
    """This process's claim to lead. ``async with`` takes it and gives it back."""

    def __init__(
        self,
        client: Client,
        *,
        namespace: str,
        identity: str,
        name: str = LEASE,
        timing: Timing | None = None,
    ) -> None:
        """``client`` must not be fenced: the Lease itself is written through it."""
        raise NotImplementedError

    async def acquire(self) -> None:
        """Wait until we lead; renewals go on in the background from then on."""

    async def release(self) -> None:
        """Stop leading, and say so, that the next need not wait. Harmless if we do not lead."""

    @property
    def lost(self) -> asyncio.Future[str]:
        """Done, with the reason, when we led and do not any more. The process should end."""
        raise NotImplementedError

    @property
    def leading(self) -> bool:
        """Whether a write may be sent now."""
        raise NotImplementedError

    def check(self) -> None:
        """The fence for :meth:`Client.fenced`.

        Raises:
            errors.FencedError: we do not lead, or somebody else might.
        """

    async def __aenter__(self) -> Self:
        await self.acquire()
        return self

    async def __aexit__(self, *_exc: object) -> None:
        await self.release()
