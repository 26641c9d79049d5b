"""A Voke on this machine: a real broker, a judge that is not our code, and an administrator's doings."""

from __future__ import annotations

import asyncio
import contextlib
import secrets
import time
from collections import deque
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, TypeVar

from voke_sim.voke import pki, plugin
from voke_sim.voke.access import Access, JwtKeys
from voke_sim.voke.broker import HOST, Broker, Ports
from voke_sim.voke.files import Files
from voke_sim.voke.ingest import Clock, Ingest
from voke_sim.voke.judge import Forgery, Judge, SignaturePolicy, Topics
from voke_sim.voke.passwords import PasswordLogin
from voke_sim.voke.records import (
    Accepted,
    Ack,
    AlarmInstance,
    Counters,
    Latest,
    Records,
    Refused,
    SentCommand,
)

T = TypeVar("T")

_KEEP = 10_000
_OUTCOME_WITHIN = 30.0


class LocalVoke:
    """Made by :meth:`start`. Everything received is judged; what was found is in the properties."""

    def __init__(
        self, *, files: Files, access: Access, broker: Broker, judge: Judge, ingest: Ingest, records: Records
    ) -> None:
        self.broker = broker
        """To be killed and restarted by tests of faults."""
        self.judge = judge
        self.ingest = ingest
        """To be paused and resumed: then plants get PUBACK 0x10."""
        self.files = files
        self.records = records
        self._access = access

    @classmethod
    @asynccontextmanager
    async def start(
        cls,
        directory: Path,
        *,
        replay_window: float = 30.0,
        signature: SignaturePolicy = "required",
        topics: Topics | None = None,
        jwt_keys: JwtKeys = "per-plant",
        keep: int = _KEEP,
        clock: Clock = time.time,
        mosquitto: Path | None = None,
        address: str = pki.BROKER_ADDRESS,
        ports: Ports | None = None,
    ) -> AsyncIterator[LocalVoke]:
        """Start everything and, at the end, stop it. The directory then holds the broker's log.

        Args:
            directory: made if it is not there; what an earlier local Voke left in it is replaced.
            replay_window: seconds that a message's ``ts`` may be old or ahead.
            signature: whether unsigned telemetry, acks and alarms are refused.
            topics: the suffixes on which Voke's own pages disagree.
            jwt_keys: a public key per plant, or one for the listener as Voke has.
            keep: how many accepted, refused, sent and raised to keep whole, each.
            clock: Voke's wall clock.
            mosquitto: the broker to run; by default the one on this machine.
            address: where the broker listens; its certificate names it.
            ports: of the broker; free ones by default.

        Raises:
            BrokerError: mosquitto is missing or did not come up.
            PluginBuildError: a plugin of the broker cannot be compiled.
            NodeMissingError: there is no Node.
        """
        topics = topics or Topics()
        files = Files(directory)
        files.create()
        access = Access(files, jwt_keys=jwt_keys)
        password = secrets.token_urlsafe(24)
        access.write_all(ingest_password=password, command_topic=topics.command, address=address)
        broker = Broker(
            files,
            plugin=await plugin.build(),
            certificates=await plugin.build(source=plugin.CERTIFICATES),
            jwt_keys=jwt_keys,
            mosquitto=mosquitto,
            address=address,
            ports=ports,
        )
        records = Records(keep)
        async with contextlib.AsyncExitStack() as stack:
            judge = await Judge.start(replay_window=replay_window, signature=signature, topics=topics)
            stack.push_async_callback(judge.close)
            stack.push_async_callback(broker.stop)
            await broker.start()
            ingest = Ingest(
                judge=judge,
                records=records,
                host=address,
                port=broker.ports.ingest,
                ca_pem=files.broker_ca.read_bytes(),
                password=password,
                clock=clock,
            )
            await stack.enter_async_context(_running(ingest))
            yield cls(files=files, access=access, broker=broker, judge=judge, ingest=ingest, records=records)

    # -- where it is

    @property
    def host(self) -> str:
        """A name that is in the broker's certificate and leads to it."""
        return HOST if self.broker.address == pki.BROKER_ADDRESS else self.broker.address

    @property
    def ports(self) -> Ports:
        """The listeners."""
        return self.broker.ports

    @property
    def ca_pem(self) -> bytes:
        """The root that plants need to trust."""
        return self.files.broker_ca.read_bytes()

    # -- what an administrator does

    async def register_mtls(
        self,
        plant_id: str,
        *,
        hmac_key: bytes | str,
        csr_pem: bytes | None = None,
        ca_pem: bytes | None = None,
        crl_pem: bytes | None = None,
    ) -> bytes | None:
        """Register a plant of the mTLS listener; its certificate's CN has to be the plant id.

        Either Voke signs (``csr_pem``; the certificate comes back as PEM), or it trusts the CA that
        signed (``ca_pem`` with its revocation list ``crl_pem``; give both again to change the list).

        Raises:
            CertificateError: the request, CA or list is unusable; the message says why.
        """
        if (csr_pem is None) == (ca_pem is None):
            raise ValueError("give either csr_pem, to be signed, or ca_pem, to be trusted")
        certificate = None
        if csr_pem is not None:
            certificate = self._access.issue_certificate(plant_id, csr_pem)
        elif ca_pem is not None and self._access.trust(ca_pem, crl_pem):
            await self.broker.reload()
        self._register(plant_id, hmac_key)
        return certificate

    async def issue_mtls(self, plant_id: str, *, hmac_key: bytes | str) -> tuple[bytes, bytes]:
        """Register a plant and make its key as well: certificate and key, PEM."""
        key, csr_pem = pki.key_and_request(plant_id)
        certificate = await self.register_mtls(plant_id, hmac_key=hmac_key, csr_pem=csr_pem)
        assert certificate is not None
        return certificate, key

    async def register_jwt(self, plant_id: str, *, hmac_key: bytes | str, public_key_der: bytes) -> None:
        """Register a plant of the JWT listener. The key is taken as it is: only PKCS#1 DER will work.

        Raises:
            ValueError: the listener has one key for all plants, and it is another one.
        """
        self._access.register_key(plant_id, public_key_der)
        self._register(plant_id, hmac_key)

    async def register_password(self, plant_id: str, *, hmac_key: bytes | str) -> PasswordLogin:
        """Register a plant of the password listener; again: a new password, the old one dies."""
        login = self._access.provision_password(plant_id)
        await self.broker.reload()
        self._register(plant_id, hmac_key)
        return login

    async def revoke(self, plant_id: str) -> None:
        """Forget the plant: its next login is refused, and so are the messages of a session it still has."""
        self.judge.forget(plant_id)
        if self._access.revoke(plant_id):
            await self.broker.reload()

    def rotate_hmac(self, plant_id: str, hmac_key: bytes | str) -> None:
        """From now on only the new key counts (protocol §4: no overlap)."""
        self._register(plant_id, hmac_key)

    async def send_command(
        self,
        plant_id: str,
        command_type: str,
        p: dict[str, Any] | None = None,
        *,
        ts: int | None = None,
        cmd_id: str | None = None,
        forged: Forgery | None = None,
    ) -> str:
        """Sign (in JavaScript) and publish a command; returns its cmdId.

        Args:
            plant_id: to whom.
            command_type: ``type``, for instance CHARGE.
            p: parameters; None leaves the key out.
            ts: Unix milliseconds instead of now.
            cmd_id: instead of a new one; the same again is a duplicate.
            forged: make it one that a plant must not obey; the judge then refuses acknowledgements.

        Raises:
            JudgeError: the plant is not registered.
            TimeoutError: the broker is not there.
        """
        return await self.ingest.send_command(plant_id, command_type, p, ts=ts, cmd_id=cmd_id, forged=forged)

    # -- what was seen

    async def outcome(self, cmd_id: str, within: float = _OUTCOME_WITHIN) -> Ack:
        """Wait for a command's COMPLETED or FAILED.

        Raises:
            KeyError: no such command was sent.
            TimeoutError: there was none within that many seconds.
        """
        return await self.ingest.outcome(cmd_id, within)

    async def wait_for(self, predicate: Callable[[], T], within: float) -> T:
        """Wait until the predicate is true and return its value; it is asked after each batch of verdicts.

        Raises:
            TimeoutError: not within that many seconds; the message says what was seen.
            JudgeError: the judge failed.
        """
        return await self.ingest.wait_for(predicate, within)

    @property
    def counters(self) -> Counters:
        """How many messages were accepted and refused."""
        return self.records.counters

    @property
    def accepted(self) -> deque[Accepted]:
        """The last messages that were accepted, oldest first."""
        return self.records.accepted

    @property
    def refused(self) -> deque[Refused]:
        """The last messages that were refused, oldest first, with the reason."""
        return self.records.refused

    def latest(self, plant_id: str, external_id: str) -> Latest | None:
        """The newest sample of a device; None: there was none."""
        return self.records.latest.get((plant_id, external_id))

    @property
    def commands(self) -> Mapping[str, SentCommand]:
        """Commands by cmdId, with their acks."""
        return self.records.commands

    def alarms(self, plant_id: str | None = None) -> list[AlarmInstance]:
        """Alarms raised, of one plant or all, in the order of their RAISE."""
        return [alarm for alarm in self.records.alarms.values() if plant_id in (None, alarm.plant_id)]

    def info(self, plant_id: str) -> dict[str, Any] | None:
        """The plant's retained ``info``; None: there was none."""
        return self.records.info.get(plant_id)

    def _register(self, plant_id: str, hmac_key: bytes | str) -> None:
        self.judge.register(plant_id, hmac_key.encode() if isinstance(hmac_key, str) else hmac_key)


@asynccontextmanager
async def _running(ingest: Ingest) -> AsyncIterator[None]:
    task = asyncio.create_task(ingest.run(), name="voke-ingest")
    try:
        await ingest.until_connected()
        yield
    finally:
        while not task.done():  # a disconnect that fails in the client library swallows a cancellation
            task.cancel()
            await asyncio.wait({task}, timeout=1.0)
