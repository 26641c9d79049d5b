"""One plant's connection to Voke: session after session, until it is stopped.

What to send and what PUBACKs mean is the :class:`~voke_gateway.uplink.sender.Sender`'s; here is when to have
a session, why one ended, and how long to stay away.
"""

from __future__ import annotations

import asyncio
import errno
from collections.abc import Callable, Coroutine
from contextlib import suppress
from random import Random
from typing import Any, Final

import structlog

from voke_api.backoff import Backoff, Pace
from voke_api.resolved import PlantCredentials, ResolvedPlant
from voke_gateway.clock import WallClock
from voke_gateway.outbox.store import Store
from voke_gateway.protocol.sign import Signer
from voke_gateway.stats import GatewayStats, PlantStats
from voke_gateway.uplink.identity import CLEAR_AFTER, IdentityWatch
from voke_gateway.uplink.login import LoginPlan, make_login
from voke_gateway.uplink.sender import Sender
from voke_gateway.uplink.session import (
    CertificateRefusedError,
    Closed,
    CloseReason,
    ConnectFailedError,
    Connector,
    ConnectRefusedError,
    CredentialsError,
    Inbound,
    Session,
    SessionLostError,
)

_NETWORK: Final = Pace(base=1.0, cap=60.0)
_LOGIN: Final = Pace(base=5.0, cap=300.0, floor=0.5)
_LONG_ENOUGH: Final = 30.0
"""Seconds: a session that lasted, or delivered anything, makes the next attempt soon again."""
_CLOSE_WITHIN: Final = 2.0
_SOONEST_RENEWAL: Final = 1.0
_FLOWS_AFTER: Final = 60.0
"""Seconds without a refusal after which the log says that all is well: a quota refuses now and then."""

_BROKER_BUSY: Final = frozenset({0x88, 0x89, 0x97, 0x9F})
"""CONNACKs that say nothing of the login: unavailable, busy, quota, connection rate (MQTT 5, 3.2.2.2)."""

_NO_FILES: Final = frozenset({errno.EMFILE, errno.ENFILE})
"""No socket can be opened: nothing to do with the broker, and no fault of ours."""

IDENTITY_IN_USE: Final = "IdentityInUse"
LOGIN_REFUSED: Final = "LoginRefused"
CERTIFICATE_REFUSED: Final = "CertificateRefused"
CREDENTIALS_INVALID: Final = "CredentialsInvalid"
BROKER_UNREACHABLE: Final = "BrokerUnreachable"
SESSION_LOST: Final = "SessionLost"

_CHECK_LOGIN: Final = {
    "MTLS": "check that the plant is registered at Voke with this certificate and that Voke trusts its issuer",
    "JWT": "check that Voke has this plant's public key (PKCS#1 DER) and that this machine's clock is right",
    "PASSWORD": "check user name and password in the plant's Secret against those registered at Voke",
}

_log = structlog.get_logger()


class Uplink:
    """Connects one plant to Voke and delivers what its store holds."""

    def __init__(
        self,
        plant: ResolvedPlant,
        credentials: PlantCredentials,
        *,
        connector: Connector,
        store: Store,
        stats: PlantStats,
        gateway_stats: GatewayStats,
        receive: Callable[[Inbound], None],
        wall_clock: WallClock,
        random: Random,
        nonce: Callable[[], str],
    ) -> None:
        """``receive`` is called with each inbound message, in order; it must not block."""
        self._plant = plant
        self._credentials = credentials
        self._generation = 0
        """Of the credentials, and of what else a session depends on."""
        self._terms_changed = False
        """The sender has not heard yet of what changed in the plant."""
        self._connector = connector
        self._stats = stats
        self._receive = receive
        self._wall_clock = wall_clock
        self._random = random
        self._logger = _log.bind(plant=plant.name)
        self._sender = Sender(
            plant,
            store=store,
            stats=stats,
            gateway_stats=gateway_stats,
            wall_clock=wall_clock,
            random=random,
            nonce=nonce,
            on_change=self._show,
        )
        self._watch = IdentityWatch(random)
        self._network_backoff = Backoff(_NETWORK, random)
        self._login_backoff = Backoff(_LOGIN, random)
        self._reason = ""
        self._problem = ""
        self._connected = False
        self._held = ""
        """Why messages are held, as last logged."""
        self._flows: asyncio.TimerHandle | None = None
        self._stopping = False
        self._nudge = asyncio.Event()
        """stop() or renew() was called."""
        self._renewals: list[asyncio.Future[None]] = []
        """Waiting for the first attempt with the newest credentials."""
        self._limit: asyncio.Timeout | None = None
        """How long ``run`` may go on; there while it runs."""
        self._ended = asyncio.Event()

    @property
    def identity_in_use(self) -> bool:
        """Somebody else logs in with this plant's identity: no register may be written."""
        return self._watch.in_use

    @property
    def reachable(self) -> bool:
        """There is a session, and the last PUBACK said that the message was taken."""
        return self._connected and self._sender.last_accepted

    def notify(self) -> None:
        """Something was put into the store for this plant."""
        self._sender.fill()

    async def run(self) -> None:
        """Connect, deliver and reconnect until stopped or cancelled."""
        self._ended.clear()
        try:
            async with asyncio.timeout(None) as self._limit:
                await self._keep_connected()
        except TimeoutError:
            if self._limit is None or not self._limit.expired():
                raise
            if self._sender.waiting:
                self._logger.warning("uplink stopped with messages waiting", messages=self._sender.waiting)
        finally:
            self._limit = None
            if self._flows is not None:
                self._flows.cancel()
            self._attempted()
            self._ended.set()

    async def stop(self, within: float) -> None:
        """Deliver what waits for at most ``within`` seconds, then disconnect; returns when ``run`` has ended."""
        self._stopping = True
        self._nudge.set()
        if self._limit is None:
            return
        if not self._limit.expired():
            self._limit.reschedule(asyncio.get_running_loop().time() + within)
        await self._ended.wait()

    def configure(self, plant: ResolvedPlant, credentials: PlantCredentials) -> None:
        """Serve the plant as it is from now on.

        If credentials, or anything else that a session depends on, are others, the session is drained, ended
        and followed by another one.
        """
        self._sender.pace(plant.interval)
        terms_changed = _terms(plant) != _terms(self._plant)
        self._plant = plant
        if not terms_changed and credentials == self._credentials:
            return
        self._terms_changed |= terms_changed
        self._credentials = credentials
        self._generation += 1
        self._nudge.set()

    async def renew(self, credentials: PlantCredentials) -> None:
        """Swap to ``credentials``: drain the session, disconnect, log in anew.

        Returns when the first attempt with them has ended, well or not; stats tell which.
        """
        self._credentials = credentials
        self._generation += 1
        self._nudge.set()
        if self._limit is None:
            return
        attempted = asyncio.get_running_loop().create_future()
        self._renewals.append(attempted)
        await attempted

    async def _keep_connected(self) -> None:
        while True:
            self._nudge.clear()
            if self._stopping and not (self._sender.waiting and self._is_hopeful()):
                return
            delay = await self._next_session()
            if delay:
                with suppress(TimeoutError):
                    async with asyncio.timeout(delay):
                        await self._nudge.wait()

    def _is_hopeful(self) -> bool:
        """Whether connecting once more, while stopping, is likely to get messages through."""
        return self._reason in {"", SESSION_LOST}

    async def _next_session(self) -> float:
        """One attempt and, if it succeeds, one session. Seconds to stay away then."""
        generation, credentials = self._generation, self._credentials
        if self._terms_changed:
            self._terms_changed = False
            self._sender.configure(self._plant)
        try:
            plan = make_login(self._plant, credentials, now=self._wall_clock(), random=self._random)
            signer = _make_signer(self._plant, credentials)
            session = await self._connector.connect(plan.login)
        except CredentialsError as error:
            self._say(CREDENTIALS_INVALID, str(error))
            return self._login_backoff.next()
        except ConnectRefusedError as error:
            if error.code in _BROKER_BUSY:
                self._say(BROKER_UNREACHABLE, str(error))
                return self._network_backoff.next()
            self._say(LOGIN_REFUSED, f"{error}; {_CHECK_LOGIN[self._plant.auth_method]}")
            return self._login_backoff.next()
        except ConnectFailedError as error:
            if isinstance(error, CertificateRefusedError):
                self._say(CERTIFICATE_REFUSED, str(error))
            else:
                self._say(BROKER_UNREACHABLE, f"no connection to Voke: {error}")
            return self._network_backoff.next()
        except OSError as error:
            if error.errno not in _NO_FILES:
                raise
            self._say(BROKER_UNREACHABLE, f"no connection to {_address(self._plant)}: {error.strerror}")
            return self._network_backoff.next()
        finally:
            if generation == self._generation:
                self._attempted()
        return await self._hold(session, plan, signer, generation)

    async def _hold(self, session: Session, plan: LoginPlan, signer: Signer, generation: int) -> float:
        """Deliver through ``session`` until it ends or is to end. Seconds to stay away then."""
        loop = asyncio.get_running_loop()
        started = loop.time()
        closed = loop.create_task(session.closed())
        listening = loop.create_task(self._listen(session))
        clear = loop.call_later(CLEAR_AFTER, self._clear_identity) if self._watch.in_use else None
        self._connected = True
        self._login_backoff.reset()
        if self._watch.in_use:
            self._say(
                IDENTITY_IN_USE,
                "another client has used this plant's identity; nothing is written to the plant until this "
                f"session has lasted {CLEAR_AFTER:.0f} s",
            )
        else:
            self._say("", "")
        self._logger.info("session opened", remembered=session.session_present)
        ended = Closed(CloseReason.LOCAL)
        try:
            self._sender.attach(session, signer)
            await self._until_over(closed, plan, generation)
            if closed.done():
                ended = closed.result()
        finally:
            self._connected = False
            if self._sender.overdue:
                ended = Closed(CloseReason.LOCAL, "a PUBACK did not come in time")
            self._sender.detach(ended.reason)
            for task in (closed, listening):
                task.cancel()
            if clear is not None:
                clear.cancel()
            await _close(session)
            self._show()
        return self._judge(ended, loop.time() - started)

    async def _until_over(self, closed: asyncio.Task[Closed], plan: LoginPlan, generation: int) -> None:
        """Return when the session has ended, or when we are to end it and it is drained."""
        if not self._stopping and generation == self._generation:
            renew_in = None
            if plan.renew_at is not None:
                renew_in = max(plan.renew_at - self._wall_clock(), _SOONEST_RENEWAL)
            await _either(closed, self._nudge.wait(), within=renew_in)
        if closed.done():
            return
        await _either(closed, self._sender.empty() if self._stopping else self._sender.finish())

    def _judge(self, ended: Closed, lasted: float) -> float:
        """What the end of a session means. Seconds to stay away."""
        overdue = self._sender.overdue
        if not self._stopping:
            self._stats.reconnects["puback-timeout" if overdue else ended.reason.value] += 1
        if lasted >= _LONG_ENOUGH or self._sender.delivered:
            self._network_backoff.reset()
        if ended.reason is CloseReason.LOCAL and not overdue:
            return 0.0
        away = self._watch.session_ended(ended.reason, lasted)
        if away:
            self._say(
                IDENTITY_IN_USE,
                f"another client logs in to {_address(self._plant)} with this plant's identity; find it and "
                f"stop it. Nothing is written to the plant meanwhile; next attempt in {away / 60:.0f} min",
            )
            return away
        detail = ended.detail or ended.reason.value
        self._say(SESSION_LOST, f"the session with {_address(self._plant)} ended: {detail}")
        return self._network_backoff.next()

    async def _listen(self, session: Session) -> None:
        async for message in session.messages():
            try:
                self._receive(message)
            except Exception:
                # Not acknowledged, so the broker keeps it; telemetry must not stop for it.
                self._logger.exception("inbound message failed", topic=message.topic)

    def _clear_identity(self) -> None:
        self._watch.session_lasts()
        self._logger.info("identity is undisputed again")
        self._say("", "")

    def _attempted(self) -> None:
        for renewal in self._renewals:
            if not renewal.done():
                renewal.set_result(None)
        self._renewals.clear()

    def _say(self, reason: str, problem: str) -> None:
        """State why there is no proper session; logged when the reason changes."""
        if reason != self._reason and reason:
            self._logger.warning("uplink problem", reason=reason, problem=problem)
        self._reason, self._problem = reason, problem
        self._show()

    def _show(self) -> None:
        """Bring the gauges up to date: no session comes first, then messages that are held."""
        stats, sender = self._stats, self._sender
        if stats.connected != self._connected or stats.session_since is None:
            stats.connected, stats.session_since = self._connected, self._wall_clock()
        stats.uplink_reason = self._reason or sender.reason
        stats.uplink_problem = self._problem if self._reason else sender.refusal if sender.reason else ""
        self._log_held(sender.reason)

    def _log_held(self, reason: str) -> None:
        """Say that messages are held, once, and that they flow again when they have for a while."""
        if reason:
            if self._flows is not None:
                self._flows.cancel()
                self._flows = None
            if reason != self._held:
                self._held = reason
                self._logger.warning("delivery is held", reason=reason, problem=self._sender.refusal)
        elif self._held and self._flows is None:
            self._flows = asyncio.get_running_loop().call_later(_FLOWS_AFTER, self._log_flowing)

    def _log_flowing(self) -> None:
        self._flows = None
        self._logger.info("delivery flows again", after=self._held)
        self._held = ""


def _terms(plant: ResolvedPlant) -> tuple[object, ...]:
    """What a session depends on, apart from the credentials."""
    return plant.plant_id, plant.auth_method, plant.command_max_age, plant.voke


def _make_signer(plant: ResolvedPlant, credentials: PlantCredentials) -> Signer:
    try:
        return Signer(plant.plant_id, credentials.hmac_key)
    except ValueError as error:
        raise CredentialsError(f"plant {plant.name} cannot sign (hmac.key): {error}") from None


def _address(plant: ResolvedPlant) -> str:
    ports = {
        "MTLS": plant.voke.ports.mtls,
        "JWT": plant.voke.ports.jwt,
        "PASSWORD": plant.voke.ports.password,
    }
    return f"{plant.voke.host}:{ports[plant.auth_method]}"


async def _either(
    closed: asyncio.Task[Closed], other: Coroutine[Any, Any, object], *, within: float | None = None
) -> None:
    """Return when one of the two is done or the time is over."""
    task = asyncio.ensure_future(other)
    try:
        await asyncio.wait({closed, task}, timeout=within, return_when=asyncio.FIRST_COMPLETED)
    finally:
        task.cancel()


async def _close(session: Session) -> None:
    """DISCONNECT if the broker still listens; let go of the socket in any case."""
    try:
        async with asyncio.timeout(_CLOSE_WITHIN):
            await session.close()
    except (TimeoutError, SessionLostError):
        session.abort()
