"""``voke plan``: what the operator would make of these files, in an empty namespace or in a cluster's, and why."""

from __future__ import annotations

import json
from base64 import b64encode
from collections.abc import Iterable
from hashlib import shake_256
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from voke_cli.terminal import printable, show

if TYPE_CHECKING:  # what is imported here takes longer than the rest of the command line
    from voke_api.problems import Problem
    from voke_api.resolved import PlantCredentials
    from voke_cli.documents import Documents
    from voke_operator.kube.client import Client
    from voke_operator.plan.candidates import Candidate
    from voke_operator.plan.plan import Plan, PlannedPlant
    from voke_operator.plan.steps import PlannedShard

_IMAGE: Final = "voke-gateway"
_STAND_INS: Final = {"tls_certificate": 500, "tls_key": 220, "jwt_private_key": 1675}
"""Characters of base64 that take as much of a bundle as generated material, part of which compresses well."""


def plan(
    files: Annotated[
        list[Path] | None,
        typer.Argument(
            help="Plant, DeviceProfile, GatewayPool and Secret files, or directories of them. With --live they may "
            "be left out.",
            metavar="FILE…",
        ),
    ] = None,
    *,
    image: Annotated[
        str | None,
        typer.Option(
            help=f"Gateway image of pools that name none (default: {_IMAGE}; with --live, the one of the gateways "
            "that there are)."
        ),
    ] = None,
    live: Annotated[
        bool, typer.Option("--live", help="Compare with what the cluster of the kubeconfig has.")
    ] = False,
    kubeconfig: Annotated[
        Path | None, typer.Option(help="With --live: instead of $KUBECONFIG or ~/.kube/config.")
    ] = None,
    context: Annotated[
        str | None, typer.Option(help="With --live: of the kubeconfig, instead of its current one.")
    ] = None,
    namespace: Annotated[
        str | None, typer.Option("--namespace", "-n", help="With --live: instead of the context's.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object instead of tables.")] = False,
) -> None:
    """Show what the operator would make of these files: which gateway carries which plant, and every write.

    As in a namespace that is empty; or, with --live, in one of a cluster as it would be with these files applied: then
    only what would change is shown. It needs the right to read (Secrets as well), asks no gateway and writes
    nothing.

    Keys that would be generated are not made; something of their size stands for them, so that bundles have about
    the size that they will have. Without --live Secrets need not be among the files.

    Exit status: 0 every plant is placed, 1 some are not, or the files or the cluster cannot be used, 2 wrong usage.
    """
    from voke_api.problems import has_errors
    from voke_cli.check import problem_text

    if live:
        planned, problems = _live(files or [], image, (kubeconfig, context), namespace)
    elif kubeconfig is not None or context is not None or namespace is not None:
        raise typer.BadParameter("--kubeconfig, --context and --namespace go with --live")
    elif not files:
        raise typer.BadParameter("name a file or a directory", param_hint="FILE…")
    else:
        planned, problems = _empty(files, image or _IMAGE)
    if as_json:
        typer.echo(json.dumps(as_document(planned, problems), ensure_ascii=True, allow_nan=False))
    else:
        for problem in problems:
            typer.echo(problem_text(problem), err=True)
        (_print_changes if live else _print)(planned, whole=not has_errors(problems))
    placed = (planned.plants or live) and all(each.decision.shard is not None for each in planned.plants)
    raise typer.Exit(0 if placed and not has_errors(problems) else 1)


def _live(
    files: list[Path], image: str | None, where: tuple[Path | None, str | None], namespace: str | None
) -> tuple[Plan, list[Problem]]:
    """In a cluster, with these files applied."""
    import asyncio

    from voke_cli.documents import read_documents

    try:
        from voke_operator.kube.client import Client
        from voke_operator.kube.reach import ConfigError, from_kubeconfig, kubeconfig_namespace
    except ImportError as error:
        typer.echo(
            f"voke plan --live needs the Kubernetes client, and {error.name} is not installed: "
            "pip install '.[operator]' in a checkout of voke-fleet",
            err=True,
        )
        raise typer.Exit(1) from None
    from voke_cli.live import LiveError

    async def planned(documents: Documents, chosen: str) -> tuple[Plan, list[Problem]]:
        path, context = where
        client = Client(await from_kubeconfig(path, context=context))
        try:
            return await _planned_live(client, documents, chosen, image)
        finally:
            await client.aclose()

    try:
        chosen = namespace or kubeconfig_namespace(where[0], context=where[1])
        documents = read_documents(files)
        given = [each.metadata for each in documents.plants]
        given += [each.metadata for each in documents.profiles.values()]
        given += [each.metadata for each in documents.pools.values()]
        others = {each.namespace for each in given if "namespace" in each.model_fields_set} - {chosen}
        if others:
            message = f"they are of namespace {min(others)}, and the plan is of {chosen}: give --namespace"
            raise typer.BadParameter(message, param_hint="FILE…")
        return asyncio.run(planned(documents, chosen))
    except (ConfigError, LiveError) as error:
        typer.echo(str(error), err=True)
        raise typer.Exit(1) from None


async def _planned_live(
    client: Client, documents: Documents, namespace: str, image: str | None
) -> tuple[Plan, list[Problem]]:
    from datetime import UTC, datetime

    from voke_cli.live import plan_live, read_live

    there = await read_live(client, namespace)
    defaults = there.defaults(image)
    there.lay_over(documents)
    planned = await plan_live(client, there, defaults=defaults, credentials=stand_ins, now=datetime.now(UTC))
    return planned, _problems(documents, planned, there.problems)


def _empty(files: list[Path], image: str) -> tuple[Plan, list[Problem]]:
    """In an empty namespace."""
    from datetime import UTC, datetime

    from voke_api.problems import Severity
    from voke_cli.documents import read_documents
    from voke_operator.plan.candidates import Surroundings
    from voke_operator.plan.objects import Defaults
    from voke_operator.plan.plan import World
    from voke_operator.plan.plan import plan as plan_namespace

    documents = read_documents(files)
    around = Surroundings(
        profiles=documents.profiles,
        pools=documents.pools,
        secrets=documents.secrets,
        broken=documents.broken,
        missing_secret=Severity.WARNING,
    )
    namespaces = sorted({each.metadata.namespace for each in documents.plants})
    if len(namespaces) > 1:
        message = f"the Plants are of the namespaces {', '.join(namespaces)}; plan one at a time"
        raise typer.BadParameter(message, param_hint="FILE…")
    planned = plan_namespace(
        namespaces[0] if namespaces else "default",
        documents.plants,
        around,
        World(),
        defaults=Defaults(image=image),
        credentials=stand_ins,
        now=datetime.now(UTC),
    )
    return planned, _problems(documents, planned)


def _problems(documents: Documents, planned: Plan, there: Iterable[Problem] = ()) -> list[Problem]:
    """What is wrong with the files and with what is ``there``, each once, and where in the files it is."""
    from voke_api.problems import unique
    from voke_cli.documents import by_place

    found = [documents.locate(problem) for each in planned.plants for problem in each.candidate.problems]
    return unique(sorted([*documents.problems, *there, *found], key=by_place))


def stand_ins(candidate: Candidate) -> PlantCredentials:
    """What its Secrets give a plant; for the rest something of the same size, which is no key."""
    from voke_api.resolved import PlantCredentials

    plant_id, method = candidate.plant.spec.plant_id, candidate.plant.spec.auth.method
    needed = {"MTLS": ("tls_certificate", "tls_key"), "JWT": ("jwt_private_key",), "PASSWORD": ()}[method]
    hmac_key = shake_256(plant_id.encode()).hexdigest(32).encode()
    values: dict[str, Any] = {"client_id": plant_id, "username": plant_id, "hmac_key": hmac_key}
    for name in needed:
        size = _STAND_INS[name]
        values[name] = b64encode(shake_256(f"{plant_id} {name}".encode()).digest(size))[:size]
    if method == "PASSWORD":
        values["password"] = plant_id
    return PlantCredentials(**{**values, **candidate.given.values})


def as_document(planned: Plan, problems: list[Problem]) -> dict[str, Any]:
    """The plan as JSON; a contract for scripts. Bundles are in it by what they hold, without their content."""
    from voke_cli.check import problem_document

    return {
        "problems": [problem_document(problem) for problem in problems],
        "plants": [_plant(each) for each in planned.plants],
        "gateways": [_gateway(each) for each in planned.shards],
        "steps": [
            {
                "action": str(step.action),
                "kind": step.ref.kind,
                "name": step.ref.name,
                "reason": step.reason,
                "restartsGateway": step.restarts,
                "object": None if step.ref.kind == "Secret" else step.document,
            }
            for step in planned.steps
        ],
        "conflicts": [
            {"kind": each.ref.kind, "name": each.ref.name, "message": each.message}
            for each in planned.conflicts
        ],
    }


def _plant(each: PlannedPlant) -> dict[str, Any]:
    shard = each.decision.shard
    return {
        "name": each.decision.plant,
        "pool": each.candidate.plant.spec.pool,
        "gateway": None if shard is None else str(shard),
        "requestsPerSecond": each.weight.requests_per_second,
        "bytes": each.weight.bytes,
        "reason": str(each.decision.reason),
        "message": each.decision.message,
    }


def _gateway(each: PlannedShard) -> dict[str, Any]:
    carries = each.carries
    return {
        "name": str(carries.shard),
        "pool": carries.shard.pool,
        "plants": list(carries.plants),
        "requestsPerSecond": carries.load.requests_per_second,
        "bundleBytes": each.bundle.size,
        "remarks": _remarks(each),
    }


def _remarks(each: PlannedShard) -> list[str]:
    remarks = [f"over its limits: {what}" for what in each.carries.over]
    remarks += ["keeps its storage, which is not the one of its pool"] if each.kept is not None else []
    return [*remarks, *filter(None, (each.bundle.full, each.bundle.mismatch))]


def _table(headings: tuple[str, ...], rows: list[tuple[str, ...]]) -> None:
    from rich.table import Table
    from rich.text import Text

    if not rows:
        return
    table = Table(box=None, pad_edge=False, header_style="bold")
    for heading in headings:
        numbers = heading in {"PLANTS", "REQUESTS/S", "BYTES", "BUNDLE"}
        table.add_column(heading, justify="right" if numbers else "left", overflow="fold")
    for row in rows:
        table.add_row(*(Text(printable(cell)) for cell in row))
    show(table)
    typer.echo()


def _print_changes(planned: Plan, *, whole: bool) -> None:
    """What would change in a cluster, and what is in the way; not ``whole``: without what has errors."""
    from voke_api.resources.common import counted

    idle = [_plant(each) for each in planned.plants if each.decision.shard is None]
    _table(("PLANT", "GATEWAY", "WHY"), [(each["name"], "–", each["message"]) for each in idle])
    remarks = [_gateway(each) for each in planned.shards]
    _table(
        ("GATEWAY", "REMARKS"),
        [(each["name"], "; ".join(each["remarks"])) for each in remarks if each["remarks"]],
    )
    _table(("CONFLICT", "WHY"), [(str(each.ref), each.message) for each in planned.conflicts])
    _print_steps(planned)
    if not planned.steps and not planned.conflicts:
        said = "nothing to do: the cluster is as it is to be"
        typer.echo(said if whole else "nothing would change: what has errors is left out")
        return
    restarts = sum(step.restarts for step in planned.steps)
    what = counted(restarts, "gateway", "restart") if restarts else "no gateway restarts"
    order = ", one after another" if restarts > 1 else ""
    typer.echo(f"{counted(len(planned.steps), 'write')}; {what}{order}")


def _print_steps(planned: Plan) -> None:
    _table(
        ("STEP", "OBJECT", "WHY"),
        [(str(step.action), str(step.ref), step.reason) for step in planned.steps],
    )


def _print(planned: Plan, *, whole: bool) -> None:
    from voke_api.bundle import MAX_BYTES
    from voke_api.resources.common import counted

    if not planned.plants:
        typer.echo("there is no Plant in these files" if whole else "there is no Plant that could be placed")
        return
    plants = [_plant(each) for each in planned.plants]
    _table(
        ("PLANT", "GATEWAY", "REQUESTS/S", "BYTES", "WHY"),
        [
            (
                row["name"],
                row["gateway"] or "–",
                f"{row['requestsPerSecond']:.3g}",
                str(row["bytes"]),
                row["message"],
            )
            for row in plants
        ],
    )
    gateways = [_gateway(each) for each in planned.shards]
    _table(
        ("GATEWAY", "PLANTS", "REQUESTS/S", "BUNDLE", "REMARKS"),
        [
            (
                row["name"],
                str(len(row["plants"])),
                f"{row['requestsPerSecond']:.4g}",
                f"{row['bundleBytes'] / MAX_BYTES:.0%}",
                "; ".join(row["remarks"]),
            )
            for row in gateways
        ],
    )
    _print_steps(planned)
    placed = sum(row["gateway"] is not None for row in plants)
    typer.echo(
        f"{placed} of {counted(len(plants), 'plant')} on {counted(len(gateways), 'gateway')}; "
        f"{counted(len(planned.steps), 'write')}"
    )
