"""``voke verify``: what Voke would do with a captured message, and why."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer

from voke_cli.arguments import KeyFile, KeyOfPlant, StateDirectory, TermsFiles, content_of, seconds
from voke_cli.terminal import printable

if TYPE_CHECKING:
    from voke_cli.messages.captured import Captured
    from voke_cli.messages.diagnosis import Diagnosis, Finding, Known
    from voke_cli.messages.signing_key import Keys
    from voke_cli.messages.terms import Terms

_SIGNS = {"ok": "ok", "refused": "REFUSED", "warning": "warning", "unchecked": "-"}
_COLOURS = {"ok": "green", "refused": "bold red", "warning": "yellow", "unchecked": "dim"}
_MS_DIGITS = 13


def verify(
    file: Annotated[
        Path | None,
        typer.Argument(
            help="Captured messages, 'topic payload' or a payload; left out or -: standard input.",
            metavar="FILE",
        ),
    ] = None,
    *,
    plant_id: Annotated[
        str | None, typer.Option(help="Voke's id of the plant; left out: the topic's.", metavar="UUID")
    ] = None,
    key_file: KeyFile = None,
    plant: KeyOfPlant = None,
    state: StateDirectory = None,
    topic: Annotated[str | None, typer.Option(help="Topic of a payload captured without it.")] = None,
    at: Annotated[
        str | None,
        typer.Option(help="When it arrived: ISO 8601 or Unix time.", show_default="now", metavar="TIME"),
    ] = None,
    window: Annotated[
        str | None,
        typer.Option(
            help="How far ts may be from then.", show_default="that of --files, or 30s, a command's 5m"
        ),
    ] = None,
    files: TermsFiles = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object instead of text.")] = False,
) -> None:
    """Say whether Voke takes a captured message, and if not, what to change.

    Takes what mosquitto_sub -v prints. A signature that does not fit is held against those that common
    mistakes lead to (number form, key order, white space, escapes, ts in seconds, line end in the key, …).
    For a command it is the plant that would take it or not. No key is printed. A pool with topics of its own
    or another replayWindow, and a Plant with another commandMaxAge, are named with --files.

    Exit status: 0 every message is taken, 1 one is not, 2 wrong usage or nothing to check.
    """
    import time

    from voke_cli.messages.diagnosis import diagnose_all, plant_id_of
    from voke_cli.messages.signing_key import NoKeyError, find_keys
    from voke_cli.messages.terms import NoTermsError, read_terms

    now = time.time() if at is None else _time(at)
    given = None if window is None else seconds(window, "--window")
    messages = _messages(file, topic)
    found: list[Diagnosis] = []
    try:
        declared = read_terms(files or [])
        for group in _by_plant(messages, plant_id, plant):
            about = plant_id_of(group[0])
            keys = find_keys(key_file=key_file, plant=plant, plant_id=plant_id, state=state, topic_id=about)
            terms = declared.of(keys.plant_id or about)
            found += diagnose_all(group, _known(keys, terms, at=now, window=given))
    except (NoKeyError, NoTermsError) as error:
        _usage(str(error))
    if as_json:
        typer.echo(json.dumps(as_document(found), ensure_ascii=True))
    else:
        _print(found)
    raise typer.Exit(0 if all(each.accepted for each in found) else 1)


def _messages(file: Path | None, topic: str | None) -> list[Captured]:
    """What was captured; ``topic`` is that of a payload without one.

    Raises:
        typer.Exit: nothing was, which has been said.
    """
    from dataclasses import replace

    from voke_cli.messages.captured import captured

    messages = captured(content_of(file))
    if not messages:
        _usage("there is no message in the input; it takes what mosquitto_sub -v prints")
    return messages if topic is None else [replace(each, topic=each.topic or topic) for each in messages]


def _known(keys: Keys, terms: Terms, *, at: float, window: float | None) -> Known:
    """What messages of one plant are held against; ``window``: instead of what its terms say."""
    from voke_cli.messages.diagnosis import Known

    return Known(
        key=keys.key,
        plant_id=keys.plant_id,
        other_keys=keys.others,
        at=at,
        window=terms.replay_window if window is None else window,
        command_window=terms.command_max_age if window is None else window,
        topics=terms.topics,
    )


def as_document(found: list[Diagnosis]) -> dict[str, Any]:
    """The findings as JSON; a contract for scripts."""
    return {
        "accepted": all(each.accepted for each in found),
        "messages": [
            {
                "topic": each.topic,
                "plantId": each.plant_id,
                "kind": each.kind,
                "accepted": each.accepted,
                "findings": [_finding(finding) for finding in each.findings],
            }
            for each in found
        ],
    }


def _finding(finding: Finding) -> dict[str, Any]:
    return {
        "check": str(finding.check),
        "outcome": str(finding.outcome),
        "message": finding.message,
        "mistakes": list(finding.mistakes),
    }


def _by_plant(messages: list[Captured], plant_id: str | None, plant: str | None) -> list[list[Captured]]:
    """Messages that are checked with one key, in their order."""
    from voke_cli.messages.diagnosis import plant_id_of

    if plant_id is not None or plant is not None:
        return [messages]
    groups: dict[str | None, list[Captured]] = {}
    for message in messages:
        groups.setdefault(plant_id_of(message), []).append(message)
    return list(groups.values())


def _usage(message: str) -> NoReturn:
    typer.echo(message, err=True)
    raise typer.Exit(2)


def _time(text: str) -> float:
    """Seconds since the epoch."""
    from datetime import UTC, datetime

    digits = text.replace(".", "", 1)
    if digits.isascii() and digits.isdigit():
        return float(text) / (1000 if len(text) == _MS_DIGITS else 1)
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise typer.BadParameter(
            "a time is written 2026-11-22T09:30:00Z, or as Unix time in seconds or milliseconds",
            param_hint="--at",
        ) from None
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()


def _print(found: list[Diagnosis]) -> None:
    from rich.console import Console
    from rich.text import Text

    console = Console(soft_wrap=True, highlight=False)
    for number, diagnosis in enumerate(found):
        if number:
            console.print()
        console.print(Text(_heading(diagnosis)))
        for finding in diagnosis.findings:
            outcome = str(finding.outcome)
            line = Text(f"  {finding.check:10}")
            line.append(f"{_SIGNS[outcome]:9}", style=_COLOURS[outcome])
            line.append(printable(finding.message))
            console.print(line)


def _heading(diagnosis: Diagnosis) -> str:
    what = diagnosis.kind or "message"
    article = "an" if what in {"ack", "alarm"} else "a"
    subject = "telemetry" if what == "telemetry" else f"{article} {what}"
    whose = f" of plant {diagnosis.plant_id}" if diagnosis.plant_id else ""
    if diagnosis.kind == "command":
        verdict = "the plant takes it" if diagnosis.accepted else "the plant does not carry it out"
    else:
        verdict = "Voke takes it" if diagnosis.accepted else "Voke does not take it"
    return printable(f"{verdict}: {subject}{whose}")
