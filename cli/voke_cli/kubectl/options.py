"""The flags that every command has, as kubectl has them, and how an error ends a command."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated

import typer

from voke_cli.kubectl.edge import Kubectl, KubectlError
from voke_cli.terminal import printable

Plant = Annotated[str, typer.Argument(help="Name of the Plant.", metavar="PLANT")]
Namespace = Annotated[
    str | None,
    typer.Option("--namespace", "-n", help="Namespace of the Plant.", show_default="the context's"),
]
Context = Annotated[
    str | None, typer.Option(help="Context of the kubeconfig.", show_default="the current one")
]
Kubeconfig = Annotated[
    str | None, typer.Option(help="Path of the kubeconfig.", metavar="PATH", show_default="kubectl's")
]
AsJson = Annotated[bool, typer.Option("--json", help="One JSON object instead of text.")]
Yes = Annotated[bool, typer.Option("--yes", help="Do not ask.")]


@contextmanager
def cluster(*, namespace: str | None, context: str | None, kubeconfig: str | None) -> Iterator[Kubectl]:
    """Kubectl with these flags; what it cannot do ends the command with status 1."""
    try:
        kubectl = Kubectl(namespace=namespace, context=context, kubeconfig=kubeconfig)
        kubectl.see_that_it_is_safe()
        yield kubectl
    except KubectlError as error:
        typer.echo(printable(str(error)), err=True)
        raise typer.Exit(1) from None


def agreed(question: str, *, yes: bool) -> None:
    """Ends the command with status 1 unless the person agrees, or said so beforehand."""
    if not yes and not typer.confirm(printable(question)):
        typer.echo("nothing was done", err=True)
        raise typer.Exit(1)
