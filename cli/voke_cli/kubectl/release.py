"""``kubectl voke release``: a person's word that a gateway is dead for a Plant, so that another may run it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Final

import typer

from voke_cli.kubectl.options import Context, Kubeconfig, Namespace, Plant, Yes, agreed, cluster
from voke_cli.terminal import printable

if TYPE_CHECKING:  # what is imported here takes longer than the rest of the command line
    from voke_cli.kubectl.edge import Kubectl
    from voke_cli.kubectl.gateways import AskStatus, Place
    from voke_cli.kubectl.plants import PlantView

PLACED_WITHIN: Final = 30.0
"""Seconds in which the operator finds another gateway, if it runs."""
_RISK: Final = """\
If it is not dead, two gateways run this plant: both log in to Voke with one identity and evict each other, and both
write to the same PLCs. What the dead one had not delivered, its open alarms and the commands that it has answered are
not handed over. Make sure that the machine is off, or that its pod is gone, before you say yes."""


def release(
    *,
    plant: Plant,
    force: Annotated[
        bool, typer.Option("--force", help="Although its gateway answers, or its pod is said to run.")
    ] = False,
    undo: Annotated[
        bool, typer.Option("--undo", help="Take the word back: as soon as the Plant runs elsewhere.")
    ] = False,
    yes: Yes = False,
    namespace: Namespace = None,
    context: Context = None,
    kubeconfig: Kubeconfig = None,
) -> None:
    """Say that the gateway of a Plant is dead for it, so that it may start elsewhere without a hand-over.

    For a Plant that waits (GatewayReady says Moving) because its old gateway is on a node that is lost. A Plant
    leaves its gateway only when spec.pool changes; said before that, the word counts when it does.

    Refused while the gateway answers or its pod is said to run, as that of a lost node is: --force then says
    that you know better.

    Exit status: 0 done, 1 refused, 2 wrong usage.
    """
    from voke_cli.kubectl.edge import KubectlError
    from voke_cli.kubectl.gateways import by_proxy
    from voke_cli.kubectl.plants import PlantView
    from voke_operator import names
    from voke_operator.credentials.ids import parse_words

    with cluster(namespace=namespace, context=context, kubeconfig=kubeconfig) as kubectl:
        view = PlantView(kubectl.plant(plant))
        kubectl.namespace = view.namespace
        if undo:
            kubectl.annotate(view.namespace, plant, {names.RELEASE_ANNOTATION: None})
            typer.echo(f"no gateway counts as dead for {view.namespace}/{plant} any more")
            return
        gateways = held_by(view)
        if not gateways:
            raise KubectlError(f"no gateway holds {plant}: there is nothing to release it from")
        with by_proxy(kubectl) as ask:
            alive = [sign for each in gateways for sign in signs_of_life(kubectl, ask, view, each)]
        for sign in alive:
            typer.echo(printable(sign), err=True)
        if alive and not force:
            raise KubectlError("not released: it does not look dead. If you know that it is, add --force")
        typer.echo(
            f"{printable(', '.join(gateways))} is to count as dead for {view.namespace}/{plant}.\n{_RISK}"
        )
        agreed("Is it dead?", yes=yes)
        # What was said of others before still holds.
        dead = dict.fromkeys([*parse_words(view.annotation(names.RELEASE_ANNOTATION)), *gateways])
        kubectl.annotate(view.namespace, plant, {names.RELEASE_ANNOTATION: ",".join(dead)})
        typer.echo(printable(_outcome(kubectl, view, gateways)))


def held_by(view: PlantView) -> tuple[str, ...]:
    """Gateways that have not let go of a Plant, as the annotation takes them: those it waits for, or its own."""
    from voke_operator.status.causes import waits_for

    condition = view.condition("GatewayReady")
    if condition.reason == "Moving":
        return waits_for(condition.message)
    return (view.gateway,) if view.gateway else ()


def signs_of_life(kubectl: Kubectl, ask: AskStatus, view: PlantView, gateway: str) -> list[str]:
    """What speaks against it that a gateway is dead, for people.

    Raises:
        NotAllowedError: this person may not see it.
    """
    from voke_cli.kubectl.edge import KubectlError, NotAllowedError, NotThereError
    from voke_operator.names import pod_of

    namespace, _, name = gateway.rpartition("/")
    place: Place = (namespace or view.namespace, name)
    found = []
    try:
        pod = kubectl.pod(place[0], pod_of(name))
    except NotThereError:
        return []
    status, node = pod.get("status", {}), pod.get("spec", {}).get("nodeName", "no node")
    if status.get("phase") == "Running":
        ready = any(
            each["type"] == "Ready" and each["status"] == "True" for each in status.get("conditions", ())
        )
        state = "Running and ready" if ready else "Running, and not ready"
        found.append(f"pod {pod_of(name)} on {node} is said to be {state}")
    try:
        answer = ask(place)
    except NotAllowedError:
        raise
    except KubectlError:
        return found
    runs = any(each.plant_id == view.plant_id for each in answer.plants)
    return [*found, f"gateway {gateway} answers, and it {'runs' if runs else 'does not run'} this plant"]


def _outcome(kubectl: Kubectl, view: PlantView, gateways: Sequence[str]) -> str:
    """What became of it, as soon as the operator has decided."""
    from voke_cli.kubectl.waiting import until

    undo = f"kubectl voke release {view.name} -n {view.namespace} --undo"
    if view.condition("GatewayReady").reason != "Moving":
        return f"noted; it counts when spec.pool changes. To take it back: {undo}"

    def moved(found: PlantView) -> bool:
        return bool(found.gateway) and found.gateway not in gateways

    view = until(kubectl, view, moved, within=PLACED_WITHIN)
    if moved(view):
        return f"{view.name} now runs on {view.gateway}. Take the word back, or a later move would not wait either: {undo}"
    said = view.condition("GatewayReady")
    return f"noted; not placed yet. GatewayReady is {said.status} ({said.reason}): {said.message}"
