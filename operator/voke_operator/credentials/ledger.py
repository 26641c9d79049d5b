"""The life of a plant's own Secret: what is generated for it, once, and how that is kept.

Pure: what was observed comes in, a decision goes out (:mod:`voke_operator.credentials.decisions`).
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from datetime import datetime

from voke_api.resources import Plant
from voke_api.resources.observed import CredentialInUse
from voke_operator.credentials.decisions import Decision, Finding, Name
from voke_operator.credentials.issuer import Issuer
from voke_operator.credentials.material import Material
from voke_operator.credentials.secret import Secret


def decide(
    plant: Plant,
    secret: Secret | None,
    *,
    needs: Collection[Name],
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
        needs: What is to be generated for it: ``Given.generated``.
        recorded: Credentials in its status, if that is of the same plantId.
        copy: Material of the plant that survives elsewhere (:func:`…bundled.from_bundle`); may lack files.
        issuer: Who issues client certificates, or why nobody does; None if the Plant needs none.
        now: With a time zone.
        fresh: What :func:`mint` made for the last decision, if that was to mint; what is not needed any more is
            dropped.
    """
    raise NotImplementedError


def mint(
    names: Collection[Name],
    plant_id: str,
    *,
    issuer: Issuer | Finding | None,
    now: datetime,
    random_bytes: Callable[[int], bytes],
) -> dict[Name, Material]:
    """New material for credentials that a decision named.

    Raises:
        UnusableIssuerError: mtls is asked for and the issuer cannot issue.
    """
    raise NotImplementedError
