"""Session after session: reconnecting, refused logins, renewal, stopping."""

from __future__ import annotations

import asyncio
from functools import cache, partial
from itertools import pairwise

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from structlog.testing import capture_logs

from tests.support.uplinks import (
    KEY,
    PLANT_ID,
    Rig,
    make_credentials,
    make_plant,
    now,
    numbers,
    simulated_voke,
)
from tests.support.virtual_time import EPOCH, run
from voke_gateway.uplink.session import (
    CertificateRefusedError,
    Closed,
    CloseReason,
    ConnectFailedError,
    ConnectRefusedError,
    CredentialsError,
    Inbound,
)


@cache
def rsa_key() -> bytes:
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def test_a_lost_session_is_replaced_and_what_was_in_flight_arrives_after_all() -> None:
    async def main() -> None:
        voke = simulated_voke()
        rig = Rig(voke)
        async with rig.running():
            await rig.connected()
            for _ in range(10):
                rig.snapshot()
            await asyncio.sleep(0.015)  # they have arrived, and their PUBACKs are on the way
            voke.cut()
            await rig.until(lambda: not rig.stats.connected)
            assert rig.stats.uplink_reason == "SessionLost"
            assert not rig.uplink.reachable
            await rig.empty(within=30)
            assert rig.stats.uplink_reason == ""
            assert rig.stats.connected
            assert rig.uplink.reachable
            assert rig.stats.signed == 20, "what is sent again is signed again"
        assert set(numbers(voke)) == set(range(1, 11))
        assert voke.faults == []
        assert rig.stats.reconnects == {CloseReason.NETWORK: 1}

    run(main())


def test_it_is_known_since_when_there_is_a_session_or_none_and_when_something_was_delivered_last() -> None:
    async def main() -> None:
        voke = simulated_voke()
        rig = Rig(voke)
        async with rig.running():
            await rig.connected()
            up_at = rig.stats.session_since
            assert up_at == pytest.approx(EPOCH, abs=1)
            assert rig.stats.last_delivered_at is None
            await asyncio.sleep(100)
            rig.snapshot()
            await rig.empty(within=5)
            assert rig.stats.session_since == up_at
            assert rig.stats.last_delivered_at == pytest.approx(EPOCH + 100, abs=1)
            voke.cut()
            await rig.until(lambda: not rig.stats.connected)
            assert rig.stats.session_since == pytest.approx(EPOCH + 100, abs=1)

    run(main())


def test_an_unreachable_broker_is_tried_ever_more_slowly_up_to_a_minute() -> None:
    async def main() -> None:
        voke = simulated_voke(online=False)
        rig = Rig(voke)
        async with rig.running():
            await asyncio.sleep(3600)
            gaps = [b - a for (a, _), (b, _) in pairwise(voke.logins)]
            assert max(gaps[:3]) <= 4.1
            assert max(gaps) <= 60.1
            assert 90 <= len(gaps) <= 250  # full jitter: half a minute on average
            assert rig.stats.uplink_reason == "BrokerUnreachable"
            assert "voke.test:8885" in rig.stats.uplink_problem
            voke.online = True
            await rig.connected(within=61)
            assert rig.stats.uplink_reason == ""

    run(main())


def test_a_thousand_plants_do_not_return_as_one() -> None:
    async def main() -> None:
        voke = simulated_voke(online=False)
        rigs = [Rig(voke, seed=seed) for seed in range(200)]
        tasks = [asyncio.create_task(rig.uplink.run()) for rig in rigs]
        await asyncio.sleep(600)
        since = now()
        await asyncio.sleep(60)
        late = [at for at, _ in voke.logins if at > since]
        per_second = [sum(since + s <= at < since + s + 1 for at in late) for s in range(60)]
        assert max(per_second) < 30  # 200 in 30 s on average is 7
        for task in tasks:
            task.cancel()

    run(main())


@pytest.mark.parametrize(
    ("failure", "reason", "says"),
    [
        (ConnectRefusedError(0x86, "bad user name or password"), "LoginRefused", "user name and password"),
        (CredentialsError("certificate expired on 2026-01-01"), "CredentialsInvalid", "expired"),
        (CertificateRefusedError("unknown CA: register it at Voke"), "CertificateRefused", "at Voke"),
        (ConnectFailedError("name resolution failed"), "BrokerUnreachable", "name resolution failed"),
        (ConnectRefusedError(0x89, "server busy"), "BrokerUnreachable", "server busy"),
    ],
)
def test_why_there_is_no_session_is_said_once_and_cleared(failure: Exception, reason: str, says: str) -> None:
    async def main() -> None:
        voke = simulated_voke(refusal=failure)
        rig = Rig(voke)
        with capture_logs() as logs:
            async with rig.running():
                await asyncio.sleep(1800)
                assert rig.stats.uplink_reason == reason
                assert says in rig.stats.uplink_problem
                assert not rig.stats.connected
                assert len(voke.logins) > 4
                assert [log["event"] for log in logs] == ["uplink problem"]
                voke.refusal = None
                await rig.connected(within=301)
                assert rig.stats.uplink_reason == rig.stats.uplink_problem == ""

    run(main())


def test_a_refused_login_is_tried_again_after_minutes() -> None:
    async def main() -> None:
        voke = simulated_voke()
        voke.refuse_logins(0x87, "not authorized")
        rig = Rig(voke)
        async with rig.running():
            await asyncio.sleep(4 * 3600)
        gaps = [b - a for (a, _), (b, _) in pairwise(voke.logins)]
        assert all(gap >= 150 for gap in gaps[8:])
        assert max(gaps) <= 301

    run(main())


def test_nothing_secret_is_logged_or_shown() -> None:
    async def main() -> None:
        voke = simulated_voke()
        voke.refuse_logins(0x86, "bad user name or password")
        plant = make_plant()
        rig = Rig(voke, plant=plant, credentials=make_credentials(plant, password="hunter2-hunter2"))
        with capture_logs() as logs:
            async with rig.running():
                await asyncio.sleep(60)
                voke.refusal = None
                await rig.connected()
                rig.snapshot()
                await rig.empty()
        text = f"{logs} {rig.stats} {rig.uplink!r}"
        assert "hunter2" not in text
        assert KEY.decode() not in text

    run(main())


def test_a_missing_credential_is_said_before_any_connection() -> None:
    async def main() -> None:
        voke = simulated_voke()
        plant = make_plant()
        rig = Rig(voke, plant=plant, credentials=make_credentials(plant, password=None))
        async with rig.running():
            await asyncio.sleep(60)
            assert rig.stats.uplink_reason == "CredentialsInvalid"
            assert voke.logins == []

    run(main())


def test_inbound_messages_are_handed_on_in_order() -> None:
    async def main() -> None:
        voke = simulated_voke()
        rig = Rig(voke)
        acknowledged: list[int] = []
        async with rig.running():
            await rig.connected()
            for no in range(3):
                voke.send(PLANT_ID, "command", b"%d" % no, partial(acknowledged.append, no))
            await asyncio.sleep(0.1)
            assert [message.payload for message in rig.inbound] == [b"0", b"1", b"2"]
            assert acknowledged == []
            rig.inbound[1].acknowledge()
            assert acknowledged == [1]

    run(main())


def test_a_message_that_cannot_be_handled_stops_neither_the_next_nor_telemetry() -> None:
    seen: list[bytes] = []

    def receive(message: Inbound) -> None:
        seen.append(message.payload)
        if message.payload == b"bad":
            raise ZeroDivisionError

    async def main() -> None:
        voke = simulated_voke()
        rig = Rig(voke, on_inbound=receive)
        with capture_logs() as logs:
            async with rig.running():
                await rig.connected()
                for payload in (b"bad", b"good"):
                    voke.send(PLANT_ID, "command", payload, lambda: None)
                rig.snapshot()
                await rig.empty(within=1)
        assert seen == [b"bad", b"good"]
        assert [log["event"] for log in logs if log["log_level"] == "error"] == ["inbound message failed"]

    run(main())


def test_a_token_is_renewed_by_a_drained_reconnect_and_the_stream_has_no_gap() -> None:
    async def main() -> None:
        voke = simulated_voke()
        plant = make_plant(auth_method="JWT")
        rig = Rig(voke, plant=plant, credentials=make_credentials(plant, jwt_private_key=rsa_key()))
        async with rig.running():
            await rig.connected()
            for _ in range(int(2.5 * 3600)):
                rig.snapshot()
                await asyncio.sleep(1)
            await rig.empty(within=1)
        assert voke.faults == []
        assert numbers(voke) == list(range(1, 9001))  # each once: nothing was cut off in flight
        arrivals = [m.at for m in voke.received]
        assert max(b - a for a, b in pairwise(arrivals)) < 1.2
        tokens = [
            jwt.decode(login.password or "", options={"verify_signature": False}) for _, login in voke.logins
        ]
        assert 3 <= len(tokens) <= 5
        for (at, _), token in zip(voke.logins[1:], tokens, strict=False):
            used = (EPOCH + at - 1000 - token["iat"]) / (token["exp"] - token["iat"])
            assert 0.69 < used < 0.91
        assert rig.stats.reconnects == {CloseReason.LOCAL: len(tokens) - 1}
        assert not rig.uplink.identity_in_use

    run(main())


def test_renewal_waits_for_pubacks_but_not_longer_than_they_may_take() -> None:
    async def main() -> None:
        voke = simulated_voke(latency=4.0)
        rig = Rig(voke)
        async with rig.running():
            await rig.connected()
            for _ in range(5):
                rig.snapshot()
            await asyncio.sleep(0.1)
            renewal = asyncio.create_task(rig.uplink.renew(make_credentials(rig.plant)))
            await asyncio.sleep(0.1)
            rig.snapshot()
            await renewal
            assert numbers(voke) == [1, 2, 3, 4, 5]
            assert rig.waiting == 1
            await rig.empty(within=10)
            voke.answer = lambda *_: None
            rig.snapshot()
            await asyncio.sleep(0.1)
            started = now()
            await rig.uplink.renew(make_credentials(rig.plant))
            assert now() - started < 30
            voke.answer = lambda *_: 0
            await rig.empty(within=30)
        assert voke.faults == []
        assert not rig.uplink.identity_in_use

    run(main())


def test_new_credentials_are_used_at_once_for_login_and_signature() -> None:
    async def main() -> None:
        voke = simulated_voke()
        rig = Rig(voke)
        async with rig.running():
            await rig.connected()
            rig.snapshot()
            await rig.empty()
            new_key = b"another key of sufficient length"
            renewal = asyncio.create_task(
                rig.uplink.renew(make_credentials(rig.plant, password="new", hmac_key=new_key))
            )
            voke.keys[PLANT_ID] = new_key
            await renewal
            rig.snapshot()
            await rig.empty(within=1)
        assert [login.password for _, login in voke.logins] == ["right", "new"]
        assert voke.faults == []
        assert numbers(voke) == [1, 2]

    run(main())


def test_new_credentials_end_the_wait_after_a_refused_login() -> None:
    async def main() -> None:
        voke = simulated_voke()
        voke.refuse_logins(0x86, "bad user name or password")
        rig = Rig(voke)
        async with rig.running():
            await asyncio.sleep(3600)
            voke.refusal = None
            await rig.uplink.renew(make_credentials(rig.plant, password="new"))
            assert rig.stats.uplink_reason == ""
            assert voke.logins[-1][0] == pytest.approx(now(), abs=0.1)

    run(main())


def test_renewing_during_an_attempt_waits_for_the_one_with_the_new_credentials() -> None:
    async def main() -> None:
        voke = simulated_voke(latency=0.5)
        rig = Rig(voke)
        async with rig.running():
            await asyncio.sleep(0.1)
            assert len(voke.logins) == 1
            await rig.uplink.renew(make_credentials(rig.plant, password="new"))
            assert [login.password for _, login in voke.logins] == ["right", "new"]
            assert rig.stats.connected

    run(main())


def test_renewing_with_credentials_that_are_refused_returns_and_says_so() -> None:
    async def main() -> None:
        voke = simulated_voke()
        rig = Rig(voke)
        async with rig.running():
            await rig.connected()
            voke.refuse_logins(0x86, "bad user name or password")
            await rig.uplink.renew(make_credentials(rig.plant, password="wrong"))
            assert rig.stats.uplink_reason == "LoginRefused"
            assert not rig.stats.connected

    run(main())


def test_stopping_delivers_what_waits_and_disconnects() -> None:
    async def main() -> None:
        voke = simulated_voke(online=False)
        rig = Rig(voke)
        async with rig.running() as task:
            for _ in range(300):
                rig.snapshot()
            rig.ack()
            voke.online = True
            await rig.connected()
            (session,) = voke.sessions.values()
            started = now()
            await rig.uplink.stop(within=5)
            assert now() - started < 1  # without the measured pace of a backlog
            assert task.done()
        assert rig.waiting == 0
        assert session.disconnected
        assert not rig.stats.connected

    run(main())


def test_stopping_gives_up_when_its_time_is_over_and_keeps_the_rest() -> None:
    async def main() -> None:
        voke = simulated_voke(answer=lambda *_: 0x10)
        rig = Rig(voke)
        async with rig.running() as task:
            await rig.connected()
            for _ in range(10):
                rig.snapshot()
            (session,) = voke.sessions.values()
            started = now()
            await rig.uplink.stop(within=5)
            assert now() - started == pytest.approx(5, abs=0.1)
            assert task.done()
            assert not task.cancelled()
        assert rig.waiting == 10
        assert session.disconnected

    run(main())


@pytest.mark.parametrize("condition", ["idle", "offline", "refused", "never ran"])
def test_stopping_is_immediate_when_there_is_nothing_to_wait_for(condition: str) -> None:
    async def main() -> None:
        voke = simulated_voke(online=condition != "offline")
        rig = Rig(voke)
        if condition == "never ran":
            await rig.uplink.stop(within=5)
            return
        if condition == "refused":
            voke.refuse_logins(0x86, "bad user name or password")
        async with rig.running() as task:
            if condition != "idle":
                rig.snapshot()
            await asyncio.sleep(60)
            started = now()
            await rig.uplink.stop(within=5)
            assert now() - started < 0.2
            assert task.done()

    run(main())


def test_stopping_during_a_short_break_still_delivers() -> None:
    async def main() -> None:
        voke = simulated_voke()
        rig = Rig(voke)
        async with rig.running():
            await rig.connected()
            voke.cut()
            rig.snapshot()
            await asyncio.sleep(0)
            await rig.uplink.stop(within=5)
        assert numbers(voke) == [1]

    run(main())


def test_stopping_while_a_connection_hangs_ends_in_time() -> None:
    class Hanging:
        async def connect(self, _login: object) -> object:
            await asyncio.sleep(3600)
            raise AssertionError

    async def main() -> None:
        rig = Rig(Hanging())  # type: ignore[arg-type]
        async with rig.running() as task:
            rig.snapshot()
            await asyncio.sleep(1)
            started = now()
            await rig.uplink.stop(within=5)
            assert now() - started == pytest.approx(5, abs=0.1)
            assert task.done()

    run(main())


def test_cancelling_closes_the_session() -> None:
    async def main() -> None:
        voke = simulated_voke()
        rig = Rig(voke)
        async with rig.running() as task:
            await rig.connected()
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
        assert voke.sessions == {}
        assert not rig.stats.connected

    run(main())


def test_a_server_that_closes_politely_is_no_rival() -> None:
    async def main() -> None:
        voke = simulated_voke()
        rig = Rig(voke)
        async with rig.running():
            for _ in range(5):
                await rig.connected()
                for session in list(voke.sessions.values()):
                    session.end(Closed(CloseReason.SERVER, "server shutting down", 0x8B))
                await rig.until(lambda: not rig.stats.connected)
            assert not rig.uplink.identity_in_use
            assert rig.stats.reconnects == {CloseReason.SERVER: 5}

    run(main())
