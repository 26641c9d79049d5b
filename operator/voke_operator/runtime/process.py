"""The operator as a process: takes the Lease, works while it leads, and ends when it does not lead any more."""

from __future__ import annotations

import asyncio
import os
import resource
import signal
import socket
import time
import uuid
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from random import SystemRandom
from typing import Any, Final

import structlog
from prometheus_client import CollectorRegistry

from voke_operator.kube.client import Client
from voke_operator.kube.errors import FencedError, PermanentError, RetryError
from voke_operator.kube.health import Limits, LoopLag, liveness, readiness
from voke_operator.kube.lease import Lease, Timing
from voke_operator.kube.preflight import Right, missing_rights, preflight
from voke_operator.kube.reach import ConfigError, from_kubeconfig, in_cluster
from voke_operator.names import LEASE
from voke_operator.rbac import WATCHED, Rule, own_namespace
from voke_operator.reconcile.engine import Engine, Settings
from voke_operator.reconcile.queue import Depth, Kind
from voke_operator.reconcile.queue import Result as QueueResult
from voke_operator.runtime.fetch import HttpFetch
from voke_operator.runtime.http import HttpServer
from voke_operator.runtime.metrics import Fleet, OperatorMetrics, QueueFigures, exposition

VERSION: Final = version("voke-fleet")
END_WITHIN: Final = 15.0
"""Seconds for what is under way when the process is asked to stop."""
_PREFLIGHT_AGAIN: Final = 5.0

log = structlog.get_logger(__name__)


class CannotStartError(Exception):
    """Something is missing that a person has to provide; each line says what."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """What the process is told."""

    settings: Settings
    kubeconfig: Path | None = None
    """None: as a pod of the cluster."""
    context: str | None = None
    """Of the kubeconfig; None: its current one."""
    http_host: str
    http_port: int
    """0: a free one, which is logged."""
    lease: str = LEASE
    timing: Timing = field(default_factory=Timing)


async def run(options: Options) -> None:
    """Run until SIGTERM or SIGINT, or until another process leads.

    Raises:
        CannotStartError: it cannot work like this.
        AddressInUseError: the HTTP address cannot be listened on.
    """
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))  # a core dump would hold keys
    try:
        configuration = (
            in_cluster()
            if options.kubeconfig is None
            else await from_kubeconfig(options.kubeconfig, context=options.context)
        )
    except ConfigError as error:
        raise CannotStartError(str(error)) from None
    async with AsyncExitStack() as stack:
        process = _Process(options)
        client = Client(configuration, observe=process.observe)
        stack.push_async_callback(client.aclose)
        await process.listen(stack)
        stopped = asyncio.create_task(process.work(client), name="operator")
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, stopped.cancel)
        with suppress(asyncio.CancelledError):
            await stopped
    log.info("operator stopped")


class _Process:
    """What is there from start to end, whoever leads."""

    def __init__(self, options: Options) -> None:
        self._options = options
        self._identity = f"{socket.gethostname()}_{uuid.uuid4().hex[:8]}"
        self._engine: Engine | None = None
        self._lease: Lease | None = None
        self._lag = LoopLag()
        self._fleet = Fleet()
        registry = CollectorRegistry()
        self.metrics = OperatorMetrics(
            registry,
            version=VERSION,
            wall_clock=time.time,
            leading=lambda: self._lease is not None and self._lease.leading,
            fleet=self._fleet,
            queue=self._queue,
            loop_lag=lambda: self._lag.recent,
            watches=self._watches,
            restarts=lambda: {} if self._engine is None else self._engine.sources.restarts(),
        )
        self._http = HttpServer(
            healthy=(self._unhealthy,), ready=(self._unready,), metrics=exposition(registry)
        )

    async def listen(self, stack: AsyncExitStack) -> None:
        """Serve probes and metrics until the end."""
        port = await self._http.start(self._options.http_host, self._options.http_port)
        stack.push_async_callback(self._http.close)
        lag = asyncio.create_task(self._lag.run(), name="loop lag")
        stack.callback(lag.cancel)
        log.info(
            "operator started", version=VERSION, http=f"{self._options.http_host}:{port}", pid=os.getpid()
        )

    def observe(self, verb: str, kind: str, code: str, seconds: float) -> None:
        """A request to the API server has ended."""
        self.metrics.api_request(verb, kind, code, seconds)

    async def work(self, client: Client) -> None:
        """Wait for the Lease, then work until cancelled or until it is lost.

        Raises:
            CannotStartError: CRDs or rights are missing, or the Lease may not be taken.
        """
        settings, random = self._options.settings, SystemRandom()
        await _preflight(client, settings, lease=self._options.lease)
        lease = Lease(
            client,
            namespace=settings.namespace,
            identity=self._identity,
            random=random,
            name=self._options.lease,
            timing=self._options.timing,
        )
        async with _leading(lease), HttpFetch() as fetch:
            self._lease = lease
            self._engine = engine = Engine(
                client.fenced(lease.check),
                settings,
                fetch=fetch,
                figures=self._fleet,
                observer=_Observer(self.metrics),
                random=random,
                wall_clock=time.time,
                metrics=self.metrics,
                instance=self._identity,
            )
            working = asyncio.create_task(engine.run(), name="engine")
            try:
                ends: list[asyncio.Future[Any]] = [working, lease.lost]
                await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
            finally:
                working.cancel()
                with suppress(asyncio.CancelledError, FencedError):
                    async with asyncio.timeout(END_WITHIN):
                        await working
            if lease.lost.done():
                log.warning("not leading any more, the process ends", why=lease.lost.result())

    def _unhealthy(self) -> str:
        ages: Mapping[str, float] = {} if self._engine is None else self._engine.sources.ages()
        return "; ".join(liveness(lag=self._lag.recent, ages=ages, limits=Limits()).reasons)

    def _unready(self) -> str:
        """A standby is ready; a leader is when it has listed everything."""
        engine = self._engine
        return "; ".join(readiness(synced=engine is None or engine.begun).reasons)

    def _queue(self) -> QueueFigures:
        depth = Depth(0, 0, 0, 0) if self._engine is None else self._engine.work.depth
        return QueueFigures(depth=depth.ready, active_workers=depth.active)

    def _watches(self) -> Mapping[str, float]:
        now = time.time()
        ages: Mapping[str, float] = {} if self._engine is None else self._engine.sources.ages()
        return {kind: now - age for kind, age in ages.items()}


class _Observer:
    """The queue's doings as metrics."""

    def __init__(self, metrics: OperatorMetrics) -> None:
        self._metrics = metrics

    def started(self, kind: Kind, waited: float) -> None:  # noqa: ARG002 - the shape of an observer
        self._metrics.queue_waited(waited)

    def finished(self, kind: Kind, result: QueueResult, seconds: float) -> None:  # noqa: ARG002
        self._metrics.reconciled(result, seconds)
        if result == "error":
            self._metrics.queue_retried()


@asynccontextmanager
async def _leading(lease: Lease) -> AsyncIterator[None]:
    """Lead.

    Raises:
        CannotStartError: the Lease may not be read or written, although the preflight found that it may.
    """
    try:
        await lease.acquire()
    except PermanentError as error:
        raise CannotStartError(f"the Lease cannot be taken: {error}") from None
    try:
        yield
    finally:
        await lease.release()


def _rights(rules: Sequence[Rule]) -> list[Right]:
    return [
        Right(verb, rule.group, resource, rule.name)
        for rule in rules
        for resource in rule.resources
        for verb in rule.verbs
    ]


async def _preflight(client: Client, settings: Settings, *, lease: str) -> None:
    own = own_namespace(lease=lease, issuer=settings.issuer)
    while True:
        try:
            missing = await preflight(client, settings.scope, _rights(WATCHED))
            missing += await missing_rights(client, (settings.namespace,), _rights(own))
        except RetryError as error:
            log.warning("the API server does not answer, to be tried again", error=str(error))
            await asyncio.sleep(_PREFLIGHT_AGAIN)
            continue
        if missing:
            raise CannotStartError("\n".join(missing))
        return
