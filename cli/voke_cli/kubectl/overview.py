"""How Plants are, from what the API has and what their gateways say: one row each, worst first. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from voke_api.status import DeviceStatus, GatewayStatus, PlantStatus
from voke_cli.kubectl.plants import PlantView
from voke_operator.status.reasons import Reason

Json = dict[str, Any]
_WORST_FIRST: Final = {"False": 0, "Unknown": 1, "True": 3}
_ORDER: Final = {str(reason): number for number, reason in enumerate(Reason)}
"""What has to be mended first."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One Plant."""

    plant: PlantView
    live: PlantStatus | None = None
    """What its gateway says."""
    not_asked: str = ""
    """Why its gateway says nothing."""

    @property
    def ready(self) -> str:
        """True, False or Unknown."""
        return self.plant.condition("Ready").status

    @property
    def reason(self) -> str:
        """Of Ready; ``NotSeen`` before the operator has looked at it."""
        return self.plant.condition("Ready").reason or "NotSeen"

    @property
    def to_do(self) -> str:
        """What to do first; empty: nothing."""
        if not self.plant.conditions:
            return "the operator has not looked at it yet: does it run, and watch this namespace?"
        known = self.ready != "True" or (self.reason == Reason.SOME_DEVICES_NOT_READ and self.session == "up")
        return (
            self.plant.condition("Ready").message if known or not self._worse else f"just now {self._worse}"
        )

    @property
    def all_well(self) -> bool:
        """Nothing is left to do."""
        return self.reason == Reason.ALL_WELL and self.well

    @property
    def devices(self) -> str:
        """Read and declared, as ``3/4``."""
        if self.live is None or self.live.state != "Running":
            return str(self.plant.status.get("devices") or "")
        return f"{sum(map(is_read, self.live.devices))}/{len(self.live.devices)}"

    @property
    def last_read_at(self) -> float | None:
        """When a device was last read, epoch seconds; None: never, or not known."""
        return max((each.last_read_at for each in _devices(self.live) if each.last_read_at), default=None)

    @property
    def session(self) -> str:
        """``up``, or why it is not."""
        if self.live is not None and self.live.session.connected:
            return "up"
        if self.live is not None and self.live.session.reason:
            return self.live.session.reason
        condition = self.plant.condition("CloudConnected")
        return "up" if condition.status == "True" else condition.reason or "Unknown"

    @property
    def well(self) -> bool:
        """Ready, and its gateway says nothing else."""
        return self.ready == "True" and not self._worse

    @property
    def _worse(self) -> str:
        """What its gateway finds that the conditions, which wait a while, may not say yet; empty: nothing."""
        if self.live is None or self.live.state != "Running":
            return ""
        session = self.live.session
        if not session.connected:
            return f"it has no session with Voke: {session.message or session.reason or 'it connects'}"
        unread = [each for each in self.live.devices if not is_read(each) and not each.expect_offline]
        if not unread:
            return ""
        fault, more = unread[0].fault, f" (and {len(unread) - 1} more)" if len(unread) > 1 else ""
        return f"{unread[0].external_id}{more} is not read: {fault.detail if fault else 'not asked yet'}"

    @property
    def rank(self) -> tuple[int, int, str, str]:
        """Sorts the worst first."""
        state = _WORST_FIRST.get(self.ready, 1)
        if state == _WORST_FIRST["True"] and self._worse:
            state -= 1
        return state, _ORDER.get(self.reason, len(_ORDER)), self.plant.namespace, self.plant.name


def rows(plants: Iterable[PlantView], answers: Mapping[tuple[str, str], GatewayStatus | str]) -> list[Row]:
    """All Plants, worst first.

    Args:
        plants: As the API has them.
        answers: What gateways say, or why they say nothing, by namespace and name.
    """
    return sorted((_row(plant, answers) for plant in plants), key=lambda row: row.rank)


def is_read(device: DeviceStatus) -> bool:
    """Whether it gave values when it was last asked."""
    return device.fault is None and device.last_read_at is not None


def failing_points(live: PlantStatus) -> Iterator[tuple[str, str, str, str]]:
    """Device, field, kind and detail of what devices refuse."""
    for device in live.devices:
        for field, fault in device.bad_points.items():
            yield device.external_id, field, fault.kind, fault.detail


def as_document(found: Iterable[Row], *, whole: bool = False) -> Json:
    """A contract for scripts; ``whole``: with all that is known of each Plant."""
    return {"plants": [_document(row, whole=whole) for row in found]}


def _document(row: Row, *, whole: bool) -> Json:
    document: Json = {
        "namespace": row.plant.namespace,
        "name": row.plant.name,
        "plantId": row.plant.plant_id,
        "ready": row.ready,
        "reason": row.reason,
        "message": row.to_do,
        "devices": row.devices,
        "lastReadAt": row.last_read_at,
        "session": row.session,
        "gateway": row.plant.gateway,
        "notAsked": row.not_asked or None,
    }
    if whole:
        document["conditions"] = row.plant.status.get("conditions") or []
        document["live"] = (
            None if row.live is None else row.live.model_dump(mode="json", by_alias=True, exclude_none=True)
        )
    return document


def _row(plant: PlantView, answers: Mapping[tuple[str, str], GatewayStatus | str]) -> Row:
    if not plant.gateway:
        return Row(plant=plant, not_asked="it has no gateway")
    answer = answers.get((plant.namespace, plant.gateway), "")
    if isinstance(answer, str):
        return Row(plant=plant, not_asked=answer)
    live = next((each for each in answer.plants if each.name == plant.name), None)
    if live is None or live.plant_id not in {"", plant.plant_id}:
        return Row(plant=plant, not_asked=f"{plant.gateway} answers and does not run it")
    return Row(plant=plant, live=live)


def _devices(live: PlantStatus | None) -> tuple[DeviceStatus, ...]:
    return () if live is None else live.devices
