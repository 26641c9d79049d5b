"""``kubectl voke plan``: ``voke plan --live``, with the flags of kubectl."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from voke_cli.kubectl.options import AsJson, Context, Kubeconfig, Namespace
from voke_cli.plan import plan as voke_plan


def plan(
    *,
    files: Annotated[
        list[Path] | None,
        typer.Argument(
            help="Plant, DeviceProfile, GatewayPool and Secret files, or directories of them; left out: as it is.",
            metavar="FILE…",
        ),
    ] = None,
    image: Annotated[
        str | None,
        typer.Option(
            help="Gateway image of pools that name none.", show_default="that of the gateways there are"
        ),
    ] = None,
    as_json: AsJson = False,
    namespace: Namespace = None,
    context: Context = None,
    kubeconfig: Kubeconfig = None,
) -> None:
    """Show what the operator would change in the cluster if these files were applied; nothing is written.

    The same as voke plan --live, and needs the package's extra operator.

    Exit status: 0 every plant is placed, 1 some are not, or the files or the cluster cannot be used, 2 wrong usage.
    """
    voke_plan(
        files,
        image=image,
        live=True,
        kubeconfig=None if kubeconfig is None else Path(kubeconfig),
        context=context,
        namespace=namespace,
        as_json=as_json,
    )
