"""An API server with one Plant, its Secret and its gateway's bundle, as far as resource versions go; and operators
whose caches are as old as a test wants them to be."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from cryptography import x509
from cryptography.hazmat.primitives.hashes import SHA256

from tests.support.plants import PLANT_ID, battery_document
from voke_api.resources import Plant
from voke_api.resources.observed import CredentialInUse
from voke_operator import names
from voke_operator.credentials import material
from voke_operator.credentials.decisions import (
    Create,
    Decision,
    Finding,
    Keep,
    Mint,
    Name,
    Reason,
    Record,
    Refuse,
    Update,
    needs_fresh_reads,
)
from voke_operator.credentials.ids import hmac_id, issuer_id
from voke_operator.credentials.issuer import Issuer, decide_fleet_ca
from voke_operator.credentials.ledger import decide, mint
from voke_operator.credentials.material import Material
from voke_operator.credentials.secret import Secret, from_document, to_document

START = datetime(2026, 1, 1, tzinfo=UTC)
OTHER_PLANT_ID = "00000000-0000-4000-8000-000000000000"


class ConflictError(Exception):
    """The object is not the one that was read, or is there already, or is gone."""


def fleet_ca(now: datetime = START) -> Issuer:
    made = decide_fleet_ca(None, namespace="operator", now=now, fresh=material.new_fleet_ca(now, "fleet"))
    assert isinstance(made, Create)
    issuer = decide_fleet_ca(made.secret, namespace="operator", now=now)
    assert isinstance(issuer, Issuer)
    return issuer


def ending_ca(ends: datetime) -> Issuer:
    """A CA that ends at some time, made ten years before."""
    made = material.new_fleet_ca(ends - material.CA_LIFETIME, "ending")
    certificate = x509.load_pem_x509_certificate(made[material.ISSUER])
    return Issuer(issuer_id(certificate), "CN=ending", certificate.not_valid_after_utc, made)


NO_ISSUER = Finding(reason=Reason.ISSUER_UNUSABLE, message="there is none")


def ids(files: Mapping[str, bytes]) -> dict[str, str]:
    """Which keys files hold, found without the code under test where that is possible."""
    found = {}
    if material.HMAC_KEY in files:
        found["hmac"] = hmac_id(files[material.HMAC_KEY])
    if material.TLS_CERTIFICATE in files and material.TLS_KEY in files:
        try:
            leaf = x509.load_pem_x509_certificate(files[material.TLS_CERTIFICATE])
            key = material.load_private_key(files[material.TLS_KEY])
        except ValueError:
            return found
        if key.public_key() == leaf.public_key():
            found["mtls"] = leaf.fingerprint(SHA256()).hex()[:32]
    return found


@dataclass(frozen=True)
class Stored:
    """The Plant as the API server has it."""

    uid: str
    version: int
    plant_id: str = PLANT_ID
    policy: str = "Delete"
    method: str = "MTLS"
    replace: str = ""
    status: tuple[CredentialInUse, ...] = ()

    @property
    def plant(self) -> Plant:
        document = battery_document(
            auth={"method": self.method}, plantId=self.plant_id, deletionPolicy=self.policy
        )
        if self.method == "PASSWORD":
            document["spec"]["credentials"] = {"password": {"secretRef": {"name": "login"}}}
        document["metadata"] |= {
            "uid": self.uid,
            "annotations": {names.REPLACE_ANNOTATION: self.replace} if self.replace else {},
        }
        return Plant.model_validate(document)

    @property
    def recorded(self) -> dict[str, str]:
        return {each.name: each.key_id for each in self.status}


@dataclass(frozen=True)
class Bundled:
    """What the gateway has of the plant; none: it has no such plant."""

    version: int
    held: Material | None = None


class Server:
    """Create only what is not there; replace only what is as it was read."""

    def __init__(self) -> None:
        self._version = 0
        self.plant: Stored | None = None
        self.secret: Secret | None = None
        self.bundle = Bundled(0)
        self.now = START
        self.issuer: Issuer | Finding = fleet_ca()

    def version(self) -> int:
        self._version += 1
        return self._version

    def put_plant(self, **changes: Any) -> None:
        """A person's doing."""
        if self.plant is None:
            self.plant = Stored(uid=f"uid-{self.version()}", version=self.version(), **changes)
        else:
            self.plant = replace(self.plant, version=self.version(), **changes)

    def put_secret(self, secret: Secret | None) -> None:
        """A person's doing."""
        self.secret = secret and replace(
            secret, resource_version=str(self.version()), uid=secret.uid or f"secret-{self.version()}"
        )

    def put_bundle(self, held: Material | None) -> None:
        """As a restored backup of the bundle has it, or a lost one."""
        self.bundle = replace(self.bundle, held=held)

    def create_secret(self, secret: Secret) -> None:
        if self.secret is not None:
            raise ConflictError
        assert not secret.resource_version
        self.put_secret(from_document(to_document(secret)))

    def replace_secret(self, secret: Secret) -> None:
        assert secret.resource_version
        now = self.secret
        if now is None or (now.uid, now.resource_version) != (secret.uid, secret.resource_version):
            raise ConflictError
        self.put_secret(from_document(to_document(secret)))

    def write_status(self, read: Stored, status: tuple[CredentialInUse, ...]) -> None:
        if self.plant is None or (self.plant.uid, self.plant.version) != (read.uid, read.version):
            raise ConflictError
        self.plant = replace(self.plant, version=self.version(), status=status)

    def write_bundle(self, read: Bundled, held: Material | None) -> None:
        if self.bundle.version != read.version:
            raise ConflictError
        self.bundle = Bundled(self.version(), held)


_MOST_STEPS: Final = 12
_READS: Final = ("bundle", "secret", "plant")
"""In the order that is asked for: the Plant, which says what is in force, comes last."""


@dataclass
class Operator:
    """One operator process: what it has read, and what it is about to do."""

    server: Server
    plant: Stored | None = None
    secret: Secret | None = None
    bundle: Bundled = field(default_factory=lambda: Bundled(0))
    fresh: dict[Name, Material] = field(default_factory=dict)
    about_to: Decision | None = None
    to_read: tuple[str, ...] = _READS
    """What is still to be read before anything is decided."""
    others_changed: bool = False
    """Whether its shard's bundle is to be written for the sake of another plant."""
    just_read: bool = False
    """Whether nothing was done since everything was read."""

    def read_on(self) -> None:
        """Read the next object."""
        if self.to_read:
            what, *rest = self.to_read
            self.see(what)
            self.to_read, self.just_read = tuple(rest), not rest

    def see(self, what: str) -> None:
        """An object as it is now."""
        before = self.plant
        setattr(self, what, getattr(self.server, what))
        if before is not None and (self.plant is None or self.plant.uid != before.uid):
            self.fresh = {}  # keys are made for one Plant; another of its name is another piece of work

    def read(self) -> None:
        self.to_read = _READS
        while self.to_read:
            self.read_on()

    def decide(self) -> Decision | None:
        if self.plant is None:
            return None
        return decide(
            self.plant.plant,
            self.secret,
            recorded=self.plant.status,
            copy=self.bundle.held,
            issuer=self.server.issuer,
            now=self.server.now,
            fresh=self.fresh,
        )

    def think(self) -> None:
        """Decide; where fresh reads are asked for, these come first."""
        if self.to_read:
            self.about_to = None
            return
        decision = self.decide()
        if decision is not None and needs_fresh_reads(decision) and not self.just_read:
            self.to_read, decision = _READS, None
        self.about_to = decision

    def steps(self) -> Iterator[Decision]:
        """Read everything, then decide and carry out until nothing is left to do; each decision before it is done."""
        self.read()
        for _ in range(_MOST_STEPS):
            self.think()
            if self.about_to is None:
                self.read()
                continue
            decision = self.about_to
            yield decision
            self.act()
            if isinstance(decision, Keep | Refuse):
                return
        raise AssertionError("it does not come to rest")

    def act(self) -> None:
        """Carry out what was decided. After a conflict everything is read."""
        decision, self.about_to = self.about_to, None
        self.just_read = self.just_read and isinstance(decision, Mint)
        try:
            self._carry_out(decision)
        except (ConflictError, material.UnusableIssuerError):
            self.to_read = _READS

    def _carry_out(self, decision: Decision | None) -> None:
        match decision:
            case Mint(names=wanted):
                assert self.plant is not None
                self.fresh = make(wanted, self.plant.plant_id, self.server)
            case Create(secret=secret):
                self.server.create_secret(secret)
                self.fresh, self.secret = {}, self.server.secret
            case Update(secret=secret):
                self.server.replace_secret(secret)
                self.fresh, self.secret = {}, self.server.secret
            case Record(in_use=in_use):
                assert self.plant is not None
                self.server.write_status(self.plant, in_use)
                self.plant = self.server.plant
            case Keep(material=held) if held != self.bundle.held or self.others_changed:
                self.server.write_bundle(self.bundle, held)
                self.bundle, self.others_changed = self.server.bundle, False


def make(wanted: tuple[Name, ...], plant_id: str, server: Server) -> dict[Name, Material]:
    issuer = server.issuer.material if isinstance(server.issuer, Issuer) else None
    return mint(wanted, plant_id, issuer=issuer, now=server.now, random_bytes=os.urandom)


def days(count: float) -> timedelta:
    return timedelta(days=count)


def served(**plant: Any) -> Server:
    """A server with a plant whose credentials are in force."""
    server = Server()
    server.put_plant(**plant)
    kept(server)
    return server


def work(server: Server) -> list[Decision]:
    """All decisions of an operator that has just started, until nothing more is to be done."""
    return list(Operator(server).steps())


def kept(server: Server) -> Keep:
    decision = work(server)[-1]
    assert isinstance(decision, Keep), decision
    return decision


def refused(server: Server) -> tuple[Finding, ...]:
    decision = work(server)[-1]
    assert isinstance(decision, Refuse), decision
    return decision.problems


def secret_of(server: Server) -> Secret:
    assert server.secret is not None
    return server.secret


def edit(server: Server, **changes: Any) -> None:
    server.put_secret(replace(secret_of(server), **changes))


def kinds(decisions: list[Decision]) -> list[type]:
    return [type(each) for each in decisions]
