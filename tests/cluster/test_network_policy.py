"""The reader of NetworkPolicies against what Kubernetes' documentation says of them."""

from __future__ import annotations

from typing import Any

import pytest

from tests.cluster.network_policy import Network
from tests.cluster.selection import Pod, matches

NAMESPACES = {"shop": {"kubernetes.io/metadata.name": "shop"}, "bank": {"team": "money"}}
DATABASE = Pod("shop", "database", {"app": "database"}, "10.0.0.1", {"sql": 5432})
CLIENT = Pod("shop", "client", {"app": "client"}, "10.0.0.2")
AUDITOR = Pod("bank", "auditor", {"app": "client"}, "10.0.0.3")


def policy(**spec: Any) -> dict[str, Any]:
    selector = {"matchLabels": {"app": "database"}}
    return {"metadata": {"namespace": "shop"}, "spec": {"podSelector": selector, **spec}}


def ingress(*rules: dict[str, Any]) -> Network:
    return Network(NAMESPACES, [policy(policyTypes=["Ingress"], ingress=list(rules))])


def egress(*rules: dict[str, Any]) -> Network:
    return Network(NAMESPACES, [policy(policyTypes=["Egress"], egress=list(rules))])


def test_without_a_policy_all_is_let_through() -> None:
    assert Network(NAMESPACES, []).lets(AUDITOR, DATABASE, 5432)


def test_a_policy_without_rules_lets_nobody_in_and_says_nothing_of_the_way_out_or_of_others() -> None:
    closed = ingress()
    assert not closed.lets(CLIENT, DATABASE, 5432)
    assert closed.lets(DATABASE, CLIENT, 80)
    assert closed.lets(AUDITOR, CLIENT, 80)


def test_an_empty_rule_lets_everybody_in() -> None:
    assert ingress({}).lets("192.0.2.1", DATABASE, 1)


def test_what_one_policy_allows_another_does_not_forbid() -> None:
    both = Network(NAMESPACES, [*ingress().policies, *ingress({"ports": [{"port": 5432}]}).policies])
    assert both.lets(CLIENT, DATABASE, 5432)
    assert not both.lets(CLIENT, DATABASE, 5433)


def test_pods_are_those_of_the_same_namespace_unless_others_are_named() -> None:
    clients = {"matchLabels": {"app": "client"}}
    here = ingress({"from": [{"podSelector": clients}]})
    assert (here.lets(CLIENT, DATABASE, 1), here.lets(AUDITOR, DATABASE, 1)) == (True, False)
    anywhere = ingress({"from": [{"podSelector": clients, "namespaceSelector": {}}]})
    assert (anywhere.lets(CLIENT, DATABASE, 1), anywhere.lets(AUDITOR, DATABASE, 1)) == (True, True)
    bank = ingress({"from": [{"namespaceSelector": {"matchLabels": {"team": "money"}}}]})
    assert (bank.lets(CLIENT, DATABASE, 1), bank.lets(AUDITOR, DATABASE, 1)) == (False, True)
    assert not bank.lets("192.0.2.1", DATABASE, 1)


def test_a_port_has_a_protocol_and_may_have_the_targets_name_or_an_end() -> None:
    named = ingress({"ports": [{"port": "sql"}]})
    assert (named.lets(CLIENT, DATABASE, 5432), named.lets(CLIENT, DATABASE, 5433)) == (True, False)
    assert not named.lets(CLIENT, DATABASE, 5432, "UDP")
    assert not egress({"ports": [{"port": "sql"}]}).lets(DATABASE, CLIENT, 5432), (
        "the client has no such port"
    )
    spread = ingress({"ports": [{"port": 80, "endPort": 90}]})
    assert [spread.lets(CLIENT, DATABASE, port) for port in (79, 80, 90, 91)] == [False, True, True, False]
    assert ingress({"ports": [{"protocol": "UDP"}]}).lets(CLIENT, DATABASE, 7, "UDP")


def test_a_block_of_addresses_may_have_holes() -> None:
    out = egress({"to": [{"ipBlock": {"cidr": "10.0.0.0/24", "except": ["10.0.0.3/32"]}}]})
    assert (out.lets(DATABASE, CLIENT, 1), out.lets(DATABASE, AUDITOR, 1)) == (True, False)
    assert not out.lets(DATABASE, "192.0.2.1", 1)


def test_both_ends_have_to_agree() -> None:
    leaving = egress({"ports": [{"port": 80}]}).policies
    other = {"metadata": {"namespace": "bank"}, "spec": {"podSelector": {}, "policyTypes": ["Ingress"]}}
    assert Network(NAMESPACES, leaving).lets(DATABASE, AUDITOR, 80)
    assert not Network(NAMESPACES, [*leaving, other]).lets(DATABASE, AUDITOR, 80)


@pytest.mark.parametrize(
    ("operator", "values", "taken"),
    [
        ("In", ["a"], [True, False, False]),
        ("NotIn", ["a"], [False, True, True]),
        ("Exists", [], [True, True, False]),
        ("DoesNotExist", [], [False, False, True]),
    ],
)
def test_an_expression_takes(operator: str, values: list[str], taken: list[bool]) -> None:
    selector = {"matchExpressions": [{"key": "k", "operator": operator, "values": values}]}
    assert [matches(selector, labels) for labels in ({"k": "a"}, {"k": "b"}, {})] == taken
