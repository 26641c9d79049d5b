"""The four tables of a Modbus unit, with typed access.

Written without looking at the gateway's decoder, because it is that decoder's judge: what is put here as
a float32 with little word order has to come out of the gateway as the same number.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import Literal

Order = Literal["big", "little"]
TableName = Literal["holding", "input", "coil", "discrete"]
NumberType = Literal[
    "int16", "uint16", "int32", "uint32", "int64", "uint64", "float32", "float64",
]  # fmt: skip

_FORMATS: dict[NumberType, str] = {
    "int16": ">h",
    "uint16": ">H",
    "int32": ">i",
    "uint32": ">I",
    "int64": ">q",
    "uint64": ">Q",
    "float32": ">f",
    "float64": ">d",
}


def width(kind: NumberType) -> int:
    """Registers that a number of this type takes."""
    return struct.calcsize(_FORMATS[kind]) // 2


def _reorder(big_endian: bytes, word_order: Order, byte_order: Order) -> bytes:
    """Between big-endian bytes and bytes as they stand in the registers; it is its own inverse."""
    words = [big_endian[i : i + 2] for i in range(0, len(big_endian), 2)]
    if byte_order == "little":
        words = [word[::-1] for word in words]
    if word_order == "little":
        words.reverse()
    return b"".join(words)


class Registers:
    """A table of 16-bit registers at the addresses ``first`` … ``first + count - 1``."""

    __slots__ = ("count", "data", "first")

    def __init__(self, count: int, first: int = 0) -> None:
        self.first = first
        self.count = count
        self.data = bytearray(2 * count)

    def covers(self, address: int, count: int) -> bool:
        """Whether all ``count`` registers from ``address`` exist."""
        return self.first <= address and address + count <= self.first + self.count

    def read(self, address: int, count: int) -> bytes:
        """The registers as on the wire, high byte first; IndexError if one does not exist."""
        start = self._start(address, count)
        return bytes(self.data[start : start + 2 * count])

    def write(self, address: int, content: bytes) -> None:
        """Overwrite registers with bytes as on the wire; IndexError if one does not exist."""
        start = self._start(address, len(content) // 2)
        self.data[start : start + len(content)] = content

    def put(
        self,
        address: int,
        kind: NumberType,
        value: float,
        *,
        word_order: Order = "big",
        byte_order: Order = "big",
    ) -> None:
        """Store a number; struct.error if the type cannot hold it."""
        encoded = struct.pack(_FORMATS[kind], value)
        self.write(address, _reorder(encoded, word_order, byte_order))

    def get(
        self, address: int, kind: NumberType, *, word_order: Order = "big", byte_order: Order = "big"
    ) -> int | float:
        """The number stored at ``address``."""
        content = self.read(address, width(kind))
        number: int | float = struct.unpack(_FORMATS[kind], _reorder(content, word_order, byte_order))[0]
        return number

    def put_pattern(
        self,
        address: int,
        registers: int,
        pattern: int,
        *,
        word_order: Order = "big",
        byte_order: Order = "big",
    ) -> None:
        """Store an unsigned bit pattern that fills ``registers`` registers, such as 0x8000 or 0xFFFF."""
        self.write(address, _reorder(pattern.to_bytes(2 * registers), word_order, byte_order))

    def put_text(self, address: int, text: str, length: int, *, byte_order: Order = "big") -> None:
        """Store UTF-8 text in ``length`` bytes, filled up with NUL; ValueError if it is longer."""
        encoded = text.encode()
        if len(encoded) > length:
            raise ValueError(f"{text!r} takes {len(encoded)} bytes, there is room for {length}")
        padded = encoded.ljust(length + length % 2, b"\0")
        self.write(address, _reorder(padded, "big", byte_order))

    def get_text(self, address: int, length: int, *, byte_order: Order = "big") -> str:
        """The text of ``length`` bytes at ``address``, up to the first NUL."""
        content = _reorder(self.read(address, (length + 1) // 2), "big", byte_order)
        return content[:length].split(b"\0", 1)[0].decode()

    def put_bit(self, address: int, bit: int, value: bool) -> None:  # noqa: FBT001 - a bit's value
        """Set or clear one bit of a register, 0 = least significant."""
        word = int(self.get(address, "uint16"))
        self.put(address, "uint16", word | 1 << bit if value else word & ~(1 << bit))

    def get_bit(self, address: int, bit: int) -> bool:
        """One bit of a register, 0 = least significant."""
        return bool(int(self.get(address, "uint16")) >> bit & 1)

    def _start(self, address: int, count: int) -> int:
        if not self.covers(address, count):
            raise IndexError(f"registers {address}–{address + count - 1} are not all there")
        return 2 * (address - self.first)


class Bits:
    """A table of coils or discrete inputs; one byte each, 0 or 1."""

    __slots__ = ("count", "data", "first")

    def __init__(self, count: int, first: int = 0) -> None:
        self.first = first
        self.count = count
        self.data = bytearray(count)

    def covers(self, address: int, count: int) -> bool:
        """Whether all ``count`` bits from ``address`` exist."""
        return self.first <= address and address + count <= self.first + self.count

    def put(self, address: int, *values: bool) -> None:
        """Set consecutive bits; IndexError if one does not exist."""
        start = self._start(address, len(values))
        self.data[start : start + len(values)] = bytes(map(bool, values))

    def get(self, address: int) -> bool:
        """One bit."""
        return bool(self.data[self._start(address, 1)])

    def read(self, address: int, count: int) -> bytes:
        """The bits packed as on the wire: the first is the lowest bit of the first byte."""
        start = self._start(address, count)
        packed = 0
        for bit in reversed(self.data[start : start + count]):
            packed = packed << 1 | bit
        return packed.to_bytes((count + 7) // 8, "little")

    def write(self, address: int, count: int, packed: bytes) -> None:
        """Overwrite bits from their packed form."""
        start = self._start(address, count)
        number = int.from_bytes(packed, "little")
        self.data[start : start + count] = bytes(number >> k & 1 for k in range(count))

    def _start(self, address: int, count: int) -> int:
        if not self.covers(address, count):
            raise IndexError(f"bits {address}–{address + count - 1} are not all there")
        return address - self.first


@dataclass(slots=True)
class Bank:
    """The tables of one unit. A table that is None does not exist: its functions get exception 1."""

    holding: Registers | None = None
    input: Registers | None = None
    coil: Bits | None = None
    discrete: Bits | None = None

    @classmethod
    def of(cls, registers: int, bits: int = 0) -> Bank:
        """A unit with two register tables and two bit tables of these sizes, from address 0."""
        return cls(Registers(registers), Registers(registers), Bits(bits), Bits(bits))

    def registers(self, table: TableName) -> Registers:
        """The register table of that name; LookupError if the unit has none."""
        found = self.holding if table == "holding" else self.input if table == "input" else None
        if found is None:
            raise LookupError(f"this unit has no {table} registers")
        return found

    def bits(self, table: TableName) -> Bits:
        """The bit table of that name; LookupError if the unit has none."""
        found = self.coil if table == "coil" else self.discrete if table == "discrete" else None
        if found is None:
            raise LookupError(f"this unit has no {table} bits")
        return found
