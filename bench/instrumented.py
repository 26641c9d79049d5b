"""``voke`` with instruments: what the garbage collector costs, and where the CPU goes.

    python -m bench.instrumented [--cprofile FILE] [--gc FILE] run plants/ …

Everything after the options is the ``voke`` command. The files are written when it ends.
"""

from __future__ import annotations

import argparse
import cProfile
import gc
import json
import time
from pathlib import Path

from voke_cli.main import main as voke


class GcWatch:
    """Counts collections and the time they take."""

    def __init__(self) -> None:
        self.pauses: list[tuple[int, float, float]] = []
        """Generation, when (process time), seconds."""
        self._started = 0.0
        gc.callbacks.append(self._note)

    def _note(self, phase: str, info: dict[str, int]) -> None:
        now = time.perf_counter()
        if phase == "start":
            self._started = now
        else:
            self.pauses.append((info["generation"], time.process_time(), now - self._started))

    def summary(self) -> dict[str, object]:
        """By generation: how many, seconds in all, the longest."""
        found: dict[str, object] = {"cpu_seconds": time.process_time(), "objects": len(gc.get_objects())}
        for generation in range(3):
            took = [seconds for number, _, seconds in self.pauses if number == generation]
            found[f"generation{generation}"] = {
                "collections": len(took),
                "seconds": sum(took),
                "longest": max(took, default=0.0),
            }
        return found


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.instrumented")
    parser.add_argument("--cprofile", type=Path)
    parser.add_argument("--gc", type=Path)
    chosen, rest = parser.parse_known_args()
    watch = GcWatch() if chosen.gc else None
    profile = cProfile.Profile() if chosen.cprofile else None
    import sys

    sys.argv[1:] = rest
    try:
        if profile is not None:
            profile.runcall(voke)
        else:
            voke()
    finally:
        if profile is not None:
            profile.dump_stats(chosen.cprofile)
        if watch is not None:
            chosen.gc.write_text(json.dumps(watch.summary()))


if __name__ == "__main__":
    main()
