"""The machine: its cores, what processes cost on them, and how fast it is just now."""

from __future__ import annotations

import gc
import hashlib
import hmac
import os
import platform
import re
import resource
import subprocess
import sys
import time
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

import orjson

_TICK = 1.0 / os.sysconf("SC_CLK_TCK")
_PAGE = os.sysconf("SC_PAGE_SIZE")
_LIBRARIES = ("uvloop", "aiomqtt", "paho-mqtt", "pymodbus", "orjson", "pydantic", "cryptography")


@dataclass(frozen=True, slots=True)
class Cores:
    """Which core the gateway has, and on which everything around it runs."""

    gateway: int
    others: int

    @property
    def separate(self) -> bool:
        return self.gateway != self.others


def choose_cores() -> Cores:
    """The last core for the gateway, for the first usually serves more interrupts."""
    allowed = sorted(os.sched_getaffinity(0))
    return Cores(gateway=allowed[-1], others=allowed[0])


def prepare(cores: Cores, nice: int) -> None:
    """All that is not the gateway runs on the other core; a fleet takes many files."""
    os.sched_setaffinity(0, {cores.others})
    if nice:
        os.setpriority(os.PRIO_PROCESS, 0, nice)
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


@dataclass(frozen=True, slots=True)
class Usage:
    """What a process has used so far."""

    cpu: float
    """Seconds, user and system, all threads."""
    waited: float
    """Seconds for which its main thread could have run and had no core."""
    rss: int
    """Bytes."""
    files: int
    """Open file descriptors."""


def usage(pid: int) -> Usage:
    """Read /proc.

    Raises:
        OSError: there is no such process.
    """
    directory = Path(f"/proc/{pid}")
    cpu, waited = _scheduled(directory)
    return Usage(
        cpu=cpu,
        waited=waited,
        rss=int((directory / "statm").read_text().split()[1]) * _PAGE,
        files=len(os.listdir(directory / "fd")),  # noqa: PTH208 - a count, not paths
    )


def _scheduled(directory: Path) -> tuple[float, float]:
    """CPU time to the nanosecond (of the threads that there are), and what the main thread waited for it."""
    try:
        threads = [
            (task / "schedstat").read_text().split()
            for task in sorted((directory / "task").iterdir(), key=_id)
        ]
        return sum(int(each[0]) for each in threads) / 1e9, int(threads[0][1]) / 1e9
    except (OSError, IndexError):  # a kernel without schedstat: hundredths of a second will have to do
        fields = (directory / "stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) * _TICK, 0.0


def _id(task: Path) -> int:
    return int(task.name)


def busy(core: int) -> float:
    """Seconds for which a core has not been idle, since it started; time stolen by the host included."""
    for line in Path("/proc/stat").read_text().splitlines():
        name, *numbers = line.split()
        if name == f"cpu{core}":
            user, nice, system, _idle, _iowait, irq, softirq, steal = map(int, numbers[:8])
            return (user + nice + system + irq + softirq + steal) * _TICK
    return 0.0


_DOCUMENT = {
    "timestamp": "2026-11-22T09:30:00.250Z",
    "devices": [
        {"externalId": f"P{n}", "type": "METER", "values": {f"v{k}": k * 1.25 + n for k in range(10)}}
        for n in range(10)
    ],
}


class Calibration:
    """How fast a core is: turns of a fixed loop per second of CPU time, sampled while others use the core too.

    The loop does what a gateway does – objects, text, hashes – with the standard library and orjson only. A
    virtual machine's speed changes from one second to the next, so only many samples taken during a
    measurement say anything about it. A sample takes 1–2 ms.
    """

    def __init__(self, core: int) -> None:
        self._core = {core}
        self._turns = 0
        self._spent = 0.0

    def sample(self, turns: int = 25) -> None:
        """Run the loop on the core; the calling thread goes back to where it was."""
        before = os.sched_getaffinity(0)
        os.sched_setaffinity(0, self._core)
        gc.disable()  # its cost would depend on what else this process holds
        try:
            started = time.thread_time()
            for _ in range(turns):
                _turn()
            self._spent += time.thread_time() - started
            self._turns += turns
        finally:
            gc.enable()
            os.sched_setaffinity(0, before)

    @property
    def speed(self) -> float:
        """Turns per second over all samples."""
        return self._turns / self._spent if self._spent else 0.0


def _turn() -> None:
    parsed = orjson.loads(orjson.dumps(_DOCUMENT))
    flat = {
        f"{device['externalId']}.{field}": value * 2.0
        for device in parsed["devices"]
        for field, value in device["values"].items()
    }
    text = ",".join([f"{name}={value}" for name, value in sorted(flat.items())])
    hmac.new(b"0" * 32, text.encode(), hashlib.sha256).hexdigest()


def describe(program: str, **versions: str) -> dict[str, object]:
    """What the figures were taken on, and by what; ``versions`` of things that Python does not know."""
    cpuinfo = Path("/proc/cpuinfo").read_text()
    model = re.search(r"^model name\s*:\s*(.+)$", cpuinfo, re.MULTILINE)
    return {
        "cpu": model[1] if model else platform.machine(),
        "cores": os.cpu_count(),
        "memoryMiB": os.sysconf("SC_PHYS_PAGES") * _PAGE // 2**20,
        "kernel": platform.release(),
        "python": platform.python_version(),
        "versions": {name: version(name) for name in ("voke-fleet", *_LIBRARIES)} | versions,
        "commit": _commit(),
        "command": " ".join([program, *sys.argv[1:]]),
        "at": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
    }


def _commit() -> str:
    try:
        described = subprocess.run(
            ["git", "describe", "--always", "--dirty", "--abbrev=12"],
            capture_output=True,
            text=True,
            check=True,
        )
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    return described.stdout.strip()
