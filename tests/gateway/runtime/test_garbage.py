"""The collector leaves what stays alone and still frees what comes and goes."""

from __future__ import annotations

import subprocess
import sys

PROGRAM = """
import asyncio, gc, weakref
from voke_gateway.runtime.garbage import spare_what_stays

class Node:
    pass

def a_cycle():
    node = Node()
    node.itself = node
    return weakref.ref(node)

async def main():
    spare_what_stays(settled=0.01)
    assert not gc.isenabled()
    while not gc.isenabled():
        await asyncio.sleep(0.005)
    frozen = gc.get_freeze_count()
    later = a_cycle()
    kept = []
    while later() is not None and len(kept) < 1_000_000:
        kept.append([])
    print(frozen, later() is None)

asyncio.run(main())
"""


def test_what_is_there_at_the_start_is_never_looked_at_and_later_cycles_are_collected() -> None:
    result = subprocess.run(
        [sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=True, timeout=60
    )
    frozen, collected = result.stdout.split()
    assert int(frozen) > 10_000
    assert collected == "True"
