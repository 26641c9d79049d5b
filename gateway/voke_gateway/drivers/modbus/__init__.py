"""Modbus TCP behind the driver seam."""
