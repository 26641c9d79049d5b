"""The CustomResourceDefinitions of the three kinds: names, columns of ``kubectl get``, and their models' schemas.

The models are the only truth; ``make crds`` writes ``crds/*.yaml`` from them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from pydantic import BaseModel

from voke_api.resources import GROUP, DeviceProfile, GatewayPool, Plant
from voke_api.resources.observed import PlantObserved, PoolObserved
from voke_api.structural import Schema, field_schema, object_schema, rules, text

VERSION: Final = "v1alpha1"
CATEGORY: Final = "voke"


@dataclass(frozen=True, slots=True)
class Column:
    """A column of ``kubectl get``."""

    name: str
    path: str
    type: str = "string"
    wide: bool = False
    """Only with ``-o wide``."""
    description: str = ""

    def schema(self) -> Schema:
        """As an entry of ``additionalPrinterColumns``."""
        entry: Schema = {"name": self.name, "type": self.type, "jsonPath": self.path}
        return (
            entry
            | ({"description": self.description} if self.description else {})
            | ({"priority": 1} if self.wide else {})
        )


@dataclass(frozen=True, slots=True)
class Kind:
    """One resource kind, as a cluster knows it."""

    model: type[BaseModel]
    plural: str
    short: str
    columns: tuple[Column, ...]
    selectable: tuple[str, ...]
    """Fields that ``--field-selector`` takes."""
    status: type[BaseModel] | None = None


_AGE: Final = Column("AGE", ".metadata.creationTimestamp", "date")
_READY: Final = Column(
    "READY", '.status.conditions[?(@.type=="Ready")].status', description="Whether all is well"
)
_REASON: Final = Column(
    "REASON", '.status.conditions[?(@.type=="Ready")].reason', description="Why READY is what it is"
)

KINDS: Final = (
    Kind(
        Plant,
        "plants",
        "pl",
        (
            _READY,
            Column("DEVICES", ".status.devices", description="Devices read and declared"),
            Column("GATEWAY", ".status.gateway", description="StatefulSet whose pod runs the plant"),
            _REASON,
            _AGE,
            Column("PLANT ID", ".spec.plantId", wide=True, description="Voke's id of the plant"),
            Column("AUTH", ".spec.auth.method", wide=True, description="How it logs in at Voke"),
            Column(
                "HMAC KEY",
                '.status.credentials[?(@.name=="hmac")].keyId',
                wide=True,
                description="Id of the key that signs",
            ),
            Column(
                "CERTIFICATE UNTIL",
                '.status.credentials[?(@.name=="mtls")].notAfter',
                wide=True,
                description="When the client certificate expires",
            ),
        ),
        (".spec.plantId", ".spec.pool", ".spec.auth.method", ".spec.suspend"),
        PlantObserved,
    ),
    Kind(
        DeviceProfile,
        "deviceprofiles",
        "dp",
        (Column("TYPE", ".spec.type", description="Type of the devices that may use it"), _AGE),
        (".spec.type",),
    ),
    Kind(
        GatewayPool,
        "gatewaypools",
        "gwp",
        (
            _READY,
            Column("SHARDS", ".status.shards", "integer", description="Gateway pods"),
            Column("PLANTS", ".status.plants", "integer", description="Plants assigned to them"),
            _REASON,
            _AGE,
            Column("VOKE", ".spec.voke.host", wide=True, description="Host of the broker"),
            Column("WRITES", ".spec.writes", wide=True, description="Whether registers may be written"),
        ),
        (".spec.voke.host", ".spec.writes"),
        PoolObserved,
    ),
)


def definitions() -> dict[str, Schema]:
    """The CustomResourceDefinitions, by plural name."""
    return {kind.plural: _definition(kind) for kind in KINDS}


def _definition(kind: Kind) -> Schema:
    name = kind.model.__name__
    names = {
        "kind": name,
        "listKind": f"{name}List",
        "plural": kind.plural,
        "singular": name.lower(),
        "shortNames": [kind.short],
        "categories": [CATEGORY],
    }
    version: Schema = {
        "name": VERSION,
        "served": True,
        "storage": True,
        "additionalPrinterColumns": [column.schema() for column in kind.columns],
        "selectableFields": [{"jsonPath": path} for path in kind.selectable],
        "schema": {"openAPIV3Schema": _root(kind)},
    }
    if kind.status is not None:
        version["subresources"] = {"status": {}}
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"{kind.plural}.{GROUP}"},
        "spec": {"group": GROUP, "scope": "Namespaced", "names": names, "versions": [version]},
    }


def _root(kind: Kind) -> Schema:
    spec = kind.model.model_fields["spec"]
    properties: Schema = {
        "apiVersion": {"type": "string"},
        "kind": {"type": "string"},
        "metadata": {"type": "object", "properties": {"name": {"type": "string"}}},
        "spec": field_schema(spec, defaults=True),
    }
    if kind.status is not None:
        properties["status"] = object_schema(kind.status, defaults=False)
    schema: Schema = {"type": "object", "description": text(kind.model.__doc__), "properties": properties}
    return schema | ({"required": ["spec"]} if spec.is_required() else {}) | rules(kind.model)
