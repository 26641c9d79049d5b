"""A whole cluster on this computer: a machine, a control plane in its network, a node. Root only."""

from __future__ import annotations

import contextlib
import shutil
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from tests.cluster.control_plane import ControlPlane
from tests.cluster.machine import ADDRESS, Machine
from tests.cluster.worker_node import Node


@dataclass(frozen=True, slots=True)
class Cluster:
    """Made by :func:`running`."""

    machine: Machine
    plane: ControlPlane
    node: Node
    hands: ThreadPoolExecutor
    """Starts programs while a test goes on: a program ends with the thread that started it, and this one stays."""

    def keep(self) -> None:
        """Leave its directories, with the logs, behind."""
        self.plane.keep = True


@contextlib.contextmanager
def running() -> Iterator[Cluster]:
    """Inside the block its node is Ready. Who talks to it has to enter the machine's network.

    Raises:
        MachineError: it cannot be had here; the message says what is needed.
    """
    directory = Path(tempfile.mkdtemp(prefix="voke-node-"))
    with contextlib.ExitStack() as stack:
        machine = stack.enter_context(Machine.running(directory))
        with machine.entered():
            plane = stack.enter_context(ControlPlane.running(node_address=ADDRESS))
            node = stack.enter_context(Node.running(machine, plane))
            hands = stack.enter_context(ThreadPoolExecutor(1, thread_name_prefix="hands"))
            hands.submit(int).result()  # a thread is in the network of the one that made it
        yield Cluster(machine, plane, node, hands)
    if not plane.keep:
        shutil.rmtree(directory)
