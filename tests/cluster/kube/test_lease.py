"""Who leads: one at a time, whatever stalls, breaks or ends."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import sys
import time
from collections.abc import AsyncIterator, Callable
from random import Random

import pytest

from tests.cluster.control_plane import ControlPlane
from tests.cluster.faulty_api import FaultyApi
from tests.cluster.kube.contender import CONFIG_MAPS, LEDGER, LOST, TIMING
from tests.support.loops import until
from voke_operator.kube import errors
from voke_operator.kube.client import Client
from voke_operator.kube.lease import Lease, Timing, boot_clock
from voke_operator.kube.resources import LEASES
from voke_operator.names import LEASE


def lease(client: Client, namespace: str, identity: str, *, clock: Callable[[], float] = boot_clock) -> Lease:
    return Lease(client, namespace=namespace, identity=identity, random=Random(1), timing=TIMING, clock=clock)


class Contender:
    """A process of :mod:`tests.cluster.kube.contender`."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.process = process

    async def leads(self) -> float:
        """Wait until it leads; when that was."""
        assert self.process.stdout is not None
        async with asyncio.timeout(30):
            line = await self.process.stdout.readline()
        assert line.endswith(b"leads\n"), "it ended instead"
        return time.monotonic()


@contextlib.asynccontextmanager
async def contending(
    plane: ControlPlane, namespace: str, identity: str, *more: str
) -> AsyncIterator[Contender]:
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "tests.cluster.kube.contender",
        str(plane.kubeconfig),
        namespace,
        identity,
        *more,
        stdout=asyncio.subprocess.PIPE,
    )
    try:
        yield Contender(process)
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.wait()


async def test_a_stalled_leader_that_wakes_up_begins_no_write_and_ends(
    control_plane: ControlPlane, client: Client, namespace: str
) -> None:
    since = (await client.list(CONFIG_MAPS, namespace)).resource_version
    async with contending(control_plane, namespace, "old") as old:
        await old.leads()
        async with contending(control_plane, namespace, "new") as new:
            await asyncio.sleep(1)
            old.process.send_signal(signal.SIGSTOP)
            stopped = time.monotonic()
            led = await new.leads()
            assert led - stopped < TIMING.duration + 3 * TIMING.retry + 2
            await asyncio.sleep(1)
            old.process.send_signal(signal.SIGCONT)
            async with asyncio.timeout(10):
                assert await old.process.wait() == LOST
            await asyncio.sleep(1)
    events = client.watch(CONFIG_MAPS, namespace, resource_version=since, seconds=2)
    writers = [
        event.object["data"]["leader"]
        async for event in events
        if event.type != "BOOKMARK" and event.object["metadata"]["name"] == LEDGER
    ]
    assert {*writers} == {"old", "new"}
    late = writers[writers.index("new") :].count("old")
    assert late <= 1, "it may have been stopped between the look at the Lease and the socket"
    assert len(writers) > 20


async def test_a_clean_end_hands_over_within_three_seconds(
    control_plane: ControlPlane, namespace: str
) -> None:
    async with contending(control_plane, namespace, "old", "slow") as old:
        await old.leads()
        async with contending(control_plane, namespace, "new", "slow") as new:
            await asyncio.sleep(2)
            old.process.send_signal(signal.SIGTERM)
            ended = time.monotonic()
            took = await new.leads() - ended
            assert await old.process.wait() == 0
    print(f"hand-over took {took:.2f} s")
    assert took < 3


async def test_a_killed_leader_is_followed_after_its_lease_has_run_out(
    control_plane: ControlPlane, namespace: str
) -> None:
    async with contending(control_plane, namespace, "old") as old:
        await old.leads()
        async with contending(control_plane, namespace, "new") as new:
            await asyncio.sleep(1)
            old.process.kill()
            ended = time.monotonic()
            took = await new.leads() - ended
    assert TIMING.duration - TIMING.retry < took < TIMING.duration + 3 * TIMING.retry + 2


async def test_many_who_want_it_at_once_are_led_by_one(client: Client, namespace: str) -> None:
    claims = [lease(client, namespace, f"c{number}") for number in range(8)]
    tasks = [asyncio.create_task(claim.acquire()) for claim in claims]
    for _ in range(2):
        await until(lambda: any(claim.leading for claim in claims))
        await asyncio.sleep(3 * TIMING.retry)
        (leader,) = (claim for claim in claims if claim.leading)
        await leader.release()
    for task, claim in zip(tasks, claims, strict=True):
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        await claim.release()


async def test_renewals_outlive_a_short_outage_and_answers_that_are_lost(
    faulty: FaultyApi, unlucky: Client, namespace: str
) -> None:
    async with lease(unlucky, namespace, "one") as held:
        for fault in ({"code": 503, "times": 2}, {"lose_answer": True, "times": 2}, {"code": 409}):
            happening = faulty.add(verb="update", resource="leases", **fault)
            while happening.times:
                await asyncio.sleep(0.05)
            await asyncio.sleep(TIMING.renew_within)
            assert held.leading
        assert not held.lost.done()


async def test_a_leader_that_cannot_renew_gives_up_before_others_may_take_over(
    faulty: FaultyApi, unlucky: Client, namespace: str
) -> None:
    held = lease(unlucky, namespace, "one")
    await held.acquire()
    async with faulty.away():
        await until(lambda: not held.leading, within=TIMING.duration)
        with pytest.raises(errors.FencedError, match="could not renew it in time"):
            held.check()
        async with asyncio.timeout(TIMING.duration):
            assert "in time" in await held.lost
    await held.release()


async def test_a_lease_that_somebody_else_took_is_lost_at_the_next_renewal(
    client: Client, namespace: str
) -> None:
    held = lease(client, namespace, "one")
    await held.acquire()
    while True:
        found = await client.get(LEASES, namespace, LEASE)
        with contextlib.suppress(errors.ConflictError):
            await client.replace(LEASES, {**found, "spec": {**found["spec"], "holderIdentity": "two"}})
            break
    async with asyncio.timeout(5):
        await held.lost
    assert not held.leading
    await held.release()
    found = await client.get(LEASES, namespace, LEASE)
    assert found["spec"]["holderIdentity"] == "two", "what is not ours any more is not given back"


async def test_a_deleted_lease_is_lost(client: Client, namespace: str) -> None:
    held = lease(client, namespace, "one")
    await held.acquire()
    uid = (await client.get(LEASES, namespace, LEASE))["metadata"]["uid"]
    await client.delete(LEASES, namespace, LEASE, uid=uid)
    async with asyncio.timeout(5):
        await held.lost
    await held.release()


async def test_the_fence_closes_by_the_clock_alone_as_after_a_machines_sleep(
    client: Client, namespace: str
) -> None:
    asleep = 0.0
    held = lease(client, namespace, "one", clock=lambda: boot_clock() + asleep)
    await held.acquire()
    held.check()
    asleep = TIMING.renew_within
    with pytest.raises(errors.FencedError):
        held.check()
    async with asyncio.timeout(5):
        await held.lost
    await held.release()


async def test_a_lease_is_not_taken_on_the_word_of_another_machines_clock(
    client: Client, namespace: str
) -> None:
    spec = {
        "holderIdentity": "elsewhere",
        "leaseDurationSeconds": 3,
        "renewTime": "2001-01-01T00:00:00.000000Z",
        "acquireTime": "2001-01-01T00:00:00.000000Z",
        "leaseTransitions": 4,
    }
    await client.create(LEASES, {"metadata": {"namespace": namespace, "name": LEASE}, "spec": spec})
    began = time.monotonic()
    async with lease(client, namespace, "here"):
        assert time.monotonic() - began >= TIMING.duration
        taken = (await client.get(LEASES, namespace, LEASE))["spec"]
        assert (taken["holderIdentity"], taken["leaseTransitions"]) == ("here", 5)


def test_times_that_would_let_two_lead_are_refused() -> None:
    with pytest.raises(ValueError, match="retry < renew_within < duration"):
        Timing(duration=10, renew_within=10, retry=2)


async def test_a_lease_is_given_back_although_the_last_renewal_was_cut_short(
    faulty: FaultyApi, unlucky: Client, client: Client, namespace: str
) -> None:
    held = lease(unlucky, namespace, "one")
    await held.acquire()
    faulty.add(verb="update", resource="leases", delay_answer=5.0)
    asked = faulty.asked["update", "leases"]
    while faulty.asked["update", "leases"] == asked:
        await asyncio.sleep(0.01)
    await asyncio.sleep(0.2)
    await held.release()
    found = await client.get(LEASES, namespace, LEASE)
    assert found["spec"]["holderIdentity"] == ""
