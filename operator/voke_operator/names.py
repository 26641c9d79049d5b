"""What things are called in a cluster: objects, labels, annotations, Secret types. One place for all of it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

from voke_api.resources.common import GROUP

FIELD_MANAGER: Final = "voke-operator"
"""Of every write; server-side apply tells by it whose a field is."""

ALLOW_LABEL: Final = f"{GROUP}/allow"
"""Must be ``"true"`` on a Secret that a Plant or a GatewayPool refers to."""
PLANT_LABEL: Final = f"{GROUP}/plant"
POOL_LABEL: Final = f"{GROUP}/pool"
SHARD_LABEL: Final = f"{GROUP}/shard"
APP: Final = "app.kubernetes.io/name"
GATEWAY_APP: Final = "voke-gateway"
MANAGED_BY: Final = "app.kubernetes.io/managed-by"
OWNED: Final[Mapping[str, str]] = {MANAGED_BY: FIELD_MANAGER}
"""On everything that the operator made; what its watches select by."""

PLANT_SECRET_TYPE: Final = f"{GROUP}/plant-credentials"
BUNDLE_SECRET_TYPE: Final = f"{GROUP}/bundle"
FLEET_CA_SECRET_TYPE: Final = f"{GROUP}/fleet-ca"
SECRET_TYPES: Final = (PLANT_SECRET_TYPE, BUNDLE_SECRET_TYPE, FLEET_CA_SECRET_TYPE)
"""All that the operator writes; the chart's policy confines it to these."""

PLANT_ID_ANNOTATION: Final = f"{GROUP}/plant-id"
"""On a plant's Secret: whose keys it holds."""
KEY_IDS_ANNOTATION: Final = f"{GROUP}/key-ids"
"""On a plant's Secret: ids of the keys in it, as ``hmac=…,mtls=…``."""
ISSUER_ANNOTATION: Final = f"{GROUP}/issuer"
"""On a plant's Secret: id of the CA that issued its client certificate."""
REPLACE_ANNOTATION: Final = f"{GROUP}/replace"
"""On a Plant: key ids that a person wants replaced, separated by commas or spaces; each once."""
GENERATION_ANNOTATION: Final = f"{GROUP}/bundle-generation"
"""On a gateway's pod: touching it makes kubelet refresh the mounted Secret at once."""
HASH_ANNOTATION: Final = f"{GROUP}/hash"
"""On an object of ours: of all that we want of it. The same hash, nothing to do."""
TEMPLATE_HASH_ANNOTATION: Final = f"{GROUP}/template-hash"
"""On a gateway's StatefulSet: of its pod template. Another hash, and the gateway restarts. On its pod: of the one it
was made by."""
APPLIED_ANNOTATION: Final = f"{GROUP}/applied-by"
"""On a gateway's StatefulSet: who alone says what is in it. That of 0.1.0, which lacks it, may hold what its pool no
longer says, and the gateway restarts when that is taken away."""
STORAGE_ANNOTATION: Final = f"{GROUP}/storage"
"""On a gateway's StatefulSet: ``spec.shard.storage`` of its pool when it was made, as JSON."""
RELEASE_ANNOTATION: Final = f"{GROUP}/release"
"""On a Plant: gateways of which a person says that they are dead for this Plant, separated by commas; of another
namespace as ``NAMESPACE/GATEWAY``."""
REGISTERED_ANNOTATION: Final = f"{GROUP}/registered"
"""On a Plant: key ids of which a person says that Voke knows them."""

FLEET_CA: Final = "voke-fleet-ca"
"""Secret in the operator's namespace."""
LEASE: Final = "voke-operator"


def plant_secret(plant: str) -> str:
    """Secret with what was generated for a Plant."""
    return f"voke-plant-{plant}"


def gateway(pool: str, shard: int) -> str:
    """StatefulSet and Service of a shard; its only pod has ``-0`` behind it.

    At most 52 characters, because the controller puts a hash behind the name for a label of 63.
    """
    return f"voke-gw-{pool}-{shard}"


def pod_of(gateway: str) -> str:
    """The only pod of a gateway's StatefulSet."""
    return f"{gateway}-0"


def gateway_pod(pool: str, shard: int) -> str:
    """The pod of a shard."""
    return pod_of(gateway(pool, shard))


def bundle_secret(pool: str, shard: int) -> str:
    """Secret that a shard's pod mounts."""
    return f"voke-bundle-{pool}-{shard}"


def disruption_budget(pool: str) -> str:
    """PodDisruptionBudget over all pods of a pool; its NetworkPolicy has the same name."""
    return f"voke-gw-{pool}"


def bundle_secret_prefix() -> str:
    """What the names of all bundles begin with; pool and number follow."""
    return "voke-bundle-"


def gateway_prefix() -> str:
    """What the names of a pool's and its shards' objects begin with."""
    return "voke-gw-"


def gateways_in(sentence: str) -> tuple[str, ...]:
    """The gateways that a sentence names, as RELEASE_ANNOTATION takes them."""
    return tuple(re.findall(rf"(?:[a-z0-9-]+/)?\b{gateway_prefix()}[a-z0-9-]+-\d+\b", sentence))
