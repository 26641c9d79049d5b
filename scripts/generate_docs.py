"""Writes the references that are generated: of the types, of the commands, of the conditions and of the rights.

``make docs`` runs it; a test fails when the committed files are not what it writes.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from scripts.docs_of_commands import commands, kubectl
from scripts.docs_of_types import reference
from voke_api.resources.observed import PLANT_CONDITIONS
from voke_operator.names import LEASE
from voke_operator.rbac import WATCHED, Rule, own_namespace
from voke_operator.status.damping import COUNTING, INTERVAL, LASTING, REWORDING
from voke_operator.status.reasons import (
    CLOUD_CONNECTED,
    CLOUD_REACHABLE,
    CREDENTIALS_READY,
    DEVICES_REACHABLE,
    GATEWAY_READY,
    READY,
    REGISTERED,
    Reason,
)

DOCS = Path(__file__).parents[1] / "docs"
NOT_EDITED = "<!-- Written by `make docs`; do not edit. -->\n"


# -- the conditions


CONDITIONS = {
    READY: (
        "Of a Plant: its credentials are ready, its gateway runs it, its session with Voke is up, and at least one "
        "device is read. Its message is that of the part that has to be mended first, and its reason that of the same "
        "part. A Plant that is Ready may have something left to do all the same: what is broken comes before what nobody "
        "has confirmed, and the message ends with whatever else there is (`After that:`). Of a GatewayPool: its gateways answer, and Voke can be reached."
    ),
    CREDENTIALS_READY: "Of a Plant: all keys and certificates that it needs are there.",
    REGISTERED: "Of a Plant: Voke knows its keys. Not a part of `Ready`, which only mentions it.",
    GATEWAY_READY: "Of a Plant: a gateway runs its newest version.",
    CLOUD_CONNECTED: "Of a Plant: its session with Voke is up, and what it sends is taken.",
    DEVICES_REACHABLE: "Of a Plant: all devices are read, but for those that may be silent (`expectOffline`).",
    CLOUD_REACHABLE: "Of a GatewayPool: at least one of its Plants gets through to Voke.",
}
"""What each type means."""


def conditions() -> str:
    """docs/conditions.md."""
    parts = [
        "# Conditions of Plants and GatewayPools\n",
        (
            "`kubectl get plants` shows the status and the reason of `Ready`, `kubectl describe plant NAME` all messages. "
            "Each message says what is wrong and what to do first; reasons are stable words, for scripts and alerts. "
            "`kubectl voke` in a message is [the plugin](kubectl.md); what its commands set are annotations "
            "([registered](credentials.md#tell-voke), [release](gateways.md#moving-a-plant)).\n"
        ),
        (
            f"What gets better is written at once, what gets worse after {LASTING:g} seconds; an object is written at "
            f"most every {INTERVAL:g} seconds, and other words for the same state at most every {REWORDING:g}; a pool's "
            f"numbers of gateways and Plants at most every {COUNTING:g}. While "
            "none of a pool's Plants gets through to Voke, the pool says so, and the conditions of its Plants stay as "
            "they were. Live values are in the metrics.\n"
        ),
        (
            "`observedGeneration` of a condition is the version of the Plant that it speaks of: `kubectl wait "
            "--for=condition=Ready plant/NAME` returns when the newest version runs.\n"
        ),
    ]
    for type_, meaning in CONDITIONS.items():
        parts += [f"## {type_}\n", f"{meaning}\n", "| Reason | Meaning | What to do |", "|---|---|---|"]
        of_type = [reason for reason in Reason if reason.condition == type_]
        parts += [f"| `{each}` | {each.meaning} | {each.remedy or '–'} |" for each in of_type]
        parts.append("")
    parts += [
        "## Which reason Ready has\n",
        "The first of these that applies:\n",
        ", ".join(
            f"`{reason}`" for reason in Reason if reason.remedy and reason.condition in PLANT_CONDITIONS
        )
        + ".",
    ]
    return "\n".join(parts) + "\n"


# -- the operator's rights


def rights() -> str:
    """docs/rbac.md."""
    parts = [
        "# What the operator may do\n",
        (
            "The chart grants this, and nothing else. The operator looks at its start whether all of it is granted, and ends with "
            "a line for each rule that is missing. Gateways have no rights and no token.\n"
        ),
        "## In every namespace with Plants\n",
        (
            "With `watch.namespaces` a Role in each of them; without it one ClusterRole, which makes it the whole cluster.\n"
        ),
        *_rights(WATCHED),
        (
            "\nRBAC cannot select Secrets by label or type: whoever may read one may read all of the namespace. So name the "
            "namespaces where you can. What it may *write* is confined by admission policies ([security](security.md)), which the "
            "chart brings.\n"
        ),
        "## In its own namespace\n",
        *_rights(own_namespace(lease=LEASE, issuer=None)),
        (
            "\nThe name of the Lease is the value `lease.name`. With `issuer.secretName` the last two rules are one: `get` of that "
            "Secret, and nothing is created. RBAC knows no name of what is not there yet, so creating is granted without one, and "
            "again confined by the policies.\n"
        ),
        "## People\n",
        (
            "With `rbac.aggregate` (the default) Kubernetes' own roles reach the three kinds: `view` reads Plants, profiles and "
            "pools, `edit` also writes Plants and profiles, `admin` also pools.\n"
        ),
    ]
    return "\n".join(parts)


def _rights(rules: Sequence[Rule]) -> list[str]:
    rows = [
        f"| {_resources(rule)} | {rule.group or 'core'} | {', '.join(rule.verbs)} | {rule.reason} |"
        for rule in rules
    ]
    return ["| Resources | API group | Verbs | Why |", "|---|---|---|---|", *rows]


def _resources(rule: Rule) -> str:
    listed = ", ".join(f"`{each}`" for each in rule.resources)
    return listed if rule.name is None else f"{listed} called `{rule.name}`"


def generated() -> dict[str, str]:
    """Files in docs/ by name."""
    texts = {
        "reference.md": reference(),
        "cli.md": commands(),
        "kubectl.md": kubectl(),
        "conditions.md": conditions(),
        "rbac.md": rights(),
    }
    return {name: f"{NOT_EDITED}\n{text}" for name, text in texts.items()}


def main() -> None:
    """Write all of them."""
    for name, text in generated().items():
        (DOCS / name).write_text(text)


if __name__ == "__main__":
    main()
