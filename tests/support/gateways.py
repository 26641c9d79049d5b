"""A gateway with real PLC connections, and no Voke."""

from __future__ import annotations

from random import Random

from tests.support.site import NoVoke
from voke_gateway.clock import system_clock
from voke_gateway.drivers.registry import DRIVERS
from voke_gateway.outbox.memory import MemoryStore
from voke_gateway.outbox.store import Quota
from voke_gateway.protocol.envelope import new_nonce
from voke_gateway.runtime.gateway import Gateway


def without_voke(name: str = "test") -> Gateway:
    """Neither started nor given any plants."""
    return Gateway(
        name,
        drivers=DRIVERS,
        connector=NoVoke(),
        store=MemoryStore(Quota(), system_clock),
        wall_clock=system_clock,
        random=Random(1),
        nonce=new_nonce,
    )
