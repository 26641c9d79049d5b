"""Both images, built from the Dockerfile on a machine that reaches no container registry.

``python -m tests.cluster.image`` builds what is not in the cache and prints where the archives are; for another
machine, by emulation, with ``--architecture``. Users build on the official Python image. Here a stand-in takes its
place: Debian of the same release with Debian's own Python of the same minor version. Needs root, and what
``scripts/install-node`` installs.
"""

from __future__ import annotations

import argparse
import ast
import fcntl
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Final, Literal, get_args

from tests.cluster.architecture import NATIVE, Architecture, EmulationError, emulated
from voke_sim.voke.plugin import cache_directory

ROOT: Final = Path(__file__).parents[2]
Half = Literal["gateway", "operator"]
HALVES: Final[tuple[Half, ...]] = ("gateway", "operator")

_BUILD_FILES: Final = (
    "Dockerfile",
    ".dockerignore",
    "pyproject.toml",
    "README.md",
    "LICENSE",
    "scripts/install-half",
)
_REQUIREMENTS: Final = ("build", *HALVES)
_SOURCES: Final = ("crds/voke_api", "gateway/voke_gateway", "operator/voke_operator")
_KEPT: Final = 3
"""Archives of so many different sources stay in the cache, for each architecture."""

_RELEASE: Final = "trixie"
_PACKAGES: Final = ("ca-certificates", "netbase", "python3", "python3-venv", "tzdata")
_DEBIAN: Final = (
    "mmdebstrap",
    "--quiet",
    "--variant=minbase",
    f"--include={','.join(_PACKAGES)}",
    *(f"--dpkgopt=path-exclude=/usr/share/{each}/*" for each in ("doc", "locale", "man")),
    # As in the official image: `python` in /usr/local/bin, and a standard library without bytecode.
    '--customize-hook=ln -s /usr/bin/python3 "$1"/usr/local/bin/python',
    '--customize-hook=find "$1"/usr/lib/python3* -name __pycache__ -prune -exec rm -r {} +',
    # That programs of its architecture run here is known; it would want another program to find out.
    "--skip=check/qemu",
)
_PATH: Final = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_BUNDLES: Final = ("/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/certs/ca-bundle.crt")
_PIP_SETTINGS: Final = ("index-url", "extra-index-url", "trusted-host", "proxy", "timeout", "retries")


class ImageError(RuntimeError):
    """There are no images for the tests; the message says what to do."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Image:
    """One half, in podman's storage of the tests and as a file that containerd can import."""

    name: str
    """Under which it is stored, imported, and named by a pod."""
    archive: Path
    """Of docker's form, which ``podman load`` and ``ctr images import`` read."""


def image(half: Half, architecture: Architecture = NATIVE) -> Image:
    """An image of these sources; ``build`` makes it."""
    name = f"localhost/voke-fleet-{half}:{_key(architecture)}"
    return Image(name=name, archive=_cached(architecture) / f"{half}.tar")


def version() -> str:
    """Of the project, as the images' label says."""
    match = re.search(r'^version = "(.+)"$', (ROOT / "pyproject.toml").read_text(), re.MULTILINE)
    assert match, "pyproject.toml has a version"
    return match[1]


def build(architecture: Architecture = NATIVE) -> None:
    """Fill the cache, unless it is filled: minutes with nothing in it, then seconds.

    Programs of the architecture have to run here (``tests.cluster.emulation``), and then it takes much longer.

    Raises:
        ImageError: not root, a program is missing, or one failed.
    """
    _require("podman")
    with _only_builder(architecture):
        images = {half: image(half, architecture) for half in HALVES}
        missing = [half for half in HALVES if not images[half].archive.exists()]
        if missing:
            _stand_in(architecture)
            for half in missing:
                _build(half, architecture)
            _forget_old(architecture)
        _cached(architecture).touch()  # in use: not to be forgotten next
        for made in images.values():
            if not _stored(made.name):
                podman("load", "--quiet", "--input", str(made.archive))


def podman(*arguments: str) -> str:
    """What podman prints, with storage and settings of the tests' own.

    Raises:
        ImageError: it failed; the message is what it said.
    """
    done = subprocess.run(
        [_require("podman"), *arguments],
        env=_environment(),
        check=False,
        capture_output=True,
        text=True,
        cwd=ROOT,
    )
    if done.returncode:
        said = "\n".join((done.stdout + done.stderr).splitlines()[-40:])
        raise ImageError(f"podman {arguments[0]} failed with status {done.returncode}:\n{said}")
    return done.stdout.strip()


def inspect(name: str) -> dict[str, Any]:
    """What podman knows of an image."""
    found: list[dict[str, Any]] = json.loads(podman("image", "inspect", name))
    return found[0]


def base_name(architecture: Architecture = NATIVE) -> str:
    """The stand-in in podman's storage."""
    key = hashlib.sha256("\0".join((*_DEBIAN, _RELEASE, _PATH, architecture)).encode()).hexdigest()[:16]
    return f"localhost/voke-fleet-base:{key}"


def _build(half: Half, architecture: Architecture) -> None:
    print(f"Building the {half}'s image for {architecture}.", file=sys.stderr)
    made = image(half, architecture)
    made.archive.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=made.archive.parent, prefix="build-") as scratch:
        secrets = _pip_secrets(Path(scratch))
        podman(
            "build",
            "--pull=never",
            "--network=host",
            "--format=docker",
            f"--arch={architecture}",
            f"--target={half}",
            f"--tag={made.name}",
            *(f"--build-arg={name}={value}" for name, value in _arguments(architecture).items()),
            *(f"--secret=id={path.name},src={path}" for path in secrets),
            ".",
        )
        # Written under another name and moved: a process may be killed.
        written = Path(scratch) / made.archive.name
        podman("save", "--quiet", "--format=docker-archive", f"--output={written}", made.name)
        written.rename(made.archive)


def _arguments(architecture: Architecture) -> Mapping[str, str]:
    return {"BASE": base_name(architecture), "VERSION": version(), "REVISION": _key(architecture)}


def _stand_in(architecture: Architecture) -> None:
    """See that the base is in podman's storage; it is made from Debian's packages."""
    name = base_name(architecture)
    if _stored(name):
        return
    _require("mmdebstrap")
    print(f"Making the base of Debian's packages for {architecture}.", file=sys.stderr)
    with tempfile.TemporaryDirectory(dir=_home(), prefix="base-") as scratch:
        tree = Path(scratch) / "base.tar"
        done = subprocess.run(
            [*_DEBIAN, f"--architectures={architecture}", _RELEASE, str(tree)],
            env=os.environ | {"PATH": _search_path()},
            check=False,
            capture_output=True,
            text=True,
        )
        if done.returncode:
            raise ImageError(f"mmdebstrap failed with status {done.returncode}:\n{done.stderr[-4000:]}")
        settings = (f"PATH={_PATH}", "LANG=C.UTF-8")
        changes = [f"--change=ENV {setting}" for setting in settings]
        podman("import", "--quiet", f"--arch={architecture}", *changes, str(tree), name)


def _stored(name: str) -> bool:
    try:
        podman("image", "exists", name)
    except ImageError:
        return False
    return True


def _pip_secrets(directory: Path) -> Iterator[Path]:
    """How pip finds packages on this machine, for the time of the build: its settings and the system's roots."""
    listed = subprocess.run(
        [sys.executable, "-m", "pip", "config", "list"], check=True, capture_output=True, text=True
    ).stdout
    settings = {}
    for line in listed.splitlines():
        name, _, value = line.partition("=")
        if (key := name.rpartition(".")[2]) in _PIP_SETTINGS:
            settings[key] = " ".join(str(ast.literal_eval(value)).split())
    roots = [os.environ.get("PIP_CERT", ""), *_BUNDLES]
    if found := next((each for each in roots if each and Path(each).is_file()), None):
        settings["cert"] = "/run/secrets/ca.crt"
        yield Path(shutil.copy(found, directory / "ca.crt"))
    file = directory / "pip.conf"
    file.touch(mode=0o600)
    file.write_text("\n".join(["[global]", *(f"{key} = {value}" for key, value in settings.items()), ""]))
    yield file


@cache
def _key(architecture: Architecture) -> str:
    """Of everything that an image is made from."""
    files = [ROOT / name for name in _BUILD_FILES]
    files += [ROOT / "requirements" / f"{name}.txt" for name in _REQUIREMENTS]
    for source in _SOURCES:
        files += [path for path in (ROOT / source).rglob("*") if path.is_file() and path.suffix != ".pyc"]
    key = hashlib.sha256(base_name(architecture).encode())
    for path in sorted(files):
        content = hashlib.sha256(path.read_bytes()).hexdigest()
        key.update(f"\0{path.relative_to(ROOT)}\0{content}".encode())
    return key.hexdigest()[:16]


def _cached(architecture: Architecture) -> Path:
    return cache_directory() / f"image-{architecture}-{_key(architecture)}"


def _home() -> Path:
    return cache_directory() / "podman"


def _forget_old(architecture: Architecture) -> None:
    """Drop the archives of all but the newest sources."""
    prefix = f"image-{architecture}-"
    places = cache_directory().glob(f"{prefix}*/")
    for place in sorted(places, key=lambda path: path.stat().st_mtime, reverse=True)[_KEPT:]:
        for half in HALVES:
            name = f"localhost/voke-fleet-{half}:{place.name.removeprefix(prefix)}"
            if _stored(name):
                podman("rmi", "--force", name)
        shutil.rmtree(place, ignore_errors=True)
    podman("image", "prune", "--force", "--filter=until=24h")


@contextmanager
def _only_builder(architecture: Architecture) -> Iterator[None]:
    """Others that would build the same at the same time wait."""
    _home().mkdir(parents=True, exist_ok=True)
    with (_home() / f"lock-{architecture}").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _require(program: str) -> str:
    if os.getuid() != 0:
        raise ImageError("the images are built and run by root; run `make test-cluster` as root")
    found = shutil.which(program, path=_search_path())
    if found is None:
        raise ImageError(
            f"there is no {program}; `scripts/install-node` installs what building and running needs"
        )
    return found


def _environment() -> dict[str, str]:
    """Podman apart from the machine's own: runc and cgroupfs, which also work where systemd does not run."""
    home = _home()
    (home / "tmp").mkdir(parents=True, exist_ok=True)
    run = Path("/run") / f"voke-fleet-{hashlib.sha256(bytes(home)).hexdigest()[:8]}"
    settings = {
        "containers.conf": f"""\
[engine]
runtime = "runc"
cgroup_manager = "cgroupfs"
events_logger = "file"
lock_type = "file"
tmp_dir = "{run}/libpod"
[containers]
default_ulimits = ["nofile=4096:4096", "nproc=4096:4096"]
log_driver = "k8s-file"
""",
        "storage.conf": f"""\
[storage]
driver = "overlay"
graphroot = "{home}/storage"
runroot = "{run}/storage"
""",
    }
    for name, content in settings.items():
        if not (home / name).exists() or (home / name).read_text() != content:
            (home / name).write_text(content)
    return os.environ | {
        "CONTAINERS_CONF": str(home / "containers.conf"),
        "CONTAINERS_STORAGE_CONF": str(home / "storage.conf"),
        "PATH": _search_path(),
        "TMPDIR": str(home / "tmp"),
    }


def _search_path() -> str:
    return f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin"


def main() -> None:
    """Print where the archives are."""
    parser = argparse.ArgumentParser(prog="python -m tests.cluster.image", description=main.__doc__)
    parser.add_argument("--architecture", choices=get_args(Architecture), default=NATIVE)
    architecture: Architecture = parser.parse_args().architecture
    try:
        with emulated(architecture):
            build(architecture)
        for half in HALVES:
            made = image(half, architecture)
            print(made.name, made.archive)
    except (ImageError, EmulationError) as error:
        sys.exit(str(error))


if __name__ == "__main__":
    main()
