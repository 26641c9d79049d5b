"""From wanted and observed to steps."""

from __future__ import annotations

from copy import deepcopy
from dataclasses import replace
from typing import Any

import pytest

from voke_api.resources.pool import GatewayPoolSpec
from voke_operator import names
from voke_operator.plan.difference import (
    Action,
    Conflict,
    ObjectRef,
    Observed,
    Step,
    apply_steps,
    bundle_step,
    delete_step,
    differing,
    ref_of,
)
from voke_operator.plan.objects import Defaults, bundle_secret, shard_objects
from voke_operator.plan.placement import ShardId

SHARD = ShardId("default", 0)
DOCUMENTS = shard_objects(SHARD, "site", GatewayPoolSpec(), Defaults(image="voke-gateway:1"))


def as_observed(document: dict[str, Any], **more: Any) -> Observed:
    metadata = document["metadata"]
    return Observed(
        ref=ref_of(document),
        uid="u",
        resource_version="7",
        labels=metadata["labels"],
        annotations=metadata.get("annotations", {}),
        **more,
    )


def observed(**more: Any) -> dict[ObjectRef, Observed]:
    return {ref_of(document): as_observed(document, **more) for document in DOCUMENTS}


def steps(
    documents: tuple[dict[str, Any], ...] = DOCUMENTS, there: dict[ObjectRef, Observed] | None = None
) -> list[Step | Conflict]:
    return list(apply_steps(documents, observed() if there is None else there))


def test_what_is_missing_is_applied() -> None:
    made = steps(there={})
    assert [(each.ref.kind, each.reason) for each in made if isinstance(each, Step)] == [
        ("Service", "does not exist"),
        ("StatefulSet", "does not exist"),
    ]


def test_what_is_as_we_left_it_needs_nothing() -> None:
    assert steps() == []


def test_a_new_image_restarts_the_gateway_and_says_so() -> None:
    newer = shard_objects(SHARD, "site", GatewayPoolSpec(), Defaults(image="voke-gateway:2"))
    (step,) = steps(newer)
    assert isinstance(step, Step)
    assert step.restarts
    assert step.reason == "what is wanted of it has changed; the gateway restarts"


def test_what_somebody_wrote_on_a_service_does_not_make_it_wait_for_a_restart() -> None:
    service = ref_of(DOCUMENTS[0])
    there = observed()
    strange = {names.TEMPLATE_HASH_ANNOTATION: "x", names.APPLIED_ANNOTATION: "x", names.HASH_ANNOTATION: "x"}
    there[service] = replace(there[service], annotations=strange)
    (step,) = steps(there=there)
    assert isinstance(step, Step)
    assert (step.ref, step.restarts) == (service, False)


def test_what_somebody_else_changed_is_put_right() -> None:
    live = deepcopy(DOCUMENTS[1])
    live["spec"]["replicas"] = 0
    live["spec"]["updateStrategy"] = {"type": "RollingUpdate"}
    live["status"] = {"replicas": 0}
    there = observed()
    there[ref_of(live)] = replace(there[ref_of(live)], content=live)
    (step,) = steps(there=there)
    assert isinstance(step, Step)
    assert step.reason == "somebody else changed spec.replicas"
    assert not step.restarts


def test_what_the_api_server_adds_is_nobodys_change() -> None:
    live = deepcopy(DOCUMENTS[1])
    container = live["spec"]["template"]["spec"]["containers"][0]
    container["terminationMessagePath"] = "/dev/termination-log"
    container["resources"] = {"requests": {"cpu": "0.25", "memory": "256Mi"}, "limits": {"memory": "1024Mi"}}
    assert list(differing(live, DOCUMENTS[1])) == []


@pytest.mark.parametrize(
    ("live", "wanted"),
    [
        ({}, {"a": 1}),
        ({"a": 2}, {"a": 1}),
        ({"a": [1]}, {"a": [1, 2]}),
        ({"a": "1Gi"}, {"a": "1G"}),
        ({"a": {}}, {"a": {"b": "c"}}),
        ({"a": [{"b": 1}]}, {"a": [{"b": 2}]}),
    ],
)
def test_a_difference_is_seen(live: object, wanted: object) -> None:
    assert list(differing(live, wanted))


def test_an_object_that_is_not_ours_is_left_alone() -> None:
    there = {ref: replace(each, labels={}) for ref, each in observed().items()}
    made = steps(there=there)
    assert all(isinstance(each, Conflict) for each in made)
    assert "was not made by the operator" in str(made[0].message if isinstance(made[0], Conflict) else "")
    assert all(delete_step(each, reason="") is None for each in there.values())


def test_a_bundle_is_created_and_then_replaced_at_the_version_that_was_read() -> None:
    document = bundle_secret(SHARD, "site", {"bundle.json": b"{}"})
    first = bundle_step(document, None, reason="adds a")
    assert isinstance(first, Step)
    assert first.action is Action.CREATE
    second = bundle_step(document, as_observed(document), reason="adds b")
    assert isinstance(second, Step)
    assert (second.action, second.resource_version, second.reason) == (Action.UPDATE, "7", "adds b")
    assert second.document is not None
    assert second.document["metadata"]["resourceVersion"] == "7"
    stranger = replace(as_observed(document), labels={})
    assert isinstance(bundle_step(document, stranger, reason=""), Conflict)


def test_an_object_is_deleted_once_and_only_that_one() -> None:
    there = as_observed(DOCUMENTS[0])
    step = delete_step(there, reason="no plant is on it")
    assert step is not None
    assert (step.action, step.uid) == (Action.DELETE, "u")
    assert delete_step(replace(there, deleting=True), reason="") is None


def test_reprs_show_no_keys() -> None:
    document = bundle_secret(SHARD, "site", {"plant-a.json.gz": b"planted"})
    step = bundle_step(document, as_observed(document, content=document), reason="")
    assert "cGxhbnRlZA" not in repr(step)
    assert "cGxhbnRlZA" not in repr(as_observed(document, content=document))
