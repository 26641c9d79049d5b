"""The drivers that there are, by the key of a Plant's connection in snake case."""

from __future__ import annotations

from typing import Final

from voke_gateway.drivers.base import Drivers
from voke_gateway.drivers.modbus.connection import open_modbus_tcp

DRIVERS: Final[Drivers] = {"modbus_tcp": open_modbus_tcp}
