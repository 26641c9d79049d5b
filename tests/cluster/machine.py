"""A machine inside this one, for a Kubernetes node: a network, mounts, process ids and cgroups of its own. Root only.

Kernel namespaces that live as long as one process, the first inside. When that ends, for whatever reason, the kernel
ends all that runs inside, also what a container runtime has let go of, and with it the mounts and the network. Nothing
has a name outside except a cgroup, whose name is random: any number of machines run side by side.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import os
import secrets
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from voke_sim.children import ending_with_parent

ADDRESS: Final = "10.200.0.1"
"""Of the machine, in its network; nobody else has one there."""

_TOOLS: Final = ("unshare", "nsenter", "mount", "ip", "sysctl")
_CLONE_NEWNET: Final = 0x40000000
_WITHIN: Final = 20.0

# What kubelet insists on and would set for all of this computer: it is shown that it is so already.
# Directories in which Kubernetes' programs have fixed names are the machine's own.
_BOOT: Final = f"""
set -eu
here=$1
mount --make-rshared /
for place in run var/log var/lib; do
  mkdir -p "$here/$place"; mount --bind "$here/$place" "/$place"
done
is() {{
  [ -e "/proc/sys/$1" ] || return 0
  shown=$here/sysctl/$(echo "$1" | tr / .); echo "$2" >"$shown"; mount --bind "$shown" "/proc/sys/$1"
}}
mkdir -p "$here/sysctl"
is vm/overcommit_memory 1; is vm/panic_on_oom 0; is kernel/panic 10; is kernel/panic_on_oops 1
is kernel/keys/root_maxkeys 1000000; is kernel/keys/root_maxbytes 25000000
ip link set lo up
ip link add node0 type bridge
ip addr add {ADDRESS}/24 dev node0
ip link set node0 up
ip route add default dev node0  # leads nowhere, and some programs want one
sysctl -qw net.ipv4.ip_forward=1
[ ! -e /proc/sys/net/bridge/bridge-nf-call-iptables ] || sysctl -qw net.bridge.bridge-nf-call-iptables=1
echo up
trap '' CHLD  # whose parent is gone is nobody's zombie
exec sleep infinity
"""


class MachineError(RuntimeError):
    """It cannot be had here; the message says what is needed."""


class Program:
    """One that runs inside."""

    def __init__(self, name: str, entering: subprocess.Popen[bytes]) -> None:
        self.name = name
        self._entering = entering

    @property
    def ended(self) -> bool:
        """Whether it is gone."""
        return self._entering.poll() is not None

    def stop(self, how: signal.Signals = signal.SIGKILL) -> None:
        """End it and wait for that."""
        child = _child(self._entering.pid)
        if child is None:
            self._entering.kill()
        else:
            with contextlib.suppress(ProcessLookupError):
                os.kill(child, how)
        self._entering.wait(_WITHIN)


class Machine:
    """Made by :meth:`running`."""

    def __init__(self, directory: Path, pid: int) -> None:
        self.directory = directory
        self.cgroup = f"/voke-{secrets.token_hex(4)}"
        """Below which all its containers have to be."""
        self._pid = pid

    @classmethod
    @contextlib.contextmanager
    def running(cls, directory: Path) -> Iterator[Machine]:
        """It is up inside the block. ``directory`` holds its files, and keeps them.

        Raises:
            MachineError: not root, or a tool is missing, or the kernel refuses.
        """
        check_possible()
        isolated = ("--net", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc")
        boot = ("--propagation", "private", "/bin/sh", "-c", _BOOT, "boot", str(directory))
        with (directory / "machine.log").open("wb") as log:
            first = subprocess.Popen(
                ending_with_parent(tool("unshare"), *isolated, *boot),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=log,
            )
        with contextlib.ExitStack() as stack:
            stack.callback(first.wait, _WITHIN)
            stack.callback(first.kill)
            assert first.stdout is not None
            with first.stdout as said:
                up = said.readline() == b"up\n"
            pid = _child(first.pid)
            if not up or pid is None:
                raise MachineError(f"no machine: {(directory / 'machine.log').read_text()}")
            machine = cls(directory, pid)
            stack.enter_context(_cgroup(machine.cgroup))
            # Its end is that of all inside, and is over when they are gone: only then can the cgroup go.
            stack.callback(first.wait, _WITHIN)
            stack.callback(os.kill, pid, signal.SIGKILL)
            yield machine

    @contextlib.contextmanager
    def entered(self) -> Iterator[None]:
        """The calling thread, and what it starts, is in the machine's network inside the block."""
        there = Path(f"/proc/{self._pid}/ns/net")
        with Path("/proc/thread-self/ns/net").open("rb") as before, there.open("rb") as own:
            _set_network(own.fileno())
            try:
                yield
            finally:
                _set_network(before.fileno())

    def start(self, name: str, *command: str) -> Program:
        """Run a program (as a path) inside; it writes to ``name``.log."""
        with (self.directory / f"{name}.log").open("ab") as log:
            return Program(
                name,
                subprocess.Popen(
                    ending_with_parent(*self._inside(*command)),
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=subprocess.STDOUT,
                    env={"PATH": _PATH, "HOME": str(self.directory)},
                ),
            )

    def run(self, *command: str) -> str:
        """What a program inside prints.

        Raises:
            AssertionError: it failed; the message is what it said.
        """
        done = subprocess.run(
            self._inside(*command),
            check=False,
            text=True,
            capture_output=True,
            timeout=120,
            env={"PATH": _PATH},
        )
        assert done.returncode == 0, f"{' '.join(command)}: {done.stderr}"
        return done.stdout

    def cgroups(self, name: str) -> Iterator[Path]:
        """Those of that name below the machine's own, one in each hierarchy."""
        for place in _hierarchies():
            yield from (Path(place) / self.cgroup[1:]).rglob(name)

    def _inside(self, *command: str) -> tuple[str, ...]:
        return (tool("nsenter"), f"--target={self._pid}", "--net", "--mount", "--pid", "--", *command)


_PATH: Final = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


def check_possible(*programs: str) -> None:
    """Whether there can be a machine on this computer, and whether these programs are here, too.

    Raises:
        MachineError: it cannot, or one is not.
    """
    if os.geteuid() != 0:
        raise MachineError("a Kubernetes node needs root: run this with sudo (namespaces, mounts, cgroups)")
    missing = [name for name in (*_TOOLS, *programs) if shutil.which(name, path=_PATH) is None]
    if missing:
        raise MachineError(
            f"not installed: {', '.join(missing)}; scripts/install-node asks apt for what is missing"
        )


def tool(name: str) -> str:
    """Where a program is.

    Raises:
        MachineError: it is not installed.
    """
    found = shutil.which(name, path=_PATH)
    if found is None:
        raise MachineError(f"{name} is not installed")
    return found


def _child(pid: int) -> int | None:
    with contextlib.suppress(OSError):
        for text in Path(f"/proc/{pid}/task/{pid}/children").read_text().split():
            return int(text)
    return None


def _set_network(descriptor: int) -> None:
    # os.setns is there from Python 3.12 on.
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.setns(descriptor, _CLONE_NEWNET) != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), "setns")


@contextlib.contextmanager
def _cgroup(name: str) -> Iterator[None]:
    """A cgroup in every hierarchy that there is, of version 1 or 2; removed with all below it."""
    roots = [Path(place) for place in _hierarchies()]
    for root in roots:
        made = root / name[1:]
        made.mkdir()
        for knob in ("cpuset.cpus", "cpuset.mems"):  # version 1: empty, nothing could run in it
            if (root / "cgroup.controllers").exists() or not (root / knob).exists():
                continue
            (made / knob).write_text((root / knob).read_text())
    try:
        yield
    finally:
        for root in roots:
            _remove_cgroup(root / name[1:])


def _hierarchies() -> Iterator[str]:
    for line in Path("/proc/self/mounts").read_text().splitlines():
        _, place, kind, *_ = line.split()
        if kind in {"cgroup", "cgroup2"}:
            yield place
            controllers = Path(place) / "cgroup.controllers"
            if controllers.exists():
                with contextlib.suppress(OSError):
                    wanted = " ".join(f"+{each}" for each in controllers.read_text().split())
                    (Path(place) / "cgroup.subtree_control").write_text(wanted)


def _remove_cgroup(top: Path) -> None:
    deadline = time.monotonic() + _WITHIN
    for directory, _, _ in list(os.walk(top, topdown=False)):
        while True:
            try:
                Path(directory).rmdir()
            except OSError as error:  # the kernel takes a moment to forget what ran there
                if error.errno != errno.EBUSY or time.monotonic() > deadline:
                    raise
                time.sleep(0.02)
            else:
                break
