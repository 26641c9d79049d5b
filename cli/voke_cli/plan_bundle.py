"""``voke plan-bundle``: the part of ``voke run`` that reads files, as a process of its own.

Parsing YAML takes a second per few hundred plants and leaves a large heap behind. So the gateway has it done
by a child that ends, and reads the bundle that it leaves. The child says on standard output what came of it.
"""

from __future__ import annotations

import json
import os
import sys
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated

import typer


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What came of planning."""

    ok: bool = True
    """There is a bundle, as far as possible."""
    failure: str = ""
    """Why planning itself failed."""
    problems: tuple[tuple[str, str], ...] = ()
    """Severity and text for people."""
    per_plant_metrics: bool = True
    per_connection_metrics: bool = False
    renewed: tuple[str, ...] = ()
    """Plants whose certificate is another one than before."""
    look_again: float | None = None
    """When a certificate has to be seen to, though no file changes: epoch seconds."""

    def text(self) -> str:
        """As :meth:`parse` takes it."""
        return json.dumps(asdict(self))

    @classmethod
    def parse(cls, text: str | bytes) -> Outcome:
        """What the child said.

        Raises:
            ValueError: that is not what :meth:`text` gives; it ended before it could say anything.
        """
        try:
            given = json.loads(text)
            problems = tuple((str(severity), str(text)) for severity, text in given["problems"])
            return cls(**{**given, "problems": problems, "renewed": tuple(map(str, given["renewed"]))})
        except (TypeError, KeyError) as error:
            raise ValueError("not the outcome of planning") from error


def command(files: list[Path], state: Path, bundle: Path, *, first: bool) -> list[str]:
    """The command line of the child."""
    how = ["--first"] if first else []
    named = [str(file) for file in files]
    arguments = ["plan-bundle", "--state", str(state), "--bundle", str(bundle), *how, "--", *named]
    return [sys.executable, "-m", "voke_cli", *arguments]


def plan_bundle(
    files: Annotated[list[Path], typer.Argument()],
    state: Annotated[Path, typer.Option()],
    bundle: Annotated[Path, typer.Option()],
    first: Annotated[bool, typer.Option("--first")] = False,  # noqa: FBT002 - a flag
) -> None:
    """Write the bundle that these files mean. Used by voke run, which holds the state directory."""
    if not first:
        os.nice(10)  # the gateway polls meanwhile
    typer.echo(_plan(files, state, bundle, first=first).text())


def _plan(files: list[Path], state: Path, bundle: Path, *, first: bool) -> Outcome:
    from datetime import UTC, datetime

    from voke_api.bundle import Bundle, pack
    from voke_cli.bundle_directory import read_bundle, write_bundle
    from voke_cli.check import problem_text
    from voke_cli.prepare import prepare, prepare_again
    from voke_cli.state import State, StateError
    from voke_operator.credentials.material import UnusableIssuerError

    keep, now = State(state), datetime.now(UTC)
    before = read_bundle(bundle) or Bundle(format_version=1, generation=0, plants=(), profiles={})
    try:
        prepared = prepare(files, keep, now=now) if first else prepare_again(files, keep, before, now=now)
        if prepared.ok or not first:
            notes = {name: problem_text(problem) for name, problem in prepared.notes.items()}
            packed = pack(
                prepared.plants,
                prepared.profiles,
                generation=before.generation + 1,
                notes=notes,
                max_bytes=None,
            )
            write_bundle(bundle, packed)
    except (StateError, UnusableIssuerError) as error:
        return Outcome(ok=False, failure=str(error))
    except OSError as error:
        return Outcome(ok=False, failure=f"cannot write {error.filename}: {error.strerror}")
    pools = prepared.pools.values()
    return Outcome(
        ok=prepared.ok or not first,
        problems=tuple((str(each.severity), problem_text(each)) for each in prepared.problems),
        per_plant_metrics=all(pool.spec.metrics.per_plant for pool in pools),
        per_connection_metrics=any(pool.spec.metrics.per_connection for pool in pools),
        renewed=tuple(keep.renewed),
        look_again=None if keep.look_again is None else keep.look_again.timestamp(),
    )
