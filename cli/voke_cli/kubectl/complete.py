"""``kubectl_complete-voke``: what kubectl calls for the words that may follow ``kubectl voke …``."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from itertools import pairwise

import typer

from voke_cli.kubectl.edge import PLANTS, Kubectl, KubectlError
from voke_cli.kubectl.main import app
from voke_cli.kubectl.rights import LIST_PLANTS

_NO_FILES = ":4"
"""Says to the shell that files are no answer."""


def words(typed: Sequence[str]) -> list[str]:
    """What may stand in place of the last of the words that were typed."""
    *before, begun = typed or [""]
    commands = typer.main.get_command(app).commands  # type: ignore[attr-defined]
    if not before:
        found = sorted(commands)
    elif before[0] not in commands:
        found = []
    elif begun.startswith("-"):
        found = sorted(name for each in commands[before[0]].params for name in each.opts if name[:2] == "--")
    else:
        found = _plants(before)
    return [each for each in found if each.startswith(begun)]


def _plants(before: Sequence[str]) -> list[str]:
    given = dict(pairwise(before))
    namespace = given.get("-n") or given.get("--namespace")
    try:
        kubectl = Kubectl(
            namespace=namespace, context=given.get("--context"), kubeconfig=given.get("--kubeconfig")
        )
        kubectl.see_that_it_is_safe()
        where = () if namespace is None else ("-n", namespace)
        said = kubectl.run("get", PLANTS, *where, "-o", "name", "--request-timeout=3s", needs=LIST_PLANTS)
    except KubectlError:
        return []
    return [each.partition("/")[2] for each in said.split()]


def main() -> None:
    """Entry point of the console script."""
    sys.stdout.write("\n".join([*words(sys.argv[1:]), _NO_FILES]) + "\n")
