"""Things that one plant at a time may use: what a plant takes over, the other one has let go of before."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from collections.abc import Set as AbstractSet


class Leases:
    """Who holds what. Claims that will never be given up are the caller's to avoid."""

    def __init__(self) -> None:
        self._holders: dict[str, str] = {}
        self._held: dict[str, set[str]] = {}
        """What each holder holds."""
        self._moved = asyncio.Event()

    async def take(self, holder: str, claims: AbstractSet[str], *, superseded: Callable[[], bool]) -> bool:
        """Wait until nobody else holds any of ``claims``, then hold them; False if superseded meanwhile."""
        while not superseded():
            if all(self._holders.get(claim, holder) == holder for claim in claims):
                self._holders.update(dict.fromkeys(claims, holder))
                self._held.setdefault(holder, set()).update(claims)
                return True
            await self._moved.wait()
        return False

    def leave(self, holder: str, *, but: AbstractSet[str] = frozenset()) -> None:
        """``holder`` holds nothing any more but what is in ``but``."""
        held = self._held.pop(holder, set())
        given_up = held - but
        for claim in given_up:
            del self._holders[claim]
        if held & but:
            self._held[holder] = held & but
        if given_up:
            self.stir()

    def holders(self, claims: AbstractSet[str], *, other_than: str) -> set[str]:
        """Who else holds any of ``claims``."""
        return {self._holders[claim] for claim in claims if claim in self._holders} - {other_than}

    def stir(self) -> None:
        """Let all who wait look again."""
        self._moved.set()
        self._moved = asyncio.Event()
