"""``voke credentials``: what has to be registered at Voke for a plant, and the files to do it with."""

from __future__ import annotations

import json
from collections.abc import Collection
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from voke_cli.arguments import StateDirectory
from voke_cli.private_file import NotPrivateError, private_directory, write_private

if TYPE_CHECKING:  # key material takes longer to import than the rest of the command line
    from voke_cli.state import KnownPlant, State
    from voke_operator.credentials.registration import Registration


def credentials(
    plant: Annotated[
        str | None, typer.Argument(help="Name of the Plant; left out: all are listed.", metavar="PLANT")
    ] = None,
    state: StateDirectory = None,
    export: Annotated[
        Path | None,
        typer.Option(help="Write what Voke wants into this directory, which only you may get into (0700)."),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object; no key material.")] = False,  # noqa: FBT002 - a flag
) -> None:
    """Show what to register at Voke for the credentials that voke run has generated.

    Key material is not printed; --export writes it. Exit status: 0 done, 1 not known or not writable.
    """
    from voke_cli.state import State, StateError, default_directory

    directory = State(state or default_directory())
    try:
        known = {each.name: each for each in directory.known()}
        if plant is None:
            _list(list(known.values()), as_json=as_json)
            return
        if plant not in known:
            typer.echo(_not_known(plant, directory, known), err=True)
            raise typer.Exit(1)
        registration = describe(directory, known[plant])
        if export is not None:
            write(registration, export)
    except ValueError:
        typer.echo(f"what {directory.directory} holds for {plant} is damaged: restore it", err=True)
        raise typer.Exit(1) from None
    except (StateError, NotPrivateError, OSError) as error:
        typer.echo(str(error), err=True)
        raise typer.Exit(1) from None
    show(registration, export, as_json=as_json)


def _not_known(plant: str, state: State, known: Collection[str]) -> str:
    names = ", ".join(sorted(known)) or "none yet"
    return (
        f"{state.directory} has no credentials of {plant!r} (it has: {names}). They are made by the first voke "
        "run with that Plant; is --state the same?"
    )


def describe(state: State, plant: KnownPlant) -> Registration:
    """What Voke has to know of a plant whose material is in ``state``."""
    from voke_operator.credentials import registration
    from voke_operator.credentials.material import TLS_CERTIFICATE

    held, now = state.material(plant.name), datetime.now(UTC)
    issuer = state.fleet_ca(now) if TLS_CERTIFICATE in held else None
    return registration.describe(plant.name, plant.plant_id, plant.method, held, issuer=issuer, now=now)


def write(registration: Registration, directory: Path) -> None:
    """Write the files, each readable by its owner only; existing ones are replaced.

    Raises:
        NotPrivateError: others could get at them there.
        OSError: they cannot be written.
    """
    with private_directory(directory) as descriptor:
        for name, content in registration.files.items():
            write_private(Path(name), content, directory=descriptor)


def _list(known: list[KnownPlant], *, as_json: bool) -> None:
    if as_json:
        rows = [{"name": each.name, "plantId": each.plant_id, "method": each.method} for each in known]
        typer.echo(json.dumps(rows))
        return
    if not known:
        typer.echo("there are none here: voke run makes them, in the directory of its --state", err=True)
        return
    width = max(len("PLANT"), *(len(each.name) for each in known))
    typer.echo(f"{'PLANT':{width}}  {'PLANT ID':36}  METHOD")
    for each in known:
        typer.echo(f"{each.name:{width}}  {each.plant_id:36}  {each.method}")


def show(registration: Registration, export: Path | None, *, as_json: bool) -> None:
    """Print the facts and which files there are; no key material."""
    from voke_operator.credentials.registration import FORMS

    if as_json:
        answer: dict[str, Any] = {**registration.facts, "files": sorted(registration.files)}
        if export is not None:
            answer["exportedTo"] = str(export)
        typer.echo(json.dumps(answer))
        return
    for key, value in registration.facts.items():
        typer.echo(f"{key:20} {value}")
    if not registration.files:
        typer.echo("\nNothing was generated for this plant: all its credentials come from Secrets.")
        return
    typer.echo(f"\n{'Exported to ' + str(export) if export else 'To be exported with --export DIR'}:")
    for name in registration.files:
        typer.echo(f"  {name:16} {FORMS[name]}")
    now = datetime.now(UTC)
    expiry = registration.facts.get("certificateNotAfter")
    if expiry is not None and datetime.fromisoformat(expiry) < now:
        typer.echo("\nThe certificate has expired.", err=True)
