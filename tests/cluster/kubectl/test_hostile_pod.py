"""A pod that has the name of a gateway's and answers as it likes: whoever looks at Plants keeps what is theirs.

A real API server passes the questions on. It does so to no loopback address, so all of this is on a machine of its
own. Root only.
"""

from __future__ import annotations

import asyncio
import json
import threading
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from socketserver import ThreadingTCPServer
from typing import Any, Final

import pytest

from tests.cluster.conftest import CRDS
from tests.cluster.control_plane import ControlPlane
from tests.cluster.installation import plant_document
from tests.cluster.kubectl.person import Person
from tests.cluster.machine import ADDRESS, Machine
from voke_api.status import MAX_BYTES, GatewayStatus
from voke_cli.kubectl.rights import ASK_POD
from voke_operator.names import pod_of
from voke_operator.plan.objects import HTTP_PORT

GATEWAY: Final = "voke-gw-default-0"
NAMESPACE: Final = "solar"

Answers = Callable[[BaseHTTPRequestHandler], None]


@dataclass
class Heard:
    """What came to an address."""

    port: int
    requests: list[str] = field(default_factory=list)
    """First lines."""


class Server(ThreadingTCPServer):
    """As of http.server, which asks for the name of its address first, where no DNS answers."""

    allow_reuse_address = True
    daemon_threads = True


@contextmanager
def listening(answers: Answers, port: int = 0) -> Iterator[Heard]:
    """Answers each GET on the machine's address."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            heard.requests.append(self.requestline)
            answers(self)

        def log_request(self, code: object = "-", size: object = "-") -> None:
            """Nothing: what came is in the list."""

    with Server((ADDRESS, port), Handler) as server:
        heard = Heard(server.server_address[1])
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        try:
            yield heard
        finally:
            server.shutdown()
            thread.join()


def answering(status: int, body: bytes = b"", **headers: str) -> Answers:
    def answer(asked: BaseHTTPRequestHandler) -> None:
        asked.send_response(status)
        for name, value in headers.items():
            asked.send_header(name, value)
        asked.send_header("Content-Length", str(len(body)))
        asked.end_headers()
        asked.wfile.write(body)

    return answer


def endless(asked: BaseHTTPRequestHandler) -> None:
    asked.send_response(200)
    asked.end_headers()
    try:
        while True:
            asked.wfile.write(b" " * 65_536)
    except OSError:
        asked.close_connection = True


@pytest.fixture(scope="module")
def person(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Person]:
    """May do what ``status`` and ``release`` need. One Plant, whose gateway's pod is at the machine's address."""
    with (
        Machine.running(tmp_path_factory.mktemp("machine")) as machine,
        machine.entered(),
        ControlPlane.running(audit=False) as plane,
    ):
        plane.kubectl("create", "namespace", NAMESPACE)
        files = ",".join(map(str, sorted(CRDS.glob("*.yaml"))))
        plane.kubectl("apply", "--server-side", "-f", files)
        plane.kubectl("wait", "--for=condition=established", "--timeout=30s", "-f", files)
        pod = {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {"name": pod_of(GATEWAY)},
            "spec": {"containers": [{"name": "gateway", "image": "somebody/elses"}]},
        }
        plane.apply(plant_document("brno", str(uuid.uuid4())), pod, namespace=NAMESPACE)
        at = {"phase": "Running", "podIP": ADDRESS, "podIPs": [{"ip": ADDRESS}]}
        becomes(plane, "pod", pod_of(GATEWAY), at)
        becomes(plane, "plant", "brno", {"gateway": GATEWAY})
        yield Person(plane, NAMESPACE)


def becomes(plane: ControlPlane, kind: str, name: str, status: dict[str, Any]) -> None:
    patch = json.dumps({"status": status})
    plane.kubectl(
        *("patch", kind, name, "-n", NAMESPACE, "--subresource=status", "--type=merge", f"--patch={patch}")
    )


@pytest.mark.parametrize("status", [301, 302, 307, 308])
async def test_a_redirect_is_followed_by_nobody(person: Person, status: int) -> None:
    """The one to whom it leads would be given the token of whoever asks."""
    with listening(answering(200, b"{}")) as thief:
        elsewhere = answering(status, Location=f"http://{ADDRESS}:{thief.port}/take")
        with listening(elsewhere, HTTP_PORT) as pod:
            said = await person.voke("status")
            release = await person.voke("release", "brno")
    assert not thief.requests
    assert pod.requests == ["GET /status HTTP/1.1"] * 2, "once by each command"
    assert said.status == 1
    assert (
        f"{GATEWAY}: it answered with a redirect, which no gateway does: it was not followed, and it is not asked again"
    ) in said.out
    assert (release.status, "is said to be Running" in release.err) == (1, True)


async def test_an_answer_without_end_is_given_up(person: Person) -> None:
    with listening(endless, HTTP_PORT):
        said = await person.voke("status")
    assert said.status == 1
    assert f"{GATEWAY}: its answer is larger than {MAX_BYTES} bytes" in said.out


async def test_what_is_no_status_is_said_in_a_sentence(person: Person) -> None:
    for answer, says in (
        (answering(200, b"[" * 100_000), "its answer cannot be read: "),
        (
            answering(200, b"[]," * 1_000_000),
            "its answer cannot be read: it has more values than any gateway",
        ),
        (answering(500, b"\x1b[2Jno"), r"it answers HTTP 500: \x1b[2Jno"),
        (answering(404, b'{"kind":"Status","reason":"NotFound","message":"none here"}'), "none here"),
    ):
        with listening(answer, HTTP_PORT):
            assert f"{GATEWAY}: {says}" in (await person.voke("status")).out


async def test_the_right_to_ask_is_the_one_that_is_documented(person: Person) -> None:
    status = GatewayStatus(gateway=pod_of(GATEWAY), version="1", started_at=0.0).model_dump_json()
    with listening(answering(200, status.encode()), HTTP_PORT) as pod:
        (allowed,) = (await person.json("status", status=1))["plants"]
        said = await person.voke("status", lacking=(ASK_POD,))
    assert allowed["notAsked"] == f"{GATEWAY} answers and does not run it"
    assert f"{GATEWAY}: this needs the right to get pods/proxy: " in said.out
    assert len(pod.requests) == 1


async def test_nothing_is_left_of_the_way_to_it(person: Person, tmp_path: Path) -> None:
    """A server in the name of whoever asked."""
    with listening(answering(404), HTTP_PORT) as pod:
        await person.voke("status", temporary=tmp_path)
    assert len(pod.requests) == 1
    left = await asyncio.to_thread(lambda: [*tmp_path.iterdir(), *processes_about(tmp_path)])
    assert not left


def processes_about(path: Path) -> Iterator[str]:
    for each in Path("/proc").glob("[0-9]*/cmdline"):
        with suppress(OSError):
            said = each.read_bytes().replace(b"\0", b" ").decode(errors="replace")
            if str(path) in said:
                yield said
