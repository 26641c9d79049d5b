"""Carries out what :mod:`voke_operator.credentials.ledger` decides about one plant, until nothing is left to do.

The order of the writes is what makes it safe: a key that replaces another is announced in the status, then the Secret
holds it, then the status names it as the one in force, and only then does material leave here for a bundle.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Collection, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from datetime import datetime
from secrets import token_bytes
from typing import Any, Final, Protocol

import structlog

from voke_api.problems import Severity
from voke_api.resolved import PlantCredentials
from voke_api.resources import GatewayPool, Plant
from voke_api.resources.common import GROUP
from voke_api.resources.observed import CredentialInUse, PlantObserved
from voke_operator import names
from voke_operator.credentials.bundled import for_bundle, from_bundle
from voke_operator.credentials.decisions import (
    Create,
    Keep,
    Mint,
    Record,
    Refuse,
    Update,
    needs_fresh_reads,
)
from voke_operator.credentials.decisions import Finding as Trouble
from voke_operator.credentials.given import Given, brought, to_generate
from voke_operator.credentials.issuer import Issuer
from voke_operator.credentials.ledger import decide, mint
from voke_operator.credentials.material import USUAL, Material
from voke_operator.credentials.secret import Secret, from_document, to_document
from voke_operator.kube.client import Client
from voke_operator.kube.errors import AlreadyExistsError, ConflictError, NotFoundError, PermanentError
from voke_operator.kube.objects import Objects
from voke_operator.kube.resources import ALLOWED_SECRETS, SECRETS
from voke_operator.reconcile.cache import Cache
from voke_operator.reconcile.children import Drifted
from voke_operator.status import causes
from voke_operator.status.facts import Cause, CredentialFacts

_ITS_OWNER: Final = ("ownerReferences",)
"""What of a Secret follows the Plant's deletionPolicy."""
_STEPS: Final = 12
"""More decisions in a row than any way through the ledger takes."""
_KEPT: Final = 256
"""Secrets that Plants refer to; what they hold is in bundles as well."""
_KEPT_BYTES: Final = 4 * 1024 * 1024
"""Of what these hold: a Secret may have a megabyte, of which a Plant reads some kilobytes."""
_LOOK_AGAIN: Final = 30.0
"""Seconds after which what a person has to mend is looked at again, though no watch tells of it."""

log = structlog.get_logger(__name__)


class UnsettledError(Exception):
    """Other writers came in between too often; try again."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Settled:
    """What came of it."""

    facts: CredentialFacts
    credentials: PlantCredentials | None
    """For the bundle; None: not all are ready."""
    versions: Mapping[str, str] = field(default_factory=dict)
    """resourceVersion of the Secrets that they were made from, by name."""
    check_after: float | None = None
    """Seconds after which to look again although nothing changes."""


class ReferencedSecrets:
    """Secrets that Plants and pools refer to. Read once per version, for thousands of Plants may share one."""

    def __init__(self, client: Client, objects: Objects) -> None:
        self._client = client
        self._objects = objects
        self._kept: Cache[tuple[str, str], Secret] = Cache(most=_KEPT, size=_KEPT_BYTES)

    async def read(self, namespace: str, wanted: Collection[str]) -> dict[str, Secret]:
        """Those that there are, by name. One without the label that allows it comes without its content."""
        found = {name: await self._one(namespace, name) for name in sorted(wanted)}
        return {name: secret for name, secret in found.items() if secret is not None}

    async def _one(self, namespace: str, name: str) -> Secret | None:
        metadata = self._objects.get(ALLOWED_SECRETS, namespace, name)
        kept = self._kept.get((namespace, name))
        if kept is not None and metadata is not None and kept.resource_version == metadata.resource_version:
            return kept
        try:
            if metadata is None:
                seen = await self._client.get_metadata(SECRETS, namespace, name)
                if not _allowed(seen["metadata"].get("labels")):
                    return from_document({**seen, "data": {}})
            secret = from_document(await self._client.get(SECRETS, namespace, name))
        except NotFoundError:
            return None
        secret = replace(secret, annotations={})  # not read; kubectl repeats all of it there
        size = sum(len(key) + len(content) for key, content in secret.data.items())
        self._kept.put((namespace, name), secret, size=size)
        return secret


def _allowed(labels: Mapping[str, str] | None) -> bool:
    return (labels or {}).get(names.ALLOW_LABEL) == "true"


@dataclass(frozen=True, slots=True, kw_only=True)
class SeenPlant:
    """A Plant as it was at one version."""

    plant: Plant
    observed: PlantObserved
    """Its status."""
    version: str
    """``resourceVersion`` of both."""


class Register(Protocol):
    """Where it stands which keys of a plant are in force: its status."""

    async def record(self, seen: SeenPlant, credentials: CredentialFacts) -> SeenPlant:
        """Write which credentials a Plant has, at the version that was decided on; how it is then.

        Raises:
            ConflictError: it changed since.
            NotFoundError: the Plant is gone.
        """

    async def read(self, seen: SeenPlant) -> SeenPlant:
        """Read the Plant from the API server.

        Raises:
            ConflictError: another Plant has its name.
            NotFoundError: it is gone.
        """


class Copies(Protocol):
    """What bundles hold of a plant's keys."""

    def known(self, plant: Plant) -> PlantCredentials | None:
        """As far as is known."""

    async def read(self, plant: Plant) -> PlantCredentials | None:
        """Read from the API server."""


class CredentialKeeper:
    """Sees to the credentials of one plant after another."""

    def __init__(
        self,
        client: Client,
        objects: Objects,
        *,
        issuer: Callable[[], Awaitable[Issuer | Trouble]],
        register: Register,
        copies: Copies,
        drifted: Drifted,
        now: Callable[[], datetime],
    ) -> None:
        """``issuer``: the CA, or why there is none; ``now`` has a time zone."""
        self._client = client
        self._objects = objects
        self._issuer = issuer
        self._register = register
        self._copies = copies
        self._drifted = drifted
        self._now = now
        self._slow = ThreadPoolExecutor(max_workers=2, thread_name_prefix="keys")
        """An RSA pair takes 120 ms of CPU: two at most at once, and never on the event loop."""

    def close(self) -> None:
        """Wait for no key that is being made."""
        self._slow.shutdown(wait=False, cancel_futures=True)

    async def settle(self, seen: SeenPlant, given: Given, secrets: Mapping[str, Secret]) -> Settled:
        """Bring the plant's credentials in order, as far as that is possible.

        Args:
            seen: The Plant.
            given: What its Secrets give it.
            secrets: Those Secrets, by name.

        Raises:
            UnsettledError, KubeError: try again.
        """
        plant = seen.plant
        own = brought(plant, given)
        errors = [each for each in given.problems if each.severity is Severity.ERROR]
        decision, secret = await self._carry_out(seen, own)
        if isinstance(decision, Refuse):
            facts = CredentialFacts(cause=_cause(decision.problems[0]), in_use=seen.observed.credentials)
            return Settled(facts=facts, credentials=None, check_after=_LOOK_AGAIN)
        facts = _facts(decision, own)
        if errors:
            facts = replace(facts, cause=causes.of_secret(errors[0], namespace=plant.metadata.namespace))
            return Settled(facts=facts, credentials=None, check_after=_LOOK_AGAIN)
        used = [*secrets.values(), *(() if secret is None else (secret,))]
        wait = None
        if decision.next_check is not None:
            wait = max(1.0, (decision.next_check - self._now()).total_seconds())
        return Settled(
            facts=facts,
            credentials=for_bundle(given.values, decision.material),
            versions={f"Secret {each.name}": each.resource_version for each in used},
            check_after=wait,
        )

    async def _carry_out(
        self, seen: SeenPlant, own: tuple[CredentialInUse, ...]
    ) -> tuple[Keep | Refuse, Secret | None]:
        plant = seen.plant
        namespace, secret_name = plant.metadata.namespace, names.plant_secret(plant.metadata.name)
        known = self._objects.get(SECRETS, namespace, secret_name)
        secret = None if known is None else await self._read(namespace, secret_name)
        copy = self._copies.known(plant)
        issuer = await self._issuer() if "mtls" in to_generate(plant) else None
        fresh: Mapping[Any, Material] | None = None
        sure = False
        for _ in range(_STEPS):
            decision = decide(
                seen.plant,
                secret,
                recorded=_recorded(seen),
                copy=None if copy is None else from_bundle(copy),
                issuer=issuer,
                now=self._now(),
                fresh=fresh,
            )
            if needs_fresh_reads(decision) and not sure:
                copy = await self._copies.read(plant)
                secret = await self._read(namespace, secret_name)
                seen = await self._register.read(seen)
                sure = True
                continue
            match decision:
                case Mint():
                    fresh = await self._mint(decision, plant, issuer)
                    continue
                case Create() | Update():
                    secret = await self._write(decision, made=fresh is not None)
                case Record():
                    seen = await self._record(seen, _facts(decision, own))
                case Keep():
                    facts = _facts(decision, own)
                    if facts.in_use != seen.observed.credentials:
                        await self._register.record(seen, facts)
                    return decision, secret
                case Refuse():
                    return decision, secret
            sure = False
        raise UnsettledError(f"the credentials of {plant.metadata.name} keep changing")

    async def _record(self, seen: SeenPlant, credentials: CredentialFacts) -> SeenPlant:
        """The Plant as it is then.

        Raises:
            PermanentError: the API server drops what is announced, and would be told of it for ever.
            ConflictError, NotFoundError: as :meth:`Register.record`.
        """
        seen = await self._register.record(seen, credentials)
        unannounced = tuple(each.model_copy(update={"announced": None}) for each in credentials.in_use)
        if unannounced == seen.observed.credentials != credentials.in_use:
            raise PermanentError(
                "the API server does not keep .status.credentials[].announced: the CustomResourceDefinition plants."
                f"{GROUP} is older than the operator; install the one of its version (crds/, or the chart with "
                "crds.enabled=true)"
            )
        return seen

    async def _read(self, namespace: str, name: str) -> Secret | None:
        try:
            return from_document(await self._client.get(SECRETS, namespace, name))
        except NotFoundError:
            return None

    async def _write(self, decision: Create | Update, *, made: bool) -> Secret | None:
        """The Secret as it is now, whoever wrote it; ``made``: it is written for the sake of new keys."""
        wanted = decision.secret
        try:
            if isinstance(decision, Create):
                document = await self._client.create(SECRETS, to_document(wanted))
                log.info(
                    "keys created", secret=wanted.name, namespace=wanted.namespace, restored=decision.restored
                )
            else:
                document = await self._client.replace(SECRETS, to_document(wanted))
                log.info(
                    "keys updated", secret=wanted.name, namespace=wanted.namespace, changes=decision.changes
                )
        except (AlreadyExistsError, ConflictError, NotFoundError):
            return await self._read(wanted.namespace, wanted.name)
        self._objects.written(SECRETS, document)
        mends = decision.restored if isinstance(decision, Create) else decision.changes != _ITS_OWNER
        if mends and not made:
            self._drifted(SECRETS.kind, "restored")
        return from_document(document)

    async def _mint(
        self, decision: Mint, plant: Plant, issuer: Issuer | Trouble | None
    ) -> Mapping[Any, Material]:
        def make() -> Mapping[Any, Material]:
            return mint(
                decision.names,
                plant.spec.plant_id,
                issuer=issuer.material if isinstance(issuer, Issuer) else None,
                now=self._now(),
                random_bytes=token_bytes,
                life=issuer.life if isinstance(issuer, Issuer) else USUAL,
            )

        if "jwt" not in decision.names:
            return make()
        return await asyncio.get_running_loop().run_in_executor(self._slow, make)


def secrets_of(plant: Plant, pool: GatewayPool | None) -> frozenset[str]:
    """Names of the Secrets that a Plant, and its pool for it, refer to."""
    spec = plant.spec
    sources = (spec.credentials.hmac, getattr(spec.credentials, spec.auth.method.lower()))
    wanted = {source.secret_ref.name for source in sources if source is not None}
    if pool is not None and pool.spec.voke.ca is not None:
        wanted.add(pool.spec.voke.ca.secret_ref.name)
    return frozenset(wanted)


def _recorded(seen: SeenPlant) -> tuple[CredentialInUse, ...]:
    same = seen.observed.plant_id in (None, seen.plant.spec.plant_id)
    return seen.observed.credentials if same else ()


def _facts(decision: Record | Keep, own: Collection[CredentialInUse]) -> CredentialFacts:
    warnings = decision.warnings if isinstance(decision, Keep) else ()
    return CredentialFacts(
        warning=_cause(warnings[0]) if warnings else None,
        in_use=tuple(sorted((*decision.in_use, *own), key=lambda each: each.name)),
    )


def _cause(trouble: Trouble) -> Cause:
    return causes.of(trouble.reason, trouble.message)
