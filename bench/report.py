"""Results as a table for people and as JSON for programs."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from pathlib import Path

from bench.scenarios import Result

_VERDICT = {True: "yes", False: "**no**", None: ""}


def table(results: Sequence[Result]) -> str:
    """Markdown that is also readable as it is."""
    rows = [("Figure", "Measured", "Target", "Met", "Disturbance")]
    rows += [
        (result.figure, result.measured, result.target, _VERDICT[result.met], result.noise)
        for result in results
    ]
    widths = [max(len(row[column]) for row in rows) for column in range(5)]
    lines = [
        "| " + " | ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) + " |"
        for row in rows
    ]
    lines.insert(1, "|" + "|".join("-" * (width + 2) for width in widths) + "|")
    return "\n".join(lines)


def machine_lines(machine: dict[str, object]) -> str:
    """Where and with what the figures were taken."""
    versions = machine["versions"]
    assert isinstance(versions, dict)
    return (
        f"{machine['cpu']}, {machine['cores']} cores, {machine['memoryMiB']} MiB, Linux {machine['kernel']}\n"
        f"Python {machine['python']}, "
        + ", ".join(f"{name} {version}" for name, version in versions.items())
        + f"\ncommit {machine['commit']}, {machine['at']}, `{machine['command']}`"
    )


def write_json(path: Path, machine: dict[str, object], results: Sequence[Result]) -> None:
    """Everything, for comparing runs."""
    path.parent.mkdir(parents=True, exist_ok=True)
    document = {"machine": machine, "results": [dataclasses.asdict(result) for result in results]}
    path.write_text(json.dumps(document, indent=1, ensure_ascii=False) + "\n")
