"""The life of a plant's own Secret: what is generated for it, once, and how that is kept.

Pure: what was observed comes in, a decision goes out (:mod:`voke_operator.credentials.decisions`).

Which key is in force is what the Plant's status says. One that is to take its place is announced there before the
Secret holds it. So a Secret that is ahead of its status is told from one that was edited, or comes from a backup, by
nothing that is in the Secret, which others may write: what it holds is in force, or announced, or not ours, and
then the key in force is restored (docs/decisions/0019-announced-keys.md).
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, Final

from cryptography import x509

from voke_api.key_ids import is_id
from voke_api.resources import Plant
from voke_api.resources.common import API_VERSION, GROUP
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
)
from voke_operator.credentials.given import to_generate
from voke_operator.credentials.ids import format_ids, issuer_id, parse_ids, parse_words, rfc3339
from voke_operator.credentials.issuer import Issuer, still_usable
from voke_operator.credentials.keys import PRIMARY, Key, find, issued_by
from voke_operator.credentials.material import USUAL, Life, Material
from voke_operator.credentials.renewal import next_check, renew_at, worth_renewing
from voke_operator.credentials.secret import Secret

_MOST_ANNOUNCED: Final = 8
"""Ids that are remembered, for operators that died, or were overtaken, before they could write what they had made."""


def decide(
    plant: Plant,
    secret: Secret | None,
    *,
    recorded: Collection[CredentialInUse],
    copy: Material | None,
    issuer: Issuer | Finding | None,
    now: datetime,
    fresh: Mapping[Name, Material] | None = None,
) -> Decision:
    """What is to be done next about what is generated for a Plant.

    Args:
        plant: The Plant; its uid, plantId, deletionPolicy, and the annotation REPLACE_ANNOTATION count.
        secret: The Secret of the name :func:`voke_operator.names.plant_secret`, whoever made it.
        recorded: Credentials in its status, if that is of the same plantId.
        copy: Material of the plant that survives elsewhere (:func:`…bundled.from_bundle`); may lack files.
        issuer: Who issues client certificates, or why nobody does; None if the Plant needs none.
        now: With a time zone.
        fresh: What :func:`mint` made for the last decision, if that was to mint; what is not needed any more is
            dropped.
    """
    needed = to_generate(plant)
    if secret is not None and (claim := _claim(plant, secret)):
        if needed:
            return Refuse(problems=(Finding(reason=Reason.NAME_CONFLICT, message=claim),))
        secret = None
    case = _Case(plant, secret, recorded=recorded, copy=copy or {}, issuer=issuer, now=now)
    settled: dict[Name, _Settled] = {name: case.settle(name) for name in needed}
    problems = case.problems(settled)
    wanted = tuple(name for name, each in settled.items() if isinstance(each, _New))
    if wanted and not problems:
        made = fresh or {}
        if not made.keys() >= set(wanted):
            return Mint(names=wanted)
        settled |= {name: case.accept(name, made) for name, each in settled.items() if isinstance(each, _New)}
        problems = case.problems(settled)
    held = {name: each for name, each in settled.items() if isinstance(each, _Held)}
    if announced := case.announced(held):
        return Record(in_use=announced)
    target = _secret(plant, secret, held)
    if secret is None and held:
        return Create(secret=target, restored=bool(case.recorded))
    if secret is not None and (changes := _changes(secret, target)):
        return Update(secret=target, changes=changes)
    return Refuse(problems=problems) if problems else _at_rest(case, held, plant.spec.plant_id, now)


def mint(
    names: Collection[Name],
    plant_id: str,
    *,
    issuer: Material | None,
    now: datetime,
    random_bytes: Callable[[int], bytes],
    life: Life = USUAL,
) -> dict[Name, Material]:
    """New material for credentials that a decision named.

    Args:
        names: Which.
        plant_id: Whose.
        issuer: CA with its key (``Issuer.material``); needed for mtls.
        now: With a time zone.
        random_bytes: Source of chance for the HMAC key; keys and serial numbers have their own.
        life: Of a certificate (``Issuer.life``).

    Raises:
        UnusableIssuerError: mtls is asked for and the issuer cannot issue.
    """
    made: dict[Name, Material] = {}
    for name in names:
        match name:
            case "hmac":
                made[name] = material.new_hmac_key(random_bytes)
            case "jwt":
                made[name] = material.new_jwt_keys()
            case "mtls":
                if issuer is None:
                    raise material.UnusableIssuerError("there is no CA to issue a client certificate")
                made[name] = material.new_client_certificate(plant_id, issuer, now, life)
    return made


def _at_rest(case: _Case, held: Mapping[Name, _Held], plant_id: str, now: datetime) -> Record | Keep:
    """What follows once the Secret is as it should be."""
    in_use = tuple(case.in_use(name, held[name].key) for name in sorted(held))
    if in_use != tuple(case.recorded[name] for name in sorted(case.recorded)):
        return Record(in_use=in_use)
    leaf = held["mtls"].key.certificate if "mtls" in held else None
    return Keep(
        in_use=in_use,
        material={name: content for each in held.values() for name, content in each.key.files.items()},
        next_check=None if leaf is None else next_check(leaf, plant_id, now),
        warnings=tuple(each.warning for each in held.values() if each.warning is not None),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Held:
    """A credential that is there, or will be with the next write."""

    key: Key
    warning: Finding | None = None


@dataclass(frozen=True, slots=True)
class _New:
    """A credential that has to be made."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Lost:
    """A credential in force that is nowhere to be found."""

    key_id: str
    replaced: bool = False
    """Whether the Secret holds another one."""


_Settled = _Held | _New | _Lost | Finding


class _Case:
    """What is known about one plant's credentials."""

    def __init__(
        self,
        plant: Plant,
        secret: Secret | None,
        *,
        recorded: Collection[CredentialInUse],
        copy: Material,
        issuer: Issuer | Finding | None,
        now: datetime,
    ) -> None:
        self._plant = plant
        self._own: Mapping[str, bytes] = {} if secret is None else secret.data
        self._copy = copy
        self._issuer = still_usable(issuer, now=now) if isinstance(issuer, Issuer) else issuer
        self._roots = (
            ({material.ISSUER: issuer.material[material.ISSUER]},) if isinstance(issuer, Issuer) else ()
        )
        """The issuer's certificate, from which a missing ``ca.crt`` is restored."""
        self._life = issuer.life if isinstance(issuer, Issuer) else USUAL
        self._now = now
        annotations = {} if secret is None else secret.annotations
        ids = parse_ids(annotations.get(names.KEY_IDS_ANNOTATION))
        self._ids = {name: key_id for name, key_id in ids.items() if is_id(key_id)}
        self._replace = parse_words(plant.metadata.annotations.get(names.REPLACE_ANNOTATION))
        known = {each.name: each for each in recorded if each.source == "Generated" and each.key_id}
        self.recorded: dict[Name, CredentialInUse] = {name: known[name] for name in PRIMARY if name in known}

    def settle(self, name: Name) -> _Settled:
        """What there is of a credential, from the best source; or what has to be made; or why neither."""
        recorded = self.recorded.get(name)
        if recorded is None:
            return self._unrecorded(name)
        if recorded.announced and (ahead := self._find(name, recorded.announced, self._own)):
            return _Held(key=ahead)
        if recorded.key_id in self._replace:
            return self._new(name)
        key = self._find(name, (recorded.key_id,), self._own, self._copy)
        if key is None:
            others = next(self._usable(name), None)
            return _Lost(key_id=recorded.key_id, replaced=others is not None)
        return self._renewed(key) if name == "mtls" else _Held(key=key)

    def announced(self, held: Mapping[Name, _Held]) -> tuple[CredentialInUse, ...]:
        """What the status has to say before the Secret holds these keys; empty: it says enough."""
        news = {
            name: each.model_copy(
                update={"announced": (*(each.announced or ()), held[name].key.id)[-_MOST_ANNOUNCED:]}
            )
            for name, each in self.recorded.items()
            if name in held and held[name].key.id not in (each.key_id, *(each.announced or ()))
        }
        return tuple(news.get(name, each) for name, each in sorted(self.recorded.items())) if news else ()

    def in_use(self, name: Name, key: Key) -> CredentialInUse:
        """A credential as the status is to say it, once the Secret holds it."""
        recorded = self.recorded.get(name)
        return CredentialInUse(
            name=name,
            source="Generated",
            key_id=key.id,
            not_after=None if key.not_after is None else rfc3339(key.not_after),
            announced=recorded.announced if recorded is not None and recorded.key_id == key.id else None,
        )

    def problems(self, settled: Mapping[Name, _Settled]) -> tuple[Finding, ...]:
        """What keeps the plant from having its credentials; one command replaces all that is lost."""
        metadata = self._plant.metadata
        lost = " ".join(f"--replace {name}" for name, each in settled.items() if isinstance(each, _Lost))
        remedy = (
            "restore the Secret from a backup; or have a new key made, which Voke then has to be told: kubectl voke "
            f"credentials {metadata.name} -n {metadata.namespace} {lost}"
        )
        found = []
        for name, each in settled.items():
            if isinstance(each, _Lost):
                there = ", where somebody has put another one," if each.replaced else ""
                where = f"neither in the Secret {self._secret_name}{there} nor in a gateway's bundle"
                message = f"the {name} key {each.key_id} is {where}: {remedy}"
                found.append(Finding(reason=Reason.KEY_LOST, message=message, credential=name))
            elif isinstance(each, Finding):
                found.append(each)
        return tuple(found)

    def accept(self, name: Name, made: Mapping[Name, Material]) -> _Held | Finding:
        """New material, if it is of any use.

        Raises:
            ValueError: it is not what :func:`mint` makes.
        """
        key = next(find(name, (made[name],), self._plant.spec.plant_id), None)
        if key is None:
            raise ValueError(f"what was made for {name} is not usable for plant {self._plant.spec.plant_id}")
        if key.not_after is not None and key.not_after - self._now < self._life.least:
            message = (
                f"the certificate that was issued would end on {key.not_after:%Y-%m-%d %H:%M} UTC already"
            )
            return Finding(reason=Reason.ISSUER_UNUSABLE, message=message, credential=name)
        return _Held(key=key)

    def _find(self, name: Name, ids: Collection[str], *sources: Mapping[str, bytes]) -> Key | None:
        found = find(name, (*sources, *self._roots), self._plant.spec.plant_id)
        return next((key for key in found if key.id in ids), None)

    def _usable(self, name: Name) -> Iterator[Key]:
        return find(name, (self._own, *self._roots), self._plant.spec.plant_id)

    def _unrecorded(self, name: Name) -> _Settled:
        """The status does not say which key it should be: what the Secret holds, or a new one."""
        kept = self._ids.get(name)
        if kept is not None and kept in self._replace:
            return self._new(name)
        if name == "mtls" and not self._roots:
            return self._no_issuer()
        if kept is not None:
            key = self._find(name, (kept,), self._own, self._copy)
        else:
            key = next(self._usable(name), None)
        if key is not None:
            return _Held(key=key) if self._may_be_taken(key) else self._foreign(key)
        if kept is not None:
            return _Lost(key_id=kept)
        there = [file for file in PRIMARY[name] if file in self._own]
        if not there:
            return self._new(name)
        return Finding(
            reason=Reason.KEY_LOST,
            credential=name,
            message=f"{' and '.join(there)} in the Secret {self._secret_name} cannot be used for {name}, and it is "
            "not recorded which key was there: restore it, or remove it from the Secret to have a new one made",
        )

    def _may_be_taken(self, key: Key) -> bool:
        """Whether a key that only the Secret names may be used: of a certificate, if our issuer made it.

        Whoever may write Secrets could put in one of a CA of his own, and its ``ca.crt`` would be registered at Voke.
        """
        return key.certificate is None or any(
            issued_by(key.certificate, root[material.ISSUER]) for root in self._roots
        )

    def _foreign(self, key: Key) -> _New | Finding:
        metadata = self._plant.metadata
        if key.id in self._replace:
            return self._new("mtls")
        return Finding(
            reason=Reason.KEY_LOST,
            credential="mtls",
            message=f"the certificate in the Secret {self._secret_name} is not the one in force, and not of the CA that "
            "the operator uses: give the operator the CA that issued it; or have a new one made: kubectl annotate plant "
            f"{metadata.name} -n {metadata.namespace} --overwrite {names.REPLACE_ANNOTATION}={key.id}",
        )

    def _new(self, name: Name) -> _New | Finding:
        if name == "mtls" and not isinstance(self._issuer, Issuer):
            return self._no_issuer()
        return _New()

    def _renewed(self, key: Key) -> _Held | _New | Finding:
        """A certificate in force: as it is, or to be renewed."""
        leaf = key.certificate
        assert leaf is not None
        if self._now < renew_at(leaf, self._plant.spec.plant_id):
            return _Held(key=key)
        if not isinstance(self._issuer, Issuer):
            trouble = self._no_issuer()
        elif not worth_renewing(leaf, self._issuer.not_after, self._now, self._life):
            trouble = Finding(
                reason=Reason.ISSUER_EXPIRES,
                credential="mtls",
                message=f"the client certificate cannot be renewed beyond {self._issuer.not_after:%Y-%m-%d %H:%M} "
                "UTC, when the issuing CA ends: give the operator another CA",
            )
        else:
            return _New()
        return _Held(key=key, warning=trouble) if self._now < leaf.not_valid_after_utc else trouble

    def _no_issuer(self) -> Finding:
        if isinstance(self._issuer, Finding):
            return replace(self._issuer, credential="mtls")
        message = "there is no CA to issue a client certificate: give the operator one"
        return Finding(reason=Reason.ISSUER_UNUSABLE, message=message, credential="mtls")

    @property
    def _secret_name(self) -> str:
        return names.plant_secret(self._plant.metadata.name)


def _claim(plant: Plant, secret: Secret) -> str | None:
    """Why a Secret is not this Plant's; None if it is.

    A Plant of the same name with another uid was its owner before: it was deleted, and this one stands for the
    same plant.
    """
    name, plant_id = plant.metadata.name, plant.spec.plant_id
    holder = secret.annotations.get(names.PLANT_ID_ANNOTATION)
    strangers = [each for each in secret.owners if not _is_plant(each, name)]
    if secret.type != names.PLANT_SECRET_TYPE:
        why = f"its type is {secret.type}, not {names.PLANT_SECRET_TYPE}"
    elif secret.labels.get(names.MANAGED_BY) != names.FIELD_MANAGER:
        why = f"it lacks the label {names.MANAGED_BY}={names.FIELD_MANAGER}"
    elif secret.labels.get(names.PLANT_LABEL) != name:
        why = f"it lacks the label {names.PLANT_LABEL}={name}"
    elif strangers:
        why = f"it belongs to {strangers[0].get('kind')} {strangers[0].get('name')}"
    elif holder is not None and holder != plant_id:
        why = f"it holds the keys of plant {holder}, and this Plant is {plant_id}"
    elif holder is None and not any(each.get("uid") == plant.metadata.uid for each in secret.owners):
        why = f"it lacks the annotation {names.PLANT_ID_ANNOTATION}={plant_id}"
    else:
        return None
    return f"the Secret {secret.name} is not this Plant's and is not touched: {why}. Move it away, or mend it"


def _secret(plant: Plant, secret: Secret | None, held: Mapping[Name, _Held]) -> Secret:
    """The Secret as it should be; what is not ours to say stays as it is."""
    name, namespace = plant.metadata.name, plant.metadata.namespace
    current = secret or Secret(names.plant_secret(name), namespace, {}, {}, type=names.PLANT_SECRET_TYPE)
    data, annotations = dict(current.data), dict(current.annotations)
    ids = parse_ids(annotations.get(names.KEY_IDS_ANNOTATION))
    for credential, each in held.items():
        if credential == "mtls" and material.ISSUER not in each.key.files:
            data.pop(material.ISSUER, None)
        data |= each.key.files
        ids[credential] = each.key.id
    annotations[names.PLANT_ID_ANNOTATION] = plant.spec.plant_id
    annotations[names.KEY_IDS_ANNOTATION] = format_ids(ids)
    if "mtls" in held and material.ISSUER in data:
        annotations[names.ISSUER_ANNOTATION] = issuer_id(
            x509.load_pem_x509_certificate(data[material.ISSUER])
        )
    return replace(
        current,
        labels={**current.labels, **names.OWNED, names.PLANT_LABEL: name},
        annotations=annotations,
        owners=_owners(plant, current),
        data=data,
    )


def _owners(plant: Plant, secret: Secret) -> tuple[Mapping[str, Any], ...]:
    if plant.spec.deletion_policy == "Retain":
        return ()
    ours = tuple(each for each in secret.owners if each.get("uid") == plant.metadata.uid)
    if ours:
        return ours
    assert plant.metadata.uid is not None, "only a Plant in a cluster has a Secret of its own"
    owner = {
        "apiVersion": API_VERSION,
        "kind": "Plant",
        "name": plant.metadata.name,
        "uid": plant.metadata.uid,
        "controller": True,
    }
    return (owner,)


def _is_plant(owner: Mapping[str, Any], name: str) -> bool:
    group = str(owner.get("apiVersion", "")).partition("/")[0]
    return (group, owner.get("kind"), owner.get("name")) == (GROUP, "Plant", name)


def _changes(before: Secret, after: Secret) -> tuple[str, ...]:
    keys = sorted(before.data.keys() | after.data.keys())
    parts = {
        "labels": before.labels != after.labels,
        "annotations": before.annotations != after.annotations,
        "ownerReferences": before.owners != after.owners,
    }
    changed = [f"data[{key}]" for key in keys if before.data.get(key) != after.data.get(key)]
    return (*changed, *(part for part, differs in parts.items() if differs))
