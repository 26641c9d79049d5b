"""The commands in words: docs/cli.md and docs/kubectl.md."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable
from enum import Enum
from pathlib import Path
from types import NoneType
from typing import Any, Literal, get_args, get_origin, get_type_hints

import typer.models

from voke_cli.kubectl.main import app as kubectl_app
from voke_cli.kubectl.rights import RIGHTS
from voke_cli.main import app

BAR = "\\|"
"""A bar inside a table's cell."""
KUBECTL = """\
# kubectl voke

For the person on call and for the integrator: how plants are now, what to register at Voke, which register is wrong, and
what to do about a gateway that is lost. It comes with this repository (`make install` puts it into `.venv/bin`; or `pip install .` in a checkout); kubectl finds
`kubectl-voke` in `$PATH` and calls it for `kubectl voke …`. But for `plan` it asks the API through kubectl itself, so it has the log-in,
the context and the rights of whoever calls it, and no others; `KUBECONFIG`, plug-ins and proxies are kubectl's own. A kubeconfig that would not
have the server verified is refused. Flags follow the command: `kubectl voke status -n solar`.
Words are completed in a shell that completes kubectl's own (`kubectl completion --help`).

```console
$ kubectl voke status -n solar
PLANT    READY  REASON         DEVICES  LAST READ  SESSION  GATEWAY
ostrava  False  NoDeviceRead   0/1      4m         up       voke-gw-default-0
brno     True   PointsRefused  1/1      1s         up       voke-gw-default-0
plzen    True   AllWell        3/3      0s         up       voke-gw-default-0

What to do first
ostrava: no device of 1 is read; M1: no connection to 10.20.3.11:502: no route to host …
brno: 1 of 1 device is read, but points are refused: M1.far: exception 2 (illegal data address) on input 900 …
```

What is printed for people may change; `--json` and exit statuses are contracts.
"""
RIGHTS_NEEDED = """\
## Where answers come from

`status` shows what the operator wrote into the Plants, and asks each gateway for its `/status` by way of the API server
(`get pods/proxy`): no port is forwarded, and that right is for GET only. For the length of the command a `kubectl proxy` that lets
only this through listens on a Unix socket in a temporary directory of your own. Where a gateway cannot be asked it says
"not asked", why, and what the API has. Conditions wait a while before they say that something is worse; what a gateway finds until
then begins with `just now`. Ages are by the clock of your machine.

Its `--json` is `plants[]`, worst first: `namespace`, `name`, `plantId`, `ready` (`True`, `False`, `Unknown`), `reason`, `message`,
`devices` (`3/4`), `lastReadAt` (seconds since 1970, or null), `session` (`up` or a reason), `gateway`, `notAsked` (why, or null);
for one PLANT also `conditions[]` and `live`, which is the gateway's `/status` of it, or null. With `--watch` one object per line.

`probe` has the gateway read: a PLC has few connections to give away, and a second one could take the gateway's. The
requests wait in turn among those of the polls, with the same pauses; a unit that is in back-off is not asked; after a minute
no further device is. A plant has one probe at a time. The gateway answers on `127.0.0.1:9101` inside its pod, which only
a forwarded port reaches (`create pods/portforward`). It answers what came over the wire; values and guesses are made by
`kubectl voke`, from the newest version of the Plant, and are those of [voke probe](probe.md) but for guesses that take
further reads. Its `--json` is the same, with `file` and `line` null.

`credentials --export DIR` writes what [voke credentials](cli.md#voke-credentials) writes: the HMAC secret, the
certificate with its request and its issuer, the JWT key as PKCS#1 DER; no private key. A broker that wants the
revocation list of the fleet's own CA finds it in the Secret `voke-fleet-ca` of the operator's namespace, key `ca.crl`. What is in
the Secret and not in force is not exported. The annotations are those of [credentials.md](credentials.md).

`release` is for a plant that waits for a gateway that will not come back ([gateways.md](gateways.md#moving-a-plant)).

## Rights

In the namespace of the Plant (with `-A` in all of them); nothing in the operator's. Where one is missing, the command names it.
"""


def commands() -> str:
    """docs/cli.md."""
    parts = [
        "# The voke command\n",
        "What is printed for people may change; `--json` and exit statuses are contracts.\n",
        "What looks at a cluster is `kubectl voke`: [kubectl.md](kubectl.md).\n",
        *_described(app, "voke"),
        "## voke --version\n\nShow the version and exit.\n",
    ]
    return "\n".join(parts)


def kubectl() -> str:
    """docs/kubectl.md."""
    parts = [KUBECTL, *_described(kubectl_app, "kubectl voke"), RIGHTS_NEEDED]
    for name, rights in RIGHTS.items():
        parts += [f"### kubectl voke {name}\n", "| Group | Resource | Verb | What for |", "|---|---|---|---|"]
        parts += [
            f"| {f'`{each.group}`' if each.group else ''} | `{each.resource}` | `{each.verb}` | {each.reason} |"
            for each in rights
        ]
        parts.append("")
    return "\n".join(parts)


def _described(program: typer.Typer, name: str) -> list[str]:
    """A table of exit statuses, and each command."""
    found = _commands(program)
    statuses = {command: exit_statuses(callback) for command, callback in found}
    rows = [
        "| Exit status | " + " | ".join(command for command, _ in found) + " |",
        "|---|" + "---|" * len(found),
    ]
    for status in sorted({status for each in statuses.values() for status in each}):
        cells = [statuses[command].get(status, "") for command, _ in found]
        rows.append(f"| {status} | " + " | ".join(cells) + " |")
    return [*rows, "", *(_command(f"{name} {command}", callback) for command, callback in found)]


def _commands(program: typer.Typer) -> list[tuple[str, Callable[..., Any]]]:
    return [
        (each.name or "", each.callback)
        for each in program.registered_commands
        if each.callback is not None and not each.hidden
    ]


def exit_statuses(callback: Callable[..., Any]) -> dict[int, str]:
    """What a command's docstring says about each of its exit statuses."""
    said = " ".join(inspect.getdoc(callback).split()) if inspect.getdoc(callback) else ""  # type: ignore[union-attr]
    match = re.search(r"Exit status: (.*?)\.(?: |$)", said)
    return {
        int(number): text.replace("|", "\\|")
        for number, text in re.findall(r"(\d) (.*?)(?=[,;] \d |$)", match[1] if match else "")
    }


def _command(name: str, callback: Callable[..., Any]) -> str:
    usage, rows = [name], []
    hints = get_type_hints(callback, include_extras=True)
    for parameter in inspect.signature(callback).parameters.values():
        type_, *metadata = get_args(hints[parameter.name])
        info = next(each for each in metadata if isinstance(each, typer.models.ParameterInfo))
        placeholder = info.metavar or _placeholder(type_)
        required = parameter.default is inspect.Parameter.empty
        if isinstance(info, typer.models.ArgumentInfo):
            shown = placeholder if info.metavar else _argument(parameter.name, type_)
            usage.append(shown if required else f"[{shown}]")
        else:
            # Inside Annotated, typer takes the first name given for the default and puts it right later.
            named = [each for each in (info.default, *(info.param_decls or ())) if str(each).startswith("-")]
            option = str(named[0]) if named else f"--{parameter.name.replace('_', '-')}"
            shown = option if placeholder == "" else f"{option} {placeholder}"
        default = "" if required else _shown_default(info.show_default, parameter.default)
        text = (info.help or "").replace("|", "\\|")
        rows.append(f"| `{shown.replace('|', BAR)}` | {text} | {default} |")
    head = inspect.cleandoc(callback.__doc__ or "")
    table = "| | | Default |\n|---|---|---|\n" + "\n".join(rows) + "\n" if rows else ""
    return f"## {name}\n\n    {' '.join([*usage, '[OPTIONS]'])}\n\n{head}\n\n{table}"


def _placeholder(type_: Any) -> str:
    inner = [type_]
    if get_origin(type_) is not Literal:
        inner = [each for each in get_args(type_) if each is not NoneType] or inner
    bare = inner[0]
    if bare is bool:
        return ""
    if isinstance(bare, type) and issubclass(bare, Enum):
        return "|".join(str(each.value) for each in bare)
    if get_origin(bare) is Literal:
        return "|".join(map(str, get_args(bare)))
    return {str: "TEXT", Path: "PATH"}.get(bare, "VALUE")


def _argument(name: str, type_: Any) -> str:
    if isinstance(type_, type) and issubclass(type_, Enum):
        return "|".join(str(each.value) for each in type_)
    several = get_origin(type_) in {list, tuple}
    return f"{name.upper().removesuffix('S')}…" if several else name.upper()


def _shown_default(shown: Any, default: Any) -> str:
    if isinstance(shown, str):
        return shown
    if default in (None, False) or default == []:
        return ""
    return f"`{default.value if isinstance(default, Enum) else default}`"
