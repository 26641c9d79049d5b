"""DNS of the tests' cluster: what CoreDNS is told, and may do.

It runs on the node itself. Names of Services are as in any cluster; Voke's own name leads to the machine, where the
tests' Voke is; nobody has any other name, which is said at once.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

from tests.cluster.machine import ADDRESS

DOMAIN: Final = "cluster.local"
USER: Final = "system:coredns"
VOKE_NAME: Final = "mqtt.voke.lovinka.com"
"""What a pool that names no host leads to."""
READY_PORT: Final = 8181


def corefile(kubeconfig: Path) -> str:
    """Its configuration."""
    return f"""\
{DOMAIN} {{
    errors
    ready :{READY_PORT}
    kubernetes {DOMAIN} {{
        kubeconfig {kubeconfig}
    }}
}}
{VOKE_NAME} {{
    errors
    hosts /dev/null {{
        {ADDRESS} {VOKE_NAME}
    }}
}}
. {{
    errors
    template ANY ANY {{
        rcode NXDOMAIN
    }}
}}
"""


def rights() -> tuple[dict[str, Any], ...]:
    """It reads names and addresses, and nothing else."""
    group = "rbac.authorization.k8s.io"
    metadata = {"name": USER}
    role = {
        "apiVersion": f"{group}/v1",
        "kind": "ClusterRole",
        "metadata": metadata,
        "rules": [
            {"apiGroups": [""], "resources": ["namespaces", "services"], "verbs": ["list", "watch"]},
            {"apiGroups": ["discovery.k8s.io"], "resources": ["endpointslices"], "verbs": ["list", "watch"]},
        ],
    }
    binding = {
        "apiVersion": f"{group}/v1",
        "kind": "ClusterRoleBinding",
        "metadata": metadata,
        "roleRef": {"apiGroup": group, "kind": "ClusterRole", "name": USER},
        "subjects": [{"apiGroup": group, "kind": "User", "name": USER}],
    }
    return role, binding
