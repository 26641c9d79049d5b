"""What was used last, as much as fits: so many values, and so many bytes."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Hashable
from typing import Generic, TypeVar

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


class Cache(Generic[K, V]):
    """Keeps values by key. What is put into it says how large it is: a number of values alone bounds no memory."""

    def __init__(self, *, most: int, size: int) -> None:
        """``most`` values, of ``size`` bytes together."""
        self._most = most
        self._size = size
        self._free = size
        self._kept: OrderedDict[K, tuple[V, int]] = OrderedDict()

    @property
    def used(self) -> int:
        """Bytes of what is kept."""
        return self._size - self._free

    def __len__(self) -> int:
        """How many values are kept."""
        return len(self._kept)

    def get(self, key: K) -> V | None:
        """The value, which counts as used by that; None: it is not kept, or not any more."""
        found = self._kept.get(key)
        if found is None:
            return None
        self._kept.move_to_end(key)
        return found[0]

    def put(self, key: K, value: V, *, size: int) -> None:
        """Keep a value of ``size`` bytes. What was not used for longest goes, and what is larger than all room."""
        self.drop(key)
        self._kept[key] = value, size
        self._free -= size
        while self._free < 0 or len(self._kept) > self._most:
            _, (_, gone) = self._kept.popitem(last=False)
            self._free += gone

    def drop(self, key: K) -> None:
        """Keep it no longer, if it is kept."""
        found = self._kept.pop(key, None)
        if found is not None:
            self._free += found[1]
