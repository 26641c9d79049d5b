"""The request planner: which Modbus read requests bring a device's points, and as few as can be.

Pure. A request (:class:`Block`) starts and ends on declared addresses, holds each of its points whole,
is no longer than the device can take and reads at most ``max_gap`` undeclared addresses along in a row.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from voke_api.resolved import ResolvedDevice, ResolvedPlant
from voke_api.resources.common import Table
from voke_api.resources.points import Point

MAX_BITS: Final = 2000
"""Most coils or discrete inputs in one request (Modbus application protocol 1.1b3, 6.1)."""
TABLES: Final[tuple[Table, ...]] = ("holding", "input", "coil", "discrete")
"""The order in which a device's tables are read."""


@dataclass(frozen=True, slots=True)
class Item:
    """Addresses that must be read together: one point, or one bit of a mask."""

    key: str
    """Field of the point; ``bit:<n>`` for bit n of a mask."""
    table: Table
    address: int
    count: int
    """Registers, or coils and discrete inputs."""

    @property
    def end(self) -> int:
        """The address after the last one."""
        return self.address + self.count


@dataclass(frozen=True, slots=True)
class Block:
    """One read request and the items it serves."""

    table: Table
    address: int
    count: int
    items: tuple[Item, ...]
    """In order of address."""

    @property
    def end(self) -> int:
        """The address after the last one."""
        return self.address + self.count


def register_count(point: Point) -> int:
    """Registers (or coils) that a point occupies."""
    return point.registers


def items(device: ResolvedDevice) -> tuple[Item, ...]:
    """What has to be read from a device: its points, or the bits of its mask."""
    points = (Item(p.field, p.table, p.address, register_count(p)) for p in device.points)
    bits = (Item(f"bit:{b.bit}", b.table, b.address, 1) for b in device.mask)
    return (*points, *bits)


def plan_blocks(
    items: Sequence[Item], *, max_registers: int, max_gap: int, avoid: Collection[Item] = ()
) -> tuple[Block, ...]:
    """The fewest requests that read every item, in order of table and address.

    Taking the lowest item not yet served and everything that still fits above it is optimal: no other
    request that holds this item could serve more of what is left.

    Args:
        items: What to read. They may overlap and may be given in any order.
        max_registers: Most registers per request; coils and discrete inputs have 2,000.
        max_gap: Most undeclared addresses in a row that may be read along.
        avoid: Addresses never to be read along (a device refused them); items that cover them are
            read nevertheless.

    Raises:
        ValueError: an item is longer than one request can be.
    """
    blocks: list[Block] = []
    for table in TABLES:
        limit = max_registers if table in {"holding", "input"} else MAX_BITS
        wanted = sorted((i for i in items if i.table == table), key=lambda i: (i.address, i.end, i.key))
        for item in wanted:
            if item.count > limit:
                raise ValueError(f"{item.key} needs {item.count} registers, a request takes {limit}")
        walls = [a for a in avoid if a.table == table]
        for group in _reachable(wanted, max_gap, walls):
            blocks.extend(_cut(group, limit))
    return tuple(blocks)


def plan_device(device: ResolvedDevice) -> tuple[Block, ...]:
    """The requests of one complete reading of a device."""
    limits = device.limits
    return plan_blocks(items(device), max_registers=limits.max_registers, max_gap=limits.max_gap)


def halves(block: Block) -> tuple[Block, Block] | None:
    """A refused request in two, to find what is refused; None if it asks for one thing only.

    Items at the same addresses stay together. If both halves are answered, what lies between them was
    refused: pass :func:`gap` of the two to :func:`plan_blocks` as ``avoid``.
    """
    cuts = [
        n
        for n in range(1, len(block.items))
        if (block.items[n].address, block.items[n].count)
        != (block.items[n - 1].address, block.items[n - 1].count)
    ]
    if not cuts:
        return None
    cut = min(cuts, key=lambda n: abs(2 * n - len(block.items)))
    return _block(block.items[:cut]), _block(block.items[cut:])


def gap(lower: Block, upper: Block) -> Item | None:
    """The addresses between two blocks of the same table; None if they touch or overlap."""
    if upper.address <= lower.end:
        return None
    return Item("gap", lower.table, lower.end, upper.address - lower.end)


def requests_per_second(plant: ResolvedPlant) -> dict[str, float]:
    """Modbus requests per second by connection, on average, while everything answers."""
    rates = dict.fromkeys((connection.name for connection in plant.connections), 0.0)
    for device in plant.devices:
        rates[device.connection] += len(plan_device(device)) / (device.every * plant.interval)
    if plant.read_only is None:
        for heartbeat in plant.heartbeats:
            rates[plant.device(heartbeat.device).connection] += 1 / heartbeat.every
    return rates


def _reachable(wanted: Iterable[Item], max_gap: int, walls: Sequence[Item]) -> list[list[Item]]:
    """Items of one table, by address, parted where the addresses between two must not be read along."""
    groups: list[list[Item]] = []
    end = 0
    for item in wanted:
        passable = item.address - end <= max_gap and not any(
            wall.address < item.address and wall.end > end for wall in walls
        )
        if groups and (item.address <= end or passable):
            groups[-1].append(item)
        else:
            groups.append([item])
        end = max(end, item.end)
    return groups


def _cut(group: list[Item], limit: int) -> list[Block]:
    blocks = []
    while group:
        top = group[0].address + limit
        blocks.append(_block(tuple(item for item in group if item.end <= top)))
        group = [item for item in group if item.end > top]
    return blocks


def _block(served: tuple[Item, ...]) -> Block:
    start = served[0].address
    return Block(served[0].table, start, max(item.end for item in served) - start, served)
