"""An asyncio event loop on which a day passes in a second.

When nothing is ready to run, the clock jumps to the next timer: no sleeping, no waiting, the same order of
events on every machine. Sockets, threads and subprocesses are refused, and two mistakes that would hang or
spin a real program end the run with an error: nothing left to wait for, and work that never lets time pass.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, NoReturn, TypeVar

EPOCH = 1_767_225_600.0
"""Wall clock at the start of every run: 2026-01-01T00:00:00Z."""

_START = 1_000.0  # not 0, so that "no time yet" and "the first instant" cannot be mistaken for each other
_TURNS_PER_INSTANT = 200_000

_T = TypeVar("_T")


class DeadlockError(RuntimeError):
    """Every task waits and no timer is set: a real program would hang for ever."""


class LivelockError(RuntimeError):
    """The loop turned over and over without letting any time pass: a real program would spin."""


class UnhandledError(RuntimeError):
    """A task or callback failed and nobody looked at its exception."""


class VirtualTimeLoop(asyncio.BaseEventLoop):
    """An event loop whose ``time()`` jumps to the next timer when nothing is ready."""

    _scheduled: list[asyncio.TimerHandle]

    def __init__(self) -> None:
        super().__init__()
        self._selector = self  # BaseEventLoop asks its selector to wait; waiting is what we do differently
        self._clock_resolution = 1e-6  # a double still tells microseconds apart after a century
        self._now = _START
        self._turns = 0
        self.wall_offset = 0.0
        """Seconds by which somebody has set the wall clock; monotonic time does not notice."""
        self.unhandled: list[dict[str, Any]] = []
        self.set_exception_handler(lambda _, context: self.unhandled.append(context))

    def time(self) -> float:
        """Virtual monotonic seconds."""
        return self._now

    def wall_clock(self) -> float:
        """Virtual seconds since the epoch."""
        return EPOCH + (self._now - _START) + self.wall_offset

    def elapsed(self) -> float:
        """Virtual seconds since the loop was made."""
        return self._now - _START

    def compute(self, seconds: float) -> None:
        """Keep the processor busy: time passes, and nothing else gets a turn meanwhile."""
        self._now += seconds

    def select(self, timeout: float | None) -> list[Any]:
        """Let time pass instead of waiting for file descriptors."""
        if timeout is None:
            raise DeadlockError(f"nothing is ready and no timer is set, at {self.elapsed():.3f} s")
        if timeout > 0:
            self._turns = 0
            self._now = max(self._now, min(self._scheduled[0].when(), self._now + timeout))
        else:
            self._turns += 1
            if self._turns > _TURNS_PER_INSTANT:
                self._turns = 0
                raise LivelockError(f"no moment passes any more, at {self.elapsed():.3f} s")
        return []

    def _process_events(self, event_list: list[Any]) -> None:
        """There are none."""

    def _write_to_self(self) -> None:
        """Wake-ups from signal handlers need no pipe: the loop never blocks."""

    def run_in_executor(self, executor: object, func: object, *args: object) -> NoReturn:
        """Refused: threads are not deterministic."""
        raise RuntimeError("no threads on the virtual clock: they belong behind a seam")

    async def create_connection(self, *_args: Any, **_kwargs: Any) -> NoReturn:
        """Refused: the network is not deterministic."""
        raise RuntimeError("no sockets on the virtual clock: they belong behind a seam")

    create_datagram_endpoint = create_connection
    create_server = create_connection
    create_unix_connection = create_connection
    create_unix_server = create_connection
    sock_connect = create_connection
    subprocess_exec = create_connection
    subprocess_shell = create_connection

    def add_reader(self, fd: object, callback: object, *args: object) -> NoReturn:
        """Refused: there is nothing to wait on but time."""
        raise RuntimeError("no file descriptors on the virtual clock: they belong behind a seam")

    def add_writer(self, fd: object, callback: object, *args: object) -> NoReturn:
        """Refused, too."""
        self.add_reader(fd, callback, *args)


def wall_clock() -> float:
    """The running virtual loop's wall clock; a ``WallClock`` for whatever is being simulated."""
    loop = asyncio.get_running_loop()
    assert isinstance(loop, VirtualTimeLoop), "wall_clock() wants a VirtualTimeLoop"
    return loop.wall_clock()


def elapsed() -> float:
    """Virtual seconds since the running loop was made, to the microsecond."""
    loop = asyncio.get_running_loop()
    assert isinstance(loop, VirtualTimeLoop), "elapsed() wants a VirtualTimeLoop"
    return round(loop.elapsed(), 6)


def on_virtual_time(test: Callable[[], Coroutine[Any, Any, None]]) -> Callable[[], None]:
    """A test that is run by :func:`run`, where a minute takes no time."""

    def run_it() -> None:
        run(test())

    run_it.__name__ = test.__name__
    return run_it


def run(
    main: Coroutine[Any, Any, _T], *, loop_factory: Callable[[], VirtualTimeLoop] = VirtualTimeLoop
) -> _T:
    """Run ``main`` on a new virtual clock to its end and return its result.

    Raises:
        DeadlockError: everything waits and nothing will ever happen.
        LivelockError: the program spins.
        UnhandledError: a background task or a callback failed unnoticed.
    """
    with asyncio.Runner(loop_factory=loop_factory) as runner:
        loop = runner.get_loop()
        assert isinstance(loop, VirtualTimeLoop)
        result = runner.run(main)
    for context in loop.unhandled:
        raise UnhandledError(context["message"]) from context.get("exception")
    return result
