"""Ports for what comes back after a while."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from voke_sim import ports
from voke_sim.ports import free_ports


def test_they_differ_and_can_be_listened_on() -> None:
    found = free_ports(20)
    assert len(set(found)) == len(found)
    for port in found:
        socket.create_server(("127.0.0.1", port)).close()


def test_the_kernel_gives_none_of_them_to_a_connection() -> None:
    lowest, highest = map(int, Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split())
    assert not set(free_ports(20)) & set(range(lowest, highest + 1))


def test_one_that_somebody_has_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    (taken, free) = free_ports(2)
    monkeypatch.setattr(ports, "PORTS", [taken, free])
    with socket.create_server(("127.0.0.1", taken)):
        assert free_ports(1) == [free]
        with pytest.raises(OSError, match=r"fewer than 2 ports of 127\.0\.0\.1 are free"):
            free_ports(2)
