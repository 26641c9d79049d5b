"""The drivers that there are, by the key of a Plant's connection in snake case."""

from __future__ import annotations

from functools import partial
from typing import Final

from voke_gateway.drivers.base import Drivers
from voke_gateway.drivers.claims import EndpointClaims
from voke_gateway.drivers.modbus.connection import open_modbus_tcp


def _drivers(claims: EndpointClaims | None) -> Drivers:
    return {"modbus_tcp": partial(open_modbus_tcp, claims=claims)}


DRIVERS: Final = _drivers(None)


def exclusive(claims: EndpointClaims) -> Drivers:
    """The same, but each endpoint is claimed before it is connected to (:mod:`~voke_gateway.drivers.claims`)."""
    return _drivers(claims)
