"""``voke check``: everything that can be known about Plant files without a PLC, a broker or a cluster."""

from __future__ import annotations

from math import isfinite
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from voke_cli.terminal import printable

if TYPE_CHECKING:  # what is imported here takes longer than the rest of the command line
    from voke_api.blocks import Block
    from voke_api.problems import Problem
    from voke_cli.judgement import Judgement, PlantReport

_BLOCKS_SHOWN = 8


def check(
    files: Annotated[
        list[Path], typer.Argument(help="YAML files or directories; - is standard input.", metavar="FILE…")
    ],
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object instead of text.")] = False,  # noqa: FBT002 - a flag
) -> None:
    """Say all that is wrong with Plant, DeviceProfile, GatewayPool and Secret documents.

    And what the plants will do: requests per PLC and second, register blocks, message size.
    Secrets are checked when they are among the files; nothing of their content is shown.

    Exit status: 0 nothing is wrong (there may be warnings), 1 there are errors, 2 wrong usage.
    """
    import json
    from datetime import UTC, datetime

    from voke_cli.judgement import judge

    judgement = judge(files, now=datetime.now(UTC))
    if as_json:
        typer.echo(json.dumps(as_document(judgement), ensure_ascii=True, allow_nan=False))
    else:
        _print(judgement)
    raise typer.Exit(0 if judgement.ok else 1)


def as_document(judgement: Judgement) -> dict[str, Any]:
    """The judgement as JSON; a contract for scripts."""
    return {
        "ok": judgement.ok,
        "problems": [problem_document(problem) for problem in judgement.problems],
        "plants": [_plant(report) for report in judgement.plants],
    }


def problem_document(problem: Problem) -> dict[str, Any]:
    """A problem as JSON."""
    from voke_api.problems import dotted

    return {
        "file": problem.file,
        "line": problem.line,
        "kind": problem.kind,
        "name": problem.name,
        "path": dotted(problem.path),
        "severity": str(problem.severity),
        "class": str(problem.problem_class),
        "message": problem.message,
        "value": _finite(problem.value),
    }


def _finite(value: Any) -> Any:
    """Infinity and NaN, which JSON lacks, as text."""
    return str(value) if isinstance(value, float) and not isfinite(value) else value


def _plant(report: PlantReport) -> dict[str, Any]:
    plant = report.plant
    return {
        "name": plant.name,
        "plantId": plant.plant_id,
        "method": plant.auth_method,
        "intervalSeconds": plant.interval,
        "readOnly": plant.read_only,
        "worstCaseBytes": report.worst_case_bytes,
        "connections": [
            {
                "name": name,
                "requestsPerSecond": round(rate, 3),
                "devices": [
                    {
                        "externalId": device.external_id,
                        "unitId": device.unit_id,
                        "requests": [
                            {"table": block.table, "address": block.address, "count": block.count}
                            for block in report.blocks[device.external_id]
                        ],
                    }
                    for device in plant.devices
                    if device.connection == name
                ],
            }
            for name, rate in report.requests_per_second.items()
        ],
    }


def _print(judgement: Judgement) -> None:
    from rich.console import Console
    from rich.text import Text

    from voke_api.resources.common import counted

    console = Console(soft_wrap=True, highlight=False)
    colours = {"error": "bold red", "warning": "yellow"}
    for problem in judgement.problems:
        line = Text(_where(problem))
        line.append(f"{problem.severity}: ", style=colours[str(problem.severity)])
        line.append(_said(problem))
        console.print(line)
    for report in judgement.plants:
        console.print(Text("\n".join(_summary(report))))
    counts = [sum(problem.severity == kind for problem in judgement.problems) for kind in colours]
    verdict = ", ".join(counted(number, kind) for number, kind in zip(counts, colours, strict=True))
    console.print(Text(f"{counted(len(judgement.plants), 'plant')} ready to run; {verdict}"))


def problem_text(problem: Problem) -> str:
    """One line for people: file, line, severity, resource, path, what is wrong and what would be right."""
    return f"{_where(problem)}{problem.severity}: {_said(problem)}"


def _where(problem: Problem) -> str:
    place = [problem.file or "", str(problem.line) if problem.line else ""]
    return "".join(f"{printable(part)}:" for part in place if part) + (" " if place[0] else "")


def _said(problem: Problem) -> str:
    import json

    from voke_api.problems import dotted

    who = " ".join(filter(None, (problem.kind, problem.name, dotted(problem.path))))
    value = (
        "" if problem.value is None else f" (found {json.dumps(_finite(problem.value), ensure_ascii=False)})"
    )
    return printable(f"{who}: {problem.message}{value}" if who else f"{problem.message}{value}")


def _summary(report: PlantReport) -> list[str]:
    from voke_api.resources.common import counted
    from voke_gateway.protocol.envelope import MAX_BYTES

    plant = report.plant
    size = f"at most {report.worst_case_bytes} bytes"
    if report.worst_case_bytes > MAX_BYTES:
        size += f", split into messages of at most {MAX_BYTES}"
    devices = counted(len(plant.devices), "device")
    lines = [f"Plant {plant.name}: {devices} every {plant.interval:g} s; a snapshot has {size}"]
    if plant.read_only:
        lines.append(f"  read-only: {plant.read_only}")
    if plant.suspend:
        lines.append("  suspended")
    for connection in plant.connections:
        tcp = connection.modbus_tcp
        endpoint = f"{tcp.host}:{tcp.port}" if tcp else ""
        rate = report.requests_per_second[connection.name]
        lines.append(f"  {connection.name} {endpoint}: {rate:.3g} requests/s")
        lines += [
            f"    {device.external_id} (unit {device.unit_id}): {_blocks(report.blocks[device.external_id])}"
            for device in plant.devices
            if device.connection == connection.name
        ]
    return [printable(line) for line in lines]


def _blocks(blocks: tuple[Block, ...]) -> str:
    shown = [
        f"{block.table} {block.address}" + (f"–{block.end - 1}" if block.count > 1 else "")
        for block in blocks[:_BLOCKS_SHOWN]
    ]
    return ", ".join(shown) + (f" and {len(blocks) - _BLOCKS_SHOWN} more" if len(blocks) > len(shown) else "")
