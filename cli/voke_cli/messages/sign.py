"""``voke sign``: signed messages for people who write firmware, to compare theirs with."""

from __future__ import annotations

import sys
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from voke_cli.arguments import KeyFile, KeyOfPlant, StateDirectory, TermsFiles, content_of

if TYPE_CHECKING:
    from voke_gateway.protocol.sign import Signer


class SignedKind(StrEnum):
    """What is signed."""

    TELEMETRY = "telemetry"
    COMMAND = "command"
    ACK = "ack"
    ALARM = "alarm"


class NotSignableError(ValueError):
    """The document is not one that Voke takes; each line of the message is one reason."""


def sign(
    kind: Annotated[SignedKind, typer.Argument(help="What the document is.")],
    file: Annotated[
        Path | None,
        typer.Argument(help="A JSON document without sig; left out or -: standard input.", metavar="FILE"),
    ] = None,
    *,
    plant_id: Annotated[str | None, typer.Option(help="Voke's id of the plant.", metavar="UUID")] = None,
    key_file: KeyFile = None,
    plant: KeyOfPlant = None,
    state: StateDirectory = None,
    with_topic: Annotated[
        bool, typer.Option("--with-topic", help="Print the topic before the message.")
    ] = False,
    files: TermsFiles = None,
    text: Annotated[
        bool, typer.Option("--text", help="Print the text that is signed instead of the message.")
    ] = False,
) -> None:
    """Sign a JSON document as a plant does, a command as Voke does, and print the message.

    ts and n (a command's cmdId) are added where the document has none. --text shows what goes through
    the HMAC. The message is in canonical form, which Voke does not ask for.

    Exit status: 0 signed, 1 not a document that Voke takes, 2 wrong usage.
    """
    from voke_cli.messages.signing_key import NoKeyError, find_keys
    from voke_cli.messages.terms import NoTermsError, read_terms
    from voke_gateway.protocol.sign import Signer

    try:
        keys = find_keys(key_file=key_file, plant=plant, plant_id=plant_id, state=state, topic_id=None)
        terms = read_terms(files or []).of(keys.plant_id)
    except (NoKeyError, NoTermsError) as error:
        typer.echo(str(error), err=True)
        raise typer.Exit(2) from None
    if keys.plant_id is None:
        typer.echo("whose message is it? Give --plant-id", err=True)
        raise typer.Exit(2)
    payload = content_of(file)
    try:
        message, signed = signed_message(kind, payload, Signer(keys.plant_id, keys.key), _added(kind))
    except NotSignableError as error:
        typer.echo(str(error), err=True)
        raise typer.Exit(1) from None
    if text:
        line = signed
    elif with_topic:
        line = f"cpi/{keys.plant_id}/{terms.topics[kind.value]} ".encode() + message
    else:
        line = message
    sys.stdout.buffer.write(line + b"\n")
    sys.stdout.buffer.flush()


def _added(kind: SignedKind) -> dict[str, Any]:
    """What nobody has to think of: now, and something that no other message has."""
    import secrets
    import time
    import uuid

    from voke_gateway.protocol.envelope import new_nonce

    now = int(time.time() * 1000)
    if kind is SignedKind.COMMAND:
        return {"ts": now, "cmdId": str(uuid.UUID(int=secrets.randbits(128), version=4))}
    return {"ts": now, "n": new_nonce()}


def signed_message(
    kind: SignedKind, payload: bytes, signer: Signer, added: dict[str, Any]
) -> tuple[bytes, bytes]:
    """The message, and the text that its signature covers.

    Args:
        kind: What ``payload`` is.
        payload: A JSON object.
        signer: Signs for the plant.
        added: Members for where the document has none: ts and n, a command's ts and cmdId.

    Raises:
        NotSignableError: the document breaks rules of the envelope, is too large, or has a sig already.
    """
    from voke_cli.messages.envelopes import faults
    from voke_cli.messages.mistakes import Signed, signed_text
    from voke_cli.messages.renderings import parse_wire
    from voke_gateway.protocol.canonical import NotJsonError, canonical, parse
    from voke_gateway.protocol.envelope import MAX_BYTES

    try:
        given = parse(payload)
    except NotJsonError as error:
        raise NotSignableError(f"not JSON: {error}") from None
    if not isinstance(given, dict):
        raise NotSignableError("a message is a JSON object")
    if "sig" in given:
        raise NotSignableError("the document has a sig already; take it out")
    document = added | given
    wrong = [fault.message for fault in faults(kind.value, document)]
    if wrong:
        raise NotSignableError("\n".join(wrong))
    message = canonical(document | {"sig": _signature(kind, document, signer)})
    if len(message) > MAX_BYTES:
        raise NotSignableError(f"the message has {len(message)} bytes, Voke's broker takes {MAX_BYTES}")
    wire = message.decode()
    signed = signed_text(Signed(kind.value, signer.plant_id, parse_wire(wire), wire, b""))
    return message, signed.encode()


def _signature(kind: SignedKind, document: dict[str, Any], signer: Signer) -> str:
    from voke_gateway.protocol.canonical import canonical

    ts = int(document["ts"])
    match kind:
        case SignedKind.TELEMETRY:
            body = {key: value for key, value in document.items() if key not in {"ts", "n"}}
            return signer.telemetry(ts, document["n"], canonical(body))
        case SignedKind.COMMAND:
            p = canonical(document.get("p", {}))
            return signer.command(document["cmdId"], ts, document["type"], p)
        case SignedKind.ACK:
            return signer.ack(document["cmdId"], ts, document["st"], document["n"])
        case SignedKind.ALARM:
            ids = document["n"], document["ev"], document["alarmId"]
            return signer.alarm(ts, *ids, int(document["code"]), int(document["sev"]))
