"""What 0.1.0 owned by creating it is owned by apply, and what others own stays theirs."""

from __future__ import annotations

from typing import Any

from voke_operator import names
from voke_operator.plan.ownership import taken_over


def entry(operation: str, fields: Any, *, manager: str = names.FIELD_MANAGER, **more: str) -> Any:
    return {
        "manager": manager,
        "operation": operation,
        "apiVersion": "apps/v1",
        "fieldsType": "FieldsV1",
        "fieldsV1": fields,
        **more,
    }


MADE = entry("Update", {"f:spec": {"f:a": {}, "f:b": {".": {}, "f:c": {}}}})
APPLIED = entry("Apply", {"f:spec": {"f:b": {"f:d": {}}, "f:e": {}}})
OTHERS = entry("Update", {"f:spec": {"f:replicas": {}}}, manager="kubectl")
STATUS = entry("Update", {"f:status": {"f:x": {}}}, subresource="status")


def test_what_was_made_and_applied_is_owned_by_apply_alone() -> None:
    found = taken_over([OTHERS, APPLIED, MADE, STATUS])
    fields: Any = {"f:spec": {"f:a": {}, "f:b": {".": {}, "f:c": {}, "f:d": {}}, "f:e": {}}}
    assert found == (entry("Apply", fields), OTHERS, STATUS)


def test_what_was_only_made_is_owned_by_apply() -> None:
    assert taken_over([MADE]) == (entry("Apply", MADE["fieldsV1"]),)


def test_what_is_owned_by_apply_or_by_others_is_left_alone() -> None:
    for entries in ((), (APPLIED,), (OTHERS, APPLIED, STATUS), (OTHERS, STATUS)):
        assert taken_over(entries) is None


def test_it_is_done_once() -> None:
    found = taken_over([MADE, APPLIED, OTHERS])
    assert found is not None
    assert taken_over(found) is None
