"""A Plant as the API server gives it: what the commands look at. Pure.

Read as plain data and not by the types of this version, for the operator may be a newer one.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from voke_api.resources.observed import CredentialInUse

Json = dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Condition:
    """One condition; of one that is not there the status is ``Unknown``."""

    type: str
    status: str = "Unknown"
    reason: str = ""
    message: str = ""
    since: float | None = None
    """Epoch seconds of its last change."""
    observed_generation: int = 0


@dataclass(frozen=True, slots=True)
class PlantView:
    """A Plant's document, by what is asked of it."""

    document: Json

    @property
    def name(self) -> str:
        """Its name."""
        return str(self.document["metadata"]["name"])

    @property
    def namespace(self) -> str:
        """Its namespace."""
        return str(self.document["metadata"]["namespace"])

    @property
    def generation(self) -> int:
        """Of what is wanted."""
        return int(self.document["metadata"].get("generation", 0))

    @property
    def plant_id(self) -> str:
        """Voke's id."""
        return str(self.document["spec"]["plantId"])

    @property
    def status(self) -> Json:
        """What the operator found; empty at first."""
        found: Json = self.document.get("status") or {}
        return found

    @property
    def gateway(self) -> str:
        """StatefulSet whose pod runs it; empty: none."""
        return str(self.status.get("gateway") or "")

    @property
    def conditions(self) -> tuple[Condition, ...]:
        """All of them."""
        return tuple(_condition(each) for each in self.status.get("conditions") or ())

    @property
    def in_use(self) -> tuple[CredentialInUse, ...]:
        """Which credentials are in force."""
        kept = CredentialInUse.model_fields
        known = {field.alias or name for name, field in kept.items()}
        return tuple(
            CredentialInUse.model_validate({key: value for key, value in each.items() if key in known})
            for each in self.status.get("credentials") or ()
        )

    def condition(self, type_: str) -> Condition:
        """One of them."""
        return next((each for each in self.conditions if each.type == type_), Condition(type=type_))

    def annotation(self, name: str) -> str:
        """Its value; empty if it is not there."""
        return str((self.document["metadata"].get("annotations") or {}).get(name, ""))


def _condition(document: Json) -> Condition:
    return Condition(
        type=str(document.get("type", "")),
        status=str(document.get("status", "Unknown")),
        reason=str(document.get("reason", "")),
        message=str(document.get("message", "")),
        since=_instant(document.get("lastTransitionTime")),
        observed_generation=int(document.get("observedGeneration") or 0),
    )


def _instant(text: object) -> float | None:
    try:
        return datetime.fromisoformat(str(text)).timestamp()
    except ValueError:
        return None
