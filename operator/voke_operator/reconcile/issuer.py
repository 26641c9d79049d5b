"""The CA that issues client certificates: found, or the fleet's own made at first need, and kept for a while."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime
from typing import Final

import structlog

from voke_api.key_ids import is_id
from voke_operator import names
from voke_operator.credentials import material
from voke_operator.credentials.decisions import Create, Finding, Reason, Refuse, Update
from voke_operator.credentials.issuer import Issuer, MintFleetCa, decide_fleet_ca, read_issuer
from voke_operator.credentials.secret import from_document, to_document
from voke_operator.kube.client import Client
from voke_operator.kube.errors import AlreadyExistsError, ConflictError, NotFoundError
from voke_operator.kube.objects import Metadata, Objects
from voke_operator.kube.resources import PLANTS, SECRETS

GOOD_FOR: Final = 60.0
"""Seconds for which a usable CA is taken as read; less where certificates do not last for hours."""
BAD_FOR: Final = 5.0
"""Seconds after which an unusable one is looked at again."""
_STEPS: Final = 8

log = structlog.get_logger(__name__)


class IssuerKeeper:
    """Hands out the CA, or the reason why there is none."""

    def __init__(
        self,
        client: Client,
        objects: Objects,
        *,
        namespace: str,
        given: str | None,
        life: material.Life = material.USUAL,
        now: Callable[[], datetime],
    ) -> None:
        """``given``: name of a Secret in the operator's ``namespace``; None: the fleet's own CA. ``life``: of certificates."""
        self._client = client
        self._objects = objects
        self._namespace = namespace
        self._given = given
        self._life = life
        self._good_for = min(GOOD_FOR, life.longest.total_seconds() / 24)
        self._now = now
        self._found: Issuer | Finding | None = None
        self._until = 0.0
        self._lock = asyncio.Lock()

    async def __call__(self) -> Issuer | Finding:
        """The CA as it is, or was lately.

        Raises:
            KubeError: the API server could not be asked.
        """
        async with self._lock:
            clock = asyncio.get_running_loop().time
            if self._found is None or clock() >= self._until:
                self._found = await (self._read_given() if self._given else self._fleet_ca())
                self._until = clock() + (self._good_for if isinstance(self._found, Issuer) else BAD_FOR)
            return self._found

    async def _read_given(self) -> Issuer | Finding:
        assert self._given is not None
        try:
            document = await self._client.get(SECRETS, self._namespace, self._given)
        except NotFoundError:
            message = (
                f"there is no Secret {self._given} in namespace {self._namespace}, which was named as the issuing "
                "CA: create it with tls.crt and tls.key"
            )
            return Finding(reason=Reason.ISSUER_UNUSABLE, message=message)
        return read_issuer(from_document(document), now=self._now(), life=self._life)

    async def _fleet_ca(self) -> Issuer | Finding:
        fresh = None
        for _ in range(_STEPS):
            try:
                secret = from_document(await self._client.get(SECRETS, self._namespace, names.FLEET_CA))
            except NotFoundError:
                secret = None
            issued_by = frozenset[str]() if secret is not None else self._issuers()
            decision = decide_fleet_ca(
                secret, namespace=self._namespace, issued_by=issued_by, now=self._now(), fresh=fresh
            )
            match decision:
                case Issuer():
                    return replace(decision, life=self._life)
                case Refuse(problems=problems):
                    return problems[0]
                case MintFleetCa():
                    fresh = material.new_fleet_ca(self._now(), f"voke-fleet CA {secrets.token_hex(4)}")
                case Create(secret=wanted):
                    try:
                        await self._client.create(SECRETS, to_document(wanted))
                        log.info("the fleet's CA was made", secret=wanted.name, namespace=wanted.namespace)
                    except AlreadyExistsError:
                        continue
                case Update(secret=wanted):
                    try:
                        await self._client.replace(SECRETS, to_document(wanted))
                    except (ConflictError, NotFoundError):
                        continue
        message = f"the Secret {names.FLEET_CA} in namespace {self._namespace} keeps changing"
        return Finding(reason=Reason.ISSUER_UNUSABLE, message=message)

    def _issuers(self) -> frozenset[str]:
        """Ids of the CAs that issued the certificates that plants have.

        Anybody who may write Secrets can give one our label and an annotation. It counts if the Plant's status, which
        only an operator writes, names a certificate that was generated.
        """
        found: set[str] = set()
        for each in self._objects.all(SECRETS):
            issuer = each.annotations.get(names.ISSUER_ANNOTATION, "")
            if issuer not in found and is_id(issuer) and self._has_certificate(each):
                found.add(issuer)
        return frozenset(found)

    def _has_certificate(self, secret: Metadata) -> bool:
        plant = secret.name.removeprefix(names.plant_secret(""))
        recorded = self._objects.status(PLANTS, secret.namespace, plant).get("credentials", [])
        return any((each["name"], each["source"]) == ("mtls", "Generated") for each in recorded)
