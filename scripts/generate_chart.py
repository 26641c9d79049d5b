"""Writes what the chart takes from elsewhere: definitions, rights and names; and what is said of its values.

``make chart`` runs it; a test fails when the committed files are not what it writes. In ``values.yaml`` the comment
above a key is its description; a line ``# @schema {…}`` in it adds to the schema that the default value implies, and
``# @pool`` stands for the spec of a GatewayPool.
"""

from __future__ import annotations

import json
import re
import textwrap
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import yaml

from scripts.generate_crds import CRDS
from scripts.generate_crds import NOT_EDITED as DEFINITION_NOT_EDITED
from voke_operator import names
from voke_operator.plan.objects import CLAIM, HTTP_PORT
from voke_operator.rbac import WATCHED, Rule, own_namespace

CHART: Final = Path(__file__).parents[1] / "charts" / "voke-fleet"
VALUES: Final = CHART / "values.yaml"
_TYPES: Final = {bool: "boolean", int: "integer", float: "number", str: "string"}
_COMMENT_WIDTH: Final = 110


# -- definitions, rights and names


def definition_template(text: str) -> str:
    """A template of a CustomResourceDefinition, which ``crds.enabled`` and ``crds.keep`` switch."""
    body = text.removeprefix(DEFINITION_NOT_EDITED)
    assert "{{" not in body, "what looks like a template would have to be quoted"
    head = "\nmetadata:\n"
    assert body.count(head) == 1
    metadata = head + (
        '  labels: {{- include "voke-fleet.labels" . | nindent 4 }}\n'
        "  {{- if .Values.crds.keep }}\n"
        "  annotations:\n"
        "    helm.sh/resource-policy: keep\n"
        "  {{- end }}\n"
    )
    return (
        "{{- /* Written by `make chart`; do not edit. */ -}}\n{{- if .Values.crds.enabled }}\n"
        + body.replace(head, metadata)
        + "{{- end }}\n"
    )


def names_template() -> str:
    """Rights and names as named templates."""
    selected = {
        "rules.watched": _rules(WATCHED),
        "rules.own": _rules(own_namespace(lease="{{ .Values.lease.name }}", issuer=None)),
        "rules.ownWithIssuer": _rules(
            own_namespace(lease="{{ .Values.lease.name }}", issuer="{{ .Values.issuer.secretName }}")
        ),
        "secretTypes": json.dumps(names.SECRET_TYPES),
        "bundleType": names.BUNDLE_SECRET_TYPE,
        "fleetCaType": names.FLEET_CA_SECRET_TYPE,
        "managedByLabel": names.MANAGED_BY,
        "managedBy": names.FIELD_MANAGER,
        "gatewayLabels": yaml.safe_dump({names.APP: names.GATEWAY_APP}).strip(),
        "gatewayApp": names.GATEWAY_APP,
        "appLabel": names.APP,
        "bundlePrefix": names.bundle_secret("", 0).removesuffix("-0"),
        "gatewayPrefix": names.gateway_prefix(),
        "claim": CLAIM,
        "touched": names.GENERATION_ANNOTATION,
        "gatewayPort": str(HTTP_PORT),
    }
    defined = [
        f'{{{{- define "voke-fleet.{name}" -}}}}\n{text}\n{{{{- end }}}}\n' for name, text in selected.items()
    ]
    return "{{- /* Written by `make chart`; do not edit. */ -}}\n" + "\n".join(defined)


def _rules(rules: Sequence[Rule]) -> str:
    lines = []
    for rule in rules:
        reason = rule.reason[0].upper() + rule.reason[1:] + "."
        lines += [f"# {line}" for line in textwrap.wrap(reason, _COMMENT_WIDTH)]
        lines += [
            f"- apiGroups: {json.dumps([rule.group])}",
            f"  resources: {json.dumps(rule.resources)}",
            *([] if rule.name is None else [f"  resourceNames: {json.dumps([rule.name])}"]),
            f"  verbs: {json.dumps(rule.verbs)}",
        ]
    return "\n".join(lines)


# -- values


@dataclass(frozen=True, slots=True)
class Value:
    """A key of ``values.yaml``."""

    path: tuple[str, ...]
    default: Any
    description: str
    extra: dict[str, Any]
    """What its comment adds to its schema."""
    inside: tuple[Value, ...] = field(default=())
    """Its keys, if these are values of their own."""

    @property
    def schema(self) -> dict[str, Any]:
        """As JSON Schema."""
        schema: dict[str, Any] = {"description": self.description} if self.description else {}
        if self.inside:
            return schema | _closed({each.path[-1]: each.schema for each in self.inside})
        assert "type" in self.extra or type(self.default) in _TYPES, f"{self.path}: @schema must say its type"
        typed = {} if "type" in self.extra else {"type": _TYPES[type(self.default)]}
        return {**typed, **self.extra, **schema}


def _closed(properties: dict[str, Any]) -> dict[str, Any]:
    return {"type": "object", "additionalProperties": False, "properties": properties}


def read_values(text: str) -> list[Value]:
    """Values of a file with comments, in its order."""
    root = yaml.compose(text)
    assert isinstance(root, yaml.MappingNode)
    return [*_values(root, (), text.splitlines(), yaml.safe_load(text))]


def _values(
    node: yaml.MappingNode, path: tuple[str, ...], lines: Sequence[str], loaded: dict[str, Any]
) -> Iterator[Value]:
    for key, value in node.value:
        here = (*path, key.value)
        description, extra = _comment(lines, key.start_mark)
        default = loaded[key.value]
        inside: tuple[Value, ...] = ()
        if isinstance(value, yaml.MappingNode) and not extra:
            inside = tuple(_values(value, here, lines, default))
        assert description or inside, f"{'.'.join(here)}: a comment above it must say what it means"
        yield Value(here, default, description, extra, inside)


def _comment(lines: Sequence[str], mark: yaml.Mark) -> tuple[str, dict[str, Any]]:
    """Description and schema in the comment right above a key."""
    first = mark.line
    start = re.compile(rf"^ {{{mark.column}}}# ?")
    while first > 0 and start.match(lines[first - 1]):
        first -= 1
    words, extra = [], dict[str, Any]()
    for line in (start.sub("", each) for each in lines[first : mark.line]):
        if line.startswith("@schema "):
            extra |= yaml.safe_load(line.removeprefix("@schema "))
        elif line == "@pool":
            extra |= pool_schema()
        else:
            words.append(line)
    return " ".join(words), extra


def pool_schema() -> dict[str, Any]:
    """Of the spec of a GatewayPool, as JSON Schema: what its definition says, without defaults and rules."""
    definition = yaml.safe_load((CRDS / "gatewaypools.yaml").read_text())
    (version,) = definition["spec"]["versions"]
    schema: dict[str, Any] = version["schema"]["openAPIV3Schema"]["properties"]["spec"]
    plain = _plain(schema)
    plain.pop("description")
    return plain


def _plain(schema: dict[str, Any]) -> dict[str, Any]:
    kept = {
        key: value
        for key, value in schema.items()
        if not key.startswith("x-kubernetes-") and key not in {"default", "format", "nullable"}
    }
    if schema.get("x-kubernetes-int-or-string"):
        kept["type"] = ["integer", "string"]
    if "properties" in kept:
        kept["properties"] = {name: _plain(each) for name, each in kept["properties"].items()}
        kept["additionalProperties"] = False
    for key in ("items", "additionalProperties"):
        if isinstance(kept.get(key), dict):
            kept[key] = _plain(kept[key])
    return kept


def values_schema() -> str:
    """values.schema.json."""
    values = read_values(VALUES.read_text())
    schema = {"$schema": "http://json-schema.org/draft-07/schema#", "title": "Values of voke-fleet"}
    return json.dumps(schema | _closed({each.path[-1]: each.schema for each in values}), indent=2) + "\n"


# -- README.md


def readme() -> str:
    """README.md of the chart."""
    chart = yaml.safe_load((CHART / "Chart.yaml").read_text())
    rows = [_row(each) for each in _leaves(read_values(VALUES.read_text()))]
    return (
        f"""<!-- Written by `make chart`; do not edit. -->
# {chart["name"]}

{chart["description"]}. Needs Kubernetes 1.32 or later.

    helm install voke-fleet charts/voke-fleet --namespace voke-system --create-namespace -f values.yaml

`values.yaml` names `image.repository` and `gateway.image.repository` in your registry: [no images are published yet](../../docs/install.md).

[Install, upgrade, uninstall](../../docs/install.md) · [What the operator may do](../../docs/rbac.md) ·
[Security](../../docs/security.md) · [Every field of Plant, DeviceProfile and GatewayPool](../../docs/reference.md)

## Values

An unknown value is refused (`values.schema.json`).

| Value | Default | Meaning |
|---|---|---|
"""
        + "\n".join(rows)
        + "\n"
    )


def _leaves(values: Sequence[Value]) -> Iterator[Value]:
    for each in values:
        if each.inside:
            yield from _leaves(each.inside)
        else:
            yield each


def _row(value: Value) -> str:
    default = json.dumps(value.default, ensure_ascii=False).replace("|", "\\|")
    choices = value.extra.get("enum")
    one_of = (
        " One of " + ", ".join(f"`{each or json.dumps(each)}`" for each in choices) + "." if choices else ""
    )
    text = (value.description + one_of).replace("|", "\\|")
    return f"| `{'.'.join(value.path)}` | `{default}` | {text} |"


def generated() -> dict[str, str]:
    """Files of the chart that are written here, and their content."""
    templates = {
        f"templates/crd-{path.name}": definition_template(path.read_text())
        for path in sorted(CRDS.glob("*.yaml"))
    }
    return {
        **templates,
        "templates/_names.tpl": names_template(),
        "values.schema.json": values_schema(),
        "README.md": readme(),
    }


def main() -> None:
    """Write all of them."""
    for name, text in generated().items():
        (CHART / name).write_text(text)


if __name__ == "__main__":
    main()
