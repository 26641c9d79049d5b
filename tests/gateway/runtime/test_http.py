"""The HTTP server: what it serves, what it refuses, and that nobody can hold it up."""

from __future__ import annotations

import asyncio
import contextlib
import http.client
import socket
from collections.abc import AsyncIterator

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.support.loops import until
from voke_gateway.runtime import http as server_module
from voke_gateway.runtime.http import (
    AddressInUseError,
    HttpServer,
    Response,
    at_most_a_second_old,
    parse_address,
)


def _broken() -> Response:
    raise RuntimeError("not today")


ROUTES = {"/healthz": lambda: Response(b"ok\n"), "/broken": _broken}


@pytest.fixture
async def port() -> AsyncIterator[int]:
    server = HttpServer(ROUTES)
    yield await server.start("127.0.0.1", 0)
    await server.close()


async def ask(port: int, method: str, path: str) -> tuple[int, bytes]:
    def blocking() -> tuple[int, bytes]:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
        connection.request(method, path)
        response = connection.getresponse()
        body = response.read()
        connection.close()
        return response.status, body

    return await asyncio.to_thread(blocking)


@pytest.mark.parametrize(
    ("method", "path", "status", "body"),
    [
        ("GET", "/healthz", 200, b"ok\n"),
        ("GET", "/healthz?verbose=1", 200, b"ok\n"),
        ("HEAD", "/healthz", 200, b""),
        ("GET", "/", 404, b"not found; there is: /broken /healthz\n"),
        ("POST", "/healthz", 405, b"only GET is served here\n"),
        ("GET", "/broken", 500, b"internal error, see the log\n"),
    ],
)
async def test_each_path_answers(port: int, method: str, path: str, status: int, body: bytes) -> None:
    assert await ask(port, method, path) == (status, body)


async def test_a_connection_may_be_used_again(port: int) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    for _ in range(3):
        writer.write(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
        head = await reader.readuntil(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 200")
        assert await reader.readexactly(3) == b"ok\n"
    writer.close()


async def test_silent_clients_are_dropped_and_do_not_keep_others_out(
    port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server_module, "IDLE_LIMIT", 0.2)
    silent = [await asyncio.open_connection("127.0.0.1", port) for _ in range(server_module.MAX_CLIENTS + 5)]
    async with asyncio.timeout(5):
        assert [await reader.read() for reader, _ in silent] == [b""] * len(silent)
    monkeypatch.undo()
    assert (await ask(port, "GET", "/healthz"))[0] == 200
    for _, writer in silent:
        writer.close()


async def test_clients_that_do_not_read_are_dropped_with_what_they_were_to_get(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(server_module, "IDLE_LIMIT", 0.2)
    server = HttpServer({**ROUTES, "/large": lambda: Response(b"x" * 20_000_000)})
    port = await server.start("127.0.0.1", 0)
    with socket.create_connection(("127.0.0.1", port)) as client:
        client.send(b"GET /large HTTP/1.1\r\nHost: x\r\n\r\n")
        await until(lambda: server.clients == 1)
        await until(lambda: server.clients == 0)
    await server.close()


async def test_the_newest_client_is_served_however_many_wait_before_it(port: int) -> None:
    silent = [await asyncio.open_connection("127.0.0.1", port) for _ in range(server_module.MAX_CLIENTS + 5)]
    assert await ask(port, "GET", "/healthz") == (200, b"ok\n")
    for _, writer in silent:
        writer.close()
    await asyncio.gather(*(writer.wait_closed() for _, writer in silent), return_exceptions=True)


async def test_a_flood_from_one_address_keeps_no_other_from_its_answer(port: int) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", port, local_addr=("127.0.0.2", 0))
    flood = [await asyncio.open_connection("127.0.0.1", port) for _ in range(server_module.MAX_CLIENTS * 2)]
    writer.write(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
    async with asyncio.timeout(5):
        assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 200")
    for _, each in [*flood, (reader, writer)]:
        each.close()


def test_a_costly_answer_is_made_once_a_second_however_often_it_is_asked_for() -> None:
    now, made = 100.0, 0

    def make() -> Response:
        nonlocal made
        made += 1
        return Response(str(made).encode())

    answer = at_most_a_second_old(make, now=lambda: now)
    assert {answer().body for _ in range(1000)} == {b"1"}
    now += 0.9
    assert answer().body == b"1"
    now += 0.1
    assert {answer().body for _ in range(1000)} == {b"2"}


def test_an_answer_that_failed_is_made_again() -> None:
    makes = [lambda: Response(b"well"), _broken]

    def make() -> Response:
        return makes.pop()()

    answer = at_most_a_second_old(make)
    with pytest.raises(RuntimeError, match="not today"):
        answer()
    assert answer().body == b"well"


async def test_requests_sent_ahead_are_not_served_in_one_go(port: int) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n" * 100)
    answered = b""
    with contextlib.suppress(ConnectionResetError):
        while piece := await reader.read(1_000_000):
            answered += piece
    assert answered.count(b"200") <= 1
    writer.close()


async def test_a_taken_address_is_a_clear_error(port: int) -> None:
    with pytest.raises(AddressInUseError, match=rf"cannot listen on 127.0.0.1:{port} .*choose another"):
        await HttpServer(ROUTES).start("127.0.0.1", port)


async def test_a_host_that_cannot_be_is_a_clear_error() -> None:
    with pytest.raises(AddressInUseError, match=r"cannot listen on .*choose another"):
        await HttpServer(ROUTES).start("a" * 70 + ".example", 0)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("127.0.0.1:9100", ("127.0.0.1", 9100)),
        ("[::1]:0", ("::1", 0)),
        (":9100", ("0.0.0.0", 9100)),
        ("localhost:1", ("localhost", 1)),
    ],
)
def test_addresses_are_host_and_port(text: str, expected: tuple[str, int]) -> None:
    assert parse_address(text) == expected


@pytest.mark.parametrize("text", ["9100", "127.0.0.1", "a:b", "x:65536", "x:-1", "1::2:z:80", ""])
def test_what_is_no_address_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        parse_address(text)


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(junk=st.one_of(st.binary(max_size=300), st.just(b"GET / HTTP/1.1\r\n" + b"a: b\r\n" * 4000)))
async def test_junk_never_ends_the_server(junk: bytes) -> None:
    server = HttpServer(ROUTES)
    port = await server.start("127.0.0.1", 0)
    _, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(junk)
    writer.close()
    assert await ask(port, "GET", "/healthz") == (200, b"ok\n")
    await server.close()


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("127.0.0.1:9101", 200),
        ("localhost:51234", 200),
        ("LOCALHOST", 200),
        ("[::1]:9101", 200),
        ("192.0.2.7", 200),
        ("evil.example", 421),
        ("evil.example:9101", 421),
        ("127.0.0.1.evil.example", 421),
        ("localhost.evil.example", 421),
        ("[::1].evil.example", 421),
        ("", 421),
    ],
)
async def test_what_is_for_addresses_is_asked_by_no_name(host: str, status: int) -> None:
    server = HttpServer(ROUTES, by_address=True)
    port = await server.start("127.0.0.1", 0)
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(f"GET /healthz HTTP/1.1\r\nHost: {host}\r\n\r\n".encode())
    head = await reader.readuntil(b"\r\n\r\n")
    writer.close()
    await server.close()
    assert head.startswith(f"HTTP/1.1 {status} ".encode())
