"""Writes the references that are generated: of the types, of the commands, of the conditions and of the rights.

``make docs`` runs it; a test fails when the committed files are not what it writes.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Iterator, Sequence
from enum import Enum
from pathlib import Path
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

import annotated_types
import typer.models
from pydantic import BaseModel, BeforeValidator
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from voke_api.resources import common
from voke_api.resources.common import Metadata, format_duration, is_duration
from voke_api.resources.observed import PLANT_CONDITIONS
from voke_api.resources.plant import Plant
from voke_api.resources.pool import GatewayPool
from voke_api.resources.profile import DeviceProfile
from voke_cli.kubectl.main import app as kubectl_app
from voke_cli.kubectl.rights import RIGHTS
from voke_cli.main import app
from voke_operator.names import FLEET_CA, LEASE
from voke_operator.rbac import WATCHED, Rule, own_namespace
from voke_operator.status.damping import INTERVAL, LASTING, REWORDING
from voke_operator.status.reasons import (
    CLOUD_CONNECTED,
    CLOUD_REACHABLE,
    CREDENTIALS_READY,
    DEVICES_REACHABLE,
    GATEWAY_READY,
    READY,
    REGISTERED,
    Reason,
)

DOCS = Path(__file__).parents[1] / "docs"
KINDS = (Plant, DeviceProfile, GatewayPool)
NOT_EDITED = "<!-- Written by `make docs`; do not edit. -->\n"
BAR = "\\|"
"""A bar inside a table's cell."""
PATTERNS = {
    common.UUID: "a UUID in lower case",
    common.EXTERNAL_ID: "1 to 32 of `A–Z 0–9 _ -`",
    common.COMMAND_TYPE: "`A–Z 0–9 _`",
    common.LABEL: "`a–z 0–9 -`, beginning and ending with a letter or digit",
    common.SUBDOMAIN: "`a–z 0–9 - .`, beginning and ending with a letter or digit",
    common.HOST: "a host name or address, without port or scheme",
    r"^[^+#\x00]{1,64}$": "1 to 64 characters, no `+` and `#`",
}


# -- the types of the resources


def reference() -> str:
    """docs/reference.md."""
    parts = [
        NOT_EDITED,
        "# Every field of Plant, DeviceProfile and GatewayPool\n",
        (
            "`apiVersion` is `voke.lovinka.com/v1alpha1`; unknown fields are refused. Durations are an integer with a unit: "
            "`500ms`, `10s`, `5m`, `4h`. A field without a default is **required**; – means that leaving it out has a "
            "meaning of its own, which the text says. `voke check FILE` says what a file breaks, with line and remedy.\n"
        ),
        (
            "In a cluster the API server refuses the same mistakes, with two exceptions that become conditions of the Plant: "
            "names that lead nowhere, such as a command's point or a missing profile; and, inside `readBack`, unknown fields "
            "and times out of bounds. `kubectl explain plant.spec` shows this page's texts.\n"
        ),
    ]
    described: list[type[BaseModel]] = []
    for kind in KINDS:
        for model in _models(kind):
            if model not in described:
                described.append(model)
                parts.append(_model(model, top=model is kind))
    return "\n".join(parts)


def _models(model: type[BaseModel]) -> Iterator[type[BaseModel]]:
    """The model and those in its fields, each before those inside it."""
    yield model
    for info in model.model_fields.values():
        for inner in _inside(info.annotation):
            yield from _models(inner)


def _inside(annotation: Any) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        if annotation is not Metadata:
            yield annotation
        return
    for argument in get_args(annotation):
        yield from _inside(argument)


def _model(model: type[BaseModel], *, top: bool) -> str:
    rows = []
    for name, info in model.model_fields.items():
        if name in {"api_version", "kind"}:
            continue
        type_, limits = _typed(info.annotation, list(info.metadata))
        text = (info.description or _known(name)).replace("\n", " ").replace("|", "\\|")
        given = info.alias or name
        rows.append(f"| `{given}` | {type_} | {_default(info)} | {'; '.join(limits)} | {text} |")
    said = inspect.cleandoc(model.__doc__ or "")
    rules = model.__dict__.get("violations")
    together = f"\nRules across fields: {inspect.getdoc(rules)}\n" if rules is not None else ""
    return (
        f"{'##' if top else '###'} {model.__name__}\n\n{said}\n{together}\n"
        "| Field | Type | Default | Limits | Meaning |\n|---|---|---|---|---|\n" + "\n".join(rows) + "\n"
    )


def _known(name: str) -> str:
    return {
        "metadata": "Kubernetes' object metadata: `name` (and, in a cluster, `namespace`, `labels`, `annotations`).",
        "spec": "What is wanted.",
    }[name]


def _typed(annotation: Any, metadata: list[Any]) -> tuple[str, list[str]]:  # noqa: PLR0911 - one case for each type
    """A type in words, and its limits."""
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return _typed(arguments[0], [*arguments[1:], *metadata])
    flat = list(_flat(metadata))
    checks = {each.func for each in flat if isinstance(each, BeforeValidator)}
    if any(map(is_duration, flat)):
        return "duration", _limits(flat, format_duration)
    if checks & {common._scalar, common._text_or_scalar}:  # noqa: SLF001 - the types are told apart by them
        return ("text, number or boolean" if common._text_or_scalar in checks else "number or boolean"), []  # noqa: SLF001
    if origin in {Union, UnionType}:
        inner = [_typed(each, metadata) for each in arguments if each is not NoneType]
        words = " or ".join(dict.fromkeys(word for word, _ in inner))
        return words, [limit for _, limits in inner for limit in limits]
    if origin is Literal:
        return " \\| ".join(f"`{each}`" for each in arguments), []
    if origin is tuple:
        entry, limits = _typed(arguments[0], [])
        each = [f"each {limit}" for limit in limits]
        keys = [f"each {', '.join(mark.keys)} once" for mark in flat if isinstance(mark, common.KeyedBy)]
        return f"list of {entry}", [*_sizes(flat, "entries"), *each, *keys]
    if origin is dict and arguments[1] is not Any:
        key, limits = _typed(arguments[0], [])
        value, _ = _typed(arguments[1], [])
        return f"map of {key} to {value}", [*_sizes(flat, "entries"), *(f"keys {limit}" for limit in limits)]
    if origin is dict:
        return "object", []
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        link = annotation.__name__
        return (link if annotation is Metadata else f"[{link}](#{link.lower()})"), []
    words = {str: "text", int: "integer", float: "number", bool: "boolean"}[annotation]
    return words, _limits(
        flat, lambda value: f"{value:,}" if isinstance(value, int) else f"{value:g}", annotation
    )


def _flat(metadata: list[Any]) -> Iterator[Any]:
    for each in metadata:
        yield from _flat(each.metadata) if isinstance(each, FieldInfo) else (each,)


def _limits(metadata: list[Any], shown: Callable[[Any], str], annotation: Any = None) -> list[str]:
    low = next((each.ge for each in metadata if isinstance(each, annotated_types.Ge)), None)
    high = next((each.le for each in metadata if isinstance(each, annotated_types.Le)), None)
    below = next((each.lt for each in metadata if isinstance(each, annotated_types.Lt)), None)
    found = []
    if below is not None:
        high = int(str(below)) - 1
    if low is not None and high is not None:
        found.append(f"{shown(low)} – {shown(high)}")
    elif low is not None:
        found.append(f"at least {shown(low)}")
    elif high is not None:
        found.append(f"at most {shown(high)}")
    for each in metadata:
        pattern = getattr(each, "pattern", None)
        if pattern is not None:
            found.append(PATTERNS[str(pattern)])
    return found + (_sizes(metadata, "characters") if annotation is str else [])


def _sizes(metadata: list[Any], what: str) -> list[str]:
    low = next((each.min_length for each in metadata if isinstance(each, annotated_types.MinLen)), None)
    high = next((each.max_length for each in metadata if isinstance(each, annotated_types.MaxLen)), None)
    if low is not None and high is not None:
        return [f"{low} – {high} {what}"]
    if high is not None:
        return [f"at most {high} {what}"]
    return [f"at least {low} {what}"] if low is not None else []


def _default(info: FieldInfo) -> str:
    value = info.get_default(call_default_factory=True, validated_data={})
    if value is PydanticUndefined:
        return "**required**"
    if value is None or value in ((), {}):
        return "–"
    if isinstance(value, BaseModel):
        return (
            "its defaults"
            if not value.model_fields_set
            else f"`{value.model_dump(exclude_unset=True)}`".replace("'", "")
        )
    if isinstance(value, bool):
        return f"`{str(value).lower()}`"
    if isinstance(value, float) and any(is_duration(each) for each in _flat(list(info.metadata))):
        return f"`{format_duration(value)}`"
    return f"`{value:g}`" if isinstance(value, float) else f"`{value}`"


# -- the commands


def commands() -> str:
    """docs/cli.md."""
    parts = [
        NOT_EDITED,
        "# The voke command\n",
        "What is printed for people may change; `--json` and exit statuses are contracts.\n",
        "What looks at a cluster is `kubectl voke`: [kubectl.md](kubectl.md).\n",
        *_described(app, "voke"),
        "## voke --version\n\nShow the version and exit.\n",
    ]
    return "\n".join(parts)


def kubectl() -> str:
    """docs/kubectl.md."""
    parts = [NOT_EDITED, KUBECTL, *_described(kubectl_app, "kubectl voke"), RIGHTS_NEEDED]
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


KUBECTL = """\
# kubectl voke

For the person on call and for the integrator: how plants are now, what to register at Voke, which register is wrong, and
what to do about a gateway that is lost. It comes with the package (`pip install voke-fleet`); kubectl finds
`kubectl-voke` in `$PATH` and calls it for `kubectl voke …`. But for `plan` it asks the API through kubectl itself, so it has the log-in,
the context and the rights of whoever calls it, and no others. Flags follow the command: `kubectl voke status -n solar`.
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
(`get pods/proxy`): no port is forwarded, and that right is for GET only. Where a gateway cannot be asked it says
"not asked", why, and what the API has. Ages are by the clock of your machine.

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


# -- the conditions


CONDITIONS = {
    READY: (
        "Of a Plant: its credentials are ready, its gateway runs it, its session with Voke is up, and at least one "
        "device is read. Its message is that of the part that has to be mended first, and its reason that of the same "
        "part. A Plant that is Ready may have something left to do all the same: what is broken comes before what nobody "
        "has confirmed, and the message ends with whatever else there is (`After that:`). Of a GatewayPool: its gateways answer, and Voke can be reached."
    ),
    CREDENTIALS_READY: "Of a Plant: all keys and certificates that it needs are there.",
    REGISTERED: "Of a Plant: Voke knows its keys. Not a part of `Ready`, which only mentions it.",
    GATEWAY_READY: "Of a Plant: a gateway runs its newest version.",
    CLOUD_CONNECTED: "Of a Plant: its session with Voke is up, and what it sends is taken.",
    DEVICES_REACHABLE: "Of a Plant: all devices are read, but for those that may be silent (`expectOffline`).",
    CLOUD_REACHABLE: "Of a GatewayPool: at least one of its Plants gets through to Voke.",
}
"""What each type means."""


def conditions() -> str:
    """docs/conditions.md."""
    parts = [
        NOT_EDITED,
        "# Conditions of Plants and GatewayPools\n",
        (
            "`kubectl get plants` shows the status and the reason of `Ready`, `kubectl describe plant NAME` all messages. "
            "Each message says what is wrong and what to do first; reasons are stable words, for scripts and alerts. "
            "`kubectl voke` in a message is [the plugin](kubectl.md); what its commands set are annotations "
            "([registered](credentials.md#tell-voke), [release](gateways.md#moving-a-plant)).\n"
        ),
        (
            f"What gets better is written at once, what gets worse after {LASTING:g} seconds; an object is written at "
            f"most every {INTERVAL:g} seconds, and other words for the same state at most every {REWORDING:g}. While "
            "none of a pool's Plants gets through to Voke, the pool says so, and the conditions of its Plants stay as "
            "they were. Live values are in the metrics.\n"
        ),
        (
            "`observedGeneration` of a condition is the version of the Plant that it speaks of: `kubectl wait "
            "--for=condition=Ready plant/NAME` returns when the newest version runs.\n"
        ),
    ]
    for type_, meaning in CONDITIONS.items():
        parts += [f"## {type_}\n", f"{meaning}\n", "| Reason | Meaning | What to do |", "|---|---|---|"]
        of_type = [reason for reason in Reason if reason.condition == type_]
        parts += [f"| `{each}` | {each.meaning} | {each.remedy or '–'} |" for each in of_type]
        parts.append("")
    parts += [
        "## Which reason Ready has\n",
        "The first of these that applies:\n",
        ", ".join(
            f"`{reason}`" for reason in Reason if reason.remedy and reason.condition in PLANT_CONDITIONS
        )
        + ".",
    ]
    return "\n".join(parts) + "\n"


# -- the operator's rights


def rights() -> str:
    """docs/rbac.md."""
    parts = [
        NOT_EDITED,
        "# What the operator may do\n",
        (
            "The chart grants this, and nothing else. The operator looks at its start whether all of it is granted, and ends with "
            "a line for each rule that is missing. Gateways have no rights and no token.\n"
        ),
        "## In every namespace with Plants\n",
        (
            "With `watch.namespaces` a Role in each of them; without it one ClusterRole, which makes it the whole cluster.\n"
        ),
        *_rights(WATCHED),
        (
            "\nRBAC cannot select Secrets by label or type: whoever may read one may read all of the namespace. So name the "
            "namespaces where you can. Which Secrets it may *write* is confined by an admission policy "
            "([security](security.md)), which the chart brings.\n"
        ),
        "## In its own namespace\n",
        *_rights(own_namespace(lease=LEASE, issuer=FLEET_CA)),
        (
            "\nThe names are those of the values `lease.name` and `issuer.secretName`. RBAC knows no name of what is not there yet, so "
            "creating is granted without one, and again confined by the policy.\n"
        ),
        "## People\n",
        (
            "With `rbac.aggregate` (the default) Kubernetes' own roles reach the three kinds: `view` reads Plants, profiles and "
            "pools, `edit` also writes Plants and profiles, `admin` also pools.\n"
        ),
    ]
    return "\n".join(parts)


def _rights(rules: Sequence[Rule]) -> list[str]:
    rows = [
        f"| {_resources(rule)} | {rule.group or 'core'} | {', '.join(rule.verbs)} | {rule.reason} |"
        for rule in rules
    ]
    return ["| Resources | API group | Verbs | Why |", "|---|---|---|---|", *rows]


def _resources(rule: Rule) -> str:
    listed = ", ".join(f"`{each}`" for each in rule.resources)
    return listed if rule.name is None else f"{listed} called `{rule.name}`"


GENERATED: dict[str, Callable[[], str]] = {
    "reference.md": reference,
    "cli.md": commands,
    "kubectl.md": kubectl,
    "conditions.md": conditions,
    "rbac.md": rights,
}
"""Files in docs/ and what writes them."""


def main() -> None:
    """Write all of them."""
    for name, write in GENERATED.items():
        (DOCS / name).write_text(write())


if __name__ == "__main__":
    main()
