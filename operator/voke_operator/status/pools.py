"""What a pool says for all its Plants: whether its gateways answer, and whether Voke is out of reach for all.

When a broker goes away, thousands of Plants have the same to say. It is said once, on the pool, and
:class:`Outage` tells the Plants to keep still meanwhile, and for a while when it begins and ends, because that is not
the same moment for all.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Final

from voke_api.resources.common import counted, listed
from voke_api.resources.observed import ConditionStatus
from voke_operator.names import pod_of
from voke_operator.status.conditions import OUTAGE_REASONS, Wanted
from voke_operator.status.facts import Cause, Finding, ShardFacts
from voke_operator.status.reasons import CLOUD_REACHABLE, READY, Reason, known
from voke_operator.status.reports import PlantReport

_FEWEST: Final = 2
"""Plants that have to agree; a single one says it itself."""
_MANY: Final = 0.5
"""Share of plants that are cut off when an outage begins: a broker's end is not noticed by all in one moment."""
_BACK: Final = 0.9
"""Share of plants whose return ends it at once …"""
_PARTLY: Final = 120.0
"""… and seconds for which the others keep still while some get through: a gateway tries every minute or more often."""


@dataclass(frozen=True, slots=True)
class Sessions:
    """Plants of a pool by what their sessions are like. Only running plants of gateways that answer count."""

    through: int = 0
    """Session up, and the broker takes what is sent."""
    cut_off: Counter[str] = field(default_factory=Counter)
    """By a reason that is not the plant's own fault."""
    troubled: int = 0
    """By a reason of their own, such as a refused login."""
    example: str = ""
    """What one of those cut off says."""

    def __add__(self, other: Sessions) -> Sessions:
        """Both together."""
        return Sessions(
            self.through + other.through,
            self.cut_off + other.cut_off,
            self.troubled + other.troubled,
            self.example or other.example,
        )


@dataclass(frozen=True, slots=True)
class Outage:
    """Most plants of a pool do not get through, for a reason that is not their own."""

    since: float
    """Epoch seconds."""
    reason: Reason
    message: str
    """What one of the plants says."""
    partly_since: float | None = None
    """Since when some get through; None: nobody does."""
    quiet: bool = True
    """Whether the Plants' conditions are to stay as they are."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PoolFacts:
    """All that a GatewayPool's status is made from."""

    name: str
    namespace: str
    generation: int
    cause: Cause | None = None
    """What is wrong with the pool as it was written, or in the way of its objects."""
    rollout: Cause | None = None
    """How far its gateways are with a new pod template, if not all have it and are back."""
    restarting: Collection[str] = ()
    """Gateways that restart for it: their silence is no news."""
    plants: int = 0
    """Assigned to its shards."""
    shards: Sequence[ShardFacts] = ()
    sessions: Sessions = field(default_factory=Sessions)
    outage: Outage | None = None


def gets_through(report: PlantReport) -> bool:
    """Whether a plant's session is up, and the broker takes what is sent."""
    return report.state != "Suspended" and report.connected and not report.uplink_reason


def sessions(reports: Iterable[PlantReport]) -> Sessions:
    """Count one gateway's plants."""
    through = troubled = 0
    cut_off: Counter[str] = Counter()
    example = ""
    for report in reports:
        if report.state == "Suspended":
            continue
        reason = report.uplink_reason or Reason.CONNECTING
        if gets_through(report):
            through += 1
        elif reason in OUTAGE_REASONS:
            cut_off[reason] += 1
            example = example or report.uplink_message
        else:
            troubled += 1
    return Sessions(through, cut_off, troubled, example)


def outage(seen: Sessions, before: Outage | None, now: float) -> Outage | None:
    """Whether there is an outage now, and whether the pool speaks for its Plants. ``now``: epoch seconds."""
    lost = seen.cut_off.total()
    tried = lost - seen.cut_off[Reason.CONNECTING]
    everybody = seen.through + lost
    if before is None:
        if tried < _FEWEST or lost < _MANY * everybody:
            return None
    elif lost == 0 or seen.through >= _BACK * everybody:
        return None
    word = max(sorted(seen.cut_off), key=lambda each: seen.cut_off[each])
    partly_since = None
    if seen.through:
        partly_since = now if before is None or before.partly_since is None else before.partly_since
    return Outage(
        since=now if before is None else before.since,
        reason=known(word) or Reason.BROKER_UNREACHABLE,
        message=seen.example,
        partly_since=partly_since,
        quiet=partly_since is None or now < partly_since + _PARTLY,
    )


def pool_status(facts: PoolFacts) -> Wanted:
    """What a GatewayPool's status is to say."""
    cloud = _cloud(facts)
    return Wanted(
        generation=facts.generation,
        findings={READY: _ready(facts, cloud), CLOUD_REACHABLE: cloud},
        counts={"shards": (READY, len(facts.shards)), "plants": (READY, facts.plants)},
    )


def _ready(facts: PoolFacts, cloud: Finding) -> Finding:
    if facts.cause is not None:
        return replace(_finding(facts, "False", facts.cause.reason, facts.cause.message), prompt=True)
    stuck = facts.rollout is not None and facts.rollout.reason is Reason.ROLLOUT_STUCK
    if facts.rollout is not None and stuck and cloud.status != "False":
        return _finding(facts, "False", facts.rollout.reason, facts.rollout.message)
    silent = [
        (shard, shard.silence)
        for shard in facts.shards
        if shard.silence is not None and shard.gateway not in facts.restarting
    ]
    if silent:
        shard, silence = next((each for each in silent if each[0].pod is not None), silent[0])
        why = (
            f" ({silence.problem}). See to the pod: kubectl -n {facts.namespace} describe pod {pod_of(shard.gateway)}"
            if shard.pod is None
            else f"; {shard.pod.message}"
        )
        message = (
            f"{len(silent)} of {counted(len(facts.shards), 'gateway', 'do')} not answer the operator: "
            f"{listed(each.gateway for each, _ in silent)}{why}"
        )
        return _finding(facts, "False", Reason.GATEWAYS_UNREACHABLE, message)
    if cloud.status == "False" or cloud.reason == Reason.PARTLY_REACHABLE:
        return cloud
    remark = facts.rollout or next((each.pod for each in facts.shards if each.pod is not None), None)
    if remark is not None:
        return _finding(facts, "True", remark.reason, remark.message)
    message = f"{counted(len(facts.shards), 'gateway')}, {counted(facts.plants, 'plant')}"
    return replace(_finding(facts, "True", Reason.ALL_WELL, message), hold=cloud.hold)


def _cloud(facts: PoolFacts) -> Finding:
    seen, now = facts.sessions, facts.outage
    lost = seen.cut_off.total()
    if now is not None and now.partly_since is None:
        who = (
            f"none of the {lost} plants that run gets through"
            if lost > 1
            else "the one plant that runs does not get through"
        )
        message = (
            f"{who} to Voke ({now.reason}): {now.message}. "
            "Gateways keep what they read and send it later; the conditions of the Plants stay as they were"
        )
        return _finding(facts, "False", Reason.CLOUD_OUTAGE, message)
    if now is not None:
        message = f"{lost} of {counted(seen.through + lost, 'plant', 'do')} not get through to Voke ({now.reason}): {now.message}"
        return _finding(facts, "True", Reason.PARTLY_REACHABLE, message)
    if seen.through:
        return _finding(facts, "True", Reason.REACHABLE, "plants get through to Voke")
    unasked = any(not shard.asked for shard in facts.shards)
    troubled = seen.troubled or seen.cut_off
    message = "no plant gets through to Voke; each says why" if troubled else "no plant is running"
    return replace(_finding(facts, "Unknown", Reason.NO_PLANTS, message), hold=unasked)


def _finding(facts: PoolFacts, status: ConditionStatus, reason: Reason, message: str) -> Finding:
    return Finding(status=status, reason=reason, message=message, generation=facts.generation)
