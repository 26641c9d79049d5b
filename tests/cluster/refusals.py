"""What the API server says against a resource, as places and sentences."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import kubernetes

from voke_api.crd import KINDS, VERSION
from voke_api.resources import GROUP

RULES_NOT_CHECKED: Final = "some validation rules were not checked"
"""Part of a message: what the schema forbids is said first, and rules only when it forbids nothing."""
PLURALS: Final = {kind.model.__name__: kind.plural for kind in KINDS}


@dataclass(frozen=True)
class Refusal:
    """One thing that the API server has against a resource."""

    path: str
    """As ``voke check`` writes it; empty if the server names none."""
    message: str


def refusals(client: kubernetes.client.ApiClient, document: Mapping[str, Any]) -> list[Refusal]:
    """Why this resource cannot be created; empty if it can. Nothing is stored."""
    group, _, version = str(document.get("apiVersion")).partition("/")
    plural = PLURALS.get(str(document["kind"]), "unknown")
    try:
        kubernetes.client.CustomObjectsApi(client).create_namespaced_custom_object(
            group, version, "default", plural, dict(document), dry_run="All", field_validation="Strict"
        )
    except kubernetes.client.ApiException as error:
        if error.status == 404:
            place = "apiVersion" if (group, version) != (GROUP, VERSION) else "kind"
            return [Refusal(place, f"no matches for kind {document['kind']} in {group}/{version}")]
        status = json.loads(error.body or "{}")
        causes = status.get("details", {}).get("causes")
        if not causes:
            return [Refusal(_path(field), status["message"]) for field in _unknown(status["message"]) or [""]]
        return [_refusal(cause) for cause in causes]
    return []


def _refusal(cause: Mapping[str, str]) -> Refusal:
    field, message = cause.get("field", ""), cause["message"]
    if field == "<nil>":
        quoted = re.search(r'"([a-z]\S*)" must|in (\S+)$', message)
        field = (quoted[1] or quoted[2]) if quoted else ""
    return Refusal(_path(field), re.sub(r'^Invalid value: ("[^"]*": )?', "", message))


def _unknown(message: str) -> list[str]:
    return re.findall(r'unknown field "([^"]*)"', message)


def _path(field: str) -> str:
    """``spec.commands[STOP].writes[0]`` as ``spec.commands.STOP.writes[0]``."""
    return re.sub(r"\[([A-Za-z_]\w*)\]", r".\1", field)
