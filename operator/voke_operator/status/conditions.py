"""From what is known of a Plant to what its status says. Pure, and the same facts give the same words.

Each part of ``Ready`` is a finding of its own; ``Ready`` is made from the parts alone, so that it always agrees
with what stands beside it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Final

from voke_api.problems import Problem, Severity, dotted
from voke_api.resources.common import listed
from voke_api.resources.observed import ConditionStatus
from voke_operator.credentials.registration import how_to_register, registered
from voke_operator.names import REGISTERED_ANNOTATION, pod_of
from voke_operator.status.devices import devices
from voke_operator.status.facts import Cause, Finding, PlantFacts
from voke_operator.status.reasons import (
    CLOUD_CONNECTED,
    CREDENTIALS_READY,
    DEVICES_REACHABLE,
    GATEWAY_READY,
    READY,
    REGISTERED,
    Reason,
    first,
    known,
    remedy,
)
from voke_operator.status.reports import PlantReport

_NEEDED: Final = (CREDENTIALS_READY, GATEWAY_READY, CLOUD_CONNECTED, DEVICES_REACHABLE)
OUTAGE_REASONS: Final = frozenset(
    {Reason.BROKER_UNREACHABLE, Reason.SESSION_LOST, Reason.CONNECTING, Reason.NO_SUBSCRIBER}
)
"""That may well be the same for all plants of a pool."""
_KEYS_REFUSED: Final = frozenset({Reason.LOGIN_REFUSED, Reason.CERTIFICATE_REFUSED})
"""That may well be so because nobody has registered the keys."""
_MOST_PROBLEMS: Final = 3
_POOL: Final = ("spec", "pool")
_PROFILE: Final = ("profile",)
"""Where the path of a device's ends."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """What an object's status is to say, before :mod:`voke_operator.status.damping` decides when."""

    generation: int
    """``metadata.generation`` that was acted on."""
    findings: Mapping[str, Finding]
    """By condition type."""
    summary: tuple[str, Callable[[Mapping[str, Finding]], Finding]] | None = None
    """A condition that is made from the others, and how."""
    attached: Mapping[str, tuple[str, object]] = field(default_factory=dict)
    """Other fields that are written with a condition, by name: its type and the value."""
    counts: Mapping[str, tuple[str, object]] = field(default_factory=dict)
    """As ``attached``; what was decided and changes with each of many, so that it is written soon and together."""


def plant_status(facts: PlantFacts) -> Wanted:
    """What a Plant's status is to say.

    ``plantId`` and ``credentials`` are not among it: which keys are in force is recorded by who decides on them, at
    the version of the Plant that was decided on, and must not be written from anybody's memory.
    """
    reachable, counts = _devices(facts)
    return Wanted(
        generation=facts.generation,
        findings={
            CREDENTIALS_READY: _credentials(facts),
            REGISTERED: _registered(facts),
            GATEWAY_READY: _gateway(facts),
            CLOUD_CONNECTED: _cloud(facts),
            DEVICES_REACHABLE: reachable,
        },
        summary=(READY, ready),
        attached={
            "devices": (DEVICES_REACHABLE, counts),
            "gateway": (GATEWAY_READY, facts.placement.gateway),
            "shard": (GATEWAY_READY, facts.placement.shard),
        },
    )


def ready(parts: Mapping[str, Finding]) -> Finding:
    """``Ready``, from the other conditions: its message is that of what has to be mended first.

    What nobody has confirmed comes after what is known to be broken, and is named all the same: data may be lost.
    """
    needed = [parts[type_] for type_ in _NEEDED if type_ in parts]
    in_the_way = [
        each for each in needed if each.status != "True" and each.reason != Reason.SOME_DEVICES_NOT_READ
    ]
    if in_the_way:
        cause = _first(in_the_way)
        status: ConditionStatus = "False" if any(each.status == "False" for each in in_the_way) else "Unknown"
        return Finding(status=status, reason=cause.reason, message=cause.message, generation=cause.generation)
    generation = min((each.generation or 0 for each in needed), default=0)
    to_do = {type_: each for type_, each in parts.items() if remedy(each.reason)}
    if to_do:
        cause = _first(list(to_do.values()))
        others = [f"{type_} ({each.reason})" for type_, each in to_do.items() if each is not cause]
        message = f"{cause.message.rstrip('.')}. After that: {listed(others)}" if others else cause.message
        return Finding(status="True", reason=cause.reason, message=message, generation=generation)
    message = parts[DEVICES_REACHABLE].message if DEVICES_REACHABLE in parts else ""
    return Finding(status="True", reason=Reason.ALL_WELL, message=message, generation=generation)


def _first(findings: Sequence[Finding]) -> Finding:
    reason = first(each.reason for each in findings)
    return next(each for each in findings if each.reason == reason)


# -- credentials


def _credentials(facts: PlantFacts) -> Finding:
    credentials = facts.credentials
    if credentials.cause is not None:
        awaited = credentials.cause.reason is Reason.SECRET_MISSING
        return _said("False", credentials.cause, facts.generation, awaited=awaited)
    if credentials.warning is not None:
        return _said("True", credentials.warning, facts.generation)
    names = listed(
        f"{each.name} {each.key_id}".rstrip() + (f" until {each.not_after}" if each.not_after else "")
        for each in credentials.in_use
    )
    if not credentials.in_use:
        return _said("Unknown", Cause(Reason.CREDENTIALS_PENDING, "keys are being made"), facts.generation)
    return _said("True", Cause(Reason.COMPLETE, f"in use: {names}"), facts.generation)


def _registered(facts: PlantFacts) -> Finding:
    if facts.credentials.registered is not None:
        return replace(facts.credentials.registered, generation=facts.generation)
    annotations = facts.plant.metadata.annotations if facts.plant is not None else {}
    said = registered(
        facts.namespace, facts.name, facts.credentials.in_use, annotations.get(REGISTERED_ANNOTATION)
    )
    reason = known(said.reason)
    message = said.message or (reason.meaning if reason is not None else "")
    return Finding(
        status=said.status, reason=said.reason, message=message, generation=facts.generation, prompt=True
    )


# -- a place to run, and the gateway there


def _gateway(facts: PlantFacts) -> Finding:
    wrong = _asked_for(facts)
    cause = wrong or facts.placement.cause
    if cause is not None:
        awaited = wrong is not None and all(_is_reference(each) for each in _errors(facts))
        return _said("False", cause, facts.generation, awaited=awaited)
    if not facts.placement.gateway:
        unplaced = Cause(Reason.UNPLACED, "no gateway has been chosen for it yet")
        return _said("False", unplaced, facts.generation, awaited=True)
    return _at_gateway(facts)


def _asked_for(facts: PlantFacts) -> Cause | None:
    """What is wrong with the Plant as it was written."""
    errors = _errors(facts)
    state = _older_version(facts)
    if missing := [each for each in errors if each.path == _POOL]:
        return Cause(
            Reason.POOL_MISSING,
            f"spec.pool: there is no GatewayPool {missing[0].value} in namespace {facts.namespace}. Apply it, or correct "
            f"spec.pool; only the pool default need not exist. {state}",
        )
    if errors:
        said = "; ".join(_problem(each) for each in errors[:_MOST_PROBLEMS])
        more = f"; and {len(errors) - _MOST_PROBLEMS} more" if len(errors) > _MOST_PROBLEMS else ""
        return Cause(Reason.INVALID, f"{said}{more}. {state}")
    return None


def _errors(facts: PlantFacts) -> list[Problem]:
    return [each for each in facts.problems if each.severity is Severity.ERROR]


def _is_reference(problem: Problem) -> bool:
    """Whether it is about what the Plant names, and not about the Plant alone."""
    return problem.path == _POOL or problem.path[-1:] == _PROFILE


def _problem(problem: Problem) -> str:
    return f"{dotted(problem.path)}: {problem.message}" if problem.path else problem.message


def _older_version(facts: PlantFacts) -> str:
    older = facts.bundle.plant_generation
    if older is None:
        return "The plant does not run until this is mended."
    return f"The last good version (generation {older}) runs on."


def _at_gateway(facts: PlantFacts) -> Finding:  # noqa: PLR0911 - one line for each state
    name, seen, bundle = facts.placement.gateway, facts.seen, facts.bundle
    pod = f"kubectl -n {facts.namespace} describe pod {pod_of(name)}"
    if seen.silence is not None:
        silent = facts.pod or Cause(
            Reason.GATEWAY_UNREACHABLE,
            f"gateway {name} does not answer the operator: {seen.silence.problem}. It may be at work all the same; "
            f"see to its pod: {pod}",
        )
        return _finding("False", silent.reason, silent.message)
    if bundle.generation is None:
        return _finding(
            "False", Reason.BUNDLE_PENDING, f"its bundle for gateway {name} is about to be written"
        )
    if seen.gateway is None:
        said = f"gateway {name} has not been asked yet"
        return _finding("Unknown", Reason.NOT_ASKED, said, hold=True)
    applied = seen.gateway.bundle_generation
    report = _report(facts)
    refused = report is not None and report.state == "Invalid"
    if applied is None or applied < bundle.generation:
        has = "no bundle yet" if applied is None else f"bundle {applied}"
        said = f"bundle {bundle.generation} with this plant is written, and gateway {name} has {has}"
        if bundle.late:
            return _finding("False", Reason.BUNDLE_LATE, f"{said}; see to its pod: {pod}")
        return _finding("False", Reason.BUNDLE_PENDING, said, hold=report is not None and not refused)
    if report is None:
        said = (
            f"gateway {name} has bundle {applied} and does not run this plant; its log says why: "
            f"kubectl -n {facts.namespace} logs {pod_of(name)}"
        )
        return _finding("False", Reason.PLANT_REFUSED, said)
    if refused:
        return _refused(facts, applied, report.message)
    if report.state == "Stopping":
        return _finding("False", Reason.STOPPING, f"gateway {name} is about to stop it")
    if report.message:
        return _finding("False", Reason.STARTING, f"gateway {name}: {report.message}")
    return _running(facts)


def _refused(facts: PlantFacts, applied: int, why: str) -> Finding:
    """The gateway runs no plant, or an older version: by itself, or because its bundle notes that it has to."""
    name, newest = facts.placement.gateway, facts.bundle.newest
    if facts.credentials.cause is not None:
        said = f"gateway {name} gets the newest version when the credentials are there"
        return _finding("False", Reason.BUNDLE_PENDING, said)
    if applied < newest:
        said = f"bundle {newest} is written, and gateway {name} has bundle {applied}"
        return _finding("False", Reason.BUNDLE_PENDING, said)
    return _finding("False", Reason.PLANT_REFUSED, f"gateway {name}: {why}")


def _running(facts: PlantFacts) -> Finding:
    warnings = [_problem(each) for each in facts.problems if each.severity is Severity.WARNING]
    note = f"; note: {'; '.join(warnings[:_MOST_PROBLEMS])}" if warnings else ""
    said = f"runs on {facts.placement.gateway}{note}"
    cause = facts.pod or facts.placement.remark or Cause(Reason.RUNNING, "")
    message = f"{said}; {cause.message}" if cause.message else said
    return _finding("True", cause.reason, message, facts.bundle.plant_generation)


# -- Voke


def _cloud(facts: PlantFacts) -> Finding:
    if _is_suspended(facts):
        message = "spec.suspend is true: no PLC is read and nothing is sent; set it to false to go on"
        return _said("False", Cause(Reason.SUSPENDED, message), facts.generation)
    nobody = _nobody_to_ask(facts)
    if nobody is not None:
        return nobody
    report = _report(facts)
    assert report is not None
    generation = _applied_generation(facts)
    if report.connected and not report.uplink_reason:
        return _finding("True", Reason.CONNECTED, "the session with Voke is up", generation)
    word = report.uplink_reason
    reason = known(word)
    message = report.uplink_message or word or "the session with Voke is being opened"
    if reason is None or reason.condition != CLOUD_CONNECTED:
        reason = Reason.UPLINK_TROUBLE if word else Reason.CONNECTING
        message = f"{word}: {message}" if word else message
    if reason in _KEYS_REFUSED and _registered(facts).status != "True":
        what = how_to_register(facts.namespace, facts.name, facts.credentials.in_use)
        message += f"; nobody has confirmed that its keys are registered: {what}"
    if facts.outage:
        message += f"; so it is with all plants of pool {_pool(facts)}"
    return _finding("False", reason, message, generation, hold=facts.outage and reason in OUTAGE_REASONS)


def _nobody_to_ask(facts: PlantFacts) -> Finding | None:
    """Unknown, if no gateway can say anything about the plant."""
    if facts.seen.silence is not None:
        said = f"gateway {facts.placement.gateway} does not answer the operator"
        reason = Reason.GATEWAY_UNREACHABLE if facts.pod is None else facts.pod.reason
        return _finding("Unknown", reason, said)
    if facts.seen.gateway is None and facts.bundle.generation is not None:
        return _finding("Unknown", Reason.NOT_ASKED, "its gateway has not been asked yet", hold=True)
    report = _report(facts)
    if report is None or not report.devices:
        return _finding("Unknown", Reason.STARTING, "no gateway runs the plant yet")
    return None


# -- PLCs


def _devices(facts: PlantFacts) -> tuple[Finding, str]:
    """The finding, and devices read and declared as ``3/4``."""
    declared = len(facts.plant.spec.devices) if facts.plant is not None else 0
    if _is_suspended(facts):
        return _said(
            "Unknown", Cause(Reason.SUSPENDED, "nobody asks them"), facts.generation
        ), f"0/{declared}"
    nobody = _nobody_to_ask(facts)
    if nobody is not None:
        return nobody, f"0/{declared}"
    report = _report(facts)
    assert report is not None
    found = devices(report, facts.plant)
    finding = _finding(found.status, found.cause.reason, found.cause.message, _applied_generation(facts))
    return finding, f"{report.read}/{report.devices or declared}"


# -- what they share


def _report(facts: PlantFacts) -> PlantReport | None:
    """What the gateway says of this plant, and not of one that had its name before."""
    report, plant = facts.seen.plant, facts.plant
    if report is None or plant is None or report.plant_id in {"", plant.spec.plant_id}:
        return report
    return None


def _is_suspended(facts: PlantFacts) -> bool:
    return facts.plant is not None and facts.plant.spec.suspend


def _applied_generation(facts: PlantFacts) -> int | None:
    """Generation of the Plant that the gateway speaks of; None: it may still be an older one."""
    seen, bundle = facts.seen, facts.bundle
    if seen.gateway is None or bundle.generation is None:
        return None
    applied = seen.gateway.bundle_generation
    return bundle.plant_generation if applied is not None and applied >= bundle.generation else None


def _pool(facts: PlantFacts) -> str:
    return facts.plant.spec.pool if facts.plant is not None else ""


def _finding(
    status: ConditionStatus,
    reason: Reason,
    message: str,
    generation: int | None = None,
    *,
    hold: bool = False,
) -> Finding:
    """What was observed."""
    return Finding(status=status, reason=reason, message=message, generation=generation, hold=hold)


def _said(status: ConditionStatus, cause: Cause, generation: int, *, awaited: bool = False) -> Finding:
    """What was decided."""
    return Finding(
        status=status,
        reason=cause.reason,
        message=cause.message,
        generation=generation,
        prompt=True,
        awaited=awaited,
    )
