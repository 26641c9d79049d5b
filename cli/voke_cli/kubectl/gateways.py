"""How gateways are asked: their ``/status`` through the API server, their ``/probe`` through a forwarded port.

``/status`` takes the right to ``get pods/proxy``, which lets nobody do more than read; a forwarded port
would take ``create pods/portforward``, which reaches every port of a pod. ``/probe`` is on the loopback address of
the pod, so that only the latter leads there.
"""

from __future__ import annotations

import http.client
import json
import re
import subprocess
import threading
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from tempfile import TemporaryFile
from typing import Final
from urllib.error import HTTPError, URLError
from urllib.parse import urlencode, urljoin
from urllib.request import ProxyHandler, build_opener

from pydantic import ValidationError

from voke_api.probe import PATH, PORT, PlantProbe
from voke_api.status import GatewayStatus
from voke_cli.kubectl.edge import Kubectl, KubectlError, NotThereError, refusal
from voke_cli.kubectl.rights import FORWARD
from voke_operator.names import pod_of
from voke_operator.plan.objects import HTTP_PORT

Place = tuple[str, str]
"""Namespace and name of a gateway's StatefulSet."""
AskStatus = Callable[[Place], GatewayStatus]
"""Raises KubectlError: it cannot be asked; the message says why."""

AT_ONCE: Final = 8
"""Gateways that are asked at the same time."""
_FORWARDED_WITHIN: Final = 20.0
_PROBED_WITHIN: Final = 120.0
"""Seconds; a gateway ends a probe by itself after one minute and the request that is under way then."""
_FORWARDING: Final = re.compile(r"Forwarding from (127\.0\.0\.1:\d+) ->")


def by_proxy(kubectl: Kubectl) -> AskStatus:
    """Gateways are asked through the API server."""

    def ask(place: Place) -> GatewayStatus:
        namespace, gateway = place
        found = kubectl.ask_pod(namespace, pod_of(gateway), HTTP_PORT, "/status")
        try:
            return GatewayStatus.model_validate(found)
        except ValidationError as error:
            raise KubectlError(f"its answer cannot be read: {error.errors()[0]['msg']}") from None

    return ask


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
    command = kubectl.command(
        "port-forward", "-n", namespace, f"pod/{pod}", f":{PORT}", "--address=127.0.0.1"
    )
    with (
        TemporaryFile("w+") as errors,
        subprocess.Popen(  # noqa: S603 - the person's own kubectl
            command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=errors, text=True
        ) as process,
    ):
        late = threading.Timer(_FORWARDED_WITHIN, process.kill)
        late.start()
        try:
            assert process.stdout is not None
            found = _FORWARDING.search(process.stdout.readline())
            late.cancel()
            if found is None:
                process.kill()
                process.wait()
                errors.seek(0)
                said = errors.read() or f"no answer within {_FORWARDED_WITHIN:.0f} s"
                raise refusal(said, FORWARD)
            yield f"http://{found[1]}"
        finally:
            late.cancel()
            process.terminate()


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
    try:
        with build_opener(ProxyHandler({})).open(
            f"{urljoin(url, PATH)}?{query}", timeout=_PROBED_WITHIN
        ) as answer:
            return PlantProbe.model_validate(json.load(answer))
    except HTTPError as error:
        raise KubectlError(f"the gateway says: {error.read(500).decode(errors='replace').strip()}") from None
    except TimeoutError:
        raise KubectlError(f"the gateway did not answer within {_PROBED_WITHIN:.0f} s") from None
    except (URLError, OSError, http.client.HTTPException):
        raise KubectlError(
            f"nothing answers on 127.0.0.1:{PORT} of the gateway's pod: its version may be older than kubectl voke, or it "
            "was started with --local none"
        ) from None
    except ValueError:
        raise KubectlError("the gateway's answer cannot be read: is its version another one?") from None
