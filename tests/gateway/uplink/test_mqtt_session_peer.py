"""What a session does with brokers that behave as this machine's mosquitto does not."""

from __future__ import annotations

import asyncio
from random import Random

import pytest

from tests.support.sessions import CONNACK, SUBACK_QOS1, Conversation, published, scripted_peer
from voke_gateway.uplink.mqtt import MAXIMUM_PACKET, RECEIVE_MAXIMUM, AiomqttConnector
from voke_gateway.uplink.session import (
    Closed,
    CloseReason,
    ConnectFailedError,
    ConnectRefusedError,
    SessionLostError,
)

pytestmark = pytest.mark.usefixtures("clean_loop")

TELEMETRY = "cpi/a/telemetry"


def publish_packet(mid: int, topic: bytes = b"t", qos: int = 1) -> bytes:
    packet_id = mid.to_bytes(2, "big") if qos else b""
    body = len(topic).to_bytes(2, "big") + topic + packet_id + b"\0" + b"x"
    return bytes([0x30 | qos << 1, len(body)]) + body


async def test_the_connect_asks_for_a_kept_session_and_bounded_delivery() -> None:
    connects: list[bytes] = []

    async def script(client: Conversation) -> None:
        connects.append(await client.welcome())
        await client.until_client_leaves()

    async with scripted_peer(script) as peer:
        await (await AiomqttConnector().connect(peer.login())).close()
    (connect,) = connects
    flags = connect[8]
    assert connect[1:8] == b"\0\4MQTT\5"
    assert not flags & 0x02  # clean start
    assert b"\x11" + (300).to_bytes(4, "big") in connect  # session expiry interval
    assert b"\x21" + RECEIVE_MAXIMUM.to_bytes(2, "big") in connect
    assert b"\x27" + MAXIMUM_PACKET.to_bytes(4, "big") in connect


async def test_a_take_over_is_told_from_other_ends() -> None:
    async def script(client: Conversation) -> None:
        await client.welcome()
        await client.send(b"\xe0\x01\x8e")
        await client.until_client_leaves()

    async with scripted_peer(script) as peer:
        session = await AiomqttConnector().connect(peer.login())
        assert await session.closed() == Closed(CloseReason.TAKEN_OVER, "Session taken over", 0x8E)


async def test_a_broker_that_shuts_down_says_so() -> None:
    async def script(client: Conversation) -> None:
        await client.welcome()
        await client.receive()
        await client.send(b"\xe0\x01\x8b")
        await client.until_client_leaves()

    async with scripted_peer(script) as peer:
        session = await AiomqttConnector().connect(peer.login())
        with pytest.raises(SessionLostError) as lost:
            await published(session, TELEMETRY, b"{}")
        assert lost.value.closed == Closed(CloseReason.SERVER, "Server shutting down", 0x8B)


@pytest.mark.parametrize("code", [0x00, 0x10, 0x80, 0x83, 0x87, 0x90, 0x91, 0x97, 0x99])
async def test_every_puback_reason_code_reaches_the_caller(code: int) -> None:
    async def script(client: Conversation) -> None:
        await client.welcome()
        await client.receive()
        await client.send(bytes([0x40, 3, 0, 1, code]))
        await client.until_client_leaves()

    async with scripted_peer(script) as peer:
        session = await AiomqttConnector().connect(peer.login())
        assert await published(session, TELEMETRY, b"{}") == code
        await session.close()


async def test_a_puback_may_come_late_twice_or_for_nothing_at_all() -> None:
    async def script(client: Conversation) -> None:
        await client.welcome()
        for _ in range(2):
            await client.receive()
        await client.send(b"\x40\x02\x00\x02" * 2 + b"\x40\x02\x12\x34" + b"\x40\x02\x00\x01")
        await client.until_client_leaves()

    async with scripted_peer(script) as peer:
        session = await AiomqttConnector().connect(peer.login())
        assert await asyncio.gather(*(published(session, TELEMETRY, b"{}") for _ in range(2))) == [0, 0]
        await session.close()


def puback(mid: int, code: int, reason: bytes) -> bytes:
    """With a Reason String, which a broker may add and which may be long."""
    properties = b"\x1f" + len(reason).to_bytes(2, "big") + reason if reason else b""
    length = len(properties)
    size = bytes([length]) if length < 128 else bytes([length & 0x7F | 0x80, length >> 7])
    body = mid.to_bytes(2, "big") + bytes([code]) + size + properties
    length = len(body)
    return b"\x40" + (bytes([length]) if length < 128 else bytes([length & 0x7F | 0x80, length >> 7])) + body


@pytest.mark.parametrize("seed", range(8))
async def test_pubacks_among_other_packets_may_come_in_any_pieces(seed: int) -> None:
    random = Random(seed)
    codes = [random.choice([0x00, 0x10, 0x97]) for _ in range(12)]
    packets = [puback(n, code, b"because" * random.choice([0, 1, 40])) for n, code in enumerate(codes, 1)]
    packets[3:3] = [publish_packet(7)]
    packets[8:8] = [b"\xd0\x00", publish_packet(8)]  # a PINGRESP that nobody asked for

    async def script(client: Conversation) -> None:
        await client.welcome()
        for _ in codes:
            await client.receive()
        stream = b"".join(packets)
        while stream:
            size = random.choice([1, 1, 2, 3, 5, 40, 400])
            await client.send(stream[:size])
            stream = stream[size:]
            await asyncio.sleep(0.001)
        await client.until_client_leaves()

    async with scripted_peer(script) as peer:
        session = await AiomqttConnector().connect(peer.login())
        assert await asyncio.gather(*(published(session, TELEMETRY, b"{}") for _ in codes)) == codes
        messages = session.messages()
        assert [(await anext(messages)).payload for _ in range(2)] == [b"x", b"x"]
        await session.close()


@pytest.mark.parametrize("answer", [b"\x40\x03\x00\x01\x95", b"\x40\x01\x00", b"\x40\xff\xff\xff\xff\x01"])
async def test_a_puback_that_mqtt_does_not_know_ends_the_session(answer: bytes) -> None:
    async def script(client: Conversation) -> None:
        await client.welcome()
        await client.receive()
        await client.send(answer)
        await client.until_client_leaves()

    async with scripted_peer(script) as peer:
        session = await AiomqttConnector().connect(peer.login())
        with pytest.raises(SessionLostError):
            await published(session, TELEMETRY, b"{}")
        assert (await session.closed()).reason is CloseReason.PROTOCOL


async def test_half_a_puback_before_the_end_is_none() -> None:
    async def script(client: Conversation) -> None:
        await client.welcome()
        await client.receive()
        await client.send(b"\x40\x03\x00")

    async with scripted_peer(script) as peer:
        session = await AiomqttConnector().connect(peer.login())
        with pytest.raises(SessionLostError):
            await published(session, TELEMETRY, b"{}")
        assert (await session.closed()).reason is CloseReason.NETWORK


async def test_paho_still_has_what_is_reached_into() -> None:
    """Those that would be missed silently: what is only written, and what is put in place of something."""

    async def script(client: Conversation) -> None:
        await client.welcome()
        await client.until_client_leaves()

    async with scripted_peer(script) as peer:
        session = await AiomqttConnector().connect(peer.login())
        paho = session._client._client
        assert {"_last_msg_out", "_last_bytes_received", "_out_packet", "_in_packet"} <= vars(paho).keys()
        assert callable(type(paho)._sock_recv)
        await session.close()


@pytest.mark.parametrize(
    ("connack", "code"),
    [(b"\x20\x03\x00\x86\x00", 0x86), (b"\x20\x03\x00\x88\x00", 0x88), (b"\x20\x03\x00\x97\x00", 0x97)],
)
async def test_every_connack_failure_is_a_refusal_with_its_code(connack: bytes, code: int) -> None:
    async def script(client: Conversation) -> None:
        await client.welcome(connack)
        await client.until_client_leaves()

    async with scripted_peer(script) as peer:
        with pytest.raises(ConnectRefusedError) as refused:
            await AiomqttConnector().connect(peer.login())
    assert refused.value.code == code


async def test_connack_properties_are_heeded() -> None:
    async def script(client: Conversation) -> None:
        await client.welcome(b"\x20\x06\x01\x00\x03\x21\x00\x05")
        await client.until_client_leaves()

    async with scripted_peer(script) as peer:
        session = await AiomqttConnector().connect(peer.login())
        assert session.session_present
        assert session.receive_maximum == 5
        await session.close()


async def test_the_subscription_stands_before_the_session_is_handed_out() -> None:
    subscribes: list[bytes] = []

    async def script(client: Conversation) -> None:
        await client.welcome()
        subscribes.append(await client.receive())
        await client.send(SUBACK_QOS1)
        await client.until_client_leaves()

    async with scripted_peer(script) as peer:
        session = await AiomqttConnector().connect(peer.login(subscribe=("cpi/a/command",)))
        assert subscribes[0].endswith(b"cpi/a/command\x01")  # QoS 1
        await session.close()


async def test_a_subscription_that_is_not_granted_is_a_refusal() -> None:
    """mosquitto's ACL file grants every subscription and filters what it delivers; others say no."""

    async def script(client: Conversation) -> None:
        await client.welcome()
        await client.receive()
        await client.send(b"\x90\x04\x00\x01\x00\x87")
        await client.until_client_leaves()

    async with scripted_peer(script) as peer:
        with pytest.raises(ConnectRefusedError, match="subscription: Not authorized") as refused:
            await AiomqttConnector().connect(peer.login(subscribe=("cpi/a/command",)))
    assert refused.value.code == 0x87


async def test_a_broker_without_an_answer_to_the_login() -> None:
    async def script(client: Conversation) -> None:
        await client.receive()

    async with scripted_peer(script) as peer:
        with pytest.raises(ConnectFailedError, match="closed the connection without answering the login"):
            await AiomqttConnector().connect(peer.login())


@pytest.mark.parametrize("answers", [0, 1])
async def test_a_broker_that_goes_silent_during_the_login(answers: int) -> None:
    async def script(client: Conversation) -> None:
        if answers:
            await client.welcome()
        await client.until_client_leaves()

    async with scripted_peer(script) as peer:
        what = "subscription" if answers else r"login \(CONNECT\)"
        with pytest.raises(ConnectFailedError, match=f"did not answer the {what} in time"):
            await AiomqttConnector(connect_timeout=0.5).connect(peer.login(subscribe=("cpi/a/command",)))


async def test_a_connection_lost_during_the_subscription() -> None:
    async def script(client: Conversation) -> None:
        await client.welcome()
        await client.receive()
        await client.send(b"\xe0\x01\x8b")

    async with scripted_peer(script) as peer:
        problem = r"before the subscription was answered \(Server shutting down\)"
        with pytest.raises(ConnectFailedError, match=problem):
            await AiomqttConnector().connect(peer.login(subscribe=("cpi/a/command",)))


@pytest.mark.parametrize(
    "garbage",
    [
        b"\xf0\x00",  # AUTH, unasked for
        b"\x00\x00",
        b"\x40\x03\x00\x01\x95",  # PUBACK 0x95: no such code
        b"\x30\xff\xff\xff\xff\x01",  # a length of five bytes
        b"\x32\x02\x00\xff",  # a topic longer than its packet
        publish_packet(1, topic=b"\xff\xfe"),  # a topic that is not UTF-8
        b"".join(publish_packet(mid) for mid in range(1, RECEIVE_MAXIMUM + 2)),
    ],
    ids=["auth", "reserved", "puback-95", "length", "short", "utf-8", "receive-maximum"],
)
async def test_what_cannot_be_parsed_ends_the_session_as_a_protocol_error(garbage: bytes) -> None:
    async def script(client: Conversation) -> None:
        await client.welcome(CONNACK + garbage)
        await client.until_client_leaves()

    async with scripted_peer(script) as peer:
        session = await AiomqttConnector().connect(peer.login())
        async with asyncio.timeout(5):
            assert (await session.closed()).reason is CloseReason.PROTOCOL


async def test_a_flood_of_qos_0_messages_is_bounded_and_costs_no_command() -> None:
    async def script(client: Conversation) -> None:
        await client.welcome()
        await client.receive()
        await client.send(publish_packet(0, qos=0) * 10_000 + publish_packet(1, topic=b"command"))
        await client.send(b"\x40\x02\x00\x01")
        await client.until_client_leaves()

    async with scripted_peer(script) as peer:
        session = await AiomqttConnector().connect(peer.login())
        assert await published(session, TELEMETRY, b"{}") == 0  # by now all of it was read
        topics = []
        async for message in session.messages():
            topics.append(message.topic)
            if message.topic == "command":
                break
        assert topics == ["t"] * RECEIVE_MAXIMUM + ["command"]
        await session.close()


async def test_a_packet_in_crumbs_is_put_together() -> None:
    async def script(client: Conversation) -> None:
        await client.welcome()
        for byte in publish_packet(1, topic=b"cpi/a/command"):
            await client.send(bytes([byte]))
        assert await client.receive() == b"\x40\x02\x00\x01"
        await client.until_client_leaves()

    async with scripted_peer(script) as peer:
        session = await AiomqttConnector().connect(peer.login())
        async for message in session.messages():
            assert (message.topic, message.payload) == ("cpi/a/command", b"x")
            message.acknowledge()
            message.acknowledge()
            break
        await session.close()


async def test_a_fleet_that_reconnects_shakes_hands_a_few_at_a_time() -> None:
    inside, most = 0, 0

    async def script(client: Conversation) -> None:
        nonlocal inside, most
        inside += 1
        most = max(most, inside)
        await client.receive()
        await asyncio.sleep(0.01)
        inside -= 1
        await client.send(CONNACK)
        await client.until_client_leaves()

    async with scripted_peer(script) as peer:
        connector = AiomqttConnector(connects_at_once=3)
        logins = [peer.login(client_id=f"c{number}") for number in range(12)]
        for session in await asyncio.gather(*map(connector.connect, logins)):
            await session.close()
    assert most == 3


async def test_packet_ids_wrap_around() -> None:
    async def script(client: Conversation) -> None:
        await client.welcome()
        while packet := await client.receive():
            await client.send(b"\x40\x02" + packet[3 + len(TELEMETRY) : 5 + len(TELEMETRY)])

    async with scripted_peer(script) as peer:
        session = await AiomqttConnector().connect(peer.login())
        session._client._last_packet_id = 65_530
        codes = await asyncio.gather(*(published(session, TELEMETRY, b"{}") for _ in range(20)))
        assert codes == [0] * 20
        await session.close()


async def test_a_packet_id_that_is_still_taken_ends_the_session() -> None:
    async def script(client: Conversation) -> None:
        await client.welcome()
        await client.until_client_leaves()

    async with scripted_peer(script) as peer:
        session = await AiomqttConnector().connect(peer.login())
        abandoned = asyncio.ensure_future(published(session, TELEMETRY, b"{}"))
        await asyncio.sleep(0)
        session._client._last_packet_id = 0
        with pytest.raises(SessionLostError):
            await published(session, TELEMETRY, b"{}")
        with pytest.raises(SessionLostError):
            await abandoned
        assert (await session.closed()).reason is CloseReason.PROTOCOL
