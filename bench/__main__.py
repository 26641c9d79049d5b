"""``python -m bench``: everything, about a quarter of an hour. ``--quick``: what a poll costs, two minutes."""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import uvloop

from bench.machine import choose_cores, describe, prepare
from bench.report import machine_lines, table, write_json
from bench.scenarios import (
    Bench,
    Capacity,
    Effort,
    Result,
    capacity,
    cost,
    half_load,
    idle,
    overload,
    reload,
    silent,
)
from bench.stage import Load, StageError
from bench.subject import SubjectError

BASELINE = Path(__file__).with_name("baseline.json")
SCENARIOS = ("capacity", "half", "idle", "overload", "silent", "reload")
_SHAPES = {10: (4000, 5000), 1: (1500, 2000)}
"""By PLCs to a plant: where the ladder begins, and the target."""


_AT_CAPACITY: dict[str, Callable[[Bench, Capacity], Coroutine[Any, Any, list[Result]]]] = {
    "half": half_load,
    "overload": overload,
    "silent": silent,
    "reload": reload,
}
"""What is asked once the capacity is known."""


async def everything(bench: Bench, chosen: frozenset[str], known: dict[int, int]) -> list[Result]:
    """The scenarios asked for. ``known``: capacities that need not be measured again."""
    results: list[Result] = []
    for per_plant, (guess, target) in _SHAPES.items():
        found = Capacity(known.get(per_plant, target), per_plant, None, ())
        if "capacity" in chosen and per_plant not in known:
            try:
                found, lines = await capacity(bench, per_plant, guess=guess, target=target)
            except (SubjectError, OSError) as error:
                lines = [_failed(f"PLCs per core, {per_plant} to a plant", error)]
            results += lines
        if not found.plcs:
            continue
        for name, scenario in _AT_CAPACITY.items():
            if name in chosen and (per_plant > 1 or name == "half"):
                results += await _tried(f"{name}, {per_plant} to a plant", scenario(bench, found))
    if "idle" in chosen:
        results += await _tried("idle", idle(bench))
    return results


async def _tried(name: str, scenario: Coroutine[Any, Any, list[Result]]) -> list[Result]:
    """Its results, or that it could not be carried out: the others still count."""
    try:
        return await scenario
    except (StageError, SubjectError, OSError, TimeoutError) as error:
        return [_failed(name, error)]


def _failed(name: str, error: Exception) -> Result:
    return Result(name, f"could not be measured: {str(error).splitlines()[-1]}", met=False)


async def quick(bench: Bench, *, keep: bool) -> list[Result]:
    """CPU of a poll in turns of a calibrating loop, beside what it was when the baseline was taken.

    ``keep``: make this run the baseline.
    """
    baseline = json.loads(BASELINE.read_text()) if BASELINE.exists() else {}
    results, costs = [], {}
    for name, load in (("ten to a plant", Load(1000, 10)), ("one to a plant", Load(300, 1))):
        window = await cost(bench, load, seconds=8.0, windows=2)
        costs[name] = round(window.relative_cost, 3)
        before = baseline.get(name)
        change = f", {window.relative_cost / before:.2f} × the baseline" if before else ""
        results.append(
            Result(
                f"a poll, {name} ({load.plcs} PLCs)",
                f"{window.relative_cost:.2f} turns of the loop{change}",
                noise=f"{window.cpu_per_poll:.0f} µs, {window.calibration / 1000:.1f} k turns/s, "
                f"strangers {window.strangers:.0%}",
                values={"relativeCost": window.relative_cost, "cpuPerPoll": window.cpu_per_poll},
            )
        )
        p99 = 1000 * window.counted.tick_to_socket[1]
        results.append(
            Result(f"– delivered, p99 tick → socket, {name}", f"{window.counted.ratio:.2%}, {p99:.1f} ms")
        )
    if keep:
        BASELINE.write_text(json.dumps(costs, indent=2) + "\n")
    return [*results, *await idle(bench)]


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="what a poll costs, in under two minutes")
    parser.add_argument("--keep", action="store_true", help="with --quick: compare later runs with this one")
    parser.add_argument("--only", help=f"some of {','.join(SCENARIOS)}, separated by commas")
    parser.add_argument(
        "--known", default="", help="capacities measured before, as 10:6000,1:2200, instead of the ladder"
    )
    parser.add_argument("--json", type=Path, default=Path("build/bench.json"), help="where the numbers go")
    parser.add_argument(
        "--nice", type=int, default=0, help="priority of everything measured; negative needs root"
    )
    return parser.parse_args()


def main() -> None:
    arguments = _arguments()
    chosen = frozenset(arguments.only.split(",")) if arguments.only else frozenset(SCENARIOS)
    if unknown := chosen - set(SCENARIOS):
        sys.exit(f"unknown: {', '.join(sorted(unknown))}; there are {', '.join(SCENARIOS)}")
    known = {
        int(k): int(v) for k, _, v in (each.partition(":") for each in arguments.known.split(",") if each)
    }
    cores = choose_cores()
    prepare(cores, arguments.nice)
    started = time.monotonic()

    def say(text: str) -> None:
        print(f"[{time.monotonic() - started:5.0f} s] {text}", file=sys.stderr, flush=True)

    if not cores.separate:
        say("one core only: gateway and measurement share it, all figures are lower bounds")
    effort = Effort(idle=10.0) if arguments.quick else Effort()
    bench = Bench(cores, say, effort)
    results = uvloop.run(
        quick(bench, keep=arguments.keep) if arguments.quick else everything(bench, chosen, known)
    )
    machine = describe("python -m bench")
    print(table(results))
    print()
    print(machine_lines(machine))
    write_json(arguments.json, machine, results)


if __name__ == "__main__":
    main()
