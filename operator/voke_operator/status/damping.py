"""When a status is written: on a change of state, not on every flutter, and not for all Plants at once.

* What got better is written at once, what got worse after it has lasted :data:`LASTING`; both within one write
  per object per :data:`INTERVAL`. Other words for the same state wait until :data:`REWORDING` after the last write.
* How many plants and gateways a pool has is written within :data:`COUNTING`, with all that came in that time.
* A new generation and where a plant runs do not wait at all. An object without conditions gets them all at once: bad
  news immediately, and if it is only starting, when it has started, or after :data:`STARTING`; so it is if something
  that it refers to is not there yet. What was decided waits no longer than what got better.
* All objects share a rate. Who has to wait is told when to ask again.

Time is passed in, and nothing here writes.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import Enum, auto
from typing import Final, Generic, TypeVar

from voke_api.resources.observed import Condition, PlantObserved, PoolObserved
from voke_operator.status.conditions import Wanted
from voke_operator.status.facts import Finding
from voke_operator.status.reasons import READY

LASTING: Final = 15.0
"""Seconds that a change for the worse has to last."""
INTERVAL: Final = 10.0
"""Seconds between two writes to one object."""
STARTING: Final = 3.0
"""Seconds that an object may take to start before that is worth a write."""
_LONGEST: Final = 32_768
"""Characters of a condition's message; the API takes no more."""
COUNTING: Final = 2.0
"""Seconds for which what is counted is waited for, and between two writes of it."""
REWORDING: Final = 60.0
"""Seconds since the last write, for a change of words only."""

ObservedT = TypeVar("ObservedT", PlantObserved, PoolObserved)


@dataclass(frozen=True, slots=True)
class Decision(Generic[ObservedT]):
    """What to do about one object's status."""

    write: ObservedT | None
    """The whole new status; None: nothing is to be written now."""
    due: float | None
    """When to ask again (in the clock of ``now``) although nothing happens; None: there is no need."""


class Rate:
    """A token bucket that starts full."""

    __slots__ = ("_at", "_burst", "_per_second", "_tokens")

    def __init__(self, *, per_second: float, burst: float) -> None:
        self._per_second = per_second
        self._burst = burst
        self._tokens = burst
        self._at: float | None = None

    def take(self, now: float, *, urgent: bool = False) -> bool:
        """Take one token. ``urgent`` takes it though there is none; the others wait for it then."""
        if self._at is not None:
            gained = max(0.0, now - self._at) * self._per_second
            self._tokens = min(self._burst, self._tokens + gained)
        self._at = now
        if self._tokens < 1 and not urgent:
            return False
        self._tokens = max(-self._burst, self._tokens - 1)
        return True

    def wait(self, place: int) -> float:
        """Seconds after the last :meth:`take` until the one in that place of the queue, 1 or later, has a token."""
        return max(0.0, place - self._tokens) / self._per_second


class _Kind(Enum):
    """How a condition differs from what is written."""

    NOW = auto()
    """It is not there yet; or it is decided, or as good as before, for a newer generation."""
    SOON = auto()
    """Better, or decided."""
    COUNTED = auto()
    """The same state, of another number of things."""
    IF_IT_LASTS = auto()
    WORDS = auto()
    """Only the message differs, or what is written with it."""


_SPACING: Final = {
    _Kind.NOW: -math.inf,
    _Kind.SOON: INTERVAL,
    _Kind.COUNTED: COUNTING,
    _Kind.IF_IT_LASTS: INTERVAL,
    _Kind.WORDS: REWORDING,
}
"""Seconds since the last write, by what is to be written."""


@dataclass(frozen=True, slots=True)
class _Pending:
    kind: _Kind
    ripe_at: float

    def allowed_at(self, written_at: float) -> float:
        return max(self.ripe_at, written_at + _SPACING[self.kind])


@dataclass(slots=True)
class _Memory:
    """Of one object."""

    first_at: float
    """When it was judged first."""
    written_at: float = -math.inf
    pending: dict[str, _Pending] = field(default_factory=dict)
    """By condition type."""
    writing: set[str] = field(default_factory=set)
    """Condition types that the last decision has written."""

    def renew(self, type_: str, kind: _Kind | None, now: float) -> bool:
        """Note how a condition differs now. Returns whether that is ripe."""
        before = self.pending.get(type_)
        if kind is None:
            self.pending.pop(type_, None)
            return False
        if kind in {_Kind.NOW, _Kind.SOON}:
            ripe_at = now
        elif kind is _Kind.COUNTED:
            waits = before is not None and before.kind is kind
            ripe_at = before.ripe_at if before is not None and waits else now + COUNTING / 2
        elif before is None or before.kind not in {kind, _Kind.IF_IT_LASTS}:
            ripe_at = now + LASTING
        else:  # it lasts since then, even if the words have changed meanwhile
            ripe_at = before.ripe_at
        self.pending[type_] = _Pending(kind, ripe_at)
        return ripe_at <= now


class Damper:
    """Remembers, by key, what has been pending on an object and when it was written last."""

    def __init__(self, rate: Rate) -> None:
        """``rate``: of all writes together."""
        self._rate = rate
        self._memory: dict[Hashable, _Memory] = {}
        self._waiting: set[Hashable] = set()
        """Objects that only wait for the rate."""

    def judge(
        self,
        key: Hashable,
        wanted: Wanted,
        observed: ObservedT,
        now: float,
        *,
        at: float,
        along: bool = False,
    ) -> Decision[ObservedT]:
        """What to write now.

        Args:
            key: Of the object.
            wanted: What its status is to say.
            observed: Its status as far as is known; after a write of ours, what was written.
            now: Seconds of a clock that never goes back.
            at: Epoch seconds, for ``lastTransitionTime``.
            along: The object is written now in any case, so that a new one's conditions go along.
        """
        memory = self._memory.setdefault(key, _Memory(now))
        memory.writing = set()
        old = {each.type: each for each in observed.conditions}
        standing, ripe = _standing(wanted, old, observed, memory, now)
        urgent = observed.observed_generation < wanted.generation
        self._waiting.discard(key)
        due = now if urgent else _next(memory.pending.values(), memory.written_at)
        if not old and not along and _is_starting(standing):
            due = memory.first_at + STARTING
        if due is None:
            if now > memory.written_at + REWORDING:
                del self._memory[key]
            return Decision(None, None)
        if due > now:
            return Decision(None, due)
        urgent = urgent or any(each.kind is _Kind.NOW for each in memory.pending.values())
        if not self._rate.take(now, urgent=urgent):
            self._waiting.add(key)
            return Decision(None, now + self._rate.wait(len(self._waiting)))
        memory.writing = ripe
        rest = [each for type_, each in memory.pending.items() if type_ not in ripe]
        return Decision(_written(wanted, standing, ripe, observed, at), _next(rest, now))

    def written(self, key: Hashable, now: float) -> None:
        """The write that was decided on succeeded: whatever comes next has not lasted yet."""
        memory = self._memory.setdefault(key, _Memory(now))
        memory.written_at = now
        for type_ in memory.writing:
            memory.pending.pop(type_, None)
        memory.writing = set()

    def forget(self, key: Hashable) -> None:
        """The object is gone."""
        self._memory.pop(key, None)
        self._waiting.discard(key)


def _standing(
    wanted: Wanted, old: Mapping[str, Condition], observed: ObservedT, memory: _Memory, now: float
) -> tuple[dict[str, Finding], set[str]]:
    """What every condition is to say if there is a write now, and the types of those that differ then."""
    standing: dict[str, Finding] = {}
    ripe: set[str] = set()
    for type_, finding in wanted.findings.items():
        attached = _differs(wanted.attached, type_, observed)
        counted = _differs(wanted.counts, type_, observed)
        kind = _kind(old.get(type_), finding, attached=attached, counted=counted)
        if memory.renew(type_, kind, now):
            ripe.add(type_)
        standing[type_] = finding if type_ in ripe else _finding(old[type_])
    if wanted.summary is not None:
        type_, make = wanted.summary
        summary = make(standing)
        if ripe:  # it goes along with its parts
            memory.pending.pop(type_, None)
            ripe.add(type_)
        elif memory.renew(type_, _kind(old.get(type_), summary), now):
            ripe.add(type_)
        standing[type_] = summary if type_ in ripe else _finding(old[type_])
    return standing, ripe


def _differs(fields: Mapping[str, tuple[str, object]], type_: str, observed: ObservedT) -> bool:
    """Whether one of the fields that are written with the condition does."""
    return any(getattr(observed, name) != value for name, (with_, value) in fields.items() if with_ == type_)


def _kind(
    old: Condition | None, new: Finding, *, attached: bool = False, counted: bool = False
) -> _Kind | None:
    """How ``new`` differs; ``attached`` and ``counted``: what is written with it differs."""
    if old is None:
        return _Kind.NOW
    same_status = new.status == old.status
    same_state = same_status and new.reason == old.reason
    counted = counted and same_state
    if new.hold or counted:
        return _Kind.COUNTED if counted else None
    newer = new.generation is not None and new.generation > old.observed_generation
    if same_state and new.message == old.message and not attached and not newer:
        return None
    if newer and (new.prompt or same_status):
        return _Kind.NOW
    if new.prompt or (new.status == "True" and not same_status):
        return _Kind.SOON
    return _Kind.WORDS if same_state else _Kind.IF_IT_LASTS


def _is_starting(standing: Mapping[str, Finding]) -> bool:
    """Whether there is neither success to be told nor a decision against it that will stand."""
    refused = any(each.prompt and not each.awaited and each.status == "False" for each in standing.values())
    return standing[READY].status != "True" and not refused


def _next(pending: Iterable[_Pending], written_at: float) -> float | None:
    return min((each.allowed_at(written_at) for each in pending), default=None)


def _finding(old: Condition) -> Finding:
    return Finding(
        status=old.status, reason=old.reason, message=old.message, generation=old.observed_generation
    )


def _written(
    wanted: Wanted, standing: Mapping[str, Finding], ripe: set[str], observed: ObservedT, at: float
) -> ObservedT:
    """The status with what is ripe; conditions of other authors stay."""
    old = {each.type: each for each in observed.conditions}
    types = list(standing)
    if wanted.summary is not None:  # people read it first
        types.insert(0, types.pop())
    ours: list[Condition] = [
        _condition(type_, standing[type_], old.get(type_), at) if type_ in ripe else old[type_]
        for type_ in types
    ]
    others: list[Condition] = [each for type_, each in old.items() if type_ not in standing]
    with_them = {**wanted.attached, **wanted.counts}
    attached = {name: value for name, (type_, value) in with_them.items() if type_ in ripe}
    generation = max(wanted.generation, observed.observed_generation)
    changes = {"observed_generation": generation, "conditions": (*ours, *others)}
    return observed.model_copy(update=changes | attached)


def _condition(type_: str, finding: Finding, old: Condition | None, at: float) -> Condition:
    lasts = old is not None and old.status == finding.status
    return Condition(
        type=type_,
        status=finding.status,
        reason=finding.reason,
        message=_cut(finding.message),
        last_transition_time=old.last_transition_time if old is not None and lasts else _rfc3339(at),
        observed_generation=max(old.observed_generation if old is not None else 0, finding.generation or 0),
    )


def _cut(message: str) -> str:
    return message if len(message) <= _LONGEST else message[: _LONGEST - 1] + "…"


def _rfc3339(at: float) -> str:
    return f"{datetime.fromtimestamp(at, UTC):%Y-%m-%dT%H:%M:%SZ}"
