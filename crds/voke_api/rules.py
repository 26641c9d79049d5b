"""What the models' ``violations`` say, once more for the API server: rules in CEL, by the model they guard.

CEL sees one object at a time, from where the rule is attached. What it cannot see (values without one type,
such as a write's ``value``), or not within its cost budget (names that lead from a command to a point), is
left to the schema or to ``voke check`` and a condition. ``tests/corpus`` and a comparison with generated
resources hold the two sides together.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from pydantic import BaseModel

from voke_api.resources import plant, points, pool, profile

_CEL: Final = re.compile(r"(\$\{[^{}]*\})")


@dataclass(frozen=True, slots=True)
class Rule:
    """One rule about an object, which CEL calls ``self``."""

    path: str
    """Field that is reported, as written in files; empty: the object itself."""
    holds: str
    """CEL, true if the rule is obeyed."""
    message: str
    """How ``violations`` begins to say it; what stands in ``${…}`` is CEL and gives text."""

    def schema(self) -> dict[str, Any]:
        """As an entry of ``x-kubernetes-validations``."""
        entry: dict[str, Any] = {"rule": self.holds}
        parts = [part for part in _CEL.split(self.message) if part]
        if any(_CEL.fullmatch(part) for part in parts):
            entry["messageExpression"] = " + ".join(
                part[2:-1] if _CEL.fullmatch(part) else json.dumps(part, ensure_ascii=False) for part in parts
            )
        else:
            entry["message"] = self.message
        return entry | ({"fieldPath": f".{self.path}"} if self.path else {})


def _together(*fields: str) -> str:
    return " && ".join(f"has(self.{field})" for field in fields)


def _name_at_most(kind: str, longest: int) -> Rule:
    return Rule(
        "metadata.name",
        f"size(self.metadata.name) <= {longest}",
        f"the name of a {kind} has at most {longest} characters",
    )


_IN_REGISTER = "self.table in ['holding', 'input']"
_CAN_BE_WRITTEN = "self.table in ['holding', 'coil']"
_WHOLE = "!(has(self.registerBit) || has(self.bits))"
_REGISTERS = (
    "(self.type in ['int64', 'uint64', 'float64'] ? 4 : self.type in ['int32', 'uint32', 'float32'] ? 2 : "
    "self.type == 'string' && has(self.length) ? (self.length + 1) / 2 : 1)"
)
_BOUNDS_IN_ORDER = Rule(
    "min", f"!({_together('min', 'max')}) || self.min <= self.max", "min must be at most max"
)
_RAW = "raw is one of {table, address, count}, {table, address, type} or {bits: [...]}"
_NUMBER = "!(self.type in ['bool', 'string'])"
_IS_FOR_NUMBERS = "is for numbers; a ${self.type} has none"

RULES: Final[Mapping[type[BaseModel], tuple[Rule, ...]]] = {
    plant.Plant: (_name_at_most("Plant", plant.MAX_NAME),),
    plant.PlantSpec: (
        Rule(
            "plantId",
            "self.plantId == oldSelf.plantId",
            "plantId is immutable; a plant of another id is another Plant",
        ),
        Rule(
            "devices",
            "self.devices.all(d, self.connections.exists(c, c.name == d.connection))",
            "${self.devices.map(d, !self.connections.exists(c, c.name == d.connection), "
            "'there is no connection ' + d.connection)[0]}",
        ),
        Rule(
            "credentials.password",
            "self.auth.method != 'PASSWORD' || (has(self.credentials) && has(self.credentials.password))",
            "the method PASSWORD needs credentials.password.secretRef: Voke makes user name and password",
        ),
        Rule(
            "commands.GET_INFO",
            "!has(self.commands) || !('GET_INFO' in self.commands)",
            "GET_INFO is built in; take it out",
        ),
        Rule(
            "commands",
            "!has(self.commands) || self.commands.all(k, k.matches('^[A-Z0-9_]+$'))",
            "${self.commands.filter(k, !k.matches('^[A-Z0-9_]+$'))[0]} must be of A–Z, 0–9 and _ only",
        ),
    ),
    plant.Telemetry: (
        Rule(
            "assembleWithin",
            "!has(self.assembleWithin) || duration(self.assembleWithin) <= duration(self.interval)",
            "assembleWithin must be at most the interval, ${self.interval}",
        ),
    ),
    plant.Connection: (Rule("", "has(self.modbusTcp)", "a connection needs its protocol: modbusTcp"),),
    plant.Device: (
        Rule("raw", "self.type != 'CABINET' || has(self.raw)", "a CABINET needs raw, the place of its mask"),
        Rule(
            "profile",
            "self.type != 'CABINET' || !has(self.profile)",
            "a CABINET has raw and nothing else; take profile out",
        ),
        Rule(
            "points",
            "self.type != 'CABINET' || has(self.profile) || !has(self.points) || size(self.points) == 0",
            "a CABINET has raw and nothing else; take points out",
        ),
        Rule(
            "raw",
            "self.type == 'CABINET' || !has(self.raw)",
            "raw is for a CABINET; a ${self.type} has a profile, points or both",
        ),
        Rule(
            "points",
            "self.type == 'CABINET' || has(self.raw) || has(self.profile) || (has(self.points) && size(self.points) > 0)",
            "a ${self.type} needs a profile, points or both",
        ),
    ),
    plant.CommandWrite: (
        *(
            Rule(
                bound,
                f"!has(self.{bound}) || has(self.parameter)",
                f"{bound} bounds a parameter; a constant needs none",
            )
            for bound in ("min", "max")
        ),
        Rule(
            "factor",
            "self.factor == 1.0 || has(self.parameter)",
            "factor is for a parameter; write the constant itself",
        ),
        Rule("factor", "self.factor != 0.0", "factor must not be 0: the parameter would have no effect"),
        _BOUNDS_IN_ORDER,
    ),
    plant.RevertAfter: (
        Rule(
            "default",
            "duration(self.default) <= duration(self.max)",
            "default must be at most max, ${self.max}",
        ),
    ),
    plant.Alarm: (
        Rule(
            "hysteresis",
            f"!has(self.hysteresis) || {' || '.join(f'has(self.when.{key})' for key in plant.THRESHOLDS)}",
            "hysteresis is for gt, gte, lt and lte",
        ),
        Rule(
            "field",
            "has(self.field) || has(self.when.bit) || has(self.when.notReadFor)",
            "only bit and notReadFor go without a field; name the one whose value is compared",
        ),
    ),
    points.BitRange: (
        Rule(
            "count",
            "self.first + self.count <= 16",
            "a register has 16 bits",
        ),
    ),
    points.Writable: (_BOUNDS_IN_ORDER,),
    points.Point: (
        Rule(
            "address",
            f"self.address + {_REGISTERS} <= 65536",
            "the point goes beyond 65535, the last address there is",
        ),
        Rule(
            "length", "self.type != 'string' || has(self.length)", "a string needs length, its size in bytes"
        ),
        Rule(
            "length",
            "self.type == 'string' || !has(self.length)",
            "length is for strings; ${self.type} has its own",
        ),
        Rule(
            "wordOrder",
            f"self.type != 'string' || self.wordOrder == 'big' || !({_IN_REGISTER})",
            "a string's registers are in order; take wordOrder out",
        ),
        Rule(
            "type",
            f"self.type == 'bool' || {_IN_REGISTER}",
            "a ${self.table} is a bool; registers are in holding or input",
        ),
        *(
            Rule(
                order,
                f"self.{order} == 'big' || {_IN_REGISTER}",
                f"{order} is for registers; take it out for a ${{self.table}}",
            )
            for order in ("byteOrder", "wordOrder")
        ),
        Rule(
            "registerBit",
            f"has(self.registerBit) || self.type != 'bool' || !({_IN_REGISTER})",
            "a bool in ${self.table} needs registerBit, 0 (least significant) to 15",
        ),
        Rule(
            "registerBit",
            f"!has(self.registerBit) || (self.type == 'bool' && {_IN_REGISTER})",
            "registerBit is for a bool in holding or input; take it out",
        ),
        Rule(
            "bits",
            f"!has(self.bits) || (self.type == 'uint16' && {_IN_REGISTER})",
            "bits is for uint16 in holding or input, one register",
        ),
        Rule("scale", f"self.scale == 1.0 || {_NUMBER}", f"scale {_IS_FOR_NUMBERS}"),
        Rule("offset", f"self.offset == 0.0 || {_NUMBER}", f"offset {_IS_FOR_NUMBERS}"),
        Rule("decimals", f"!has(self.decimals) || {_NUMBER}", f"decimals {_IS_FOR_NUMBERS}"),
        Rule("scaleFrom", f"!has(self.scaleFrom) || {_NUMBER}", f"scaleFrom {_IS_FOR_NUMBERS}"),
        Rule("scale", "self.scale != 0.0", "scale must not be 0: every value would be the offset"),
        Rule(
            "scaleFrom",
            "!has(self.scaleFrom) || self.scaleFrom != self.field",
            "scaleFrom names another field of the device",
        ),
        Rule(
            "invalid",
            f"!has(self.invalid) || size(self.invalid) == 0 || (self.type != 'string' && {_IN_REGISTER})",
            "invalid lists bit patterns of registers; strings and coils have none",
        ),
        *(
            Rule(
                "invalid",
                f"!has(self.invalid) || !(self.type in {types}) || "
                f"self.invalid.all(i, type(i) == string ? size(i) <= {2 + bits // 4} : i <= {(1 << bits) - 1})",
                f"a bit pattern of ${{self.type}} is at most 0x{(1 << bits) - 1:X}",
            )
            for bits, types in ((16, "['bool', 'int16', 'uint16']"), (32, "['int32', 'uint32', 'float32']"))
        ),
        Rule(
            "writable",
            f"!has(self.writable) || {_CAN_BE_WRITTEN}",
            "${self.table} can only be read; writable is for holding and coil",
        ),
        Rule(
            "writable",
            f"!has(self.writable) || !({_CAN_BE_WRITTEN}) || {_WHOLE}",
            "part of a register cannot be written; declare the whole register",
        ),
        Rule(
            "writable",
            f"!has(self.writable) || !({_CAN_BE_WRITTEN} && {_WHOLE}) || self.type != 'string'",
            "a string cannot be written; writable is for numbers and coils",
        ),
        Rule(
            "writable",
            f"!has(self.writable) || !({_CAN_BE_WRITTEN} && {_WHOLE}) || self.type != 'bool' || "
            "!(has(self.writable.min) || has(self.writable.max))",
            "a coil takes true or false; min and max have no meaning",
        ),
    ),
    points.RawBit: (
        Rule(
            "registerBit",
            f"has(self.registerBit) || !({_IN_REGISTER})",
            "a bit in ${self.table} needs registerBit, 0 (least significant) to 15",
        ),
        Rule(
            "registerBit",
            f"!has(self.registerBit) || {_IN_REGISTER}",
            "registerBit is for holding and input; a ${self.table} is one bit",
        ),
    ),
    points.Raw: (
        Rule(
            "",
            "!has(self.bits) || !(has(self.table) || has(self.address) || has(self.count) || has(self.type))",
            f"{_RAW}; with bits, take the others out",
        ),
        Rule(
            "",
            f"has(self.bits) || ({_together('table', 'address')} && has(self.count) != has(self.type))",
            _RAW,
        ),
        Rule(
            "count",
            f"has(self.bits) || !({_together('table', 'count')}) || has(self.type) || !({_IN_REGISTER})",
            "count is for coil and discrete; for ${self.table} give type: uint16 or uint32",
        ),
        Rule(
            "type",
            f"has(self.bits) || !({_together('table', 'type')}) || has(self.count) || {_IN_REGISTER}",
            "type is for holding and input; for ${self.table} give count",
        ),
        Rule(
            "address",
            f"has(self.bits) || !({_together('table', 'address')}) || has(self.count) == has(self.type) || "
            "(has(self.count) ? self.address + self.count : "
            "self.type == 'uint32' ? self.address + 2 : self.address + 1) <= 65536",
            "the mask goes beyond 65535, the last address there is",
        ),
        *(
            Rule(
                order,
                f"self.{order} == 'big' || has(self.type)",
                f"{order} goes with type: uint16 or uint32; take it out",
            )
            for order in ("byteOrder", "wordOrder")
        ),
    ),
    profile.DeviceProfileSpec: (
        Rule(
            "points",
            "!self.points.exists(p, has(p.scaleFrom) && "
            "!self.points.exists(q, q.field == p.scaleFrom && q.type == 'int16'))",
            "scaleFrom must name an int16 point of this profile",
        ),
    ),
    pool.GatewayPool: (_name_at_most("GatewayPool", pool.MAX_NAME),),
    pool.Topics: (
        Rule(
            "ack",
            "self.ack != self.command",
            "ack must differ from command, or acknowledgements would arrive as commands",
        ),
    ),
    pool.Storage: (
        Rule(
            "",
            "has(self.emptyDir) != has(self.persistentVolumeClaim)",
            "storage is exactly one of emptyDir or persistentVolumeClaim",
        ),
        Rule("", "self == oldSelf", "storage is immutable; make another pool and move the plants to it"),
    ),
    pool.Pod: (
        Rule(
            "egressCIDRs",
            "!has(self.egressCIDRs) || self.egressCIDRs.all(c, isCIDR(c) && cidr(c) == cidr(c).masked())",
            "a network is written 10.20.0.0/16 or 2001:db8::/32, host bits 0",
        ),
    ),
}
"""What is not here: uniqueness (a list's key), durations out of bounds (from their types), and what CEL cannot see."""
