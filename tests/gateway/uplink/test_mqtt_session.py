"""What a session does with a real broker."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib.metadata import version

import aiomqtt
import paho.mqtt.client
import pytest

from tests.support.broker import Broker
from tests.support.sessions import mtls_login, password_login, published
from voke_gateway.uplink.mqtt import AiomqttConnector, AiomqttSession
from voke_gateway.uplink.session import Closed, CloseReason, Inbound, Login, SessionLostError

pytestmark = pytest.mark.usefixtures("clean_loop")

PATIENCE = 15.0


@asynccontextmanager
async def session(login: Login) -> AsyncIterator[AiomqttSession]:
    opened = await AiomqttConnector().connect(login)
    try:
        yield opened
    finally:
        await opened.close()


async def take(of: AiomqttSession, count: int = 1) -> list[Inbound]:
    taken: list[Inbound] = []
    async with asyncio.timeout(PATIENCE):
        async for message in of.messages():
            taken.append(message)
            if len(taken) == count:
                break
    return taken


async def test_a_delivered_message_is_acknowledged_with_success(broker: Broker) -> None:
    async with (
        session(password_login(broker, client_id="reader", subscribe=("cpi/+/telemetry",))) as reader,
        session(password_login(broker, "plant-a")) as plant,
    ):
        assert await published(plant, "cpi/plant-a/telemetry", b"{}") == 0x00
        (message,) = await take(reader)
        assert (message.topic, message.payload) == ("cpi/plant-a/telemetry", b"{}")
        message.acknowledge()


async def test_the_broker_says_that_nobody_subscribed(broker: Broker) -> None:
    async with session(password_login(broker, "plant-a")) as plant:
        assert await published(plant, "cpi/plant-a/nobody-reads-this", b"{}") == 0x10


async def test_a_publish_that_the_acl_forbids_is_told_apart_from_delivery(broker: Broker) -> None:
    async with session(password_login(broker, "plant-a")) as plant:
        assert await published(plant, "cpi/plant-b/telemetry", b"{}") == 0x87
        assert await published(plant, "cpi/plant-a/alarm", b"{}") == 0x10  # and the session lives on


async def test_a_plant_logs_in_with_its_certificate_and_is_who_the_certificate_says(broker: Broker) -> None:
    leaf = broker.authority.issue("plant-m")
    async with session(mtls_login(broker, leaf, client_id="plant-m")) as plant:
        assert await published(plant, "cpi/plant-m/telemetry", b"{}") == 0x10
        assert await published(plant, "cpi/plant-a/telemetry", b"{}") == 0x87


async def test_a_retained_message_meets_a_later_subscriber(broker: Broker) -> None:
    async with session(password_login(broker, "plant-a")) as plant:
        await published(plant, "cpi/plant-a/info", b"retained", retain=True)
        async with session(
            password_login(broker, client_id="late", subscribe=("cpi/plant-a/info",))
        ) as reader:
            (message,) = await take(reader)
            assert message.payload == b"retained"
        await published(plant, "cpi/plant-a/info", b"", retain=True)


async def test_messages_arrive_in_the_order_of_publishing(broker: Broker) -> None:
    count = 200
    async with (
        session(password_login(broker, client_id="orderly", subscribe=("cpi/plant-a/order",))) as reader,
        session(password_login(broker, "plant-a")) as plant,
    ):

        async def publish_all() -> list[int]:
            window = asyncio.Semaphore(plant.receive_maximum)

            async def publish(number: int) -> int:
                async with window:
                    return await published(plant, "cpi/plant-a/order", str(number).encode())

            return await asyncio.gather(*(publish(number) for number in range(count)))

        publishing = asyncio.create_task(publish_all())
        seen = []
        async with asyncio.timeout(PATIENCE):
            async for message in reader.messages():
                message.acknowledge()
                seen.append(int(message.payload))
                if len(seen) == count:
                    break
        assert seen == list(range(count))
        assert set(await publishing) == {0x00}


async def test_a_frame_is_on_its_way_when_publish_returns(broker: Broker) -> None:
    async with (
        session(password_login(broker, client_id="early", subscribe=("cpi/plant-a/early",))) as reader,
        session(password_login(broker, "plant-a")) as plant,
    ):
        published(plant, "cpi/plant-a/early", b"signed just now").cancel()  # nobody waits for it any more
        (message,) = await take(reader)
        assert message.payload == b"signed just now"


async def test_the_broker_tells_how_many_publishes_it_takes_at_once(broker: Broker) -> None:
    async with session(password_login(broker, "plant-a")) as plant:
        assert plant.receive_maximum == 20  # mosquitto's default


async def test_a_command_sent_while_the_plant_is_away_arrives_when_it_is_back(broker: Broker) -> None:
    login = password_login(broker, "plant-b", client_id="away", subscribe=("cpi/plant-b/command",))
    async with session(login) as plant:
        assert not plant.session_present
    async with session(password_login(broker)) as voke:
        assert await published(voke, "cpi/plant-b/command", b"while away") in {0x00, 0x10}
    async with session(login) as plant:
        assert plant.session_present
        (message,) = await take(plant)
        assert message.payload == b"while away"
        message.acknowledge()


async def test_a_command_is_sent_again_until_it_is_acknowledged(broker: Broker) -> None:
    login = password_login(broker, "plant-b", client_id="forgetful", subscribe=("cpi/plant-b/command",))
    plant = await AiomqttConnector().connect(login)
    async with session(password_login(broker)) as voke:
        for payload in (b"first", b"second"):
            await published(voke, "cpi/plant-b/command", payload)
    first, _second = await take(plant, 2)
    first.acknowledge()
    assert await published(plant, "cpi/plant-b/ack", b"fence") in {
        0x00,
        0x10,
    }  # the broker has seen the PUBACK
    plant.abort()
    async with session(login) as plant:
        (again,) = await take(plant)
        assert again.payload == b"second"
        again.acknowledge()
        again.acknowledge()  # harmless
    async with session(login) as plant, session(password_login(broker)) as voke:
        await published(voke, "cpi/plant-b/command", b"third")
        (message,) = await take(plant)
        assert message.payload == b"third"
        message.acknowledge()
    message.acknowledge()  # harmless after the session ended


async def test_commands_beyond_receive_maximum_wait_at_the_broker(broker: Broker) -> None:
    login = password_login(broker, "plant-b", client_id="flooded", subscribe=("cpi/plant-b/command",))
    async with session(login) as plant, session(password_login(broker)) as voke:
        for number in range(100):
            await published(voke, "cpi/plant-b/command", str(number).encode())
        assert await published(plant, "cpi/plant-b/ack", b"fence") in {0x00, 0x10}
        held = await take(plant, 20)
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(anext(plant.messages()), 0.2)
        for message in held:
            message.acknowledge()
        seen = [message.payload for message in held]
        async for message in plant.messages():
            message.acknowledge()
            seen.append(message.payload)
            if len(seen) == 100:
                break
        assert seen == [str(number).encode() for number in range(100)]


async def test_an_oversize_message_ends_the_session_as_a_protocol_error(broker: Broker) -> None:
    plant = await AiomqttConnector().connect(password_login(broker, "plant-a"))
    with pytest.raises(SessionLostError) as lost:
        await published(plant, "cpi/plant-a/telemetry", bytes(8193))
    assert lost.value.closed.reason is CloseReason.PROTOCOL
    assert (await plant.closed()).reason is CloseReason.PROTOCOL
    async with session(password_login(broker, "plant-a")) as plant:
        assert await published(plant, "cpi/plant-a/telemetry", bytes(8192)) == 0x10


async def test_a_second_client_with_our_id_ends_our_session(broker: Broker) -> None:
    """mosquitto says 0x8E from 2.0.15 on; before, the connection just ends."""
    login = password_login(broker, "plant-a", client_id="twin")
    plant = await AiomqttConnector().connect(login)
    async with session(login), asyncio.timeout(PATIENCE):
        closed = await plant.closed()
    assert closed.reason in {CloseReason.NETWORK, CloseReason.TAKEN_OVER}
    with pytest.raises(SessionLostError):
        await published(plant, "cpi/plant-a/telemetry", b"{}")
    assert [message async for message in plant.messages()] == []


async def test_a_broker_that_dies_loses_the_publishes_in_flight_and_says_so(broker: Broker) -> None:
    plant = await AiomqttConnector().connect(password_login(broker))
    with broker.frozen():
        publishing = [asyncio.ensure_future(published(plant, "a/b", b"{}")) for _ in range(5)]
        await asyncio.sleep(0)
        broker.kill()
        async with asyncio.timeout(PATIENCE):
            outcomes = await asyncio.gather(*publishing, return_exceptions=True)
        broker.start()
    assert all(isinstance(outcome, SessionLostError) for outcome in outcomes)
    assert (await plant.closed()).reason is CloseReason.NETWORK


async def test_closing_is_polite_idempotent_and_ends_whoever_waits(broker: Broker) -> None:
    plant = await AiomqttConnector().connect(password_login(broker, "plant-a", client_id="polite"))
    reading = asyncio.create_task(take(plant))
    ending = asyncio.create_task(plant.closed())
    await asyncio.sleep(0)
    await plant.close()
    await plant.close()
    plant.abort()
    assert await reading == []
    assert await ending == Closed(CloseReason.LOCAL)
    async with session(password_login(broker)):  # a round trip: the broker has logged the DISCONNECT
        pass
    assert "Client polite disconnected." in broker.log


async def test_aborting_fails_what_is_in_flight(broker: Broker) -> None:
    plant = await AiomqttConnector().connect(password_login(broker))
    with broker.frozen():
        publishing = asyncio.ensure_future(published(plant, "a/b", b"{}"))
        await asyncio.sleep(0)
        plant.abort()
        with pytest.raises(SessionLostError):
            await publishing
    assert (await plant.closed()).reason is CloseReason.LOCAL


async def test_closing_towards_a_hung_broker_does_not_hang(broker: Broker) -> None:
    plant = await AiomqttConnector().connect(password_login(broker))
    with broker.frozen():
        publishing = [asyncio.ensure_future(published(plant, "a/b", bytes(8000))) for _ in range(1000)]
        await asyncio.sleep(0)  # more than the socket takes: the DISCONNECT has to queue
        async with asyncio.timeout(PATIENCE):
            await plant.close()
        outcomes = await asyncio.gather(*publishing, return_exceptions=True)
    assert all(isinstance(outcome, SessionLostError) for outcome in outcomes)


async def test_a_full_socket_delays_frames_and_loses_none(broker: Broker) -> None:
    async with session(password_login(broker)) as plant:
        with broker.frozen():
            publishing = [asyncio.ensure_future(published(plant, "a/b", bytes(8000))) for _ in range(1000)]
            await asyncio.sleep(0)
        async with asyncio.timeout(PATIENCE):
            assert set(await asyncio.gather(*publishing)) == {0x10}


async def test_abandoning_a_publish_leaves_the_session_usable(broker: Broker) -> None:
    async with session(password_login(broker, "plant-a")) as plant:
        publishing = asyncio.ensure_future(published(plant, "cpi/plant-a/telemetry", b"{}"))
        await asyncio.sleep(0)
        publishing.cancel()
        with pytest.raises(asyncio.CancelledError):
            await publishing
        assert await published(plant, "cpi/plant-a/telemetry", b"{}") == 0x10


async def test_an_idle_session_is_kept_alive_by_pings(broker: Broker) -> None:
    login = password_login(broker, "plant-a", client_id="idle", keepalive=1)
    async with session(login) as plant:
        with pytest.raises(TimeoutError):  # the broker would have dropped a silent client after 1.5 s
            await asyncio.wait_for(plant.closed(), 2.5)
        assert await published(plant, "cpi/plant-a/telemetry", b"{}") == 0x10
    assert "Received PINGREQ from idle" in broker.log


async def test_a_hung_broker_is_noticed_within_two_keepalives(broker: Broker) -> None:
    plant = await AiomqttConnector().connect(password_login(broker, keepalive=1))
    with broker.frozen():
        async with asyncio.timeout(PATIENCE):
            closed = await plant.closed()
    assert closed.reason is CloseReason.NETWORK


def test_the_private_names_that_are_reached_into_are_still_there() -> None:
    """The seam overrides and calls these; a new version has to be read before it is taken."""
    assert version("aiomqtt") == "2.5.1"
    assert version("paho-mqtt").startswith("2.2.")
    parameters = {
        "_on_publish": ["self", "client", "userdata", "mid", "reason_code", "properties"],
        "_on_connect": ["self", "client", "userdata", "flags", "reason_code", "properties"],
        "_on_disconnect": ["self", "client", "userdata", "flags", "reason_code", "properties"],
        "_on_message": ["self", "client", "userdata", "message"],
        "_on_socket_open": ["self", "client", "userdata", "sock"],
        "_on_socket_close": ["self", "client", "userdata", "sock"],
        "_on_socket_register_write": ["self", "client", "userdata", "sock"],
        "_on_socket_unregister_write": ["self", "client", "userdata", "sock"],
        "_client_connect": ["self"],
    }
    for name, expected in parameters.items():
        assert list(inspect.signature(getattr(aiomqtt.Client, name)).parameters) == expected
    for name in ("_create_socket", "_sock_close"):
        assert list(inspect.signature(getattr(paho.mqtt.client.Client, name)).parameters) == ["self"]
