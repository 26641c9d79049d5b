"""A key that is lost or replaced: a person's word, a new key that is announced first, and nothing else meanwhile."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final

import pytest

from tests.operator.credentials.world import (
    OTHER_PLANT_ID,
    Operator,
    Server,
    days,
    ids,
    kept,
    kinds,
    refused,
    secret_of,
    served,
    work,
)
from voke_operator import names
from voke_operator.credentials import material
from voke_operator.credentials.decisions import (
    Create,
    Keep,
    Mint,
    Reason,
    Record,
    Update,
)
from voke_operator.credentials.issuer import Issuer


def test_a_lost_key_is_said_and_not_replaced() -> None:
    server = served()
    before = server.plant
    server.put_secret(None)
    server.put_bundle(None)
    problems = refused(server)
    assert [(each.reason, each.credential) for each in problems] == [
        (Reason.KEY_LOST, "hmac"),
        (Reason.KEY_LOST, "mtls"),
    ]
    assert server.secret is None
    assert before is not None
    for problem, name in zip(problems, ("hmac", "mtls"), strict=True):
        assert f"the {name} key {before.recorded[name]} is neither in the Secret" in problem.message
        assert problem.message.endswith(
            "kubectl voke credentials site -n default --replace hmac --replace mtls"
        ), "one command for all that is lost"


def test_what_survives_is_restored_though_something_else_is_lost() -> None:
    server = served()
    before = secret_of(server)
    server.put_secret(None)
    server.put_bundle({material.HMAC_KEY: before.data[material.HMAC_KEY]})
    (problem,) = refused(server)
    assert (problem.reason, problem.credential) == (Reason.KEY_LOST, "mtls")
    assert problem.message.endswith("kubectl voke credentials site -n default --replace mtls")
    assert secret_of(server).data == {material.HMAC_KEY: before.data[material.HMAC_KEY]}


def test_a_person_has_lost_keys_replaced_and_that_happens_once() -> None:
    server = served()
    lost = secret_of(server)
    server.put_secret(None)
    server.put_bundle(None)
    server.put_plant(replace=" ".join(ids(lost.data).values()))
    assert kinds(work(server)) == [Mint, Record, Create, Record, Keep]
    after = secret_of(server)
    assert ids(after.data)["hmac"] != ids(lost.data)["hmac"]
    assert kinds(work(server)) == [Keep]
    server.put_secret(None)
    assert kinds(work(server)) == [Create, Keep]
    assert secret_of(server).data == after.data


def test_a_key_that_is_not_lost_is_replaced_on_request_too() -> None:
    server = served()
    before = secret_of(server)
    server.put_plant(replace=ids(before.data)["hmac"])
    assert kinds(work(server)) == [Mint, Record, Update, Record, Keep]
    after = ids(secret_of(server).data)
    assert after["hmac"] != ids(before.data)["hmac"]
    assert after["mtls"] == ids(before.data)["mtls"]


def stopped_before(server: Server, kind: type, *, count: int = 1) -> Operator:
    """An operator that is about to carry out its decision number ``count`` of that kind."""
    operator = Operator(server)
    steps = operator.steps()
    for decision in steps:
        count -= isinstance(decision, kind)
        if not count:
            return operator
    raise AssertionError(f"there was no such {kind.__name__}")


def test_a_key_that_is_to_take_another_ones_place_is_announced_before_the_secret_holds_it() -> None:
    server = served()
    before = secret_of(server)
    in_force = ids(before.data)["hmac"]
    server.put_plant(replace=in_force)
    stopped_before(server, Update)
    assert server.plant is not None
    assert server.plant.recorded["hmac"] == in_force
    assert secret_of(server) == before
    (hmac,) = [each for each in server.plant.status if each.name == "hmac"]
    assert hmac.announced is not None
    kept(server)
    (hmac,) = [each for each in server.plant.status if each.name == "hmac"]
    assert hmac.announced is None


def test_an_operator_that_died_before_the_status_named_the_new_key_is_gone_on_from() -> None:
    server = served()
    server.put_plant(replace=ids(secret_of(server).data)["hmac"])
    stopped_before(server, Record, count=2)
    replaced = secret_of(server)
    assert kinds(work(server)) == [Record, Keep]
    assert secret_of(server) == replaced


def test_what_was_announced_and_never_written_is_made_anew() -> None:
    server = served()
    before = ids(secret_of(server).data)["hmac"]
    server.put_plant(replace=before)
    for _ in range(20):
        stopped_before(server, Update)
    assert server.plant is not None
    (hmac,) = [each for each in server.plant.status if each.name == "hmac"]
    assert len(hmac.announced or ()) == 8, "it does not grow for ever"
    assert kinds(work(server)) == [Mint, Record, Update, Record, Keep]
    assert server.plant.recorded["hmac"] != before


def test_an_announced_key_that_is_written_late_is_taken_though_another_was_announced_since() -> None:
    server = served()
    server.put_plant(replace=ids(secret_of(server).data)["hmac"])
    late, _ = stopped_before(server, Update), stopped_before(server, Update)
    late.act()
    written = secret_of(server)
    assert kinds(work(server)) == [Record, Keep]
    assert secret_of(server) == written


@dataclass(frozen=True)
class Swap:
    """What somebody puts into a plant's Secret, and says there of it."""

    data: dict[str, bytes]
    retired: str = ""

    def into(self, server: Server) -> None:
        secret = secret_of(server)
        data = {**secret.data, **self.data}
        said = {names.KEY_IDS_ANNOTATION: ",".join(f"{name}={key}" for name, key in ids(data).items())}
        if self.retired:
            said["voke.lovinka.com/retired-key-ids"] = self.retired
        server.put_secret(replace(secret, data=data, annotations={**secret.annotations, **said}))


def swaps(server: Server) -> dict[str, Swap]:
    """Keys that look as if the operator had put them there, for a plant whose certificate was renewed once."""
    older = secret_of(server).data
    server.now += days(500)
    kept(server)
    assert server.plant is not None
    retired = ",".join(server.plant.recorded.values())
    assert isinstance(server.issuer, Issuer)
    others = material.new_client_certificate(OTHER_PLANT_ID, server.issuer.material, server.now)
    return {
        "an older certificate of the plant's own": Swap(
            {name: older[name] for name in (material.TLS_CERTIFICATE, material.TLS_KEY)}, retired
        ),
        "another HMAC key": Swap({material.HMAC_KEY: b"ab" * 32}, retired),
        "keys of another plant": Swap({material.HMAC_KEY: b"cd" * 32, **others}, retired),
    }


SWAPS: Final = ("an older certificate of the plant's own", "another HMAC key", "keys of another plant")


@pytest.mark.parametrize("what", SWAPS)
def test_a_secret_that_says_of_itself_to_be_ahead_is_brought_back(what: str) -> None:
    server = served()
    swap = swaps(server)[what]
    before = secret_of(server)
    swap.into(server)
    assert kinds(work(server)) == [Update, Keep]
    assert secret_of(server).data == before.data
    assert (
        secret_of(server).annotations[names.KEY_IDS_ANNOTATION]
        == before.annotations[names.KEY_IDS_ANNOTATION]
    )


@pytest.mark.parametrize("what", SWAPS)
def test_without_a_copy_it_is_said_and_what_runs_goes_on(what: str) -> None:
    server = served()
    swap = swaps(server)[what]
    swap.into(server)
    server.put_bundle(None)
    assert {each.reason for each in refused(server)} == {Reason.KEY_LOST}
    assert all("--replace" in each.message for each in refused(server))
    assert server.bundle.held is None, "nothing of it gets into a bundle"


@pytest.mark.parametrize("what", SWAPS)
@pytest.mark.parametrize(("kind", "count"), [(Record, 1), (Update, 1), (Record, 2), (Keep, 1)])
def test_nothing_else_is_taken_while_keys_are_exchanged(what: str, kind: type, count: int) -> None:
    """Nor by the operator that is at it, nor by the next one."""
    for goes_on in (True, False):
        server = served()
        swap = swaps(server)[what]
        server.now += days(500)  # the certificate is due again
        server.put_plant(replace=ids(secret_of(server).data)["hmac"])
        operator = stopped_before(server, kind, count=count)
        swap.into(server)
        if goes_on:
            operator.act()
        last = work(server)[-1]
        assert server.plant is not None
        planted = ids(swap.data).items()
        assert not planted & server.plant.recorded.items()
        assert not planted & ids(server.bundle.held or {}).items()
        only_there = kind is Keep or (goes_on and count == 2)
        assert isinstance(last, Keep) or only_there, (
            "in force, and not yet in a bundle: it is lost, and that is said"
        )
