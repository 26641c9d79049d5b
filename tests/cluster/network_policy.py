"""What NetworkPolicies let through, worked out as Kubernetes defines it: nothing enforces them on the tests' node.

Left out: a node's own traffic, which is always let through, and addresses that a Service's are translated to.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from ipaddress import ip_address, ip_network
from typing import Any, Literal

from tests.cluster.selection import Pod, matches

Json = Mapping[str, Any]
Place = Pod | str
"""A pod, or an address outside of the cluster."""
Direction = Literal["Ingress", "Egress"]


@dataclass(frozen=True, slots=True)
class Network:
    """The policies of a cluster, and what they speak of."""

    namespaces: Mapping[str, Mapping[str, str]]
    """Labels by name."""
    policies: Sequence[Json]

    def lets(self, source: Place, target: Place, port: int, protocol: str = "TCP") -> bool:
        """Whether ``source`` may open a connection to this port of ``target``: both sides have to agree."""
        return self._passes("Egress", source, target, (target, port, protocol)) and self._passes(
            "Ingress", target, source, (target, port, protocol)
        )

    def _passes(self, direction: Direction, subject: Place, peer: Place, to: tuple[Place, int, str]) -> bool:
        """Whether the policies about ``subject`` allow it: one is enough, and without any all is allowed."""
        if not isinstance(subject, Pod):
            return True
        about = [each for each in self.policies if _concerns(each, subject, direction)]
        rules, side = ("ingress", "from") if direction == "Ingress" else ("egress", "to")
        return not about or any(
            _of_port(rule.get("ports"), *to) and self._of_peer(rule.get(side), peer, subject.namespace)
            for policy in about
            for rule in policy["spec"].get(rules) or ()
        )

    def _of_peer(self, peers: Sequence[Json] | None, place: Place, home: str) -> bool:
        return not peers or any(self._is(each, place, home) for each in peers)

    def _is(self, peer: Json, place: Place, home: str) -> bool:
        if "ipBlock" in peer:
            return _within(peer["ipBlock"], place.address if isinstance(place, Pod) else place)
        if not isinstance(place, Pod):
            return False
        namespaces = peer.get("namespaceSelector")
        at_home = place.namespace == home
        there = at_home if namespaces is None else matches(namespaces, self.namespaces[place.namespace])
        return there and matches(peer.get("podSelector") or {}, place.labels)


def selected(policy: Json, among: Sequence[Pod]) -> set[str]:
    """Names of the pods that a policy is about."""
    return {each.name for each in among if _concerns(policy, each)}


def _concerns(policy: Json, pod: Pod, direction: Direction | None = None) -> bool:
    spec = policy["spec"]
    return (
        policy["metadata"]["namespace"] == pod.namespace
        and matches(spec["podSelector"], pod.labels)
        and (direction is None or direction in spec["policyTypes"])
    )


def _of_port(ports: Sequence[Json] | None, target: Place, port: int, protocol: str) -> bool:
    return not ports or any(
        each.get("protocol", "TCP") == protocol and port in _numbers(each, target) for each in ports
    )


def _numbers(entry: Json, target: Place) -> range:
    first = entry.get("port", 1)
    if isinstance(first, str):  # a name is one of the target's, and may be nobody's
        named = target.ports.get(first, 0) if isinstance(target, Pod) else 0
        return range(named, named + 1)
    return range(first, (entry.get("endPort", first) if "port" in entry else 65535) + 1)


def _within(block: Json, address: str) -> bool:
    found = ip_address(address)
    return found in ip_network(block["cidr"]) and not any(
        found in ip_network(each) for each in block.get("except") or ()
    )
