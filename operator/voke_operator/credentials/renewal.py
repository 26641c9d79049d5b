"""When a client certificate is renewed, and whether a renewal would be of any use.

All from the real life of a certificate as it was issued, not from what was asked for: a CA may end before what
it issues, and a rule in fixed days then renews again and again.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from hashlib import sha256
from typing import Final

from cryptography import x509

from voke_operator.credentials.material import USUAL, Life

_LATEST: Final = 2 / 3
_SPREAD: Final = 1 / 12
"""Of the life, before the latest moment: at least 7/12 of it is used, at most 5/12 are left at renewal."""


def renew_at(leaf: x509.Certificate, plant_id: str) -> datetime:
    """Two thirds through its real life, or a little before: each plant at a moment of its own."""
    start, end = leaf.not_valid_before_utc, leaf.not_valid_after_utc
    share = int.from_bytes(sha256(plant_id.encode()).digest()[:8], "big") / 2**64
    return start + (end - start) * (_LATEST - share * _SPREAD)


def worth_renewing(leaf: x509.Certificate, issuer_ends: datetime, now: datetime, life: Life = USUAL) -> bool:
    """Whether a certificate issued now would last at least twice as long as this one still does.

    Without this, a CA that ends with what it issued would issue ever shorter ones, ever more often.
    """
    left = max(leaf.not_valid_after_utc - now, timedelta(0))
    return min(life.longest, issuer_ends - now) >= max(2 * left, life.least)


def next_check(leaf: x509.Certificate, plant_id: str, now: datetime) -> datetime | None:
    """When to look again: as renewal falls due; if it is and could not be, as the certificate ends."""
    moments = (renew_at(leaf, plant_id), leaf.not_valid_after_utc)
    return next((moment for moment in moments if moment > now), None)
