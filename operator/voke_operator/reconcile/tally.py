"""Counts what becomes of credentials, for the metrics: renewed, in vain, taken over by the gateway."""

from __future__ import annotations

from collections.abc import Callable, Collection

from voke_api.resources.observed import CredentialInUse
from voke_operator.reconcile.fleet import PlantRecord
from voke_operator.runtime.metrics import OperatorMetrics
from voke_operator.status.facts import Cause, CredentialFacts
from voke_operator.status.reasons import Reason

_IN_VAIN = frozenset({Reason.ISSUER_EXPIRES, Reason.ISSUER_UNUSABLE})


class Tally:
    """Compares what was with what is."""

    def __init__(self, metrics: OperatorMetrics, *, clock: Callable[[], float]) -> None:
        self._metrics = metrics
        self._clock = clock

    def settled(
        self,
        record: PlantRecord,
        before: Collection[CredentialInUse],
        said: Cause | None,
        facts: CredentialFacts,
    ) -> None:
        """A plant's credentials were seen to.

        Args:
            record: The plant's.
            before: The credentials that its status named.
            said: Why it did not have them all, as far as this process had found.
            facts: What came of it.
        """
        was = {each.name: each.key_id for each in before}
        for each in facts.in_use:
            if each.source == "Generated" and each.key_id != was.get(each.name, each.key_id):
                self._metrics.rotated(each.name, "ok")
                record.renewed[each.name] = self._clock()
        trouble = facts.cause or facts.warning
        if trouble is None:
            return
        if trouble.reason in _IN_VAIN and "mtls" in was:
            self._metrics.rotated("mtls", "error")
        if trouble.reason == Reason.NAME_CONFLICT and (said is None or said.reason != trouble.reason):
            self._metrics.drifted("Secret", "refused")

    def taken_in(self, record: PlantRecord, applied: int) -> None:
        """The plant's gateway works on the bundle of that generation."""
        if record.written is None or record.written > applied:
            return
        now = self._clock()
        for name, since in record.renewed.items():
            self._metrics.rotation_used(name, now - since)
        record.renewed.clear()
