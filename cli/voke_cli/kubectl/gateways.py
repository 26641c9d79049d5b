"""How gateways are asked: their ``/status`` through the API server, their ``/probe`` through a forwarded port.

``/status`` takes the right to ``get pods/proxy``, which lets nobody do more than read; a forwarded port
would take ``create pods/portforward``, which reaches every port of a pod. ``/probe`` is on the loopback address of
the pod, so that only the latter leads there.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from http import HTTPStatus
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final, Literal
from urllib.parse import urlencode, urlsplit

from pydantic import BaseModel, ValidationError

from voke_api.probe import PATH, PORT, PlantProbe
from voke_api.status import GatewayStatus, StatusError, read
from voke_cli.kubectl.edge import ANSWER_WITHIN, Kubectl, KubectlError, NotThereError, named, refusal
from voke_cli.kubectl.http import Answer, NotHttpError, get
from voke_cli.kubectl.rights import ASK_POD, FORWARD
from voke_operator.names import pod_of
from voke_operator.plan.objects import HTTP_PORT

Place = tuple[str, str]
"""Namespace and name of a gateway's StatefulSet."""
AskStatus = Callable[[Place], GatewayStatus]
"""Raises KubectlError: it cannot be asked; the message says why."""

AT_ONCE: Final = 8
"""Gateways that are asked at the same time."""
_PROBED_WITHIN: Final = 120.0
"""Seconds; a gateway ends a probe by itself after one minute and the request that is under way then."""
_FORWARDING: Final = re.compile(r"Forwarding from (127\.0\.0\.1:\d+) ->")
_SERVING: Final = re.compile(r"Starting to serve on ")
_STATUS: Final = "/status"
_MAY_BE_ASKED: Final = rf"^/api/v1/namespaces/[^/]+/pods/[^/]+:{HTTP_PORT}/proxy{_STATUS}$"
_ALL_BUT_GET: Final = "^([^G]|G[^E]|GE[^T]|GET.)"
_REDIRECTED: Final = "it answered with a redirect, which no gateway does: it was not followed"
_NOT_ASKED_AGAIN: Final = f"{_REDIRECTED}, and it is not asked again"
_SAID: Final = 500
"""Characters that are shown of a refusal."""


class ApiStatus(BaseModel):
    """How the API server refuses."""

    kind: Literal["Status"]
    reason: str = ""
    message: str


@contextmanager
def by_proxy(kubectl: Kubectl) -> Iterator[AskStatus]:
    """Gateways are asked through the API server, as long as the block runs.

    The way to them is opened while the caller does other things. A gateway that answers with a redirect is not
    asked a second time.
    """
    redirected: set[Place] = set()
    with ExitStack() as stack, ThreadPoolExecutor(1) as opening:
        way = opening.submit(stack.enter_context, _way_to_pods(kubectl))

        def ask(place: Place) -> GatewayStatus:
            if place in redirected:
                raise KubectlError(_NOT_ASKED_AGAIN)
            namespace, gateway = place
            pod = f"/api/v1/namespaces/{named(namespace)}/pods/{named(pod_of(gateway))}:{HTTP_PORT}"
            answer = _answer(way.result(), f"{pod}/proxy{_STATUS}")
            if answer.redirects:
                redirected.add(place)
                raise KubectlError(_NOT_ASKED_AGAIN)
            if answer.status != HTTPStatus.OK:
                raise _refused(answer)
            try:
                return read(answer.body)
            except StatusError as error:
                raise KubectlError(f"its answer cannot be read: {error}") from None

        yield ask


@contextmanager
def _way_to_pods(kubectl: Kubectl) -> Iterator[Path]:
    """A socket that only this person reaches, from which the API server can be asked for the status of gateways.

    kubectl itself is not asked for it: it follows the redirect of a pod, and takes the person's token along.
    """
    with TemporaryDirectory(prefix="kubectl-voke-") as directory:  # of mode 0700
        socket = Path(directory) / "api"
        with kubectl.serving(
            *("proxy", f"--unix-socket={socket}", "--append-server-path"),
            *(f"--accept-paths={_MAY_BE_ASKED}", f"--reject-methods={_ALL_BUT_GET}"),
            says=_SERVING,
            needs=ASK_POD,
        ):
            yield socket


def _answer(address: Path, target: str) -> Answer:
    try:
        return get(address, target, host="localhost", within=ANSWER_WITHIN)
    except TimeoutError:
        raise KubectlError(f"no answer within {ANSWER_WITHIN} s") from None
    except OSError:
        raise KubectlError("kubectl proxy, which leads to it, has ended") from None
    except NotHttpError as error:
        raise KubectlError(str(error)) from None


def _refused(answer: Answer) -> KubectlError:
    """The API server says why in a Status; who else answers says so as it likes."""
    try:
        said = ApiStatus.model_validate_json(answer.body)
    except ValidationError:
        return KubectlError(f"it answers HTTP {answer.status}: {_beginning(answer)}")
    return refusal(f"Error from server ({said.reason}): {said.message[:_SAID]}", ASK_POD)


def _beginning(answer: Answer) -> str:
    return answer.body[:_SAID].decode(errors="replace").strip()


def ask_all(places: Collection[Place], ask: AskStatus) -> Mapping[Place, GatewayStatus | str]:
    """What each gateway says; of those that cannot be asked why."""

    def one(place: Place) -> GatewayStatus | str:
        try:
            return ask(place)
        except KubectlError as error:
            return str(error)

    ordered = sorted(set(places))
    with ThreadPoolExecutor(AT_ONCE) as pool:
        return dict(zip(ordered, pool.map(one, ordered), strict=True))


@contextmanager
def forwarded(kubectl: Kubectl, place: Place) -> Iterator[str]:
    """URL of what a gateway serves on its pod's loopback address, as long as the block runs.

    Raises:
        KubectlError: there is no way to it; the message says why.
    """
    namespace, gateway = place
    pod = pod_of(gateway)
    _see_that_it_runs(kubectl, namespace, pod)
    with kubectl.serving(
        *("port-forward", "-n", namespace, f"pod/{pod}", f":{PORT}", "--address=127.0.0.1"),
        says=_FORWARDING,
        needs=FORWARD,
    ) as found:
        yield f"http://{found[1]}"


def _see_that_it_runs(kubectl: Kubectl, namespace: str, pod: str) -> None:
    try:
        found = kubectl.pod(namespace, pod)
    except NotThereError:
        raise NotThereError(
            f"there is no pod {pod} in namespace {namespace}: the gateway is being made, or was deleted"
        ) from None
    phase = str(found.get("status", {}).get("phase"))
    if phase != "Running":
        raise KubectlError(
            f"pod {pod} is {phase}, not Running: kubectl describe pod -n {namespace} {pod} says why"
        )


def ask_probe(url: str, plant: str, devices: Sequence[str]) -> PlantProbe:
    """Have a plant read by its gateway.

    Raises:
        KubectlError: the gateway does not do it; the message says why.
    """
    query = urlencode([("plant", plant), *(("device", each) for each in devices)])
    address = _address(url)
    try:
        answer = get(address, f"{PATH}?{query}", host=urlsplit(url).netloc, within=_PROBED_WITHIN)
    except TimeoutError:
        raise KubectlError(f"the gateway did not answer within {_PROBED_WITHIN:.0f} s") from None
    except (OSError, NotHttpError):
        raise KubectlError(
            f"nothing answers on 127.0.0.1:{PORT} of the gateway's pod: its version may be older than kubectl voke, or it "
            "was started with --local none"
        ) from None
    if answer.redirects:
        raise KubectlError(_REDIRECTED)
    if answer.status != HTTPStatus.OK:
        raise KubectlError(f"the gateway says: {_beginning(answer)}")
    try:
        return PlantProbe.model_validate_json(answer.body)
    except ValidationError:
        raise KubectlError("the gateway's answer cannot be read: is its version another one?") from None


def _address(url: str) -> tuple[str, int]:
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        port = None
    if port is None or parts.scheme != "http" or parts.hostname is None:
        raise KubectlError(f"{url} is no http://HOST:PORT, such as http://127.0.0.1:{PORT}")
    return parts.hostname, port
