"""``kubectl voke credentials``: what to register at Voke, that it was registered, and that a key is to be replaced."""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from voke_cli.kubectl.options import (
    AsJson,
    Context,
    Kubeconfig,
    Namespace,
    Plant,
    Yes,
    agreed,
    cluster,
)
from voke_cli.terminal import printable

if TYPE_CHECKING:  # what is imported here takes longer than the rest of the command line
    from voke_cli.kubectl.edge import Kubectl
    from voke_cli.kubectl.plants import PlantView
    from voke_operator.credentials.registration import Registration

SEEN_WITHIN: Final = 60.0
"""Seconds in which the operator writes what follows from an annotation, if it runs."""

_KINDS: Final = ("hmac", "mtls", "jwt")


class Kind(StrEnum):
    """A key that is generated."""

    HMAC = "hmac"
    MTLS = "mtls"
    JWT = "jwt"


def credentials(
    *,
    plant: Plant,
    export: Annotated[
        Path | None,
        typer.Option(
            help="Write what Voke wants into this directory, which only you may get into (0700).",
            metavar="DIR",
        ),
    ] = None,
    csr: Annotated[
        bool, typer.Option("--csr", help="Print the certificate request, and nothing else.")
    ] = False,
    show_hmac: Annotated[
        bool, typer.Option("--show-hmac", help="Print the HMAC secret, and nothing else.")
    ] = False,
    registered: Annotated[
        bool, typer.Option("--registered", help="Say that Voke knows the keys that are in force now.")
    ] = False,
    exported: Annotated[
        Path | None,
        typer.Option(
            "--from",
            help="With --registered: only if they are the keys that --export wrote into this directory.",
            metavar="DIR",
        ),
    ] = None,
    replace: Annotated[
        list[Kind] | None,
        typer.Option(
            help="Have a new key made in place of this one; may be repeated.", metavar="hmac|mtls|jwt"
        ),
    ] = None,
    yes: Yes = False,
    as_json: AsJson = False,
    namespace: Namespace = None,
    context: Context = None,
    kubeconfig: Kubeconfig = None,
) -> None:
    """Show what to register at Voke for the keys that the operator has generated for a Plant.

    Key material is not printed unless --show-hmac asks for it; --export writes files. When Voke knows the keys, say
    so with --registered --from DIR: the condition Registered turns True, unless a key was replaced since it was exported.
    Without --from what is confirmed are the keys that the Plant's status names at that moment.
    --replace has the operator make another key, once; of an HMAC or JWT key Voke has to be told, and refuses what the
    plant sends until then.

    Exit status: 0 done, 1 there is nothing to show or the cluster does not allow it, 2 wrong usage.
    """
    if sum([export is not None, csr, show_hmac, registered, bool(replace)]) > 1:
        raise typer.BadParameter(
            "one at a time", param_hint="--export, --csr, --show-hmac, --registered, --replace"
        )
    if exported is not None and not registered:
        raise typer.BadParameter("it goes with --registered", param_hint="--from")
    with cluster(namespace=namespace, context=context, kubeconfig=kubeconfig) as kubectl:
        if registered:
            confirm(kubectl, plant, exported, as_json=as_json)
        elif replace:
            exchange(kubectl, plant, [str(each) for each in replace], yes=yes, as_json=as_json)
        else:
            _show(registration_of(kubectl, plant), export, csr=csr, show_hmac=show_hmac, as_json=as_json)


def registration_of(kubectl: Kubectl, name: str) -> Registration:
    """What Voke has to know of a Plant's generated keys, as far as they are those in force.

    Raises:
        KubectlError: there are none yet, or the Secret holds others.
    """
    from voke_cli.kubectl.edge import KubectlError
    from voke_operator import names
    from voke_operator.credentials.ids import format_ids
    from voke_operator.credentials.keys import find
    from voke_operator.credentials.registration import KEY_IDS, describe
    from voke_operator.credentials.secret import from_document

    view = _plant(kubectl, name)
    generated = _generated(view)
    files: dict[str, bytes] = {}
    if generated:
        held = from_document(kubectl.secret(view.namespace, names.plant_secret(view.name))).data
        for kind in _KINDS:
            if kind not in generated:
                continue
            key_id = generated[kind]
            key = next(find(kind, (held,), view.plant_id), None)
            if key is None or key.id != key_id:
                raise KubectlError(
                    f"the Secret {names.plant_secret(view.name)} does not hold the {kind} key that is in force ({key_id}): "
                    "do not register what it holds. The operator restores it; try again in a moment"
                )
            files |= key.files
    method = str(view.document["spec"]["auth"]["method"])
    found = describe(view.name, view.plant_id, method, files, issuer=None, now=datetime.now(UTC))
    facts = {**found.facts, "namespace": view.namespace}
    facts |= {f"{kind}KeyId": key_id for kind, key_id in generated.items()}
    ids = {KEY_IDS: f"{format_ids(generated)}\n".encode()} if generated else {}
    return type(found)(facts=facts, files={**found.files, **ids})


def confirm(kubectl: Kubectl, name: str, exported: Path | None, *, as_json: bool) -> None:
    """Say that Voke knows the keys in force, and show what the operator makes of it.

    Raises:
        KubectlError: they are not those that were exported into the directory ``exported``, if one is given.
    """
    from voke_cli.kubectl.waiting import until
    from voke_operator.credentials.registration import confirmation
    from voke_operator.names import REGISTERED_ANNOTATION

    view = _plant(kubectl, name)
    if not _generated(view):
        typer.echo("nothing was generated for this Plant: Voke is taken to know what its Secrets hold")
        return
    if exported is not None:
        _compare(view, exported)
    ids = confirmation(view.in_use)
    kubectl.annotate(view.namespace, view.name, {REGISTERED_ANNOTATION: ids})
    if not as_json:
        typer.echo(printable(f"confirmed: Voke knows {ids}"))
    after = until(
        kubectl, view, lambda found: found.condition("Registered").status == "True", within=SEEN_WITHIN
    )
    if not as_json and after.condition("Registered").status != "True":
        typer.echo(
            f"the operator has not taken that up within {SEEN_WITHIN:.0f} s; it does as soon as it runs. Till then:"
        )
    _show_condition(after, as_json=as_json)


def _compare(view: PlantView, exported: Path) -> None:
    """Whether what was exported is in force still. A renewed certificate is: it is known by its issuer and its name.

    Raises:
        KubectlError: it is not, or it cannot be told.
    """
    from voke_cli.kubectl.edge import KubectlError
    from voke_operator.credentials.ids import parse_ids
    from voke_operator.credentials.registration import KEY_IDS

    try:
        said = parse_ids((exported / KEY_IDS).read_text(errors="replace"))
    except OSError as error:
        raise KubectlError(
            f"cannot read {exported / KEY_IDS}, which --export writes: {error.strerror}"
        ) from None
    for kind, key_id in _generated(view).items():
        if kind not in said or (kind != "mtls" and said[kind] != key_id):
            was = f"the one in {exported} is {said[kind]}" if kind in said else f"{exported} has none"
            raise KubectlError(
                f"nothing was confirmed: the {kind} key in force is {key_id}, and {was}. Export anew, register at "
                f"Voke what is there then, and say so again: kubectl voke credentials {view.name} -n {view.namespace} "
                f"--export {shlex.quote(str(exported))}"
            )


def exchange(kubectl: Kubectl, name: str, kinds: Sequence[str], *, yes: bool, as_json: bool) -> None:
    """Have new keys made, and show which ones take the place of the old."""
    from voke_cli.kubectl.edge import KubectlError
    from voke_cli.kubectl.waiting import until
    from voke_operator.credentials.ids import parse_words
    from voke_operator.names import REPLACE_ANNOTATION

    view = _plant(kubectl, name)
    in_force = _generated(view)
    for kind in kinds:
        if kind not in in_force:
            of_secret = next((each for each in view.in_use if each.name == kind), None)
            raise KubectlError(
                f"the {kind} key of {view.name} comes from a Secret: replace it there"
                if of_secret is not None
                else f"{view.name} has no {kind} key; it has {', '.join(in_force) or 'none that is generated'}"
            )
    old = {kind: in_force[kind] for kind in kinds}
    agreed(
        f"Replace the {' and the '.join(f'{kind} key {key_id}' for kind, key_id in old.items())} of "
        f"{view.namespace}/{view.name}? "
        + (
            "Brokers that trust its CA take the new certificate."
            if old.keys() == {"mtls"}
            else "Voke refuses the plant's messages until it knows the new key."
        ),
        yes=yes,
    )
    # What somebody else asked for and is not done yet stays asked for.
    asked = [each for each in parse_words(view.annotation(REPLACE_ANNOTATION)) if each in in_force.values()]
    kubectl.annotate(
        view.namespace, view.name, {REPLACE_ANNOTATION: ",".join(dict.fromkeys([*asked, *old.values()]))}
    )
    after = until(kubectl, view, lambda found: not _still(old, found), within=SEEN_WITHIN)
    if left := _still(old, after):
        raise KubectlError(
            f"the operator has not made a new {' and a new '.join(left)} key within {SEEN_WITHIN:.0f} s; it will when it "
            f"can. CredentialsReady: {after.condition('CredentialsReady').message or 'says nothing'}"
        )
    if not as_json:
        for kind, key_id in old.items():
            typer.echo(printable(f"{kind} key {_generated(after)[kind]} takes the place of {key_id}"))
    _show_condition(after, as_json=as_json)


def _still(old: Mapping[str, str], found: PlantView) -> list[str]:
    """Which of these keys are in force still."""
    return [kind for kind, key_id in old.items() if _generated(found).get(kind, key_id) == key_id]


def _plant(kubectl: Kubectl, name: str) -> PlantView:
    """The Plant, if it has credentials yet.

    Raises:
        KubectlError: it has none.
    """
    from voke_cli.kubectl.edge import KubectlError
    from voke_cli.kubectl.plants import PlantView

    view = PlantView(kubectl.plant(name))
    if not view.in_use:
        said = view.condition("CredentialsReady")
        why = said.message or "the operator has not looked at it yet: does it run, and watch this namespace?"
        raise KubectlError(f"{view.name} has no credentials yet: {why}")
    return view


def _generated(view: PlantView) -> dict[str, str]:
    """Ids of the generated keys in force."""
    return {
        each.name: each.key_id
        for each in view.in_use
        if each.source == "Generated" and each.name != "password"
    }


def _show(
    registration: Registration, export: Path | None, *, csr: bool, show_hmac: bool, as_json: bool
) -> None:
    from voke_cli.credentials import show, write
    from voke_cli.kubectl.edge import KubectlError
    from voke_cli.private_file import NotPrivateError
    from voke_operator.credentials.material import HMAC_KEY
    from voke_operator.credentials.registration import REQUEST

    if csr or show_hmac:
        file = REQUEST if csr else HMAC_KEY
        if file not in registration.files:
            what = "client certificate" if csr else "HMAC key"
            raise KubectlError(f"no {what} was generated for {registration.facts['name']}")
        typer.echo(registration.files[file].decode().rstrip("\n"))
        return
    if export is not None:
        try:
            write(registration, export)
        except NotPrivateError as error:
            raise KubectlError(str(error)) from None
        except OSError as error:
            raise KubectlError(f"cannot write {error.filename}: {error.strerror}") from None
    show(registration, export, as_json=as_json)
    if registration.files and not as_json:
        name, namespace = registration.facts["name"], registration.facts["namespace"]
        which = "" if export is None else f" --from {shlex.quote(str(export))}"
        typer.echo(
            f"\nWhen Voke knows them: kubectl voke credentials {name} -n {namespace} --registered{which}"
        )


def _show_condition(view: PlantView, *, as_json: bool) -> None:
    found = view.condition("Registered")
    if as_json:
        keys = _generated(view)
        said = {"type": found.type, "status": found.status, "reason": found.reason, "message": found.message}
        typer.echo(json.dumps({"name": view.name, "keyIds": keys, "condition": said}))
        return
    why = f"({found.reason or 'not seen'}){': ' if found.message else ''}{found.message}"
    typer.echo(printable(f"Registered is {found.status} {why}"))
