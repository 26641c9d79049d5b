"""A peer beside the gateway: same PLCs, broker, cores, criterion and minutes.  python -m bench.peer --help

Telegraf is built from source the first time. It has no signature and knows no plants; that it sends a message for each
plant, and over how many sessions, is configuration (``bench/telegraf_peer.py``). Of the ways to configure it three are
measured: as it comes, with one session; with a few sessions, in which it carries most; and with what Voke asks for, a
session for each plant under the plant's own identity.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from statistics import fmean

import uvloop

from bench import telegraf_peer
from bench.machine import choose_cores, describe, prepare
from bench.report import machine_lines, table, write_json
from bench.scenarios import MEGABYTE, Bench, Effort, Result, capacity, noise, to_a_plant, told, values
from bench.stage import Load, StageError, Window, stage
from bench.subject import GATEWAY, Subject, SubjectError
from tests.cluster.binaries import BinariesError

SUBJECTS = ("voke", "few", "own", "single")
FEW = 4
"""Sessions: enough that waiting for PUBACKs holds nothing up."""
_GUESSES = {10: 8000, 1: 3500}


def subject(name: str, program: Path) -> Subject:
    """By its name on the command line."""
    if name == "voke":
        return GATEWAY
    return telegraf_peer.telegraf(program, sessions={"few": FEW, "own": None, "single": 1}[name])


async def side_by_side(
    bench: Bench, subjects: Sequence[Subject], load: Load, *, seconds: float, rounds: int
) -> list[Result]:
    """What a poll costs with each, in turns, so that the machine's moods fall on all."""
    seen: dict[str, list[Window]] = {each.name: [] for each in subjects}
    for _ in range(rounds):
        for each in subjects:
            async with stage(bench.cores, load, subject=each) as running:
                window = await running.window(seconds)
            bench.say(f"{each.name}, {load.plcs} PLCs, {to_a_plant(load.per_plant)}: {told(window)}")
            seen[each.name].append(window)
    gateway = seen.get(GATEWAY.name)
    return [_cost(name, windows, gateway, load) for name, windows in seen.items()]


def _cost(name: str, windows: list[Window], gateway: list[Window] | None, load: Load) -> Result:
    """CPU in microseconds and in turns of the calibrating loop; the ratio is of the latter."""
    turns = fmean(window.relative_cost for window in windows)
    ratio = turns / fmean(window.relative_cost for window in gateway) if gateway else None
    compared = f", {ratio:.2f} × voke run" if ratio and windows is not gateway else ""
    spent = ", ".join(f"{window.cpu_per_poll:.0f}" for window in windows)
    kept = max(window.counted.tick_to_socket[1] for window in windows)
    return Result(
        f"a poll of {load.plcs:,} PLCs, {to_a_plant(load.per_plant)}: {name}",
        f"{spent} µs, {turns:.2f} turns{compared}; {windows[-1].rss / MEGABYTE:.0f} MB; "
        f"{min(window.counted.ratio for window in windows):.2%} delivered, p99 {1000 * kept:.0f} ms",
        noise=noise(*windows),
        values={"ratio": ratio, "turns": turns, "windows": [values(window) for window in windows]},
    )


async def most(bench: Bench, per_plant: int, guess: int) -> Result:
    """How many PLCs it carries on one core, by the gateway's criterion."""
    found, _ = await capacity(bench, per_plant, guess=guess, target=0)
    window, figure = found.window, f"PLCs per core, {to_a_plant(per_plant)}: {bench.subject.name}"
    if window is None:
        return Result(figure, "none confirmed")
    failed = [plcs for plcs, _ in found.rungs if plcs > found.plcs]
    beyond = f"; {min(failed):,} not" if failed else ""
    return Result(
        figure,
        f"{'' if failed and not window.measuring_side_full else '≥ '}{found.plcs:,}: {window.counted.ratio:.2%} of "
        f"{window.counted.due:,} polls, {window.cpu:.0%} of the core, {window.cpu_per_poll:.0f} µs per poll, "
        f"{window.rss / MEGABYTE:.0f} MB{beyond}",
        noise=noise(window),
        values={"plcs": found.plcs, "rungs": [list(rung) for rung in found.rungs], **values(window)},
    )


async def measure(bench: Bench, arguments: argparse.Namespace, subjects: dict[str, Subject]) -> list[Result]:
    """What was asked for, one shape of plants after the other."""
    results: list[Result] = []
    guesses = dict(each.split(":") for each in arguments.guess.split(",") if each)
    for per_plant in map(int, arguments.per_plant.split(",")):
        if "cost" in arguments.only:
            load = Load(arguments.plcs, per_plant)
            results += await side_by_side(
                bench, list(subjects.values()), load, seconds=arguments.seconds, rounds=arguments.rounds
            )
        if "capacity" in arguments.only:
            for name, each in subjects.items():
                measured = Bench(bench.cores, bench.say, bench.effort, each)
                results.append(await most(measured, per_plant, int(guesses.get(name, _GUESSES[per_plant]))))
    return results


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench.peer", description=__doc__)
    parser.add_argument("--only", default="cost,capacity", help="one of the two (default: both)")
    parser.add_argument("--subjects", default="voke,few,own", help=f"some of {','.join(SUBJECTS)}")
    parser.add_argument("--per-plant", default="10,1", help="PLCs to a plant (default: 10, then 1)")
    parser.add_argument("--plcs", type=int, default=2000, help="for the cost of a poll (default: 2000)")
    parser.add_argument("--rounds", type=int, default=2, help="of turns there (default: 2)")
    parser.add_argument("--seconds", type=float, default=10.0, help="each of them takes (default: 10)")
    parser.add_argument("--guess", default="", help="where the ladder begins, as few:8000,own:2000")
    parser.add_argument("--json", type=Path, default=Path("build/peer.json"), help="where the numbers go")
    parser.add_argument("--nice", type=int, default=0, help="priority of all; negative needs root")
    return parser.parse_args()


def main() -> None:
    arguments = _arguments()
    try:
        program = telegraf_peer.program()
        subjects = {name: subject(name, program) for name in arguments.subjects.split(",")}
    except KeyError as error:
        sys.exit(f"unknown: {error.args[0]}; there are {', '.join(SUBJECTS)}")
    except BinariesError as error:
        sys.exit(str(error))
    cores = choose_cores()
    prepare(cores, arguments.nice)
    started = time.monotonic()

    def say(text: str) -> None:
        print(f"[{time.monotonic() - started:5.0f} s] {text}", file=sys.stderr, flush=True)

    try:
        results = uvloop.run(measure(Bench(cores, say, Effort()), arguments, subjects))
    except (StageError, SubjectError) as error:
        sys.exit(str(error))
    machine = describe("python -m bench.peer", telegraf=telegraf_peer.version())
    print(table(results), machine_lines(machine), sep="\n\n")
    write_json(arguments.json, machine, results)


if __name__ == "__main__":
    main()
