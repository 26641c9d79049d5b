"""``make cluster``, as docs/try.md has it done: each command that ends by itself is run as it stands, in a shell.

It is a cluster of its own, started from outside of the one that the other tests are in, as a person's is.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import pytest
import yaml

from tests.cluster.by_hand import STATE_VARIABLE
from tests.cluster.release import OWN
from tests.docs.walk import blocks_of

pytestmark = pytest.mark.timeout(400)

ROOT: Final = Path(__file__).parents[3]
DOCUMENT: Final = ROOT / "docs" / "try.md"
PLANTS: Final = {"brno-roof", "ostrava-storage", "plzen-works"}
POD: Final = "voke-gw-default-0-0"
ENDLESS: Final = "tail -f "
EDITOR: Final = r"sed -i 's/interval: [0-9]*s/interval: 2s/'"
"""What a person does in ``kubectl edit``."""
FINDS_FAULT: Final = "kubectl voke probe brno-roof"
"""Ends with 1 on purpose: one of its PLCs misbehaves."""
WITHIN: Final = 60.0


@pytest.fixture(autouse=True)
def _inside() -> None:
    """Not in the network of the other tests' cluster."""


@dataclass
class Shell:
    """A person's, in a directory that looks like a checkout."""

    home: Path
    exports: list[str] = field(default_factory=list)
    """Lines that were typed first."""

    @property
    def state(self) -> Path:
        """Where the cluster keeps what a person gets to see of it."""
        return self.home / "build" / "cluster"

    @property
    def temporary(self) -> Path:
        """Where everything else of it is."""
        return self.home / "tmp"

    def run(self, command: str, *, status: int = 0, where: Path | None = None) -> str:
        """Type a command; what it prints."""
        done = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", "\n".join([*self.exports, command])],
            cwd=where or self.home,
            env={
                "HOME": str(self.home / "nobody"),
                "PATH": os.environ["PATH"],
                "TMPDIR": str(self.temporary),
                "EDITOR": EDITOR,
                STATE_VARIABLE: str(self.state),
                "XDG_CACHE_HOME": os.environ.get("XDG_CACHE_HOME", str(Path.home() / ".cache")),
            },
            stdin=subprocess.DEVNULL,
            check=False,
            text=True,
            capture_output=True,
            timeout=300,
        )
        assert done.returncode == status, f"{command}: {done.stdout}{done.stderr}"
        return done.stdout

    def make(self, target: str) -> str:
        """A target of the Makefile; what ``make install`` does was done for these tests."""
        return self.run(f"make --old-file=.venv/.installed {target}", where=ROOT)

    def plants(self) -> dict[str, Any]:
        """Of the cluster, by name."""
        found = json.loads(self.run("kubectl get plants -o json"))["items"]
        return {each["metadata"]["name"]: each for each in found}

    def until_ready(self) -> None:
        """Wait until all three Plants are, in their newest version."""
        deadline = time.monotonic() + WITHIN
        while True:
            plants = self.plants()
            if plants.keys() == PLANTS and all(_is_ready(each) for each in plants.values()):
                return
            assert time.monotonic() < deadline, self.run("kubectl describe plants")
            time.sleep(0.5)


def _is_ready(plant: dict[str, Any]) -> bool:
    found = {each["type"]: each for each in plant.get("status", {}).get("conditions", [])}.get("Ready", {})
    newest: bool = found.get("observedGeneration") == plant["metadata"]["generation"]
    return found.get("status") == "True" and newest


@pytest.fixture
def shell() -> Iterator[Shell]:
    """At the end no cluster of it runs, whatever has happened."""
    home = Path(tempfile.mkdtemp(prefix="voke-by-hand-"))  # short: there will be sockets in it
    made = Shell(home)
    for directory in ("charts", "examples"):
        (home / directory).symlink_to(ROOT / directory)
    made.temporary.mkdir()
    try:
        yield made
    finally:
        made.make("cluster-down")
        shutil.rmtree(home)


def test_what_the_documentation_and_the_command_itself_tell_to_try_works(shell: Shell) -> None:
    up, down = re.findall(r"^    sudo make (\S+)$", DOCUMENT.read_text(), re.MULTILINE)
    printed = [line.strip().partition("  ")[0] for line in shell.make(up).splitlines() if line[:4] == "    "]
    shell.exports = [line for line in printed if line.startswith("export ")]
    to_try = [line for line in printed if line not in shell.exports]
    assert len(to_try) > 5, printed
    traces = Traces.of(shell)
    for command in to_try:
        if not command.startswith(ENDLESS):
            shell.run(command, status=int(command == FINDS_FAULT))
    assert shell.run("kubectl get plants").split()[:6] == [
        "NAME",
        "READY",
        "DEVICES",
        "GATEWAY",
        "REASON",
        "AGE",
    ]
    shell.until_ready()

    (shell.home / "plant.yaml").write_text(dict(blocks_of("first-plant.md"))["yaml"])
    apply, delete = (text for kind, text in blocks_of("try.md") if kind == "sh")
    assert " of 9 read in " in (probed := shell.run(apply)), probed
    shell.run(delete)

    documented = re.findall(r"^\| (`.+?) \|", DOCUMENT.read_text(), re.MULTILINE)
    commands = [each for cell in documented for each in re.findall(r"`(.+?)`", cell)]
    keys = _key_ids(shell)
    for command in commands:
        if command in to_try:
            continue
        if command == "apply":
            shell.run("kubectl apply -f examples/cluster/ostrava-storage.yaml")
            shell.until_ready()
        elif command.startswith("helm uninstall"):
            shell.until_ready()
            before = _gateway(shell)
            shell.run(command)
        elif not command.startswith(ENDLESS):
            shell.run(command)
    shell.run(f"kubectl rollout status deployment -n {OWN} --timeout=60s")
    shell.until_ready()
    assert _gateway(shell) == before, "neither without the operator nor by the new one"
    after = _key_ids(shell)
    assert {name for name in PLANTS if after[name] != keys[name]} == {"ostrava-storage"}, "it was made anew"
    assert shell.plants()["brno-roof"]["spec"]["telemetry"]["interval"] == "2s"
    assert "verified" in (shell.state / "voke.log").read_text()

    assert traces.left(), "they are found while it runs"
    shell.make(down)
    assert traces.left() == []
    assert sorted(each.name for each in shell.state.iterdir()) == ["log", "voke.log"], "no keys"


def test_a_directory_of_somebody_elses_is_left_alone(shell: Shell) -> None:
    shell.state.mkdir(parents=True)
    for name in ("thesis.txt", "kubeconfig"):
        (shell.state / name).write_text("mine")
    with pytest.raises(
        AssertionError, match=r"is no cluster's: it holds thesis\.txt; name an empty directory"
    ):
        shell.make("cluster")
    shell.make("cluster-down")
    assert {each.name: each.read_text() for each in shell.state.iterdir()} == {
        "thesis.txt": "mine",
        "kubeconfig": "mine",
    }


def _gateway(shell: Shell) -> tuple[str, int]:
    """Which pod it is, and how often it was started anew."""
    pod = json.loads(shell.run(f"kubectl get pod {POD} -o json"))
    return pod["metadata"]["uid"], pod["status"]["containerStatuses"][0]["restartCount"]


def _key_ids(shell: Shell) -> dict[str, Any]:
    return {
        name: [each["keyId"] for each in plant["status"]["credentials"]]
        for name, plant in shell.plants().items()
    }


@dataclass(frozen=True, slots=True)
class Traces:
    """By which what a cluster has made on this computer is found."""

    directory: Path
    """In which its files are; its programs are told of it, and its mounts lead there."""
    cgroup: str
    networks: frozenset[str]
    """Of its processes, as the kernel numbers them."""

    @classmethod
    def of(cls, shell: Shell) -> Traces:
        """Look while it runs."""
        (kubelet,) = shell.temporary.glob("voke-node-*/kubelet.yaml")
        cgroup = yaml.safe_load(kubelet.read_text())["cgroupRoot"]
        inside = [each for each in _processes() if str(shell.temporary) in _read(each / "cmdline")]
        networks = {_network(each) for each in inside} - {_network(Path("/proc/self")), ""}
        return cls(shell.temporary, cgroup, frozenset(networks))

    def left(self) -> list[str]:
        """What of it is there, for people."""
        found = [str(each) for each in self.directory.iterdir()]
        found += [str(each) for each in Path("/sys/fs/cgroup").glob(f"**/{self.cgroup[1:]}")]
        for process in _processes():
            if str(self.directory) in _read(process / "cmdline") or _network(process) in self.networks:
                found.append(f"{process}: {_read(process / 'cmdline')}")
            if str(self.directory) in _read(process / "mounts"):
                found.append(f"{process / 'mounts'}")
        return found


def _processes() -> Iterator[Path]:
    return Path("/proc").glob("[0-9]*")


def _network(process: Path) -> str:
    with contextlib.suppress(OSError):
        return str((process / "ns" / "net").readlink())
    return ""


def _read(path: Path) -> str:
    with contextlib.suppress(OSError):
        return path.read_bytes().replace(b"\0", b" ").decode(errors="replace")
    return ""
