"""What is known of a Plant or a pool when its status is made: plain data, filled by the reconcile."""

from __future__ import annotations

from dataclasses import dataclass

from voke_api.problems import Problem
from voke_api.resources.observed import ConditionStatus, CredentialInUse
from voke_api.resources.plant import Plant
from voke_operator.status.reasons import Reason
from voke_operator.status.reports import GatewayReport, PlantReport


@dataclass(frozen=True, slots=True)
class Cause:
    """Why something is not as it should be. :mod:`voke_operator.status.causes` makes them."""

    reason: Reason
    message: str
    """What is wrong and what to do first, for people; never holds secret material."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """What a condition is to say: the condition without its times."""

    status: ConditionStatus
    reason: str
    """A :class:`Reason`, or the word that an older version of the operator left in the object."""
    message: str
    generation: int | None = None
    """``metadata.generation`` that it speaks of; None: the one that the object's condition has."""
    prompt: bool = False
    """A decision, not an observation that may pass: said at once, even if it is for the worse."""
    awaited: bool = False
    """What is missing may come with the next file that is applied: a new object has time for that, as for its start."""
    hold: bool = False
    """Only for an object that has no such condition yet; what it has, stands."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CredentialFacts:
    """What was decided about a plant's credentials."""

    cause: Cause | None = None
    """Why they are not ready; None: they are."""
    warning: Cause | None = None
    """What will keep them from being ready later."""
    in_use: tuple[CredentialInUse, ...] = ()
    """By name."""
    registered: Finding | None = None
    """Whether Voke knows the keys, if that is known otherwise than by the Plant's annotation."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PlacementFacts:
    """Where a plant runs, or is to run."""

    shard: int | None = None
    """Its shard's number within the pool."""
    gateway: str = ""
    """The shard's StatefulSet."""
    cause: Cause | None = None
    """Why it has no place, or is not yet where it is to be; it may run all the same."""
    remark: Cause | None = None
    """What is not as its pool wants it about the gateway, which is at work all the same."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BundleFacts:
    """What was written for the plant's gateway."""

    generation: int | None = None
    """Of the first bundle with this version of the plant; None: none was written yet."""
    plant_generation: int | None = None
    """``metadata.generation`` of the Plant in it; an older one if the newest cannot be used."""
    newest: int = 0
    """Of the newest bundle; it may differ from ``generation`` by other plants, or by what it notes of this one."""
    late: bool = False
    """The gateway was given more time than it needs to take it in."""


@dataclass(frozen=True, slots=True)
class Silence:
    """A gateway that does not answer."""

    since: float
    """Epoch seconds."""
    problem: str
    """For people, such as "connection refused"; the same as long as the cause is the same."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """What the gateway last said, as far as it concerns one plant. All None: it was not asked yet."""

    gateway: GatewayReport | None = None
    plant: PlantReport | None = None
    """None: the gateway does not know it."""
    silence: Silence | None = None
    """It does not answer now; what it said before may be old."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PlantFacts:
    """All that a Plant's status is made from."""

    name: str
    namespace: str
    generation: int
    """``metadata.generation`` of its newest version."""
    plant: Plant | None
    """The newest version that could be read; None: none could."""
    problems: tuple[Problem, ...] = ()
    """Of the newest version, from validation and resolving; warnings included."""
    credentials: CredentialFacts = CredentialFacts()
    placement: PlacementFacts = PlacementFacts()
    bundle: BundleFacts = BundleFacts()
    seen: Seen = Seen()
    pod: Cause | None = None
    """What Kubernetes says is wrong with its gateway's pod."""
    outage: bool = False
    """Its pool says for all that Voke cannot be reached (``Outage.quiet``)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ShardFacts:
    """One gateway of a pool."""

    gateway: str
    """Its StatefulSet."""
    asked: bool = True
    """It has answered, or been silent for long, since the operator started."""
    silence: Silence | None = None
    pod: Cause | None = None
    """What Kubernetes says is wrong with its pod."""
