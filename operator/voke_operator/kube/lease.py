"""Who leads: one Lease, taken and kept by updates that carry its ``resourceVersion``.

A leader may believe in itself for ``Timing.renew_within`` after the *beginning* of its last successful renewal, by
a clock that goes on while the machine sleeps or the process is stopped; others wait longer than that before they
take over. ``check`` is asked before every write, so one that wakes up late finds out before it writes.
Clocks of two machines are never compared: those who wait measure by their own how long the Lease stays the same.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from random import Random
from typing import Any, Self

import structlog

from voke_operator.kube import errors
from voke_operator.kube.client import Client
from voke_operator.kube.resources import LEASES
from voke_operator.names import LEASE

log = structlog.get_logger(__name__)


def boot_clock() -> float:
    """Seconds since the machine started, its sleep included."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


@dataclass(frozen=True, slots=True)
class Timing:
    """Seconds, as everybody sets them for Leases."""

    duration: float = 15.0
    """Others take over when the Lease has not changed for so long."""
    renew_within: float = 10.0
    """The leader gives up when it could not renew for so long."""
    retry: float = 2.0
    """Between two renewals, and between two looks of those who wait."""

    @classmethod
    def lasting(cls, seconds: float) -> Self:
        """As usual, but others take over after so many seconds."""
        usual = cls()
        scale = seconds / usual.duration
        return cls(seconds, usual.renew_within * scale, usual.retry * scale)

    def __post_init__(self) -> None:
        """Refuse what would let two lead at once."""
        if not self.retry < self.renew_within < self.duration:
            raise ValueError(
                f"a Lease wants retry < renew_within < duration, not {self.retry}, {self.renew_within}, {self.duration}"
            )


@dataclass(frozen=True, slots=True)
class _Seen:
    """The Lease as it was when somebody else was found to hold it."""

    resource_version: str
    since: float


class Lease:
    """This process's claim to lead. ``async with`` takes it and gives it back. For one use."""

    def __init__(
        self,
        client: Client,
        *,
        namespace: str,
        identity: str,
        random: Random,
        name: str = LEASE,
        timing: Timing | None = None,
        clock: Callable[[], float] = boot_clock,
    ) -> None:
        """``client`` must not be fenced: the Lease itself is written through it.

        ``identity`` must differ between any two processes, also between two lives of one pod.
        """
        self._client = client
        self._namespace = namespace
        self._name = name
        self._identity = identity
        self._random = random
        self._timing = timing or Timing()
        self._clock = clock
        self._held: dict[str, Any] | None = None
        self._until = float("-inf")
        self._seen: _Seen | None = None
        self._renewals: asyncio.Task[None] | None = None
        self._lost: asyncio.Future[str] = asyncio.get_running_loop().create_future()

    async def acquire(self) -> None:
        """Wait until we lead; renewals go on in the background from then on.

        Raises:
            errors.PermanentError: the Lease may not be read or written.
        """
        while True:
            try:
                if await self._try():
                    break
            except errors.RetryError as error:
                log.warning("the lease cannot be asked for now, to be tried again", error=str(error))
            await asyncio.sleep(self._timing.retry * self._random.uniform(0.8, 1.2))
        log.info("leading", lease=f"{self._namespace}/{self._name}", identity=self._identity)
        self._renewals = asyncio.create_task(self._renew(), name="renew lease")

    async def release(self) -> None:
        """Stop leading, and say so, that the next need not wait. Harmless if we do not lead."""
        if self._renewals is not None:
            self._renewals.cancel()
            await asyncio.gather(self._renewals, return_exceptions=True)
        held, leading = self._held, self.leading
        self._until = float("-inf")
        if held is None or not leading:
            return
        try:
            async with asyncio.timeout(self._timing.renew_within / 2):
                await self._give_back(held)
        except (errors.KubeError, TimeoutError) as error:
            log.warning(
                "the lease could not be given back, the next leader waits for its end", error=str(error)
            )

    async def _give_back(self, held: dict[str, Any]) -> None:
        while held["spec"].get("holderIdentity") == self._identity:
            spec = {**held["spec"], "holderIdentity": "", "leaseDurationSeconds": 1}
            try:
                held = await self._client.replace(LEASES, {**held, "spec": spec})
            except errors.ConflictError:  # the renewal that was cancelled above may have been done
                held = await self._client.get(LEASES, self._namespace, self._name)

    @property
    def lost(self) -> asyncio.Future[str]:
        """Done, with the reason, when we led and do not any more. The process should end."""
        return self._lost

    @property
    def leading(self) -> bool:
        """Whether a write may be sent now."""
        return self._clock() < self._until

    def check(self) -> None:
        """The fence for :meth:`Client.fenced`.

        Raises:
            errors.FencedError: we do not lead, or somebody else might.
        """
        if not self.leading:
            raise errors.FencedError(
                f"not written: {self._identity} does not hold the lease {self._namespace}/{self._name}, or could not renew it in time"
            )

    async def __aenter__(self) -> Self:
        await self.acquire()
        return self

    async def __aexit__(self, *_exc: object) -> None:
        await self.release()

    async def _try(self) -> bool:
        """Take the Lease if it is free, and say whether we have it now."""
        began = self._clock()
        try:
            found = await self._client.get(LEASES, self._namespace, self._name)
        except errors.NotFoundError:
            body = {"metadata": {"namespace": self._namespace, "name": self._name}, "spec": self._spec({})}
            with suppress(errors.AlreadyExistsError):
                self._hold(await self._client.create(LEASES, body), began)
                return True
            return False
        if not self._free(found):
            return False
        began = self._clock()
        with suppress(errors.ConflictError):  # somebody else was first
            self._hold(
                await self._client.replace(LEASES, {**found, "spec": self._spec(found["spec"])}), began
            )
            return True
        return False

    def _free(self, found: dict[str, Any]) -> bool:
        spec = found["spec"]
        if spec.get("holderIdentity", "") in ("", self._identity):
            return True
        version = found["metadata"]["resourceVersion"]
        if self._seen is None or self._seen.resource_version != version:
            self._seen = _Seen(version, self._clock())
        duration = max(self._timing.duration, float(spec.get("leaseDurationSeconds") or 0))
        return self._clock() - self._seen.since >= duration

    def _spec(self, before: dict[str, Any]) -> dict[str, Any]:
        now = _now()
        return {
            "holderIdentity": self._identity,
            "leaseDurationSeconds": max(1, round(self._timing.duration)),
            "acquireTime": now,
            "renewTime": now,
            "leaseTransitions": (before.get("leaseTransitions") or 0) + (1 if before else 0),
        }

    def _hold(self, lease: dict[str, Any], began: float) -> None:
        self._held = lease
        self._until = began + self._timing.renew_within

    async def _renew(self) -> None:
        while True:
            await asyncio.sleep(self._timing.retry)
            began = self._clock()
            if began >= self._until:
                return self._lose("it could not be renewed in time")
            try:
                async with asyncio.timeout(min(self._until - began, self._timing.renew_within / 2)):
                    await self._renew_once(began)
            except (errors.RetryError, TimeoutError) as error:
                log.warning("the lease could not be renewed, to be tried again", error=str(error))
            except errors.KubeError as error:
                return self._lose(str(error))

    async def _renew_once(self, began: float) -> None:
        assert self._held is not None
        try:
            self._hold(await self._client.replace(LEASES, self._renewed(self._held)), began)
        except errors.ConflictError:
            found = await self._client.get(LEASES, self._namespace, self._name)
            if found["spec"].get("holderIdentity") != self._identity:
                raise
            # a renewal whose answer was lost, or a label that somebody set
            self._hold(await self._client.replace(LEASES, self._renewed(found)), began)

    def _renewed(self, lease: dict[str, Any]) -> dict[str, Any]:
        return {**lease, "spec": {**lease["spec"], "renewTime": _now()}}

    def _lose(self, why: str) -> None:
        self._until = float("-inf")
        log.error("lease lost", lease=f"{self._namespace}/{self._name}", why=why)
        if not self._lost.done():
            self._lost.set_result(why)


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")
