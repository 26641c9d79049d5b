"""An answer is taken as it is, whoever gives it: not followed, and no longer or larger than wanted."""

from __future__ import annotations

import itertools
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cli.kubectl.wire import answering
from voke_cli.kubectl.http import Answer, NotHttpError, get

OK = b"HTTP/1.1 200 OK\r\n"


def asked(port: int, *, within: float = 10.0, at_most: int = 1000) -> Answer:
    return get(("127.0.0.1", port), "/status", host="localhost", within=within, at_most=at_most)


@pytest.mark.parametrize(
    "said",
    [
        [OK + b"Content-Length: 2\r\n\r\n{}"],
        [OK + b"Transfer-Encoding: chunked\r\n\r\n1\r\n{\r\n", b"1\r\n}\r\n0\r\n\r\n"],
        [OK + b"\r\n{", b"}"],
        [b"HTTP/1.1 103 Early Hints\r\n\r\n" + OK + b"Content-Length: 2\r\n\r\n{}"],
    ],
    ids=["length", "chunks", "until the end", "early hints"],
)
def test_the_body_is_read_whole(said: list[bytes]) -> None:
    with answering(*said) as port:
        assert asked(port) == Answer(status=200, body=b"{}")


def test_a_redirect_is_an_answer_like_any_other() -> None:
    with socket.create_server(("127.0.0.1", 0)) as elsewhere:
        elsewhere.settimeout(0.2)
        to = f"http://127.0.0.1:{elsewhere.getsockname()[1]}/"
        head = f"HTTP/1.1 302 Found\r\nLocation: {to}\r\nContent-Length: 0\r\n\r\n"
        with answering(head.encode()) as port:
            answer = asked(port)
        assert (answer.status, answer.redirects) == (302, True)
        with pytest.raises(TimeoutError):
            elsewhere.accept()


@pytest.mark.parametrize(
    "head", [OK + b"\r\n", OK + b"Content-Length: 100000000000\r\n\r\n"], ids=["until the end", "length"]
)
def test_a_body_without_end_is_given_up(head: bytes) -> None:
    with (
        answering(head, then=itertools.repeat(b" " * 1000)) as port,
        pytest.raises(NotHttpError, match="larger than 1000 bytes"),
    ):
        asked(port)


def slowly(text: bytes) -> Iterator[bytes]:
    for code in itertools.cycle(text):
        yield bytes([code])
        time.sleep(0.01)


@pytest.mark.parametrize("head", [b"", OK + b"X: ", OK + b"\r\n"], ids=["first line", "header", "body"])
def test_who_says_it_byte_by_byte_gets_no_more_time(head: bytes) -> None:
    begun = time.monotonic()
    with answering(head, then=slowly(b"a")) as port, pytest.raises(TimeoutError):
        asked(port, within=0.3)
    assert time.monotonic() - begun < 5


@pytest.mark.parametrize(
    "said",
    [
        b"",
        b"hello\r\n\r\n",
        OK + b"Content-Length: 5\r\n\r\nhalf",
        OK + b"X: " + b"x" * 200_000,
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: Upgrade\r\n\r\n",
    ],
    ids=["nothing", "no HTTP", "half a body", "a head without end", "another protocol"],
)
def test_what_is_no_http_is_an_error(said: bytes) -> None:
    with answering(said) as port, pytest.raises(NotHttpError, match="cut the connection, or does not speak"):
        asked(port)


def test_where_nobody_listens_there_is_no_connection(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="No such file"):
        get(tmp_path / "nobody", "/", host="localhost", within=1.0)
