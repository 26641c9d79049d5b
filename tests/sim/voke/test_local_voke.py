"""The local Voke as a plant and as a test meet it: commands, alarms, samples, counters, many plants."""

from __future__ import annotations

import asyncio
import itertools
import json
import ssl
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import aiomqtt
import pytest
from paho.mqtt.client import MQTTMessage

from tests.sim.voke.credentials import client_tls, pkcs1_der, rsa_key
from tests.sim.voke.messages import CABINET, INVERTER, METER, Plant, now_ms
from tests.sim.voke.mqtt import Client, connect
from voke_sim.voke import Forgery, JudgeError, LocalVoke

pytestmark = pytest.mark.asyncio(loop_scope="module")

NO_MATCHING_SUBSCRIBERS = 0x10


@asynccontextmanager
async def online(voke: LocalVoke, plant: Plant) -> AsyncIterator[Client]:
    made = await voke.register_password(plant.plant_id, hmac_key=plant.hmac_key)
    tls = ssl.create_default_context(cadata=voke.ca_pem.decode())
    async with connect(
        voke.host, voke.ports.password, tls,
        client_id=made.client_id, username=made.username, password=made.password,
    ) as client:  # fmt: skip
        await client.subscribe(plant.topic("command"))
        yield client


async def test_a_command_is_answered_by_a_plain_aiomqtt_client(voke: LocalVoke) -> None:
    plant = Plant()
    made = await voke.register_password(plant.plant_id, hmac_key=plant.hmac_key)
    async with aiomqtt.Client(
        voke.host, voke.ports.password,
        identifier=made.client_id, username=made.username, password=made.password,
        protocol=aiomqtt.ProtocolVersion.V5,
        tls_context=ssl.create_default_context(cadata=voke.ca_pem.decode()),
    ) as client:  # fmt: skip
        await client.subscribe(plant.topic("command"), qos=1)
        cmd_id = await voke.send_command(plant.plant_id, "CHARGE", {"powerW": 5000.5, "note": "é"})
        message = await anext(aiter(client.messages))
        command = json.loads(bytes(message.payload))
        assert command["cmdId"] == cmd_id
        assert command["p"] == {"powerW": 5000.5, "note": "é"}
        assert abs(command["ts"] - now_ms()) < 10_000
        assert plant.verifies_command(command)
        for st in ("RECEIVED", "IN_PROGRESS", "COMPLETED"):
            await client.publish(plant.topic("ack"), plant.ack(cmd_id, st, msg="done"), qos=1)
    outcome = await voke.outcome(cmd_id, within=5)
    assert (outcome.st, outcome.err, outcome.msg) == ("COMPLETED", None, "done")
    assert [ack.st for ack in voke.commands[cmd_id].acks] == ["RECEIVED", "IN_PROGRESS", "COMPLETED"]


async def test_a_failed_command_has_its_error(voke: LocalVoke) -> None:
    plant = Plant()
    async with online(voke, plant) as client:
        cmd_id = await voke.send_command(plant.plant_id, "CHARGE", ts=now_ms() - 3_600_000)
        await client.publish(plant.topic("ack"), plant.ack(cmd_id, "FAILED", err="TOO_OLD"))
        assert (await voke.outcome(cmd_id, within=5)).err == "TOO_OLD"


async def test_a_duplicate_command_is_one_story(voke: LocalVoke) -> None:
    plant = Plant()
    async with online(voke, plant) as client:
        cmd_id = await voke.send_command(plant.plant_id, "HOLD", {})
        assert await voke.send_command(plant.plant_id, "HOLD", {}, cmd_id=cmd_id) == cmd_id
        assert [json.loads((await client.message()).payload)["cmdId"] for _ in range(2)] == [cmd_id] * 2
        for st in ("RECEIVED", "IN_PROGRESS", "COMPLETED", "COMPLETED"):
            await client.publish(plant.topic("ack"), plant.ack(cmd_id, st))
        await voke.wait_for(lambda: len(voke.commands[cmd_id].acks) == 4, 5)
    assert voke.counters.total_refused(plant_id=plant.plant_id) == 0


@pytest.mark.parametrize("forged", ["unsigned", "wrong", "foreign-key"])
async def test_a_forged_command_arrives_and_an_answer_to_it_is_refused(
    voke: LocalVoke, forged: Forgery
) -> None:
    plant = Plant()
    async with online(voke, plant) as client:
        cmd_id = await voke.send_command(plant.plant_id, "CHARGE", {"powerW": 1}, forged=forged)
        assert not plant.verifies_command(json.loads((await client.message()).payload))
        await client.publish(plant.topic("ack"), plant.ack(cmd_id, "RECEIVED"))
        await voke.wait_for(lambda: voke.counters.total_refused(plant_id=plant.plant_id) == 1, 5)
    assert voke.refused[-1].reason == "ack-forged-command"
    with pytest.raises(TimeoutError, match="ack-forged-command"):
        await voke.outcome(cmd_id, within=0.05)


async def test_anything_can_be_published_as_voke_does(voke: LocalVoke) -> None:
    plant = Plant()
    async with online(voke, plant) as client:
        await voke.ingest.publish(plant.topic("command"), b"\xff not json")
        assert (await client.message()).payload == b"\xff not json"


async def test_a_command_for_a_stranger_is_an_error(voke: LocalVoke) -> None:
    with pytest.raises(JudgeError, match="not registered"):
        await voke.send_command("nobody", "HOLD")
    with pytest.raises(KeyError):
        await voke.outcome("no-such-command")


async def test_alarms_from_raise_to_resolve(voke: LocalVoke) -> None:
    plant = Plant()
    async with online(voke, plant) as client:
        raised = plant.alarm("RAISE", "a1", msg="hot", detail={"device": "INV1"})
        await client.publish(plant.topic("alarm"), raised)
        await voke.wait_for(lambda: len(voke.alarms(plant.plant_id)) == 1, 5)
        (alarm,) = voke.alarms(plant.plant_id)
        assert (alarm.code, alarm.severity, alarm.msg, alarm.detail) == (106, 3, "hot", {"device": "INV1"})
        assert alarm.resolved_at is None
        await client.publish(plant.topic("alarm"), plant.alarm("RESOLVE", "a1"))
        await voke.wait_for(lambda: alarm.resolved_at is not None, 5)


async def test_the_newest_sample_of_each_device_is_kept(voke: LocalVoke) -> None:
    plant, now = Plant(), now_ms()
    async with online(voke, plant) as client:
        for snapshot in (
            plant.telemetry(INVERTER, METER, CABINET, timestamp=now),
            plant.telemetry({**METER, "values": {"voltageV": 231}}, timestamp=now),  # split by values
            plant.telemetry({**INVERTER, "values": {"activePowerKw": 1}}, timestamp=now - 5000),  # backlog
            plant.telemetry({**CABINET, "raw": 6}, timestamp=now + 1),
        ):
            await client.publish(plant.topic(), snapshot)
        await voke.wait_for(lambda: voke.counters.total_accepted(plant_id=plant.plant_id) == 4, 5)
    inverter, meter, cabinet = (voke.latest(plant.plant_id, name) for name in ("INV1", "GRID", "R1"))
    assert inverter is not None
    assert meter is not None
    assert cabinet is not None
    assert inverter.values == {"activePowerKw": 12.5, "on": True}
    assert meter.values == {"powerKw": -3, "voltageV": 231}
    assert cabinet.raw == 6
    assert voke.latest(plant.plant_id, "INV2") is None


async def test_info_is_retained_and_known(voke: LocalVoke) -> None:
    plant = Plant()
    async with online(voke, plant) as client:
        await client.publish(plant.topic("info"), plant.info(firmware="1.2"), retain=True)
        await client.publish(plant.topic("info"), plant.info(firmware="1.3"))
        await client.publish(plant.topic(), plant.telemetry(), retain=True)
        await voke.wait_for(lambda: voke.counters.total_refused(plant_id=plant.plant_id) == 2, 5)
    assert [refused.reason for refused in list(voke.refused)[-2:]] == ["not-retained", "retained"]
    info = voke.info(plant.plant_id)
    assert info is not None
    assert info["firmware"] == "1.2"


async def test_without_its_subscriber_plants_learn_so_from_the_puback(voke: LocalVoke) -> None:
    plant = Plant()
    async with online(voke, plant) as client:
        await voke.ingest.pause()
        assert await client.publish(plant.topic(), plant.telemetry()) == NO_MATCHING_SUBSCRIBERS
        await voke.ingest.resume()
        assert await client.publish(plant.topic(), plant.telemetry()) == 0
        await voke.wait_for(lambda: voke.counters.total_accepted(plant_id=plant.plant_id) == 1, 5)


async def test_what_the_broker_delivers_again_after_a_break_is_not_taken_for_a_replay(
    voke: LocalVoke,
) -> None:
    plant = Plant()
    voke.rotate_hmac(plant.plant_id, plant.hmac_key)
    message = MQTTMessage(topic=plant.topic().encode())
    message.payload = plant.telemetry()
    for message.dup in (False, True):
        voke.ingest._received(message)
    assert voke.counters.redelivered == 1
    message.dup = False  # a plant that sends the same frame again
    voke.ingest._received(message)
    await voke.wait_for(lambda: voke.counters.total_refused(plant_id=plant.plant_id) == 1, 5)
    assert voke.refused[-1].reason == "nonce-reused"
    assert voke.counters.total_accepted(plant_id=plant.plant_id) == 1


async def test_refused_messages_are_kept_with_reason_and_payload(voke: LocalVoke) -> None:
    plant = Plant()
    async with online(voke, plant) as client:
        tampered = plant.telemetry().replace(b"12.5", b"99.5")
        await client.publish(plant.topic(), tampered)
        await client.publish(plant.topic("nonsense"), b"{}")
        await voke.wait_for(lambda: voke.counters.total_refused(plant_id=plant.plant_id) == 2, 5)
    first, second = list(voke.refused)[-2:]
    assert (first.reason, first.kind, first.payload) == ("signature", "telemetry", tampered)
    assert (second.reason, second.kind, second.topic) == ("topic", None, plant.topic("nonsense"))


async def test_after_revoking_a_plant_its_open_session_is_of_no_use(voke: LocalVoke) -> None:
    plant = Plant()
    certificate, key = await voke.issue_mtls(plant.plant_id, hmac_key=plant.hmac_key)
    context = client_tls(voke.ca_pem, certificate, key)
    async with connect(voke.host, voke.ports.mtls, context, client_id=plant.plant_id) as client:
        await voke.revoke(plant.plant_id)
        await client.publish(plant.topic(), plant.telemetry())
        await voke.wait_for(lambda: voke.counters.total_refused(plant_id=plant.plant_id) == 1, 5)
    assert voke.refused[-1].reason == "unknown-plant"


async def test_waiting_in_vain_says_what_was_seen_and_a_dead_judge_is_not_waited_for(tmp_path: Any) -> None:
    async with LocalVoke.start(tmp_path) as voke:
        with pytest.raises(TimeoutError, match="0 accepted; 0 refused"):
            await voke.wait_for(lambda: False, within=0.02)
        waiting = asyncio.create_task(voke.wait_for(lambda: False, within=30))
        await asyncio.sleep(0)
        voke.judge.kill()
        with pytest.raises(JudgeError, match="ended unexpectedly"):
            await waiting


async def test_only_the_last_messages_are_kept_but_all_are_counted(tmp_path: Any) -> None:
    async with LocalVoke.start(tmp_path, keep=5) as voke:
        plant = Plant()
        async with online(voke, plant) as client:
            for _ in range(8):
                await client.publish(plant.topic(), plant.telemetry())
                await client.publish(plant.topic(), b"")
            await voke.wait_for(lambda: voke.counters.total_refused() == 8, 5)
        assert voke.counters.total_accepted() == 8
        assert (len(voke.accepted), len(voke.refused)) == (5, 5)


async def test_six_hundred_plants_register_and_are_told_apart(voke: LocalVoke) -> None:
    plants = [Plant() for _ in range(600)]
    key = pkcs1_der(rsa_key())
    started = time.perf_counter()
    await asyncio.gather(
        *(voke.register_password(plant.plant_id, hmac_key=plant.hmac_key) for plant in plants[:200]),
        *(
            voke.register_jwt(plant.plant_id, hmac_key=plant.hmac_key, public_key_der=key)
            for plant in plants[200:400]
        ),
        *(voke.issue_mtls(plant.plant_id, hmac_key=plant.hmac_key) for plant in plants[400:]),
    )
    assert time.perf_counter() - started < 30
    for plant, other in itertools.pairwise(plants):
        good = await voke.judge.judge(plant.topic(), plant.telemetry(), at=time.time())
        assert good.reason is None
        mixed_up = await voke.judge.judge(plant.topic(), other.telemetry(), at=time.time())
        assert mixed_up.reason == "signature"


async def test_all_that_ten_busy_plants_publish_is_verified(voke: LocalVoke) -> None:
    """Broker, subscriber and judge together; the rate is that of these test clients."""
    plants = [Plant() for _ in range(10)]
    before = voke.counters.total_accepted()

    async def busy(plant: Plant) -> None:
        async with online(voke, plant) as client:
            for _ in range(20):
                burst = (client.publish(plant.topic(), plant.telemetry(INVERTER, METER)) for _ in range(10))
                assert set(await asyncio.gather(*burst)) == {0}

    started = time.perf_counter()
    await asyncio.gather(*(busy(plant) for plant in plants))
    await voke.wait_for(lambda: voke.counters.total_accepted() - before == 2000, 30)
    rate = 2000 / (time.perf_counter() - started)
    assert rate > 100, f"{rate:.0f} messages per second"
