"""What stands between a gateway and its session, and whether the error says what to do."""

from __future__ import annotations

import asyncio
import contextlib
import datetime as dt
import ssl
import time
import warnings
from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path

import pytest

from tests.support.broker import Broker
from tests.support.loops import until
from tests.support.pki import DAY, Authority
from tests.support.sessions import handshaking_peer, mtls_login, password_login, published
from voke_gateway.uplink.mqtt import AiomqttConnector
from voke_gateway.uplink.session import (
    CertificateRefusedError,
    ConnectFailedError,
    ConnectRefusedError,
    CredentialsError,
    Login,
    SessionLostError,
)
from voke_sim.ports import free_ports

pytestmark = pytest.mark.usefixtures("clean_loop")


async def failure(login: Login, *, connector: AiomqttConnector | None = None) -> str:
    with pytest.raises(ConnectFailedError) as failed:
        await (connector or AiomqttConnector()).connect(login)
    return str(failed.value)


async def refusal(login: Login, *, connector: AiomqttConnector | None = None) -> str:
    """What is said when the broker refuses the certificate, as its alert tells."""
    with pytest.raises(CertificateRefusedError) as refused:
        await (connector or AiomqttConnector()).connect(login)
    return str(refused.value)


async def test_a_wrong_password_is_a_refusal(broker: Broker) -> None:
    with pytest.raises(ConnectRefusedError, match="Not authorized") as refused:
        await AiomqttConnector().connect(password_login(broker, password="wrong"))
    assert refused.value.code == 0x87
    assert "wrong" not in str(refused.value)


async def test_a_broker_whose_ca_we_do_not_have(broker: Broker) -> None:
    problem = await failure(password_login(broker, broker_ca=Authority("Someone Else").pem))
    assert "does not lead to a trusted root" in problem
    assert "spec.voke.ca" in problem


async def test_a_broker_whose_ca_has_the_same_name_and_another_key(broker: Broker) -> None:
    assert "does not lead to a trusted root" in await failure(
        password_login(broker, broker_ca=Authority().pem)
    )


async def test_a_private_broker_and_the_system_trust_store(broker: Broker) -> None:
    login = password_login(broker)
    login = replace(login, credentials=replace(login.credentials, broker_ca=None))
    assert "does not lead to a trusted root" in await failure(login)


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1"])
async def test_a_broker_whose_certificate_names_another_host(tmp_path: Path, host: str) -> None:
    authority = Authority()
    server = authority.issue("broker", hosts=("mqtt.voke.lovinka.com", "192.0.2.1"))
    with Broker.running(tmp_path, authority=authority, server=server) as broker:
        problem = await failure(password_login(broker, host=host))
    assert f"does not name the address {host}" in problem or f"does not name {host}" in problem
    assert "spec.voke.host" in problem


@pytest.mark.parametrize(
    ("valid", "problem"), [((-3 * DAY, -DAY), "has expired"), ((DAY, 3 * DAY), "is not valid yet")]
)
async def test_a_broker_certificate_outside_its_validity(
    tmp_path: Path, valid: tuple[dt.timedelta, dt.timedelta], problem: str
) -> None:
    authority = Authority()
    server = authority.issue("broker", hosts=("localhost",), valid=valid)
    with Broker.running(tmp_path, authority=authority, server=server) as broker:
        assert problem in await failure(password_login(broker))


async def test_a_client_certificate_of_a_ca_that_the_broker_does_not_know(broker: Broker) -> None:
    leaf = Authority("Someone Else").issue("plant-a")
    problem = await refusal(mtls_login(broker, leaf, client_id="plant-a"))
    assert (
        "the broker does not know the CA that issued our client certificate: register that CA at Voke"
        in problem
    )


async def test_a_client_certificate_of_a_ca_that_has_the_name_of_the_brokers_and_another_key(
    broker: Broker,
) -> None:
    problem = await refusal(mtls_login(broker, Authority().issue("plant-a"), client_id="plant-a"))
    assert "register" in problem
    assert "at Voke" in problem


async def test_a_client_certificate_that_expired_by_our_clock_is_never_sent(broker: Broker) -> None:
    leaf = broker.authority.issue("plant-a", valid=(-3 * DAY, -DAY))
    with pytest.raises(CredentialsError, match="expired on"):
        await AiomqttConnector().connect(mtls_login(broker, leaf, client_id="plant-a"))
    assert "certificate verify failed" not in broker.log


async def test_a_client_certificate_that_expired_by_the_brokers_clock(broker: Broker) -> None:
    leaf = broker.authority.issue("plant-a", valid=(-3 * DAY, -DAY))
    connector = AiomqttConnector(clock=lambda: time.time() - 2 * 86_400)
    problem = await refusal(mtls_login(broker, leaf, client_id="plant-a"), connector=connector)
    assert "the broker says our client certificate has expired" in problem
    await until(lambda: "certificate verify failed" in broker.log)


async def test_a_revoked_client_certificate(tmp_path: Path) -> None:
    authority = Authority()
    leaf = authority.issue("plant-a")
    with Broker.running(tmp_path, authority=authority, revoked=(leaf,)) as broker:
        problem = await refusal(mtls_login(broker, leaf, client_id="plant-a"))
    assert "the broker says our client certificate is revoked" in problem


async def test_a_certificate_and_a_key_that_do_not_belong_together(broker: Broker) -> None:
    leaf = replace(broker.authority.issue("plant-a"), key=broker.authority.issue("plant-a").key)
    with pytest.raises(CredentialsError, match="do not belong together"):
        await AiomqttConnector().connect(mtls_login(broker, leaf, client_id="plant-a"))


async def test_no_client_certificate_where_one_is_wanted(broker: Broker) -> None:
    problem = await failure(password_login(broker, port=broker.mtls_port))
    assert "wants a client certificate" in problem


@pytest.mark.parametrize(
    ("present", "said", "problem"),
    [
        (True, refusal, "does not know the CA that issued our client certificate"),
        (False, failure, "it wants a client certificate"),
    ],
)
async def test_a_refusal_inside_the_handshake_as_in_tls_1_2(
    *, present: bool, said: Callable[[Login], Awaitable[str]], problem: str
) -> None:
    def tls_1_2(context: ssl.SSLContext) -> None:
        context.maximum_version = ssl.TLSVersion.TLSv1_2
        context.verify_mode = ssl.CERT_REQUIRED
        context.load_verify_locations(cadata=Authority("Someone Else").pem.decode())

    async with handshaking_peer(tls_1_2) as peer:
        leaf = peer.authority.issue("plant-a")
        login = peer.login()
        credentials = replace(login.credentials, tls_certificate=leaf.certificate, tls_key=leaf.key)
        assert problem in await said(replace(login, credentials=credentials, present_certificate=present))


async def test_a_broker_that_only_speaks_old_tls() -> None:
    def tls_1_1(context: ssl.SSLContext) -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)
            context.minimum_version = context.maximum_version = ssl.TLSVersion.TLSv1_1
        context.set_ciphers("ALL:@SECLEVEL=0")

    async with handshaking_peer(tls_1_1) as peer:
        assert "does not speak TLS 1.2 or later" in await failure(peer.login())


async def test_nobody_listens(broker: Broker) -> None:
    (nobodys,) = free_ports(1)
    problem = await failure(password_login(broker, port=nobodys))
    assert "Connection refused" in problem
    assert "check host, port and firewall" in problem


async def test_a_name_that_does_not_resolve(broker: Broker) -> None:
    problem = await failure(password_login(broker, host="broker.invalid"))
    assert "the name broker.invalid does not resolve" in problem


async def test_a_port_without_tls(broker: Broker) -> None:
    async def hello(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"220 plain text here\r\n")
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(hello, "127.0.0.1", 0)
    async with server:
        problem = await failure(password_login(broker, port=server.sockets[0].getsockname()[1]))
    assert "there is no TLS on this port" in problem


async def test_a_hung_broker_times_out_and_does_not_hold_up_the_others(tmp_path: Path) -> None:
    (tmp_path / "hung").mkdir()
    (tmp_path / "sound").mkdir()
    connector = AiomqttConnector(connect_timeout=2.0)
    with Broker.running(tmp_path / "hung") as hung, Broker.running(tmp_path / "sound") as sound:
        with hung.frozen():
            waiting = [
                asyncio.create_task(failure(password_login(hung, client_id=f"c{n}"), connector=connector))
                for n in range(40)
            ]
            await asyncio.sleep(0)
            plants = await asyncio.gather(
                *(connector.connect(password_login(sound, client_id=f"c{n}")) for n in range(10))
            )
            assert not any(task.done() for task in waiting)  # the sound ones did not wait for the time-out
            for problem in await asyncio.gather(*waiting):
                assert "did not answer the TLS handshake in time" in problem
        for plant in plants:
            await plant.close()


async def test_a_connect_that_is_cancelled_leaves_nothing_open(tmp_path: Path) -> None:
    with Broker.running(tmp_path) as broker:
        login = password_login(broker, subscribe=("cpi/+/telemetry",))
        connector = AiomqttConnector()
        await (await connector.connect(login)).close()
        for turns in range(40):  # wherever it is by then: resolving, connecting, shaking hands, logging in
            connecting = asyncio.create_task(connector.connect(login))
            for _ in range(turns):
                await asyncio.sleep(0)
            connecting.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await (await connecting).close()
        plant = await connector.connect(login)
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(plant.closed(), 0.2)
        await plant.close()
        with pytest.raises(SessionLostError):
            await published(plant, "cpi/x/telemetry", b"{}")
