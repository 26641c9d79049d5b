"""Whose the fields of an object are, as the API server notes them, and how those of 0.1.0 are taken over.

Server-side apply takes away what its last apply said and the next one does not, unless another manager says it as well.
0.1.0 created objects by POST, which makes it such another manager: under the same name, but by ``Update``. So what a
pool no longer said stayed. Once what it owned belongs to apply, the next apply takes it away. (That is also what
client-go's ``csaupgrade`` does for kubectl.)
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final

from voke_api.resources.common import Json
from voke_operator import names

_FIELDS: Final = "fieldsV1"


def taken_over(managed_fields: Iterable[Mapping[str, Any]]) -> tuple[Json, ...] | None:
    """``metadata.managedFields`` with all that we own as owned by apply; None: it is so already."""
    entries = [dict(each) for each in managed_fields]
    ours = [each for each in entries if _is_ours(each)]
    if all(each.get("operation") == "Apply" for each in ours):
        return None
    fields: Json = {}
    for each in ours:
        fields = _union(fields, each.get(_FIELDS) or {})
    applied = next((each for each in ours if each.get("operation") == "Apply"), ours[0])
    rest = (each for each in entries if each not in ours)
    return {**applied, "operation": "Apply", _FIELDS: fields}, *rest


def _is_ours(entry: Mapping[str, Any]) -> bool:
    return entry.get("manager") == names.FIELD_MANAGER and not entry.get("subresource")


def _union(one: Mapping[str, Any], other: Mapping[str, Any]) -> Json:
    """Sets of fields are trees of mappings, in which a leaf is empty."""
    return {key: _union(one.get(key, {}), other.get(key, {})) for key in {**one, **other}}
