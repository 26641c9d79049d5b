"""Drivers: how devices are read and written. One package per protocol, all behind one seam."""
