"""``kubectl voke probe``: every point of a Plant, read once through the gateway that polls it."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated, Any

import typer

from voke_cli.kubectl.options import AsJson, Context, Kubeconfig, Namespace, Plant, cluster
from voke_cli.terminal import printable

if TYPE_CHECKING:  # what is imported here takes longer than the rest of the command line
    from voke_cli.documents import Documents
    from voke_cli.kubectl.edge import Kubectl
    from voke_cli.kubectl.plants import PlantView

_PARTS = ("apiVersion", "kind", "metadata", "spec")


def probe(
    *,
    plant: Plant,
    device: Annotated[
        list[str] | None, typer.Option(help="Only this device; may be repeated.", metavar="ID")
    ] = None,
    endpoint: Annotated[
        str | None,
        typer.Option(
            help="Where port 9101 of its gateway's pod is already forwarded to, such as http://127.0.0.1:9101.",
            metavar="URL",
            show_default="forwarded for this call",
        ),
    ] = None,
    as_json: AsJson = False,
    namespace: Namespace = None,
    context: Context = None,
    kubeconfig: Kubeconfig = None,
) -> None:
    """Read every point of a Plant once and say which register is wrong, and what could make it right.

    The Plant's own gateway reads, over the connections that it has, between its polls; nothing is written. What
    is in back-off is not asked. The table is that of voke probe, but for guesses that take further reads.

    Exit status: 0 every point has a value, 1 some have none or the gateway cannot be asked, 2 wrong usage.
    """
    from voke_cli.kubectl.edge import PROFILES
    from voke_cli.kubectl.gateways import ask_probe
    from voke_cli.kubectl.plants import PlantView
    from voke_cli.kubectl.rights import LIST_PROFILES
    from voke_cli.probe.command import choose
    from voke_cli.probe.report import Places, as_document
    from voke_cli.probe.told import reports
    from voke_cli.probe.view import TableView

    with cluster(namespace=namespace, context=context, kubeconfig=kubeconfig) as kubectl:
        view = PlantView(kubectl.plant(plant))
        profiles = kubectl.get(PROFILES, "-n", view.namespace, needs=LIST_PROFILES)["items"]
        used = {each.get("profile") for each in view.document["spec"]["devices"]}
        documents = documents_of(
            [view.document, *(each for each in profiles if each["metadata"]["name"] in used)]
        )
        ((resolved, wanted),) = choose(documents, plant, device or [])
        with _way_to(kubectl, view, endpoint) as url:
            answer = ask_probe(url, plant, sorted(wanted))
    found = reports(resolved, wanted, answer)
    places = Places(documents)
    if as_json:
        typer.echo(json.dumps(as_document(found, places)))
    else:
        TableView(places).show(found)
    ready = view.condition("GatewayReady")
    if ready.status != "True" or ready.observed_generation != view.generation:
        typer.echo(
            f"\nThe gateway may run an older version of {plant} ({printable(ready.reason)}): a point that was changed is then read "
            "where it was before.",
            err=True,
        )
    complete = all(one.complete for report in found for one in report.devices)
    raise typer.Exit(0 if complete else 1)


def documents_of(objects: Iterable[dict[str, Any]]) -> Documents:
    """Plants and profiles as the API server gives them, without what it has added."""
    from voke_api.resources import DeviceProfile
    from voke_api.resources import Plant as PlantResource
    from voke_api.validate import validate
    from voke_cli.documents import Documents

    documents = Documents()
    for each in objects:
        kind, name = str(each["kind"]), str(each["metadata"]["name"])
        metadata = {key: each["metadata"][key] for key in ("name", "namespace")}
        found = validate({**{part: each[part] for part in _PARTS if part in each}, "metadata": metadata})
        match found:
            case PlantResource():
                documents.plants.append(found)
            case DeviceProfile():
                documents.profiles[name] = found
            case _:
                documents.problems += found if isinstance(found, list | tuple) else ()
                documents.broken.add((kind, name))
    return documents


@contextmanager
def _way_to(kubectl: Kubectl, view: PlantView, endpoint: str | None) -> Iterator[str]:
    """URL of the gateway's loopback address.

    Raises:
        KubectlError: no gateway runs the Plant, or there is no way to it.
    """
    from voke_cli.kubectl.edge import KubectlError
    from voke_cli.kubectl.gateways import forwarded

    if endpoint is not None:
        yield endpoint
        return
    if not view.gateway:
        said = view.condition("GatewayReady").message or "the operator has not looked at it yet"
        raise KubectlError(f"no gateway runs {view.name}: {said}")
    with forwarded(kubectl, (view.namespace, view.gateway)) as url:
        yield url
