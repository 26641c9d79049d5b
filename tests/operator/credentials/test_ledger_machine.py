"""No interleaving of operators, people, crashes and garbage collection puts a second key into force, or loses one."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Final

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.hashes import SHA256
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule

from tests.operator.credentials.world import (
    NO_ISSUER,
    OTHER_PLANT_ID,
    Operator,
    Server,
    days,
    ending_ca,
    fleet_ca,
    ids,
)
from tests.support.plants import PLANT_ID
from voke_operator import names
from voke_operator.credentials import material
from voke_operator.credentials.decisions import Create, Finding, Keep, Mint, Reason, Record, Refuse, Update
from voke_operator.credentials.ids import format_ids, parse_ids
from voke_operator.credentials.material import Material
from voke_operator.credentials.renewal import renew_at
from voke_operator.credentials.secret import Secret

OTHERS_KEY: Final = material.new_hmac_key(bytes)[material.HMAC_KEY]
WHO: Final = st.integers(0, 1)

EDITS: Final[dict[str, Any]] = {
    "a key is replaced": lambda s: edited(s, {material.HMAC_KEY: OTHERS_KEY}),
    "a key is garbled": lambda s: edited(s, {material.HMAC_KEY: b"garbage"}),
    "a key is removed": lambda s: edited(s, {material.HMAC_KEY: None}),
    "a certificate's key is removed": lambda s: edited(s, {material.TLS_KEY: None}),
    "a certificate is garbled": lambda s: edited(s, {material.TLS_CERTIFICATE: b"garbage"}),
    "the issuer's certificate is garbled": lambda s: edited(s, {material.ISSUER: b"garbage"}),
    "everything is removed": lambda s: replace(s, data={}),
    "the ids are removed": lambda s: annotated(s, names.KEY_IDS_ANNOTATION),
    "the owner is removed": lambda s: replace(s, owners=()),
    "our label is removed": lambda s: replace(s, labels={}),
    "another key is said to be the next one": lambda s: passed_off(s, {material.HMAC_KEY: OTHERS_KEY}),
}


def edited(secret: Secret, changes: dict[str, bytes | None]) -> Secret:
    data = {**secret.data, **changes}
    return replace(secret, data={key: content for key, content in data.items() if content is not None})


def passed_off(secret: Secret, changes: Mapping[str, bytes]) -> Secret:
    """With keys that were put in, and annotations that say that they replace those that were there."""
    data = {**secret.data, **changes}
    said = {
        names.KEY_IDS_ANNOTATION: format_ids(ids(data)),
        "voke.lovinka.com/retired-key-ids": ",".join(ids(secret.data).values()),
    }
    return replace(secret, data=data, annotations={**secret.annotations, **said})


def annotated(secret: Secret, without: str) -> Secret:
    kept = {key: value for key, value in secret.annotations.items() if key != without}
    return replace(secret, annotations=kept)


class Credentials(RuleBasedStateMachine):
    """Two operators, of which each may be the stale one, and people who do as they like."""

    def __init__(self) -> None:
        super().__init__()
        self.server = Server()
        self.operators: list[Operator] = []
        self.backups: list[Secret] = []
        self.asked: set[str] = set()
        self.leaves: dict[str, x509.Certificate] = {}
        """All that were ever made, by id."""
        self.in_force: dict[str, str] = {}
        """Of the Plant that is there: id of what its gateway was given last, by credential."""
        self.announced: set[str] = set()
        """Ids of all keys that an operator has made to take another one's place."""
        self.restored = False
        """Whether the Secret's owner is what a backup said, which may be one that is long gone."""
        self.retained = False
        """Whether a Plant with the policy Retain has gone, and left its Secret without an owner."""

    @initialize()
    def a_plant(self) -> None:
        self.server.put_plant()
        self.operators = [Operator(self.server), Operator(self.server)]

    # What operators do

    @rule(who=WHO, what=st.sampled_from(("plant", "secret")))
    def a_watch_delivers(self, who: int, what: str) -> None:
        if not self.operators[who].to_read:
            self.operators[who].see(what)
            self.operators[who].just_read = False

    @rule(who=WHO)
    def an_operator_reads(self, who: int) -> None:
        self.operators[who].read_on()

    @rule(who=WHO)
    def an_operator_thinks(self, who: int) -> None:
        self.operators[who].think()
        self._nothing_is_shown(self.operators[who])

    @rule(who=WHO)
    def an_operator_acts(self, who: int) -> None:
        self._act(self.operators[who])

    @rule(who=WHO)
    def an_operator_works_on_its_cache(self, who: int) -> None:
        """Reading only what it is asked to."""
        self._work(self.operators[who])

    @rule(who=WHO)
    def an_operator_works(self, who: int) -> None:
        self.operators[who].read()
        self._work(self.operators[who])

    @rule(who=WHO)
    def an_operator_crashes(self, who: int) -> None:
        self.operators[who] = Operator(self.server)

    @rule(who=WHO)
    def another_plant_of_the_shard_changes(self, who: int) -> None:
        self.operators[who].others_changed = True

    # What people and the cluster do

    @rule(by=st.sampled_from((1, 30, 300, 500, 731)))
    def time_passes(self, by: int) -> None:
        self.server.now += days(by)

    @rule(which=st.sampled_from(("new", "ending", "none")))
    def the_issuer_changes(self, which: str) -> None:
        now = self.server.now
        issuers: dict[str, Any] = {
            "new": fleet_ca,
            "ending": lambda n: ending_ca(n + days(100)),
            "none": lambda _: NO_ISSUER,
        }
        self.server.issuer = issuers[which](now)

    @precondition(lambda self: self.server.secret is not None)
    @rule()
    def somebody_deletes_the_secret(self) -> None:
        self.server.put_secret(None)

    @precondition(lambda self: self.server.secret is not None)
    @rule(how=st.sampled_from(sorted(EDITS)))
    def somebody_edits_the_secret(self, how: str) -> None:
        self.server.put_secret(EDITS[how](self.server.secret))

    @precondition(lambda self: self.server.secret is not None)
    @rule()
    def a_backup_is_made(self) -> None:
        assert self.server.secret is not None
        self.backups.append(self.server.secret)

    @precondition(lambda self: self.backups)
    @rule(data=st.data())
    def a_backup_is_restored(self, data: st.DataObject) -> None:
        which = data.draw(st.integers(0, len(self.backups) - 1))
        self.server.put_secret(replace(self.backups[which], uid=""))
        self.restored = True

    @precondition(lambda self: self.backups and self.server.secret is not None)
    @rule(data=st.data())
    def older_keys_are_said_to_be_the_next_ones(self, data: st.DataObject) -> None:
        which = data.draw(st.integers(0, len(self.backups) - 1))
        assert self.server.secret is not None
        self.server.put_secret(passed_off(self.server.secret, self.backups[which].data))

    @rule()
    def the_bundle_is_lost(self) -> None:
        self.server.bundle = replace(self.server.bundle, version=self.server.version(), held=None)

    @precondition(lambda self: self.server.plant is not None)
    @rule(method=st.sampled_from(("MTLS", "PASSWORD")))
    def the_method_changes(self, method: str) -> None:
        self.server.put_plant(method=method)
        if method != "MTLS":
            self.in_force.pop("mtls", None)

    @precondition(lambda self: self.server.plant is not None)
    @rule(name=st.sampled_from(("hmac", "mtls")))
    def somebody_asks_for_a_new_key(self, name: str) -> None:
        plant = self.server.plant
        assert plant is not None
        known = plant.recorded
        if self.server.secret is not None:
            known = {**parse_ids(self.server.secret.annotations.get(names.KEY_IDS_ANNOTATION)), **known}
        if name in known:
            self.asked.add(known[name])
            self.server.put_plant(replace=known[name])

    @precondition(lambda self: self.server.plant is not None)
    @rule(policy=st.sampled_from(("Delete", "Retain")))
    def the_policy_changes(self, policy: str) -> None:
        # An operator between its reads and its write would have to be stopped there while the policy is
        # changed and the Plant deleted: the write would give the Secret an owner that is gone.
        if not any(isinstance(each.about_to, Create | Update) for each in self.operators):
            self.server.put_plant(policy=policy)

    @precondition(lambda self: self.server.plant is not None)
    @rule()
    def the_plant_is_deleted(self) -> None:
        plant, secret = self.server.plant, self.server.secret
        assert plant is not None
        self.retained = plant.policy == "Retain" and secret is not None and not secret.owners
        self.server.plant = None
        self.server.bundle = replace(self.server.bundle, version=self.server.version(), held=None)

    @precondition(lambda self: self.server.plant is None)
    @rule(
        plant_id=st.sampled_from((PLANT_ID, PLANT_ID, OTHER_PLANT_ID)),
        policy=st.sampled_from(("Delete", "Retain")),
    )
    def a_plant_is_created(self, plant_id: str, policy: str) -> None:
        self.server.put_plant(plant_id=plant_id, policy=policy)
        self.in_force, self.retained = {}, False

    @precondition(lambda self: self.server.secret is not None and self.server.secret.owners)
    @rule()
    def garbage_is_collected(self) -> None:
        secret, plant = self.server.secret, self.server.plant
        assert secret is not None
        if plant is not None and any(each["uid"] == plant.uid for each in secret.owners):
            return
        assert not self.retained or self.restored, "a Secret that was to be kept went with its Plant"
        if plant is not None:
            lost = {name for name, key_id in ids(secret.data).items() if plant.recorded.get(name) == key_id}
            assert not lost or self.restored or self._foreign(secret), f"keys in force were collected: {lost}"
        self.server.put_secret(None)

    # What must hold

    def teardown(self) -> None:
        if self.operators:
            last = Operator(self.server)
            last.read()
            decision = self._work(last, steps=20)
            assert not isinstance(decision, Create | Update | Record | Mint), (
                f"it never comes to rest: {decision}"
            )
            self._at_rest(decision)

    def _work(self, operator: Operator, steps: int = 6) -> Any:
        decision = None
        for _ in range(steps):
            while operator.to_read:
                operator.read_on()
            operator.think()
            decision = operator.about_to or decision
            self._act(operator)
        return decision

    def _at_rest(self, decision: Any) -> None:
        plant = self.server.plant
        if isinstance(decision, Keep):
            assert plant is not None
            assert self.server.secret is not None
            assert self.server.bundle.held is not None
            needed = {"hmac", "mtls"} if plant.method == "MTLS" else {"hmac"}
            assert ids(self.server.bundle.held) == plant.recorded
            assert plant.recorded.keys() == needed
            assert plant.recorded.items() <= ids(self.server.secret.data).items()
            owners = [each["uid"] for each in self.server.secret.owners]
            assert owners == ([] if plant.policy == "Retain" else [plant.uid])
        elif isinstance(decision, Refuse):
            assert plant is not None
            for problem in decision.problems:
                assert self._justified(problem, plant.recorded), problem

    def _justified(self, problem: Finding, recorded: dict[str, str]) -> bool:
        name = problem.credential
        if problem.reason is Reason.KEY_LOST:
            assert name is not None
            # Annotations name keys that the status does not.
            return recorded.get(name) not in (self._there(name)) or recorded.get(name) is None
        if problem.reason is Reason.NAME_CONFLICT:
            assert self.server.secret is not None
            return self._foreign(self.server.secret)
        return name == "mtls"

    def _there(self, name: str) -> set[str | None]:
        secret = {} if self.server.secret is None else self.server.secret.data
        held = self.server.bundle.held or {}
        mixed = ({**secret, **held}, {**held, **secret})
        return {ids(each).get(name) for each in (secret, held, *mixed)} - {None}

    def _foreign(self, secret: Secret) -> bool:
        plant = self.server.plant
        assert plant is not None
        holder = secret.annotations.get(names.PLANT_ID_ANNOTATION)
        return names.PLANT_LABEL not in secret.labels or holder != plant.plant_id

    def _act(self, operator: Operator) -> None:
        """One write at most; what it must not do."""
        plant, secret, bundle = self.server.plant, self.server.secret, self.server.bundle
        before = {} if plant is None else {name: self._there(name) for name in plant.recorded}
        operator.act()
        self._remember(operator.fresh.get("mtls"))
        self.restored = self.restored and self.server.secret is secret
        if plant is not None and secret is not None and self._foreign(secret):
            assert self.server.secret is secret, "a stranger's Secret was touched"
        if plant is not None:
            assert self.server.plant is not None
            self.announced |= {key_id for each in self.server.plant.status for key_id in each.announced or ()}
            for name, key_id in plant.recorded.items():
                there = key_id in self._there(name) or key_id not in before[name]
                assert there or self._may_go(name, key_id), f"{name} {key_id} is gone"
                now = self.server.plant.recorded.get(name, key_id)
                assert now == key_id or self._may_go(name, key_id), (
                    f"{now} is recorded instead of {name} {key_id}"
                )
        if self.server.bundle.version != bundle.version:
            self._put_into_force(self.server.bundle.held or {})

    def _remember(self, made: Material | None) -> None:
        if made is not None:
            leaf = x509.load_pem_x509_certificate(made[material.TLS_CERTIFICATE])
            self.leaves[leaf.fingerprint(SHA256()).hex()[:32]] = leaf

    def _may_go(self, name: str, key_id: str) -> bool:
        """Whether a person has asked for it, or a certificate is due."""
        return key_id in self.asked or (name == "mtls" and self._due(self.leaves[key_id]))

    def _due(self, leaf: x509.Certificate) -> bool:
        return any(renew_at(leaf, plant_id) <= self.server.now for plant_id in (PLANT_ID, OTHER_PLANT_ID))

    def _put_into_force(self, held: Material) -> None:
        assert self.server.plant is not None, "a plant that is gone was put into a bundle"
        for name, key_id in ids(held).items():
            before = self.in_force.get(name, key_id)
            stays = self.in_force.get(name) == key_id  # written again for the sake of another plant
            assert stays or self.server.plant.recorded.get(name) == key_id, (
                f"{name} {key_id} is in force, unrecorded"
            )
            assert before == key_id or self._may_go(name, before), f"{name} changed unasked"
            assert before == key_id or key_id in self.announced, (
                f"{name} {key_id} was put there by somebody else"
            )
            self.in_force[name] = key_id

    def _nothing_is_shown(self, operator: Operator) -> None:
        shown = f"{operator.about_to!r} {operator.about_to}"
        for files in (
            self.server.secret and self.server.secret.data,
            self.server.bundle.held,
            *operator.fresh.values(),
        ):
            for file in (material.HMAC_KEY, material.TLS_KEY):
                if files and file in files and len(files[file]) > 16:
                    assert files[file].decode()[30:60] not in shown


TestCredentials = Credentials.TestCase
TestCredentials.settings = settings(max_examples=100, stateful_step_count=40, deadline=None)


@pytest.mark.slow
@pytest.mark.timeout(1800)
class TestCredentialsAtLength(Credentials.TestCase):  # type: ignore[misc, valid-type]
    settings = settings(max_examples=2_000, stateful_step_count=80, deadline=None)
